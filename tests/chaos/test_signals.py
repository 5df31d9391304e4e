"""Signals: the run saves and ends within half a minute, and the same command continues it."""

import os
import signal
import time

import pytest

from tests.chaos.helpers import STEPS, Running, check_records, check_weights, has_row

pytestmark = pytest.mark.chaos

SECONDS_TO_END = 30


def _exists(run, *names):
    return lambda: os.path.exists(os.path.join(run, *names))


def _signalled(steps, tmp_path, number, stage, times):
    """Signals a run at a stage; returns how it ended, and the runs after it was continued."""
    step, run = steps("pretrain"), str(tmp_path / "run")
    command = [*step["command"], f"--model_dir={run}"]
    running = Running(command, f"{run}.log")
    running.until(
        {
            "tracing": _exists(run, "config.json"),
            "training": has_row(run, 12),
            "saving": _exists(run, "checkpoints", "ckpt-10_temp"),
            "evaluating": has_row(run, STEPS),
        }[stage]
    )
    time.sleep({"tracing": 1.0, "training": 0.03, "evaluating": 0.2}.get(stage, 0))
    for _ in range(times):
        running.process.send_signal(number)
        time.sleep(0.15 if times > 1 else 0)
    first = running.end(SECONDS_TO_END)
    second = Running(command, f"{run}.log").end()
    assert second.code == 0, second.story
    return first, run, step["run"]


@pytest.mark.slow
def test_sigterm_saves_and_the_same_command_continues(steps, tmp_path):
    ended, run, reference = _signalled(steps, tmp_path, signal.SIGTERM, "training", 1)
    assert ended.code not in (None, 0) and ended.code > 0, ended.story
    assert "the same command continues the run" in ended.err
    check_weights(run, reference)


@pytest.mark.parametrize(
    ("number", "stage", "times"),
    [
        *[(signal.SIGTERM, stage, 1) for stage in ("tracing", "training", "saving", "evaluating")],
        (signal.SIGTERM, "training", 2),
        (signal.SIGTERM, "tracing", 2),
        *[(number, "training", 1) for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)],
        (signal.SIGUSR2, "training", 1),
    ],
)
def test_a_signal_ends_a_run_in_order(number, stage, times, steps, tmp_path, record_property):
    ended, run, reference = _signalled(steps, tmp_path, number, stage, times)
    assert ended.code is not None and ended.code >= 0, ended.story
    assert "Traceback" not in ended.err
    check_weights(run, reference)
    check_records(run, reference)
    record_property("measured", f"{number.name} x{times} while {stage}: survived")
