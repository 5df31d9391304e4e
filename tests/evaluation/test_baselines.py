"""The sceptic's baselines, against scikit-learn used directly and against known figures."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.semi_supervised import LabelSpreading

from tf_simclrv2.config import LabelsConfig
from tf_simclrv2.data.labels import choose_labelled
from tf_simclrv2.evaluation import baselines
from tf_simclrv2.evaluation.baselines import BASELINES, Counts, left_out, raw_pixels, run
from tf_simclrv2.evaluation.features import Features
from tf_simclrv2.keras2 import tf

DIGITS = load_digits()
PIXELS = (DIGITS.images.reshape(len(DIGITS.target), -1) / 16).astype(np.float32)
NUM_TRAIN = 1437
TEST = Features(PIXELS[NUM_TRAIN:], DIGITS.target[NUM_TRAIN:])


def _drawn(seed):
    """14 labelled digits, and the pixels of the other training digits."""
    names = [str(digit) for digit in range(10)]
    config = LabelsConfig(label_fraction=0.01, label_seed=seed)
    chosen = choose_labelled(list(DIGITS.target[:NUM_TRAIN]), names, config)
    others = np.delete(PIXELS[:NUM_TRAIN], chosen, axis=0)
    return Features(PIXELS[chosen], DIGITS.target[chosen]), others


def test_baselines_are_those_of_scikit_learn():
    train, unlabelled = _drawn(seed=3)
    nearest = KNeighborsClassifier(1).fit(train.values, train.labels)
    # Its C counts the labelled images together, and half of the squared weights.
    logistic = LogisticRegression(C=1 / (2 * 1e-3 * 14), tol=1e-6, max_iter=2000)
    unit = np.sqrt(np.sum(np.var(train.values.astype(float), axis=0)))
    logistic.fit(train.values / unit, train.labels)
    spreading = LabelSpreading(kernel="knn", n_neighbors=7, alpha=0.8, max_iter=1000)
    known = np.concatenate([train.labels, np.full(len(unlabelled) + len(TEST.labels), -1)])
    spreading.fit(np.concatenate([train.values, unlabelled, TEST.values]), known)
    expected = {
        "nearest_neighbour": nearest.score(*TEST),
        "logistic": logistic.score(TEST.values / unit, TEST.labels),
        "label_spreading": np.mean(spreading.transduction_[-len(TEST.labels) :] == TEST.labels),
    }
    measured = run(train, TEST, unlabelled)
    assert measured == pytest.approx(expected, abs=0.5 / len(TEST.labels))
    assert len(set(measured.values())) == 3
    # Images without labels are what label spreading lives on.
    alone = run(train, TEST, names=["label_spreading"])
    assert list(alone) == ["label_spreading"]
    assert alone["label_spreading"] < measured["label_spreading"] - 0.02


def test_on_14_digits_they_reach_what_is_known():
    """200 draws gave 66.6, 63.6 and 82.5%; ten come within three of their standard errors."""
    draws = [run(train, TEST, unlabelled) for train, unlabelled in map(_drawn, range(10))]
    means = {name: np.mean([draw[name] for draw in draws]) for name in BASELINES}
    assert means == {
        "nearest_neighbour": pytest.approx(0.666, abs=0.045),
        "logistic": pytest.approx(0.636, abs=0.045),
        "label_spreading": pytest.approx(0.825, abs=0.055),
    }


def test_they_take_two_classes_a_label_each_and_images_that_are_all_alike():
    values = np.array([[0.0, 0.0], [1.0, 1.0]], np.float32)
    train = Features(values, np.array([3, 5]))
    test = Features(values[[1, 0, 1]], np.array([5, 3, 4]))
    # Too few images for label spreading to tell neighbours from others.
    assert set(run(train, test, names=["nearest_neighbour", "logistic"]).values()) == {2 / 3}
    alike = Features(np.ones((2, 2), np.float32), np.array([3, 5]))
    assert all(0 <= top <= 1 for top in run(alike, alike).values())


@pytest.mark.parametrize(
    ("counts", "left"),
    [
        (Counts(14, 1423, 360, 10), set()),
        (Counts(500, 49_500, 10_000, 10), {"label_spreading"}),
        (Counts(12_811, 1_268_356, 50_000, 1000), set(BASELINES)),
        (Counts(12_811, 0, 5_000, 1000), {"logistic"}),
        (Counts(10_000, 0, 10_000, 10), set()),
        (Counts(10_000, 1, 10_000, 10), {"label_spreading"}),
    ],
)
def test_what_would_take_too_long_is_left_out(counts, left):
    reasons = left_out(counts)
    assert set(reasons) == left
    images = f"{sum(counts[:3]):,} images"
    assert all(images in reasons[name] for name in left & {"label_spreading"}), (
        "the reason has the number"
    )


def test_raw_pixels_are_few_and_of_real_images_only():
    images = np.random.RandomState(0).uniform(size=(3, 64, 64, 3)).astype(np.float32)
    batch = {
        "image": tf.constant(images),
        "label": tf.constant([4, 5, 0], tf.int64),
        "weight": tf.constant([1.0, 1.0, 0.0]),
    }
    found = raw_pixels([batch, {**batch, "weight": tf.constant([0.0, 0.0, 1.0])}])
    assert found.labels.tolist() == [4, 5, 0]
    halves = images.reshape(3, 32, 2, 32, 2, 3).mean(axis=(2, 4)).reshape(3, -1)
    np.testing.assert_allclose(found.values, halves, atol=1e-6)
    small = raw_pixels([{**batch, "image": tf.constant(images[:, :32, :32])}])
    np.testing.assert_array_equal(small.values, images[:2, :32, :32].reshape(2, -1))


def test_each_baseline_is_an_evaluator():
    assert set(BASELINES) <= set(baselines.EVALUATORS)
