"""``convert``: checkpoints of the authors' code, of all three formats, to runs and back."""

import json
import os

import numpy as np
import pytest

from tests.conftest import DIGITS_VIEWS
from tests.interop.writers import (
    files_of,
    rule,
    tiny,
    write_saved_model,
    write_tf1,
    write_tf2,
)
from tests.reference import deviation, figures, images, weight
from tf_simclrv2.config import (
    DataConfig,
    DistillationConfig,
    DistillConfig,
    FinetuneConfig,
    FineTuningConfig,
    NetworkConfig,
    PretrainConfig,
    RunConfig,
)
from tf_simclrv2.interop.google import google_names
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.programs import training
from tf_simclrv2.runtime.restoring import build_network, restore_network
from tf_simclrv2.runtime.run_directory import RunDirectory

SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
WRITERS = {"tf1": write_tf1, "tf2": write_tf2, "saved_model": write_saved_model}


def _flavor(form):
    return "tf1" if form == "tf1" else "tf2"


def _convert(command, checkpoint, run, *flags):
    outcome = command("convert", f"--google_checkpoint={checkpoint}", f"--model_dir={run}", *flags)
    assert outcome.code == 0, outcome.err
    return outcome


def _assert_refused(outcome, *words):
    assert outcome.code == 1
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    for word in words:
        assert word in outcome.err


# End to end: the authors' figures.


@pytest.mark.parametrize(
    ("case", "form"),
    [
        ("tf1_resnet18_cifar_stem", "tf1"),
        ("tf2_resnet18_cifar_stem", "tf2"),
        ("tf2_resnet18_cifar_stem", "saved_model"),
        ("tf1_resnet50_sk", "tf1"),
        ("tf2_resnet50_sk", "tf2"),
        ("tf2_resnet50_sk", "saved_model"),
    ],
)
def test_a_converted_run_computes_the_authors_activations(case, form, command, tmp_path):
    reference = figures(case)
    checkpoint = WRITERS[form](str(tmp_path / "theirs"), rule(reference["variables"]))
    _convert(command, checkpoint, tmp_path / "run", "--ft_proj_selector=1")
    network = restore_network(RunDirectory(str(tmp_path / "run")))
    endpoints = network.endpoints(images(reference["config"]), training=False)
    endpoints["logits_from_proj_layer_1"] = endpoints["logits_sup"]
    for name, figure in reference["eval"].items():
        assert deviation(endpoints[name].numpy(), figure) < 1e-4, name


def test_a_saved_model_without_the_list_of_variables_has_their_names_as_keys(command, tmp_path):
    values = tiny("tf2")
    path = write_saved_model(str(tmp_path / "parent" / "saved_model"), values, listed=False)
    reader = tf.train.load_checkpoint(os.path.join(path, "variables", "variables"))
    assert {f"{name}{SUFFIX}" for name in values} <= set(reader.get_variable_to_shape_map())
    _convert(command, tmp_path / "parent", tmp_path / "run")
    _assert_has(RunDirectory(str(tmp_path / "run")), values, "tf2")


def _assert_has(run, values, flavor):
    named = google_names(restore_network(run), flavor)
    assert set(named) == set(values)
    for name, variable in named.items():
        np.testing.assert_array_equal(variable.numpy(), values[name], name)


@pytest.mark.parametrize("form", WRITERS)
def test_training_state_is_ignored(form, command, tmp_path):
    values = tiny(_flavor(form))
    checkpoint = WRITERS[form](str(tmp_path / "theirs"), values)
    _convert(command, checkpoint, tmp_path / "run")
    _assert_has(RunDirectory(str(tmp_path / "run")), values, _flavor(form))


@pytest.mark.parametrize("given", ["x.index", ""])
def test_a_checkpoint_is_found_by_its_index_or_by_its_directory(given, command, tmp_path):
    (tmp_path / "theirs").mkdir()
    write_tf1(str(tmp_path / "theirs" / "x"), tiny("tf1"))
    _convert(command, tmp_path / "theirs" / given, tmp_path / "run")


# What a converted run is for.


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Converted tiny networks: ``whole``, ``headless`` and ``large``, SimCLRv1's size of kernel."""
    from tf_simclrv2.programs.main import main

    root = tmp_path_factory.mktemp("converted")
    large = {
        name: value * 16.8 if name.endswith("kernel") else value
        for name, value in tiny("tf1").items()
    }
    paths = {}
    for name, values in (
        ("whole", tiny("tf1")),
        ("headless", tiny("tf1", "none")),
        ("large", large),
    ):
        theirs, paths[name] = write_tf1(str(root / f"{name}.ckpt"), values), str(root / name)
        arguments = ["convert", f"--google_checkpoint={theirs}", f"--model_dir={paths[name]}"]
        assert main([*arguments, "--image_size=8"]) == 0
    return paths


def _fine_tune(command, converted, tmp_path, *flags):
    return command(
        "finetune",
        f"--checkpoint={converted}",
        f"--model_dir={tmp_path / 'fine_tuned'}",
        "--dataset=digits",
        "--train_batch_size=4",
        "--train_steps=2",
        "--mode=train",
        *DIGITS_VIEWS,
        *flags,
    )


def test_fine_tuning_on_other_classes_leaves_unused_layers_out(converted, command, tmp_path):
    flags = ["--ft_proj_selector=1", "--optimizer=momentum", "--learning_rate=0.001"]
    outcome = _fine_tune(command, converted["whole"], tmp_path, *flags)
    assert outcome.code == 0
    assert "warning" not in outcome.err.lower()
    run = RunDirectory(str(tmp_path / "fine_tuned"))
    network = restore_network(run)
    assert network.supervised_head.dense.units == 10
    assert len(network.projection_head.projections) == 1
    # Two steps of a small rate: close to what was converted, but not the same.
    before, after = tiny("tf1"), google_names(network, "tf1")
    for name in ("base_model/conv2d_20/kernel", "head_contrastive/nl_0/dense/kernel"):
        moved = np.abs(after[name].numpy() - before[name]).max()
        assert 0 < moved < 0.1 * np.abs(before[name]).max()
    saved = tf.train.load_checkpoint(run.latest_checkpoint()).get_variable_to_shape_map()
    assert not [key for key in saved if "projections/1" in key or "projections/2" in key]
    slots = [shape for key, shape in saved.items() if key.startswith("optimizer/") and shape]
    trained = [variable.shape.as_list() for variable in network.trainable_variables]
    assert sorted(slots) == sorted(trained)


def test_without_a_projection_head_only_the_encoder_can_be_fine_tuned(converted, command, tmp_path):
    outcome = _fine_tune(command, converted["headless"], tmp_path, "--ft_proj_selector=1")
    _assert_refused(outcome, "--ft_proj_selector=1", "0 layers")
    assert files_of(tmp_path / "fine_tuned") is None


@pytest.mark.parametrize(
    ("kind", "flags", "warned"),
    [
        ("headless", ["--optimizer=momentum"], True),
        ("large", ["--optimizer=momentum"], True),
        ("headless", ["--optimizer=lars"], False),
        ("headless", ["--optimizer=momentum", "--fine_tune_after_block=4"], False),
    ],
)
def test_momentum_sgd_on_weights_of_simclrv1_is_warned_of(
    kind, flags, warned, converted, command, tmp_path, monkeypatch
):
    monkeypatch.setattr(training, "train_and_evaluate", lambda *_, **__: None)
    outcome = _fine_tune(command, converted[kind], tmp_path, *flags)
    assert outcome.code == 0
    assert [line.startswith("warning: ") for line in outcome.err.splitlines()].count(True) == warned
    assert ("SimCLRv1" in outcome.err) == warned


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """A folder of images of three classes, with names."""
    folder = tmp_path_factory.mktemp("colours")
    for split in ("train", "test"):
        for index, name in enumerate(("blue", "green", "red")):
            (folder / split / name).mkdir(parents=True)
            image = np.zeros((8, 8, 3), np.uint8)
            image[..., index] = 255
            encoded = tf.io.encode_png(image).numpy()
            for copy in range(2):
                (folder / split / name / f"{copy}.png").write_bytes(encoded)
    return ["--dataset=folder", f"--data_dir={folder}"]


def test_classes_without_names_are_compared_by_number(converted, colours, command, tmp_path):
    assert RunDirectory(converted["whole"]).class_names == ["0", "1", "2"]
    assert command("evaluate", f"--model_dir={converted['whole']}", *colours).code == 0
    result = RunDirectory(converted["whole"]).result()
    assert result["num_examples"] == 6
    assert result["step"] == 0
    outcome = command("evaluate", f"--model_dir={converted['whole']}", "--dataset=digits")
    _assert_refused(outcome, "--dataset=digits", "3 classes")

    flags = ["--train_batch_size=2", "--train_steps=1", *DIGITS_VIEWS]
    student = tmp_path / "student"
    teacher = f"--teacher={converted['whole']}"
    assert command("distill", teacher, f"--model_dir={student}", *colours, *flags).code == 0
    assert RunDirectory(str(student)).class_names == ["blue", "green", "red"]
    assert RunDirectory(str(student)).class_names_known
    outcome = command("distill", teacher, f"--model_dir={tmp_path / 'x'}", "--dataset=digits")
    _assert_refused(outcome, "--teacher", "3 classes", "digits")


def test_a_data_set_gives_classes_their_names(colours, command, tmp_path):
    theirs = write_tf2(str(tmp_path / "theirs"), tiny("tf2"))
    _convert(command, theirs, tmp_path / "run", *colours)
    run = RunDirectory(str(tmp_path / "run"))
    assert run.class_names == ["blue", "green", "red"]
    assert run.config.data.dataset == "folder"
    assert not run.knows_classes(["0", "1", "2"])
    arguments = [f"--google_checkpoint={theirs}", f"--model_dir={tmp_path / 'no'}"]
    outcome = command("convert", *arguments, "--dataset=digits")
    _assert_refused(outcome, "--dataset=digits", "3 classes", "10")
    assert files_of(tmp_path / "no") is None


def test_a_data_set_need_not_be_prepared_to_name_classes(command, tmp_path):
    theirs = write_tf1(str(tmp_path / "theirs"), tiny("tf1", num_classes=1000))
    _convert(command, theirs, tmp_path / "run", "--dataset=imagenet2012")
    run = RunDirectory(str(tmp_path / "run"))
    assert run.class_names[:2] == ["n01440764", "n01443537"]
    assert run.class_names_known
    # CIFAR-10 tells its names only when it has been prepared.
    theirs = write_tf1(str(tmp_path / "theirs"), tiny("tf1", num_classes=10))
    _convert(command, theirs, tmp_path / "cifar10", "--dataset=cifar10")
    run = RunDirectory(str(tmp_path / "cifar10"))
    assert run.class_names_known == (run.class_names[0] == "airplane")


def test_a_network_without_classifier_converts(command, tmp_path):
    theirs = write_tf2(str(tmp_path / "theirs"), tiny("tf2", num_classes=None))
    _convert(command, theirs, tmp_path / "run")
    run = RunDirectory(str(tmp_path / "run"))
    assert run.class_names is None
    assert restore_network(run).supervised_head is None
    _assert_refused(
        command("evaluate", f"--model_dir={run.path}", "--dataset=digits"), "--model_dir"
    )
    arguments = [f"--google_checkpoint={theirs}", f"--model_dir={tmp_path / 'no'}"]
    _assert_refused(
        command("convert", *arguments, "--ft_proj_selector=1"), "--ft_proj_selector=1", "leave it"
    )


def test_a_converted_run_exports(converted, command, tmp_path):
    flags = [f"--model_dir={converted['whole']}", f"--export_dir={tmp_path / 'out'}"]
    assert command("export", *flags, "--formats=saved_model").code == 0
    served = tf.saved_model.load(str(tmp_path / "out" / "1")).signatures["serving_default"]
    pixels = tf.random.stateless_uniform([2, 8, 8, 3], (1, 2))
    expected = restore_network(RunDirectory(converted["whole"]))(pixels)["logits"]
    np.testing.assert_allclose(served(images=pixels)["logits"], expected, rtol=1e-5)


def test_which_layer_the_classifier_reads_is_asked_for(converted, command, tmp_path):
    theirs = write_tf1(str(tmp_path / "theirs"), tiny("tf1"))
    assert "--ft_proj_selector=1" in _convert(command, theirs, tmp_path / "run").out
    for selector in (1, 2):
        run = RunDirectory(str(tmp_path / f"run{selector}"))
        outcome = _convert(command, theirs, run.path, f"--ft_proj_selector={selector}")
        assert "--ft_proj_selector=1" not in outcome.out
        endpoints = restore_network(run).endpoints(tf.ones([1, 8, 8, 3]))
        dense = tiny("tf1")["head_supervised/linear_layer/dense/kernel"]
        bias = tiny("tf1")["head_supervised/linear_layer/dense/bias"]
        expected = endpoints[f"proj_layer_{selector}"].numpy() @ dense + bias
        np.testing.assert_allclose(endpoints["logits_sup"], expected, rtol=1e-4, atol=1e-4)
    arguments = [f"--google_checkpoint={theirs}", f"--model_dir={tmp_path / 'no'}"]
    _assert_refused(
        command("convert", *arguments, "--ft_proj_selector=4"), "--ft_proj_selector=4", "3 layers"
    )


# Checkpoints that don't fit.

FAULTS = {
    "missing": lambda values, name: values.pop(name),
    "misshapen": lambda values, name: values.update({name: np.zeros([9, 9], np.float32)}),
    "one too many": lambda values, name: values.update({f"{name}_2": values[name]}),
}
NAMES = {
    "tf1": "base_model/conv2d_7/kernel",
    "tf2": "model/resnet_model/block_groups/1/layers/0/conv2d_bn_layers/1/bn/gamma",
    "saved_model": "model/_projection_head/linear_layers/2/dense/kernel",
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("form", WRITERS)
def test_a_variable_that_does_not_fit_is_named(form, fault, command, tmp_path):
    values, name = tiny(_flavor(form)), NAMES[form]
    shape = list(values[name].shape)
    FAULTS[fault](values, name)
    theirs = WRITERS[form](str(tmp_path / "theirs"), values)
    outcome = command("convert", f"--google_checkpoint={theirs}", f"--model_dir={tmp_path / 'run'}")
    expected = {
        "missing": f"{name} {shape} is missing",
        "misshapen": f"{name} is [9, 9] but must be {shape}",
        "one too many": f"{name}_2 {shape} is one too many",
    }[fault]
    _assert_refused(outcome, "1 of its variables", expected)
    assert files_of(tmp_path / "run") is None


def test_every_variable_that_does_not_fit_is_listed(command, tmp_path):
    values = tiny("tf1")
    for number in range(12):
        values[f"head_contrastive/nl_1/more_{number}"] = np.zeros([2], np.float32)
    del values["base_model/batch_normalization_3/beta"]
    theirs = write_tf1(str(tmp_path / "theirs"), values)
    outcome = command("convert", f"--google_checkpoint={theirs}", f"--model_dir={tmp_path / 'run'}")
    added = [f"head_contrastive/nl_1/more_{number} [2] is one too many" for number in range(12)]
    missing = "base_model/batch_normalization_3/beta [4] is missing"
    _assert_refused(outcome, "13 of its", missing, *added)
    assert files_of(tmp_path / "run") is None


def test_what_is_no_checkpoint_of_the_authors_is_refused(command, tmp_path):
    def convert(path):
        outcome = command("convert", f"--google_checkpoint={path}", f"--model_dir={tmp_path / 'r'}")
        assert files_of(tmp_path / "r") is None
        return outcome

    _assert_refused(convert(tmp_path / "none"), "--google_checkpoint", str(tmp_path / "none"))
    _assert_refused(convert(tmp_path), "--google_checkpoint", str(tmp_path))

    (tmp_path / "text.index").write_text("not a checkpoint\n")
    _assert_refused(convert(tmp_path / "text"), "can't be read")

    other = tf.train.Checkpoint(kernel=tf.Variable([1.0])).write(str(tmp_path / "other"))
    _assert_refused(convert(other), "google-research/simclr", "kernel")

    theirs = write_tf1(str(tmp_path / "theirs"), tiny("tf1"))
    with open(f"{theirs}.data-00000-of-00001", "r+b") as file:
        file.truncate(1000)
    _assert_refused(convert(theirs), "can't be read")


def test_a_directory_with_anything_in_it_is_left_alone(converted, command, tmp_path):
    theirs = write_tf1(str(tmp_path / "theirs"), tiny("tf1"))
    outcome = command(
        "convert", f"--google_checkpoint={theirs}", f"--model_dir={converted['whole']}"
    )
    _assert_refused(outcome, "--model_dir", "empty")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    outcome = command("convert", f"--google_checkpoint={theirs}", f"--model_dir={tmp_path / 'run'}")
    _assert_refused(outcome, "--model_dir", "empty")
    assert files_of(tmp_path / "run") == ["notes.txt"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--google_checkpoint=x"], ["--model_dir"]),
        (["--model_dir=x"], ["--google_checkpoint", "--to_google"]),
        (["--model_dir=x", "--google_checkpoint=y", "--to_google=z"], ["--google_checkpoint=y"]),
        (["--model_dir=x", "--to_google=z", "--dataset=digits"], ["--dataset=digits"]),
        (["--model_dir=x", "--google_checkpoint=y", "--image_size=0"], ["--image_size=0"]),
    ],
)
def test_flags_must_tell_one_direction(flags, words, command):
    _assert_refused(command("convert", *flags), *words)


# The other direction.


def test_their_keys_and_values_come_back_bit_by_bit(command, tmp_path):
    shapes = figures("tf2_resnet18_cifar_stem")["variables"]
    theirs = write_tf2(str(tmp_path / "theirs"), rule(shapes))
    _convert(command, theirs, tmp_path / "run")
    back = str(tmp_path / "deep" / "back")
    outcome = command("convert", f"--model_dir={tmp_path / 'run'}", f"--to_google={back}")
    assert outcome.code == 0
    reader = tf.train.load_checkpoint(back)
    found = reader.get_variable_to_shape_map()
    others = {"_CHECKPOINTABLE_OBJECT_GRAPH", f"save_counter{SUFFIX}", f"global_step{SUFFIX}"}
    assert {key: found[key] for key in set(found) - others} == {
        f"{name}{SUFFIX}": shape for name, shape in shapes.items()
    }
    for name, shape in shapes.items():
        np.testing.assert_array_equal(reader.get_tensor(f"{name}{SUFFIX}"), weight(name, shape))


def _write_run(path, kind):
    network = NetworkConfig(18, 0.0625, stem="cifar")
    parts = {
        "run": RunConfig(model_dir=path),
        "data": DataConfig(image_size=8),
        "network": network,
    }
    config = {
        "pretrain": lambda: PretrainConfig(**parts),
        "finetune": lambda: FinetuneConfig(
            fine_tuning=FineTuningConfig("x", ft_proj_selector=2, fine_tune_after_block=2), **parts
        ),
        "distill": lambda: DistillConfig(distillation=DistillationConfig("x"), **parts),
    }[kind]()
    run = RunDirectory(path)
    run.begin(run.check(kind, config, [str(label) for label in range(10)]))
    keras.utils.set_random_seed(1)
    network = build_network(config, 10)
    optimizer = tf.train.Checkpoint(_iterations=tf.Variable(123, dtype=tf.int64))
    saved = tf.train.Checkpoint(network=network, optimizer=optimizer)
    run.checkpoint_manager(saved, keep=1).save(123)
    return run, network


@pytest.mark.parametrize("kind", ["pretrain", "finetune", "distill"])
def test_a_round_trip_of_our_runs_is_exact(kind, command, tmp_path):
    run, network = _write_run(str(tmp_path / "run"), kind)
    theirs = str(tmp_path / "theirs")
    assert command("convert", f"--model_dir={run.path}", f"--to_google={theirs}").code == 0
    assert tf.train.load_variable(theirs, f"global_step{SUFFIX}") == 123
    _convert(command, theirs, tmp_path / "again")
    again = RunDirectory(str(tmp_path / "again"))
    _assert_has(again, {n: v.numpy() for n, v in google_names(network, "tf2").items()}, "tf2")
    pixels = tf.random.stateless_uniform([2, 8, 8, 3], (1, 2))
    expected = network(pixels)
    for name, output in restore_network(again)(pixels).items():
        np.testing.assert_array_equal(output, expected[name], name)


def test_an_objects_tree_of_the_same_attributes_restores_it(command, tmp_path):
    """As in ``tf.train.Checkpoint(model=..., global_step=...).restore`` of the authors' code."""
    run, network = _write_run(str(tmp_path / "run"), "pretrain")
    theirs = str(tmp_path / "theirs")
    assert command("convert", f"--model_dir={run.path}", f"--to_google={theirs}").code == 0
    model, supervised_head, linear_layer = tf.Module(), tf.Module(), tf.Module()
    model.supervised_head, supervised_head.linear_layer = supervised_head, linear_layer
    linear_layer.dense = keras.layers.Dense(10)
    linear_layer.dense.build([None, 32])
    step = tf.Variable(0, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(model=model, global_step=step)
    checkpoint.restore(theirs).assert_existing_objects_matched()
    np.testing.assert_array_equal(linear_layer.dense.kernel, network.supervised_head.dense.kernel)
    assert int(step) == 123


def test_an_existing_checkpoint_is_not_overwritten(command, tmp_path):
    run, _ = _write_run(str(tmp_path / "run"), "distill")
    flags = [f"--model_dir={run.path}", f"--to_google={tmp_path / 'theirs'}"]
    assert command("convert", *flags).code == 0
    _assert_refused(command("convert", *flags), "--to_google", "exist")
    _assert_refused(
        command("convert", f"--model_dir={run.path}", f"--to_google={tmp_path}"), "is a directory"
    )
    _assert_refused(
        command("convert", f"--model_dir={tmp_path / 'no'}", f"--to_google={tmp_path / 'x'}"),
        "--model_dir",
    )


@pytest.mark.parametrize("error", [OSError("No space left on device"), KeyboardInterrupt()])
def test_a_conversion_that_fails_leaves_nothing_and_can_be_tried_again(
    error, command, tmp_path, monkeypatch
):
    theirs = write_tf2(str(tmp_path / "theirs"), tiny("tf2"))
    before = files_of(tmp_path)

    def crash(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(tf.train.CheckpointManager, "save", crash)
        flags = [f"--google_checkpoint={theirs}", f"--model_dir={tmp_path / 'run'}"]
        outcome = command("convert", *flags)
    assert outcome.code != 0
    assert "No space left" in outcome.err or outcome.err == "interrupted\n"
    assert files_of(tmp_path) == before
    (tmp_path / "run").mkdir()
    _convert(command, theirs, tmp_path / "run")


def test_the_run_tells_what_it_was_converted_from(converted):
    with open(os.path.join(converted["large"], "config.json")) as file:
        content = json.load(file)
    assert content["converted"]["google_checkpoint"].endswith("large.ckpt")
    # Kernels by the rule are the root of 2 times as large as untrained ones.
    expected = pytest.approx(16.8 * np.sqrt(2), rel=0.05)
    assert content["converted"]["kernel_scale"] == expected
