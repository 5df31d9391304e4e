"""What is told of a pretraining that goes wrong, and that nothing is told of one that goes well."""

import math

import pytest

from tf_simclrv2.training.advice import Advice, Loss, Pace

LOSS = Loss(images=128, temperature=0.5)
GUESSING = 2 * math.log(255)
WELL = {"rank_z": 20.0, "uniformity": -2.0}
PACE = Pace(total_steps=1000, warmup_steps=100, settling_steps=100)


def _falling(step, by=0.3):
    return [(at, GUESSING - 1 - by * at / 100) for at in range(10, step + 1, 10)]


def test_nothing_is_told_of_a_loss_that_falls():
    advice = Advice(PACE)
    for step in range(100, 1001, 100):
        assert advice.of(step, WELL, LOSS, _falling(step)) is None


@pytest.mark.parametrize(
    "values", [{"rank_z": 1.1, "uniformity": -2.0}, {"rank_z": 20.0, "uniformity": -0.01}]
)
def test_a_collapse_is_told_once_and_not_of_the_start(values):
    advice = Advice(PACE)
    told = [advice.of(step, values, LOSS, _falling(step)) for step in range(50, 501, 50)]
    assert [step for step, said in zip(range(50, 501, 50), told) if said] == [200]
    assert "has collapsed by step 200" in told[3] and "--learning_rate" in told[3]


def test_a_loss_where_guessing_is_is_told_once_with_both_numbers():
    advice = Advice(PACE)
    losses = [(at, GUESSING - 0.02) for at in range(10, 401, 10)]
    said = advice.of(300, WELL, LOSS, losses[:30])
    assert f"is {GUESSING - 0.02:.4g} at step 300, where guessing gives {GUESSING:.4g}" in said
    assert advice.of(350, WELL, LOSS, losses[:35]) is None
    # It explains that the loss is flat, too.
    assert advice.of(400, WELL, LOSS, losses) is None


def test_a_high_temperature_can_only_fall_a_little_below_guessing():
    warm = Loss(images=128, temperature=5.0)
    assert warm.least > 0.9 * GUESSING
    halfway = (warm.least + GUESSING) / 2
    losses = [(at, halfway - at / 1e4) for at in range(10, 401, 10)]
    assert Advice(PACE).of(400, WELL, warm, losses) is None


def test_what_was_told_before_an_interruption_is_not_told_again():
    losses = [(at, GUESSING - 0.02) for at in range(10, 401, 10)]
    first = Advice(PACE)
    assert first.of(300, WELL, LOSS, losses[:30]) is not None
    assert first.told == {"guessing": 300}
    then = Advice(PACE, first.told)
    assert then.of(350, WELL, LOSS, losses[:35]) is None
    collapsed = {"rank_z": 1.1, "uniformity": -2.0}
    assert "collapsed by step 400" in then.of(400, collapsed, LOSS, losses)
    assert then.told == {"guessing": 300, "collapse": 400} and first.told == {"guessing": 300}


@pytest.mark.parametrize(("step", "told"), [(300, False), (500, True), (900, False)])
def test_a_flat_loss_is_told_in_the_middle_of_the_run(step, told):
    flat = [(at, GUESSING - 4 - 0.001 * math.sin(at)) for at in range(10, step + 1, 10)]
    advice = Advice(PACE)
    said = advice.of(step, WELL, LOSS, flat)
    assert (said is not None and "no longer falls" in said) is told
    assert advice.of(step, WELL, LOSS, flat) is None


def test_few_rows_say_nothing_of_a_flat_loss():
    assert Advice(PACE).of(500, WELL, LOSS, [(at, 7.0) for at in range(100, 501, 100)]) is None


def test_a_memory_has_more_to_guess_from():
    assert Loss(128, 0.5, past_keys=1000).of_guessing == pytest.approx(2 * math.log(1128))
