"""Cross-validation, against a loop over its folds."""

import warnings

import numpy as np
import pytest

from tf_simclrv2.evaluation import EVALUATORS, cross_validation, knn, ridge
from tf_simclrv2.evaluation.features import Features


def _images(count=40, classes=4, seed=0):
    random = np.random.RandomState(seed)
    labels = random.randint(classes, size=count)
    centres = np.random.RandomState(7).normal(size=(classes, 6))
    values = 1.5 * centres[labels] + random.normal(size=(count, 6))
    return Features(values.astype(np.float32), labels)


def _answers(images, num_classes, folds):
    divided = cross_validation.divided(images.labels, folds)
    return divided and cross_validation.answers(images, num_classes, divided)


def test_each_image_is_answered_without_its_label():
    images = _images()
    found = _answers(images, 5, 5)
    assert found.logits.shape == (40, 5) and (found.labels == images.labels).all()
    assert 0.6 < found.right.mean() < 1
    # With another label an image changes the answers to others, but not to itself: not even
    # where its fold lies, as the folds of both are the same.
    rows = np.flatnonzero(images.labels == 1)[:2]
    for row in rows:
        labels = images.labels.copy()
        labels[row] = 3
        other = _answers(Features(images.values, labels), 5, 5)
        assert np.abs(other.logits - found.logits).max() > 1e-3
    # No image had the last class, so nothing has learnt it.
    assert (found.predicted < 4).all()


def test_as_many_folds_as_images_leave_one_out():
    images = Features(_images(14).values, np.array([0, 1] * 7))
    # Only as many folds as a class has images.
    assert cross_validation.folds_of(images.labels, 14) == 7
    found = _answers(images, 2, 14)
    again = _answers(images, 2, 7)
    np.testing.assert_array_equal(found.logits, again.logits)


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [0, 0, 1], [2, 2, 2, 0]])
def test_few_images_of_a_class_are_no_error(labels):
    images = Features(np.random.RandomState(0).normal(size=(len(labels), 3)), np.array(labels))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = _answers(images, 4, 5)
    assert (found is None) == (labels != [2, 2, 2, 0])
    assert found is None or np.isfinite(found.logits).all()


@pytest.mark.parametrize("name", ["knn", "ridge"])
def test_logits_of_evaluators_are_what_they_answer(name):
    train, test = _images(), _images(33, seed=1)
    logits = EVALUATORS[name].logits(train, test, 6)
    assert logits.shape == (33, 6)
    accuracy = np.mean(logits.argmax(axis=1) == test.labels)
    assert accuracy == pytest.approx(EVALUATORS[name].run(train, test)["top_1_accuracy"])
    # Left out in turn: as if each was classified by all others.
    left_out = EVALUATORS[name].logits(train, None, 6)
    scores = {"knn": knn.left_out, "ridge": lambda t: ridge.Ridge(t).left_out(ridge.solve(t)[3])}
    np.testing.assert_array_equal(left_out.argmax(axis=1), scores[name](train).argmax(axis=1))
    assert np.isfinite(left_out).all()


def test_logits_of_neighbours_are_their_shares_of_the_votes():
    train = Features(np.array([[1.0, 0], [1, 0.01], [0, 1]]), np.array([2, 2, 0]))
    test = Features(np.array([[1.0, 0.0]]), np.array([2]))
    shares = np.exp(knn.logits(train, test, 4)[0])
    assert shares[[1, 2, 3]] == pytest.approx([1e-6, 1, 1e-6], rel=1e-4)
    # The third vote's similarity is 0, so it weighs exp(-1 / 0.07) of the first.
    assert shares[0] == pytest.approx(max(np.exp(-1 / 0.07) / 2, 1e-6), rel=0.01)
