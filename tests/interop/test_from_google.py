"""``convert`` from checkpoints of the authors' code, of all three formats."""

import os

import numpy as np
import pytest

from tests.interop.helpers import (
    SUFFIX,
    WRITERS,
    assert_has,
    assert_refused,
    convert,
    flavor_of,
)
from tests.interop.writers import (
    files_of,
    rule,
    tiny,
    write_saved_model,
    write_tf1,
    write_tf2,
)
from tests.reference import deviation, figures, images
from tf_simclrv2.keras2 import tf
from tf_simclrv2.runtime.checkpoint import load_run
from tf_simclrv2.runtime.checkpoint_saver import CheckpointSaver
from tf_simclrv2.runtime.run_directory import RunDirectory


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
    convert(command, checkpoint, tmp_path / "run", "--ft_proj_selector=1")
    network = load_run(str(tmp_path / "run"))
    endpoints = network.endpoints(images(reference["config"]), training=False)
    endpoints["logits_from_proj_layer_1"] = endpoints["logits_sup"]
    for name, figure in reference["eval"].items():
        assert deviation(endpoints[name].numpy(), figure) < 1e-4, name


def test_a_saved_model_without_the_list_of_variables_has_their_names_as_keys(command, tmp_path):
    values = tiny("tf2")
    path = write_saved_model(str(tmp_path / "parent" / "saved_model"), values, listed=False)
    reader = tf.train.load_checkpoint(os.path.join(path, "variables", "variables"))
    assert {f"{name}{SUFFIX}" for name in values} <= set(reader.get_variable_to_shape_map())
    convert(command, tmp_path / "parent", tmp_path / "run")
    assert_has(RunDirectory(str(tmp_path / "run")), values, "tf2")


@pytest.mark.parametrize("form", WRITERS)
def test_training_state_is_ignored(form, command, tmp_path):
    values = tiny(flavor_of(form))
    checkpoint = WRITERS[form](str(tmp_path / "theirs"), values)
    convert(command, checkpoint, tmp_path / "run")
    assert_has(RunDirectory(str(tmp_path / "run")), values, flavor_of(form))


@pytest.mark.parametrize("given", ["x.index", ""])
def test_a_checkpoint_is_found_by_its_index_or_by_its_directory(given, command, tmp_path):
    (tmp_path / "theirs").mkdir()
    write_tf1(str(tmp_path / "theirs" / "x"), tiny("tf1"))
    convert(command, tmp_path / "theirs" / given, tmp_path / "run")


def test_which_layer_the_classifier_reads_is_asked_for(converted, command, tmp_path):
    theirs = write_tf1(str(tmp_path / "theirs"), tiny("tf1"))
    assert "--ft_proj_selector=1" in convert(command, theirs, tmp_path / "run").out
    for selector in (1, 2):
        run = RunDirectory(str(tmp_path / f"run{selector}"))
        outcome = convert(command, theirs, run.path, f"--ft_proj_selector={selector}")
        assert "--ft_proj_selector=1" not in outcome.out
        endpoints = load_run(run.path).endpoints(tf.ones([1, 8, 8, 3]))
        dense = tiny("tf1")["head_supervised/linear_layer/dense/kernel"]
        bias = tiny("tf1")["head_supervised/linear_layer/dense/bias"]
        expected = endpoints[f"proj_layer_{selector}"].numpy() @ dense + bias
        np.testing.assert_allclose(endpoints["logits_sup"], expected, rtol=1e-4, atol=1e-4)
    arguments = [f"--google_checkpoint={theirs}", f"--model_dir={tmp_path / 'no'}"]
    assert_refused(
        command("convert", *arguments, "--ft_proj_selector=4"), "--ft_proj_selector=4", "3 layers"
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
        patch.setattr(CheckpointSaver, "save", crash)
        flags = [f"--google_checkpoint={theirs}", f"--model_dir={tmp_path / 'run'}"]
        outcome = command("convert", *flags)
    assert outcome.code != 0
    assert "No space left" in outcome.err or outcome.err == "interrupted\n"
    assert files_of(tmp_path) == before
    (tmp_path / "run").mkdir()
    convert(command, theirs, tmp_path / "run")
