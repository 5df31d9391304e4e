"""Pretraining that goes on from weights that exist: what it takes, says, refuses, needs later."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from export.config import ExportSection
from export.markdown import escaped
from export.model_card import Subject, model_card
from tests.conftest import TINY, interrupting
from tests.net import held
from tests.net.table import IMAGES, filled, training
from tf_simclrv2.keras2 import tf
from tf_simclrv2.runtime.callbacks import Progress
from tf_simclrv2.runtime.checkpoint import Checkpoint
from tf_simclrv2.runtime.run_directory import RunDirectory

MEMORY = "--use_memory --memory_size=80"


def _all_change(job):
    """Gives all weights of a job random values, also batch norm's statistics."""
    random = np.random.RandomState(0)
    for part in job.learner.saved_parts.values():
        for variable in part.variables:
            if variable.dtype == tf.float32:
                variable.assign(random.uniform(0.5, 1.5, variable.shape))


@pytest.fixture(scope="module")
def origin():
    """A pretraining run, each of whose weights is another in its memory network."""
    job = training("pretrain", IMAGES, MEMORY, "--train_steps=1 --seed=11")
    _all_change(job)
    assert job.played.saved
    return job.path


def _saved(path, part="network/"):
    """The weights of a part of a run's newest checkpoint, by name."""
    return _values(RunDirectory(path).latest_checkpoint(), part)


def _values(checkpoint, part):
    reader = tf.train.load_checkpoint(checkpoint)
    return {
        name[len(part) :]: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name.startswith(part) and name.endswith("_VALUE")
    }


def _begun(job, folder, part="network/"):
    """The weights with which a job begins, by name."""
    path = tf.train.Checkpoint(**job.learner.saved_parts).write(str(folder / "begun"))
    return _values(path, part)


def _assert_same(weights, expected, *parts):
    names = [name for name in weights if name.startswith(parts)]
    assert {name.split("/")[0] for name in names} == set(parts)
    for name in names:
        np.testing.assert_array_equal(weights[name], expected[name], name)


def _card(job):
    run = RunDirectory(job.path)
    return model_card(Subject(run, job.network, 1), ExportSection(job.path, "export"))


def test_encoder_and_head_are_those_of_the_run(origin, tmp_path, caplog):
    caplog.set_level("INFO")
    # The architecture is not given.
    job = training("pretrain", f"--checkpoint={origin} --resnet_depth= --width_multiplier=")
    assert job.refused is None, job.message
    _assert_same(_begun(job, tmp_path), _saved(origin), "encoder", "projection_head")
    assert f"the network goes on from {origin}/checkpoints/ckpt-1" in caplog.messages

    content = json.loads(pathlib.Path(job.path, "config.json").read_text())["config"]
    assert content["start"] == {"checkpoint": origin, "use_ema_weights": False}
    assert content["network"]["resnet_depth"] == 101
    card = _card(job)
    assert f", going on from the weights of {escaped(origin)} |" in card
    assert "; pretrained without labels on folder" in card
    assert "none for the features" in card


def test_the_memory_network_is_taken_and_both_start_from_it(origin, tmp_path):
    job = training("pretrain", IMAGES, MEMORY, f"--checkpoint={origin} --use_ema_weights")
    taken = _saved(origin, "memory/network/")
    for part in "network/", "memory/network/":
        _assert_same(_begun(job, tmp_path, part), taken, "encoder", "projection_head")
    assert any(np.any(value != _saved(origin)[name]) for name, value in taken.items())
    assert not job.queue.filled.numpy().any()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["other shape", "distilled"])
def test_a_head_of_another_shape_begins_anew_with_a_sentence(origin, tmp_path, caplog, kind):
    caplog.set_level("INFO")
    run, flags = origin, "--proj_out_dim=32"
    if kind == "distilled":
        distilled = training("distill", IMAGES, "--train_steps=1")
        assert distilled.played.saved
        run, flags = distilled.path, ""
    job = training("pretrain", IMAGES, f"--checkpoint={run}", flags)
    weights = _begun(job, tmp_path)
    _assert_same(weights, _saved(run), "encoder")
    assert any(name.startswith("projection_head/projections/2/") for name in weights)
    said = f"; the projection head begins anew, since {run} holds none of this shape"
    assert any(message.endswith(said) for message in caplog.messages)
    if kind == "distilled":
        behind = f"those behind the weights of {escaped(run)} (all 70 of the split; "
        assert f"{behind}and those of the teacher" in _card(job)


@pytest.mark.slow
@pytest.mark.parametrize("has_head", [True, False])
def test_converted_weights_are_a_start(command, tmp_path, has_head):
    ours, theirs, run, new = (str(tmp_path / name) for name in ("ours", "theirs", "run", "new"))
    head = [] if has_head else ["--proj_head_mode=none", "--ft_proj_selector=0"]
    still = ["--train_steps=1", "--train_batch_size=20", "--learning_rate=1e-30", "--mode=train"]
    for flags in (
        ["pretrain", *TINY, *still, *head, f"--model_dir={ours}"],
        ["convert", f"--model_dir={ours}", f"--to_google={theirs}"],
        ["convert", f"--google_checkpoint={theirs}", f"--model_dir={run}", "--image_size=8"],
        ["pretrain", *still, "--dataset=digits", f"--checkpoint={run}", f"--model_dir={new}"],
    ):
        outcome = command(*flags)
        assert outcome.code == 0, outcome.err
    # A step moves the statistics of batch norm at any rate, and what is 0 by next to nothing.
    weights, expected = (
        {name: value.round(20) for name, value in _saved(path).items() if "/moving_" not in name}
        for path in (new, ours)
    )
    parts = ["encoder", "projection_head"] if has_head else ["encoder"]
    _assert_same(weights, expected, *parts)
    assert any(name.startswith("projection_head/projections/2/") for name in weights)
    checkpoint = Checkpoint.open(new, "model_dir")
    subject = Subject(checkpoint.run, checkpoint.restore_network(), 1)
    card = model_card(subject, ExportSection(new, "export"))
    assert "; pretrained weights converted from " in card


@pytest.mark.slow
def test_a_run_continues_from_its_own_checkpoint_after_the_other_run_has_gone(origin, tmp_path):
    copy, path = str(tmp_path / "origin"), str(tmp_path / "run")
    shutil.copytree(origin, copy)
    flags = [IMAGES, MEMORY, f"--checkpoint={copy} --proj_out_dim=32 --train_steps=2"]
    first = training("pretrain", *flags, f"--model_dir={path}")
    _all_change(first)
    before = {part: _begun(first, tmp_path, part) for part in ("network/", "memory/")}
    assert first.played.saved == [2]
    shutil.rmtree(copy)
    again = first.again()
    assert again.refused is None, again.message
    for part, expected in before.items():
        weights = _begun(again, tmp_path, part)
        assert weights.keys() == expected.keys() and weights
        for name, value in weights.items():
            np.testing.assert_array_equal(value, expected[name], name)
    assert f"unknown, since {copy} can't be read" in _card(again)
    # Another run can't begin from it any more.
    new = held.Held("pretrain", *first._given, f"--model_dir={tmp_path}/new")
    assert new.refused == "checkpoint" and "must be an existing run directory" in new.message


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_very_same_weights(
    command, method, tmp_path, monkeypatch
):
    origin, run, whole = (str(tmp_path / name) for name in ("origin", "run", "whole"))
    shutil.copytree(method["pretrained"], origin)
    flags = [
        "pretrain", f"--checkpoint={origin}", "--train_steps=4", "--train_batch_size=20",
        "--mode=train", *MEMORY.split(),
    ]  # fmt: skip
    assert command(*flags, f"--model_dir={whole}").code == 0
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "on_train_batch_end", interrupting(2))
        assert command(*flags, f"--model_dir={run}").code == 130
    shutil.rmtree(origin)
    outcome = command(*flags, f"--model_dir={run}")
    assert outcome.code == 0, outcome.err
    for part in "network/", "memory/", "optimizer/":
        weights, expected = _saved(run, part), _saved(whole, part)
        assert weights.keys() == expected.keys() and weights
        for name, value in weights.items():
            np.testing.assert_array_equal(value, expected[name], name)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (
            "--checkpoint={origin} --resnet_depth=50",
            "--resnet_depth=50: the run in --checkpoint={origin} was pretrained with 101",
        ),
        (
            "--checkpoint={small_teacher} --width_multiplier=2",
            "--width_multiplier=2.0: the run in --checkpoint={small_teacher} was",
        ),
        ("--checkpoint={origin} --stem=imagenet", "--stem=imagenet: the run in"),
        ("--checkpoint={origin}/none", "--checkpoint={origin}/none: must be an existing"),
        (
            "--checkpoint={origin}/checkpoints/ckpt-9",
            "--checkpoint={origin}/checkpoints/ckpt-9: must be a checkpoint that is there, one of "
            "ckpt-1.",
        ),
        (
            "--checkpoint={root}/run/",
            "--checkpoint={root}/run/: must be another run than --model_dir, which continues",
        ),
        ("--checkpoint={root}", "must be a run directory, but it holds no config.json"),
        ("--use_ema_weights", "--use_ema_weights=True: needs --checkpoint"),
        (
            "--checkpoint={small_teacher} --use_ema_weights",
            "--use_ema_weights=True: {small_teacher} must hold a pretraining run with --use_memory",
        ),
        (
            "--checkpoint={origin} --unlabeled_data_dir={root}",
            "--unlabeled_data_dir={root}: is added to a data set, but no --dataset was given",
        ),
        ("--checkpoint=gs://bucket/run", "not a gs:// address"),
        ("--checkpoint={small_teacher} --model_dir={origin}", "checkpoint was None and is now"),
    ],
)
def test_what_does_not_fit_is_refused(command, origin, tmp_path, flags, sentence):
    places = {"origin": origin, "small_teacher": filled("{small_teacher}", "finetune")}
    given = flags.format(root=tmp_path, **places).split()
    outcome = command("pretrain", f"--model_dir={tmp_path}/run", *given)
    assert outcome.code == 1
    assert sentence.format(root=tmp_path, **places) in outcome.err
    assert not (tmp_path / "run").exists()
