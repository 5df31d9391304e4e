"""What ``convert`` refuses, and that it leaves nothing behind then."""

import numpy as np
import pytest

from tests.interop.helpers import (
    WRITERS,
    assert_refused,
    flavor_of,
)
from tests.interop.writers import (
    files_of,
    tiny,
    write_tf1,
)
from tf_simclrv2.keras2 import tf

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
    values, name = tiny(flavor_of(form)), NAMES[form]
    shape = list(values[name].shape)
    FAULTS[fault](values, name)
    theirs = WRITERS[form](str(tmp_path / "theirs"), values)
    outcome = command("convert", f"--google_checkpoint={theirs}", f"--model_dir={tmp_path / 'run'}")
    expected = {
        "missing": f"{name} {shape} is missing",
        "misshapen": f"{name} is [9, 9] but must be {shape}",
        "one too many": f"{name}_2 {shape} is one too many",
    }[fault]
    assert_refused(outcome, "1 of its variables", expected)
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
    assert_refused(outcome, "13 of its", missing, *added)
    assert files_of(tmp_path / "run") is None


def test_what_is_no_checkpoint_of_the_authors_is_refused(command, tmp_path):
    def convert(path):
        outcome = command("convert", f"--google_checkpoint={path}", f"--model_dir={tmp_path / 'r'}")
        assert files_of(tmp_path / "r") is None
        return outcome

    assert_refused(convert(tmp_path / "none"), "--google_checkpoint", str(tmp_path / "none"))
    assert_refused(convert(tmp_path), "--google_checkpoint", str(tmp_path))

    (tmp_path / "text.index").write_text("not a checkpoint\n")
    assert_refused(convert(tmp_path / "text"), "can't be read")

    other = tf.train.Checkpoint(kernel=tf.Variable([1.0])).write(str(tmp_path / "other"))
    assert_refused(convert(other), "google-research/simclr", "kernel")

    theirs = write_tf1(str(tmp_path / "theirs"), tiny("tf1"))
    with open(f"{theirs}.data-00000-of-00001", "r+b") as file:
        file.truncate(1000)
    assert_refused(convert(theirs), "can't be read")


def test_a_directory_with_anything_in_it_is_left_alone(converted, command, tmp_path):
    theirs = write_tf1(str(tmp_path / "theirs"), tiny("tf1"))
    outcome = command(
        "convert", f"--google_checkpoint={theirs}", f"--model_dir={converted['whole']}"
    )
    assert_refused(outcome, "--model_dir", "empty")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    outcome = command("convert", f"--google_checkpoint={theirs}", f"--model_dir={tmp_path / 'run'}")
    assert_refused(outcome, "--model_dir", "empty")
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
    assert_refused(command("convert", *flags), *words)
