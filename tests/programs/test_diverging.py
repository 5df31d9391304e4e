"""Training whose loss is not finite, or explodes, and weights that are not finite."""

import json
import os
import pathlib
import shutil

import numpy as np
import pytest

from tests.conftest import DIGITS_VIEWS, TINY
from tf_simclrv2.config import ConfigError
from tf_simclrv2.data.stream import WHOLE
from tf_simclrv2.keras2 import tf
from tf_simclrv2.learners.pretrainer import Pretrainer
from tf_simclrv2.runtime.health import check_finite_result
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.training.skipping import SkippedBatches

PRETRAIN = [
    "pretrain", *TINY, *DIGITS_VIEWS, "--train_steps=6", "--train_batch_size=20",
    "--log_every_steps=1", "--checkpoint_steps=2", "--warmup_epochs=0", "--mode=train",
]  # fmt: skip


@pytest.fixture
def spoilt(monkeypatch):
    """A switch: while it is 1, the loss of the fifth step is NaN, and that of the third is huge."""
    switch, losses_of = tf.Variable(1.0, trainable=False), Pretrainer.losses_of

    def spoil(self, batch, training=True):
        loss, logged = losses_of(self, batch, training)
        done = self.optimizer.iterations
        # Only a factor is chosen: a loss of NaN has such a gradient even if it isn't chosen.
        factor = tf.where((done == 4) & (switch == 1), np.nan, 1.0)
        return factor * loss + tf.where((done == 2) & (switch == 1), 1e4, 0.0), logged

    monkeypatch.setattr(Pretrainer, "losses_of", spoil)
    return switch


def _steps(run):
    return [int(row["step"]) for row in run.metrics()]


def _saved(run):
    return sorted(path.stem for path in pathlib.Path(run.file("checkpoints")).glob("*.index"))


def test_a_loss_that_is_not_finite_ends_the_run_and_good_weights_stay(command, spoilt, tmp_path):
    run = RunDirectory(str(tmp_path / "run"))
    outcome = command(*PRETRAIN, f"--model_dir={run.path}")
    assert outcome.code == 1
    errors = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    (sentence,) = errors
    for words in ("step 5", "learning rate 0.0", "norm of the gradient nan", "a step before ",
                  "ckpt-4 is the last good checkpoint", "--nan_policy=restore"):  # fmt: skip
        assert words in sentence
    assert (_saved(run), _steps(run)) == (["ckpt-2", "ckpt-4"], [1, 2, 3, 4])
    assert "warning: " + run.path + ": the loss has grown to 1.0" in outcome.err


def test_a_run_goes_back_and_skips_the_batch(command, spoilt, tmp_path, monkeypatch):
    add = SkippedBatches.add

    def add_and_mend(self, error):
        spoilt.assign(0.0)
        return add(self, error)

    monkeypatch.setattr(SkippedBatches, "add", add_and_mend)
    run = RunDirectory(str(tmp_path / "run"))
    outcome = command(*PRETRAIN, "--nan_policy=restore", f"--model_dir={run.path}")
    assert outcome.code == 0, outcome.err
    assert "goes back to " in outcome.err
    assert json.loads(pathlib.Path(run.file("skipped_batches.json")).read_text()) == [4]
    assert _steps(run) == [1, 2, 3, 4, 5, 6]
    assert _saved(run)[-1] == "ckpt-6"


@pytest.mark.slow
def test_a_run_skips_three_batches_at_most(command, spoilt, tmp_path):
    run = RunDirectory(str(tmp_path / "run"))
    outcome = command(*PRETRAIN, "--nan_policy=restore", f"--model_dir={run.path}")
    assert outcome.code == 1
    assert "error: " in outcome.err.splitlines()[-1]
    assert json.loads(pathlib.Path(run.file("skipped_batches.json")).read_text()) == [4, 5, 6]
    assert _saved(run)[-1] == "ckpt-4"


@pytest.mark.parametrize("step", [0, 1, 3, 4])
def test_skipped_batches_are_left_out_wherever_a_run_continues(tmp_path, step):
    (tmp_path / "skipped_batches.json").write_text("[1, 4, 5]")
    skipped = SkippedBatches(RunDirectory(str(tmp_path)))

    def batches_from(number, part):
        return tf.data.Dataset.range(number, 10**6)

    numbers = skipped.batches(batches_from, step, WHOLE).take(6 - step).as_numpy_iterator()
    assert list(numbers) == [0, 2, 3, 6, 7, 8][step:]


def _poison(checkpoint):
    """Makes one weight of a checkpoint NaN."""
    reader = tf.train.load_checkpoint(checkpoint)
    values = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    victim = next(name for name, value in values.items()
                  if np.ndim(value) == 4 and "optimizer" not in name)  # fmt: skip
    values[victim] = np.full_like(values[victim], np.nan)
    tf.raw_ops.SaveV2(
        prefix=checkpoint,
        tensor_names=list(values),
        shape_and_slices=[""] * len(values),
        tensors=[tf.constant(value) for value in values.values()],
    )


def test_weights_that_are_not_finite_are_refused(command, method, tmp_path):
    paths = {name: str(tmp_path / name) for name in ("pretrained", "fine_tuned", "export")}
    for name, path in paths.items():
        shutil.copytree(method[name], path)
        export = os.path.join(path, "1", "variables", "variables")
        _poison(export if name == "export" else RunDirectory(path).latest_checkpoint())
    new = str(tmp_path / "new")
    for arguments in (
        ["finetune", f"--checkpoint={paths['pretrained']}", f"--model_dir={new}"],
        ["distill", f"--teacher={paths['fine_tuned']}", f"--model_dir={new}"],
        ["evaluate", f"--model_dir={paths['fine_tuned']}"],
        ["export", f"--model_dir={paths['fine_tuned']}", f"--export_dir={new}"],
        ["predict", f"--saved_model={paths['export']}", "--images=x.png", f"--output={new}.csv"],
        ["embed", f"--saved_model={paths['export']}", "--images=x.png", f"--output={new}.npy"],
        [*PRETRAIN[:7], "--train_steps=9", "--train_batch_size=20",
         f"--model_dir={paths['pretrained']}"],
    ):  # fmt: skip
        outcome = command(*arguments)
        last = outcome.err.splitlines()[-1]
        assert (outcome.code, last[:7]) == (1, "error: "), arguments
        assert "holds NaN or infinity" in last
        assert not os.path.exists(new)


def test_results_are_numbers_and_warn_of_losses_beyond_reason(tmp_path, caplog):
    run = RunDirectory(str(tmp_path))
    for loss in (np.nan, np.inf):
        with pytest.raises(ConfigError, match="the weights are of no use"):
            check_finite_result(run, {"loss": loss}, 10)
    check_finite_result(run, {"loss": 5.0}, 10)
    assert not caplog.messages
    check_finite_result(run, {"loss": 27672.0}, 10)
    assert "a loss of 2.767e+04 is far above 2.3" in caplog.text
    with pytest.raises(ValueError):
        run.write_result({"loss": np.nan})
