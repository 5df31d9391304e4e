"""What a converted run is for: fine-tuning, evaluation, distillation, export."""

import json
import os

import numpy as np
import pytest

from tests.conftest import DIGITS_VIEWS
from tests.interop.helpers import (
    assert_refused,
    convert,
)
from tests.interop.writers import (
    files_of,
    tiny,
    write_tf1,
    write_tf2,
)
from tf_simclrv2.interop.google import google_names
from tf_simclrv2.keras2 import tf
from tf_simclrv2.programs import finetune
from tf_simclrv2.runtime.checkpoint import load_run
from tf_simclrv2.runtime.run_directory import RunDirectory


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
    network = load_run(run.path)
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
    assert_refused(outcome, "--ft_proj_selector=1", "0 layers")
    assert files_of(tmp_path / "fine_tuned") is None


@pytest.mark.parametrize(
    ("case", "warned"),
    [
        (("headless", "--optimizer=momentum"), True),
        (("large", "--optimizer=momentum"), True),
        (("headless", "--optimizer=lars"), False),
        (("headless", "--optimizer=momentum", "--fine_tune_after_block=4"), False),
    ],
)
def test_momentum_sgd_on_weights_of_simclrv1_is_warned_of(
    case, warned, converted, command, tmp_path, monkeypatch
):
    monkeypatch.setattr(finetune, "train", lambda job: None)
    kind, *flags = case
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
    # The authors' data are not these.
    assert RunDirectory(converted["whole"]).result() is None
    (result,) = RunDirectory(converted["whole"]).other_results()
    assert result["num_examples"] == 6
    assert result["step"] == 0
    outcome = command("evaluate", f"--model_dir={converted['whole']}", "--dataset=digits")
    assert_refused(outcome, "--dataset=digits", "3 classes")

    flags = ["--train_batch_size=2", "--train_steps=1", *DIGITS_VIEWS]
    student = tmp_path / "student"
    teacher = f"--teacher={converted['whole']}"
    assert command("distill", teacher, f"--model_dir={student}", *colours, *flags).code == 0
    assert RunDirectory(str(student)).class_names == ["blue", "green", "red"]
    assert RunDirectory(str(student)).settings.class_names_known
    outcome = command("distill", teacher, f"--model_dir={tmp_path / 'x'}", "--dataset=digits")
    assert_refused(outcome, "--teacher", "3 classes", "digits")


def test_a_data_set_gives_classes_their_names(colours, command, tmp_path):
    theirs = write_tf2(str(tmp_path / "theirs"), tiny("tf2"))
    convert(command, theirs, tmp_path / "run", *colours)
    run = RunDirectory(str(tmp_path / "run"))
    assert run.class_names == ["blue", "green", "red"]
    assert run.config.data.dataset == "folder"
    assert not run.settings.knows_classes(["0", "1", "2"])
    arguments = [f"--google_checkpoint={theirs}", f"--model_dir={tmp_path / 'no'}"]
    outcome = command("convert", *arguments, "--dataset=digits")
    assert_refused(outcome, "--dataset=digits", "3 classes", "10")
    assert files_of(tmp_path / "no") is None


def test_a_data_set_need_not_be_prepared_to_name_classes(command, tmp_path):
    theirs = write_tf1(str(tmp_path / "theirs"), tiny("tf1", num_classes=1000))
    convert(command, theirs, tmp_path / "run", "--dataset=imagenet2012")
    run = RunDirectory(str(tmp_path / "run"))
    assert run.class_names[:2] == ["n01440764", "n01443537"]
    assert run.settings.class_names_known
    # CIFAR-10 tells its names only when it has been prepared.
    theirs = write_tf1(str(tmp_path / "theirs"), tiny("tf1", num_classes=10))
    convert(command, theirs, tmp_path / "cifar10", "--dataset=cifar10")
    run = RunDirectory(str(tmp_path / "cifar10"))
    assert run.settings.class_names_known == (run.class_names[0] == "airplane")


def test_a_network_without_classifier_converts(command, tmp_path):
    theirs = write_tf2(str(tmp_path / "theirs"), tiny("tf2", num_classes=None))
    convert(command, theirs, tmp_path / "run")
    run = RunDirectory(str(tmp_path / "run"))
    assert run.class_names is None
    assert load_run(run.path).supervised_head is None
    evaluate = ["evaluate", f"--model_dir={run.path}", "--dataset=digits"]
    assert_refused(command(*evaluate, "--evaluators=classifier"), "--model_dir")
    arguments = [f"--google_checkpoint={theirs}", f"--model_dir={tmp_path / 'no'}"]
    assert_refused(
        command("convert", *arguments, "--ft_proj_selector=1"), "--ft_proj_selector=1", "leave it"
    )


def test_a_converted_run_exports(converted, command, tmp_path):
    flags = [f"--model_dir={converted['whole']}", f"--export_dir={tmp_path / 'out'}"]
    assert command("export", *flags, "--formats=saved_model").code == 0
    served = tf.saved_model.load(str(tmp_path / "out" / "1")).signatures["serving_default"]
    pixels = tf.random.stateless_uniform([2, 8, 8, 3], (1, 2))
    expected = load_run(converted["whole"])(pixels)["logits"]
    np.testing.assert_allclose(served(images=pixels)["logits"], expected, rtol=1e-5)


def test_the_run_tells_what_it_was_converted_from(converted):
    with open(os.path.join(converted["large"], "config.json")) as file:
        content = json.load(file)
    assert content["converted"]["google_checkpoint"].endswith("large.ckpt")
    # Kernels by the rule are the root of 2 times as large as untrained ones.
    expected = pytest.approx(16.8 * np.sqrt(2), rel=0.05)
    assert content["converted"]["kernel_scale"] == expected
