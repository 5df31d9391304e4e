"""Numbers of an evaluation, against counting by hand and equations."""

import numpy as np
import pytest
from sklearn.metrics import log_loss

from tf_simclrv2.evaluation import measures
from tf_simclrv2.evaluation.comparing import holm, paired
from tf_simclrv2.evaluation.confusion_picture import picture
from tf_simclrv2.evaluation.measures import Answers

RANDOM = np.random.RandomState(0)
LABELS = RANDOM.randint(6, size=60)
LOGITS = RANDOM.normal(size=(60, 7)) + 1.5 * np.eye(7)[LABELS]  # No image is of the last class.
ANSWERS = Answers(LOGITS.astype(np.float32), LABELS)


def test_measures_are_those_of_their_equations():
    found = measures.measures(ANSWERS)
    probabilities = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    predicted = LOGITS.argmax(axis=1)
    right = predicted == LABELS
    recalls = [right[each == LABELS].mean() for each in range(6)]
    ranks = [(row > row[label]).sum() for row, label in zip(LOGITS, LABELS)]
    errors = (probabilities - np.eye(7)[LABELS]) ** 2
    assert found["images"] == 60 and 0.3 < found["accuracy"] < 0.9
    assert found["accuracy"] == pytest.approx(right.mean())
    assert found["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert found["top_5"] == pytest.approx(np.mean(np.array(ranks) < 5))
    assert found["loss"] == pytest.approx(-np.log(probabilities[range(60), LABELS]).mean())
    assert found["loss"] == pytest.approx(log_loss(LABELS, probabilities, labels=range(7)))
    assert found["brier"] == pytest.approx(errors.sum(axis=1).mean())
    # Wilson's interval: the accuracies p for which |p - found| is 1.96 deviations of p.
    for bound in found["interval"]:
        deviation = np.sqrt(bound * (1 - bound) / 60)
        assert abs(bound - right.mean()) == pytest.approx(1.959964 * deviation, rel=1e-5)
    assert found["interval"][0] < right.mean() < found["interval"][1]


def test_little_is_said_of_few_images_and_classes():
    few = Answers(LOGITS[:19, :5], LABELS[:19] % 5)
    assert not {"top_5", "temperature", "brier_scaled"} & set(measures.measures(few))
    assert "temperature" not in measures.details(measures.measures(few))
    one = measures.measures(Answers(LOGITS[:1], LABELS[:1]))
    assert one["images"] == 1 and one["interval"][1] - one["interval"][0] > 0.7
    assert "temperature" in measures.measures(Answers(LOGITS[:20], LABELS[:20]))


@pytest.mark.filterwarnings("error")
def test_the_loss_of_weights_that_have_diverged_is_no_number():
    for bad in (np.nan, np.inf):
        assert not np.isfinite(Answers(np.array([[bad, 1.0], [bad, bad]]), np.array([1, 0])).loss)


def test_classes_and_confusions_are_counted():
    classes, counts = measures.per_class(ANSWERS), measures.confusion(ANSWERS)
    predicted = LOGITS.argmax(axis=1)
    for number in range(7):
        of_class, answered = number == LABELS, predicted == number
        both = (of_class & answered).sum()
        assert classes.support[number] == of_class.sum()
        assert classes.recall[number] == pytest.approx(both / max(of_class.sum(), 1))
        assert classes.precision[number] == pytest.approx(both / max(answered.sum(), 1))
        for other in range(7):
            assert counts[number, other] == (of_class & (predicted == other)).sum()
    assert counts.sum() == 60 and classes.support[6] == 0


@pytest.mark.parametrize("classes", [2, 30, 120])
def test_a_confusion_matrix_of_any_names_is_drawn(classes):
    names = ["$x^{", "多\udcff\n", *("n" * 90 for _ in range(classes - 2))]
    content = picture(np.eye(classes, dtype=int), names)
    assert content.startswith(b"\x89PNG") and len(content) > 2000


def test_a_paired_difference_is_that_of_the_images_which_one_has_right():
    one = np.array([True] * 70 + [False] * 30)
    other = np.array([True] * 55 + [False] * 30 + [True] * 5 + [False] * 10)
    found = paired(one, other)
    assert (found.only_one, found.only_other) == (15, 5)
    assert found.difference == pytest.approx(0.10)
    # Agresti and Min: half an image more in each cell of the 102.
    middle, spread = 10 / 102, (21 / 102) - (10 / 102) ** 2
    half = 1.959964 * np.sqrt(spread / 102)
    assert (found.low, found.high) == pytest.approx((middle - half, middle + half))
    # Twice the binomial tail of at most 5 of 20.
    tail = sum([1, 20, 190, 1140, 4845, 15504]) / 2**20
    assert found.p_value == pytest.approx(2 * tail)
    back = paired(other, one)
    assert (back.difference, back.low) == pytest.approx((-found.difference, -found.high))
    same = paired(one, one)
    assert same.difference == 0 and same.p_value == 1.0 and same.low < 0 < same.high


def test_paired_intervals_hold_the_difference_as_often_as_they_say():
    random, held = np.random.RandomState(1), 0
    for _ in range(300):
        both = random.multinomial(1, [0.6, 0.15, 0.1, 0.15], 120).argmax(axis=1)
        found = paired(np.isin(both, [0, 1]), np.isin(both, [0, 2]))
        held += found.low <= 0.05 <= found.high
    assert 0.91 < held / 300 < 0.99


def test_p_values_of_several_tests_are_those_of_holm():
    # By hand: the least times 4, the next times 3, and so on; none below one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([0.02]) == [0.02] and holm([]) == []


def test_of_several_tests_where_nothing_differs_few_find_something():
    drawn = np.random.RandomState(2).uniform(size=[2000, 6])
    found = np.mean([min(holm(row)) < 0.05 for row in drawn])
    assert 0.035 < found < 0.065
