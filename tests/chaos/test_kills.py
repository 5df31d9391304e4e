"""kill -9 at random moments, and the same command again: the run is what it would have been."""

import os
import random
import time

import pytest

from tests.chaos.helpers import STEPS, Running, check_records, check_weights, has_row

pytestmark = pytest.mark.chaos

# More rounds try other moments: CHAOS_ROUNDS=6 make chaos.
_ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "1"))


def _killed_again_and_again(steps, tmp_path, kind, kills, seed=0):
    """A run that was killed so many times at random moments, with the command that ended it."""
    step, run = steps(kind), str(tmp_path / "run")
    command = [*step["command"], f"--model_dir={run}"]
    draw = random.Random(f"{kind} {seed}")
    for number in range(kills):
        running = Running(command, f"{run}.{number}.log")
        if draw.random() < 0.2:  # While it imports, traces or restores.
            time.sleep(draw.uniform(1, 12))
        else:
            running.until(has_row(run, (number + 1) * STEPS // (kills + 1)))
            time.sleep(draw.uniform(0, 0.3))
        running.kill()
    ended = Running(command, f"{run}.log").end()
    assert ended.code == 0, ended.story
    return run, step["run"]


@pytest.mark.slow
def test_two_kills_leave_the_weights_as_they_would_be(steps, tmp_path):
    check_weights(*_killed_again_and_again(steps, tmp_path, "pretrain", 2))


@pytest.mark.parametrize("round_", range(1, _ROUNDS + 1))
@pytest.mark.parametrize(
    ("kind", "kills"), [("pretrain", 12), ("memory", 8), ("finetune", 6), ("distill", 6)]
)
def test_a_run_survives_every_kill(kind, kills, round_, steps, tmp_path, record_property):
    run, reference = _killed_again_and_again(steps, tmp_path, kind, kills, seed=round_)
    check_weights(run, reference)
    record_property("measured", f"kill -9, {kind}: weights survived {kills} of {kills}")
    check_records(run, reference)


@pytest.mark.parametrize("seconds", [1.0, 4.0, 7.0])
def test_a_run_that_was_killed_before_its_first_step_begins_again(seconds, steps, tmp_path):
    step, run = steps("pretrain"), str(tmp_path / "run")
    running = Running([*step["command"], f"--model_dir={run}"], f"{run}.log")
    time.sleep(seconds)
    running.kill()
    ended = Running([*step["command"], f"--model_dir={run}"], f"{run}.log").end()
    assert ended.code == 0, ended.story
    check_weights(run, step["run"])
