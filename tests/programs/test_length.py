"""A run that is continued for longer, and a warmup that is longer than the training."""

import pathlib
import shutil

import pytest

from tests.conftest import DIGITS_VIEWS, TINY
from tf_simclrv2.optimization.schedules import WarmupCosine
from tf_simclrv2.runtime.run_directory import RunDirectory

PRETRAIN = [
    "pretrain", *TINY, *DIGITS_VIEWS, "--train_batch_size=20", "--log_every_steps=2",
]  # fmt: skip


@pytest.fixture
def finished(method, tmp_path):
    """A copy of a run that trained for 4 steps."""
    shutil.copytree(method["pretrained"], tmp_path / "run")
    return RunDirectory(str(tmp_path / "run"))


@pytest.mark.slow
def test_a_larger_number_of_steps_continues_a_finished_run(command, finished):
    outcome = command(*PRETRAIN, "--train_steps=6", f"--model_dir={finished.path}")
    assert outcome.code == 0, outcome.err
    said = f"{finished.path}: goes on from step 4 to 6 instead of 4; the learning rate follows"
    assert said in outcome.out
    assert [row["step"] for row in finished.metrics()] == ["2", "4", "6"]
    assert finished.latest_checkpoint().endswith("ckpt-6")
    assert finished.result()["step"] == 6
    again = RunDirectory(finished.path)
    assert again.config.optimization.train_steps == 6
    # The last row's learning rate is that of a schedule of 6 steps.
    optimization = again.config.optimization
    warmup = optimization.warmup_steps(1437)
    schedule = WarmupCosine(optimization.scaled_learning_rate, warmup, 6)
    rate = float(finished.metrics()[-1]["learning_rate"])
    assert rate == pytest.approx(float(schedule(5)), rel=1e-4)


def test_a_warmup_that_is_longer_than_the_training_is_warned_of(command, tmp_path, monkeypatch):
    monkeypatch.setattr("tf_simclrv2.training.job._fit", lambda *arguments: None)
    flags = ["--train_steps=6", "--mode=train", f"--model_dir={tmp_path}/run"]
    outcome = command(*PRETRAIN, "--warmup_epochs=10", *flags)
    assert outcome.code == 0, outcome.err
    assert "warning: --warmup_epochs=10: the warmup of 718 steps is as long" in outcome.err


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--train_steps=2"], "--train_steps=2: the run in {run} trains for 4 steps, so"),
        (["--train_steps=6", "--learning_rate=7"], "learning_rate was 4.29 and is now 7.0"),
    ],
)
def test_a_smaller_number_is_refused_and_other_settings_still_are(
    command, finished, flags, sentence
):
    before = pathlib.Path(finished.file("config.json")).read_bytes()
    outcome = command(*PRETRAIN, *flags, f"--model_dir={finished.path}")
    assert outcome.code == 1
    assert sentence.format(run=finished.path) in outcome.err
    assert pathlib.Path(finished.file("config.json")).read_bytes() == before


def test_epochs_that_are_more_steps_continue_a_run_too(command, finished, monkeypatch):
    monkeypatch.setattr("tf_simclrv2.training.job._fit", lambda *arguments: None)
    flags = ["--train_epochs=1", "--mode=train", f"--model_dir={finished.path}"]
    outcome = command(*PRETRAIN, *flags)
    assert outcome.code == 0, outcome.err
    assert "goes on from step 4 to 72 instead of 4" in outcome.out
