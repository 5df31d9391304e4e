"""Learning rates and numbers of steps against figures measured on the authors' code."""

import math

import pytest

from tests.reference import figures
from tf_simclrv2.config import OptimizationConfig
from tf_simclrv2.keras2 import tf
from tf_simclrv2.optimization.optimizers import build_schedule
from tf_simclrv2.optimization.schedules import WarmupCosine

CASES = figures("losses_optimizer_schedule_images")["learning_rate"]


def _config(case):
    return OptimizationConfig(
        learning_rate=case["base_learning_rate"],
        learning_rate_scaling=case["learning_rate_scaling"],
        train_batch_size=case["batch_size"],
        train_epochs=case["epochs"],
        warmup_epochs=case["warmup_epochs"],
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['total_steps']}-steps")
def test_learning_rates_and_steps_agree(case):
    config = _config(case)
    assert config.steps(case["num_examples"]) == case["total_steps"]
    schedule = build_schedule(config, case["num_examples"])
    for step, expected in case["at"].items():
        # Where the cosine has all but reached 0, what is left is the rounding of its float32.
        allowed = pytest.approx(expected, rel=1e-5, abs=1e-7 * config.scaled_learning_rate)
        assert float(schedule(int(step))) == allowed, step


@pytest.mark.parametrize(
    "scaling, factor", [("linear", 1000 / 256), ("sqrt", math.sqrt(1000)), ("none", 1.0)]
)
def test_learning_rate_scales_with_the_batch(scaling, factor):
    config = OptimizationConfig(
        learning_rate=0.2, learning_rate_scaling=scaling, train_batch_size=1000, warmup_epochs=2
    )
    warmup_steps = config.warmup_steps(5000)
    assert warmup_steps == 10
    peak = float(build_schedule(config, 5000)(warmup_steps))
    assert peak == pytest.approx(0.2 * factor, rel=1e-6)


@pytest.mark.parametrize(
    "epochs, batch, examples, steps", [(1, 10, 99, 10), (1, 10, 100, 11), (3, 7, 50, 22)]
)
def test_steps_are_the_whole_batches_and_one_more(epochs, batch, examples, steps):
    config = OptimizationConfig(train_epochs=epochs, train_batch_size=batch)
    assert config.steps(examples) == steps


@pytest.mark.parametrize(
    "epochs, batch, examples, steps", [(0.5, 10, 99, 4), (10.0, 512, 50000, 976), (0.0, 8, 64, 0)]
)
def test_warmup_steps_are_whole_batches(epochs, batch, examples, steps):
    config = OptimizationConfig(warmup_epochs=epochs, train_batch_size=batch)
    assert config.warmup_steps(examples) == steps


def test_train_steps_take_precedence_over_epochs():
    assert OptimizationConfig(train_steps=7, train_epochs=100).steps(1000) == 7


@pytest.mark.parametrize(
    ("warmup", "total"), [(0, 10), (0, 1), (1, 1), (1, 2), (5, 5), (7, 5), (300, 1000), (4, 100000)]
)
def test_the_rate_is_the_formula_at_every_step(warmup, total):
    schedule = WarmupCosine(peak=3, warmup_steps=warmup, total_steps=total)
    steps = range(total + warmup + 3) if total <= 1000 else range(0, total + 1, 997)
    for step in steps:
        progress = min(max((step - warmup) / max(total - warmup, 1), 0), 1)
        rate = 3 * step / warmup if step < warmup else 1.5 * (1 + math.cos(math.pi * progress))
        for given in (step, tf.constant(step, tf.int64)):
            assert float(schedule(given)) == pytest.approx(rate, rel=1e-6, abs=1e-6), step
        assert schedule(step).dtype == tf.float32


def test_warmup_is_a_line_and_decay_half_a_cosine():
    schedule = WarmupCosine(peak=2.0, warmup_steps=4, total_steps=12)
    rates = [float(schedule(step)) for step in range(14)]
    warmup = [2.0 * step / 4 for step in range(4)]
    decay = [1 + math.cos(math.pi * min(step / 8, 1)) for step in range(10)]
    assert rates == pytest.approx(warmup + decay, abs=1e-6)
