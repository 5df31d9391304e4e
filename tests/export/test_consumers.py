"""Others load an export in processes of their own, none of which can see this project."""

import functools
import http.server
import sys
import threading

import numpy as np
import pytest

from export.signatures import decode_batch
from tests.export.conftest import run_consumer
from tf_simclrv2.keras2 import tf
from tf_simclrv2.runtime import calibration_file
from tf_simclrv2.runtime.checkpoint import load_run

SLOW = pytest.mark.slow
MODULES = ("feature_vector", "classification")


@pytest.fixture(scope="module")
def network(exported):
    return load_run(exported.run)


@pytest.fixture(scope="module")
def expected(network, data):
    """What the run's own network makes of the images."""
    return network(np.load(data)["images"], training=False)


@pytest.fixture(scope="module")
def plain(exported, data, tmp_path_factory):
    """Outputs of the consumer with TensorFlow alone."""
    folder = tmp_path_factory.mktemp("saved_model")
    run_consumer("saved_model", folder, exported.path, data)
    return np.load(folder / "outputs.npz")


@pytest.fixture(scope="module")
def through_hub(exported, data, tmp_path_factory):
    """Outputs of the consumer of TF-Hub, which gets archives from a server on this machine."""
    folder = tmp_path_factory.mktemp("hub")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = functools.partial(Handler, directory=exported.path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            address = f"http://127.0.0.1:{server.server_port}"
            run_consumer("hub", folder, exported.path, address, data)
        finally:
            server.shutdown()
    return np.load(folder / "outputs.npz")


def close(actual, expected, **message):
    np.testing.assert_allclose(actual, expected, atol=1e-5, rtol=1e-5, **message)


def calibrated(exported, expected):
    temperature = calibration_file.read(exported.run, 80).temperature
    assert abs(temperature - 1) > 0.01
    return tf.nn.softmax(expected["logits"] / temperature)


def test_signatures_give_the_runs_outputs(exported, plain, expected):
    close(plain["serving_default/logits"], expected["logits"])
    # Logits are the network's, and probabilities are calibrated.
    close(plain["serving_default/probabilities"], calibrated(exported, expected))
    np.testing.assert_array_equal(
        plain["serving_default/classes"], np.argmax(expected["logits"], axis=1)
    )
    close(plain["serving_default/representation"], expected["representation"])
    close(plain["embed/representation"], expected["representation"])
    assert plain["larger/logits"].shape == (2, 10)
    names = {name for name in plain.files if name.startswith("serving_default/")}
    assert len(names) == 4
    assert [name for name in plain.files if name.startswith("embed/")] == ["embed/representation"]


def test_encoded_images_are_seen_as_evaluation_sees_them(plain, network, data):
    encoded = tf.constant(list(np.load(data)["image_bytes"]))
    outputs = network(decode_batch(encoded, 8)[0], training=False)
    for name in "logits", "representation":
        close(plain[f"serving_bytes/{name}"], outputs[name])


def test_modules_give_the_runs_outputs_and_endpoints(plain, network, expected, data):
    for module, output in zip(MODULES, ("representation", "logits")):
        for call in "call", "inference":
            close(plain[f"{module}/{call}"], expected[output])
        endpoints = network.endpoints(np.load(data)["images"], training=False)
        given = {name for name in plain.files if name.startswith(f"{module}/endpoints/")}
        assert given == {f"{module}/endpoints/{name}" for name in endpoints}
        assert {
            "initial_conv", "initial_max_pool", "block_group1", "block_group2", "block_group3",
            "block_group4", "final_avg_pool", "proj_head_input", "proj_head_output", "logits_sup",
        } <= set(endpoints)  # fmt: skip
        for name, value in endpoints.items():
            close(plain[f"{module}/endpoints/{name}"], value, err_msg=name)


def test_modules_can_be_trained_with_tensorflow_alone(plain, network):
    head = network.projection_head.projections[0]
    for module, extra in zip(MODULES, (0, len(head.variables) + 2)):
        variables, trainable = plain[f"{module}/num_variables"]
        assert variables == len(network.encoder.variables) + extra
        assert len(plain[f"{module}/gradient_norms"]) == trainable
        assert np.all(plain[f"{module}/gradient_norms"] > 0)
        losses = plain[f"{module}/losses"]
        assert losses[20] < 0.7 * losses[0], losses


def test_batch_norms_statistics_move_in_training_alone(plain):
    for module in MODULES:
        np.testing.assert_array_equal(plain[f"{module}/moved_in_inference"], 0)
        assert np.all(plain[f"{module}/moved_in_training"] > 0)


def test_modules_carry_the_runs_weight_decay(plain, network):
    kernels = [v for v in network.encoder.trainable_variables if v.shape.rank == 4]
    decay = 1e-4 * sum(np.sum(np.square(kernel)) / 2 for kernel in kernels)
    # The consumer trained it a little before.
    np.testing.assert_allclose(plain["feature_vector/regularization_losses"], [decay], rtol=0.1)
    assert plain["classification/regularization_losses"] > decay


def test_tflite_agrees_with_the_saved_model(plain, record_property):
    reference = plain["test/logits"]
    scale = np.abs(reference).max()
    for kind, tolerance in {"float32": 1e-5, "float16": 2e-3, "int8": 5e-2}.items():
        difference = np.abs(plain[f"tflite/{kind}/logits"] - reference).max()
        assert difference < tolerance * scale, kind
        assert plain[f"accuracy/{kind}_classes"] == 1
        assert abs(plain[f"accuracy/{kind}"] - plain["accuracy/saved_model"]) < 0.02
    assert plain["accuracy/saved_model"] > 0.5
    kinds = ("saved_model", "float32", "float16", "int8")
    figures = ", ".join(f"{kind} {plain[f'accuracy/{kind}']:.1%}" for kind in kinds)
    record_property("measured", f"digits test, top-1: {figures}")


def test_hub_loads_archives_over_http(through_hub, expected):
    close(through_hub["http_features"], expected["representation"])
    close(through_hub["http_logits"], expected["logits"])


def test_a_keras_layer_of_the_module_trains_and_is_saved_again(through_hub, expected, network):
    close(through_hub["features"], expected["representation"])
    close(through_hub["keras_logits"], expected["logits"])
    expected_optimizer = "SGDW" if sys.version_info < (3, 12) else "SGD"
    assert through_hub["optimizer"] == expected_optimizer
    assert through_hub["num_losses"] == 1
    assert len(through_hub["moved"]) == len(network.encoder.trainable_variables)
    assert np.all(through_hub["moved"] > 0)
    assert through_hub["losses"][-1] < through_hub["losses"][0]
    close(through_hub["reloaded"], through_hub["before_saving"])
    assert through_hub["reloaded_trainable"] == len(through_hub["moved"]) + 2


def test_saved_model_cli_runs_each_signature(exported, data, expected, tmp_path):
    arrays = np.load(data)
    np.save(tmp_path / "images.npy", arrays["images"])
    np.save(tmp_path / "image_bytes.npy", arrays["image_bytes"])
    run_consumer("command_line", tmp_path, exported.path, "images.npy", "image_bytes.npy")
    for name in "logits", "representation":
        close(np.load(tmp_path / "serving_default" / f"{name}.npy"), expected[name])
    assert np.load(tmp_path / "serving_bytes" / "classes.npy").shape == (3,)
    close(np.load(tmp_path / "embed" / "representation.npy"), expected["representation"])


# With the newer stack Keras 3 is at hand; for the older a virtual environment may have to be made.
@pytest.mark.parametrize(
    "stack", ["this" if sys.version_info >= (3, 12) else pytest.param("other", marks=SLOW)]
)
def test_where_keras_is_keras_3(request, stack, exported, data, expected, tmp_path):
    python = sys.executable if stack == "this" else request.getfixturevalue("other_python")
    run_consumer("keras3", tmp_path, exported.path, data, python=python)
    outputs = np.load(tmp_path / "outputs.npz")
    close(outputs["logits"], expected["logits"])
    close(outputs["probabilities"], calibrated(exported, expected))
    close(outputs["representation"], expected["representation"])
    np.testing.assert_array_equal(outputs["classes"], np.argmax(expected["logits"], axis=1))
    assert outputs["losses"][20] < 0.7 * outputs["losses"][0]
