"""Signals while a run trains: it ends after the step, whole, and goes on as if nothing happened."""

import os
import signal

import pytest

from tests.conftest import DIGITS_VIEWS, TINY
from tf_simclrv2.runtime.callbacks import LogMetrics, SaveCheckpoints
from tf_simclrv2.runtime.run_directory import RunDirectory

PRETRAIN = [
    "pretrain", *TINY, *DIGITS_VIEWS, "--train_steps=4", "--train_batch_size=20",
    "--log_every_steps=1", "--warmup_epochs=0", "--mode=train",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "times", "where", "method", "code"),
    [
        ("SIGTERM", 2, LogMetrics, "_write", 130),
        ("SIGUSR1", 1, SaveCheckpoints, "save_now", 75),
    ],
)
def test_a_signal_ends_training_after_the_step(
    command, tmp_path, monkeypatch, name, times, where, method, code
):
    number, whole, seen = getattr(signal, name), getattr(where, method), []

    def interrupted(self, *arguments):
        whole(self, *arguments)
        seen.append(arguments)
        # After the second row, or at the save after the second step.
        if len(seen) == 2:
            for _ in range(times):
                os.kill(os.getpid(), number)

    run = RunDirectory(str(tmp_path / "run"))
    flags = [*PRETRAIN, "--checkpoint_steps=1", f"--model_dir={run.path}"]
    with monkeypatch.context() as patch:
        patch.setattr(where, method, interrupted)
        outcome = command(*flags)
    assert outcome.code == code
    assert outcome.err.splitlines()[-1].startswith("interrupted")
    assert [row["step"] for row in run.metrics()] == ["1", "2"]
    assert run.latest_checkpoint().endswith("ckpt-2")

    assert command(*flags).code == 0
    assert [row["step"] for row in run.metrics()] == ["1", "2", "3", "4"]
