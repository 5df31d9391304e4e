"""What is said of labels without a test set, against refits and second implementations."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.linear_model import Ridge as RidgeOfSklearn
from sklearn.linear_model import RidgeClassifierCV
from sklearn.neighbors import KNeighborsClassifier

from tests.evaluation.scaled import standardised
from tf_simclrv2.evaluation import knn, probe, ridge
from tf_simclrv2.evaluation.features import Features


def _images(count, dim, classes=4, seed=0, spread=1.5):
    random = np.random.RandomState(seed)
    labels = np.arange(count) % classes * 3  # Numbers with gaps between them.
    centres = np.random.RandomState(5).normal(size=(classes, dim))
    values = spread * random.normal(size=(count, dim)) + centres[labels // 3]
    return Features((values * np.logspace(-1, 2, dim) + 3).astype(np.float32), labels)


def _others(count, out):
    return np.arange(count) != out


# More images than dimensions, and fewer; of the latter some with a lonely class.
SETS = [_images(60, 9), _images(14, 30), _images(13, 30, classes=12), _images(40, 5, classes=2)]


@pytest.mark.parametrize("images", SETS)
@pytest.mark.parametrize("penalty", [1e-3, 1.0, 1e3])
def test_what_is_left_out_is_predicted_as_by_a_regression_to_the_others(images, penalty):
    (values,) = standardised(images.values)
    targets = np.where(images.labels[:, np.newaxis] == np.unique(images.labels), 1.0, -1.0)
    count = len(values)
    expected = [
        RidgeOfSklearn(penalty, solver="svd")
        .fit(values[_others(count, out)], targets[_others(count, out)])
        .predict(values[out : out + 1])[0]
        for out in range(count)
    ]
    np.testing.assert_allclose(ridge.Ridge(images).left_out(penalty), expected, atol=1e-6)


@pytest.mark.parametrize("images", SETS)
def test_block_by_block_it_is_scikit_learns_classifier(images, monkeypatch):
    monkeypatch.setattr(ridge, "_ROWS", 7)
    (values,) = standardised(images.values)
    solution = ridge.solve(images)
    lonely = np.bincount(images.labels)[images.labels] == 1
    theirs = RidgeClassifierCV(solution.penalty if lonely.any() else np.array(ridge.PENALTIES))
    theirs.fit(values, images.labels)
    assert solution.penalty == theirs.alpha_
    scores = theirs.decision_function(values)
    if scores.ndim == 1:
        scores = np.stack([-scores, scores], axis=1)
    np.testing.assert_allclose(solution.scores(images.values), scores, atol=1e-7)
    np.testing.assert_array_equal(solution.classes, theirs.classes_)


@pytest.mark.parametrize("rows", [7, 4096])
def test_images_that_are_the_only_ones_of_their_class_do_not_choose_the_penalty(rows, monkeypatch):
    monkeypatch.setattr(ridge, "_ROWS", rows)
    images = _images(28, 9, classes=16, spread=1.0)
    regressions = ridge.Ridge(images)
    columns = np.unique(images.labels, return_inverse=True)[1]
    targets = np.where(columns[:, np.newaxis] == np.arange(16), 1.0, -1.0)
    many = np.bincount(columns)[columns] > 1
    assert list(many) == [True] * 12 + [False] * 4 + [True] * 12

    def best(counted, penalties=(1.0, 10.0, 100.0)):
        """Of these, as few images don't tell more."""
        errors = [regressions.left_out(each)[counted] - targets[counted] for each in penalties]
        return penalties[int(np.argmin([np.sum(each**2) for each in errors]))]

    assert regressions.best() == best(many)
    assert best(many) != best(np.full(28, True))
    # Not so those that are counted if the rows of a second block were taken for those of the first.
    assert best(many) != best(np.roll(many, 7))
    alone = Features(images.values[:16], images.labels[:16])
    assert ridge.solve(alone).penalty == ridge.PENALTY


def test_a_single_pair_does_not_choose_an_unusual_penalty():
    pair = _images(12, 30, classes=11, spread=0.1)
    regressions = ridge.Ridge(pair)
    targets = 2 * np.eye(11)[np.unique(pair.labels, return_inverse=True)[1]] - 1
    errors = [
        np.sum((regressions.left_out(each) - targets)[[0, 11]] ** 2) for each in ridge.PENALTIES
    ]
    assert ridge.PENALTIES[int(np.argmin(errors))] < ridge.PENALTY / 10
    assert regressions.best() == ridge.PENALTY / 10
    # With a second image of every class all penalties are tried.
    assert ridge.solve(_images(22, 30, classes=11, spread=0.1)).penalty < ridge.PENALTY / 10


def test_features_of_half_precision_are_computed_with_in_double():
    images = SETS[0]
    half = Features(images.values.astype(np.float16), images.labels)
    rounded = Features(half.values.astype(np.float64), images.labels)
    np.testing.assert_array_equal(ridge.solve(half).kernel, ridge.solve(rounded).kernel)


def test_logits_are_as_sharp_as_predicts_best_what_is_left_out():
    images = SETS[0]
    regressions = ridge.Ridge(images)
    scores, columns = regressions.left_out(1.0), images.labels // 3

    def probability(factor):
        powers = np.exp(factor * scores)
        right = powers[np.arange(len(columns)), columns] / powers.sum(axis=1)
        # Its logarithm is normal around that of 3, with a deviation of a half.
        return np.log(right).sum() + norm.logpdf(np.log(factor), np.log(3), 0.5)

    factors = np.linspace(0.1, 20, 2000)
    best = factors[np.argmax([probability(factor) for factor in factors])]
    assert 0.5 < best < 15 and abs(best - 3) > 0.2  # Neither a bound nor what it begins with.
    assert regressions.sharpness(1.0) == pytest.approx(best, abs=0.02)


def test_few_images_that_are_all_right_do_not_make_it_sure():
    random, labels = np.random.RandomState(0), np.arange(14) % 2
    images = Features(10.0 * labels[:, np.newaxis] + random.normal(size=[14, 3]), labels)
    assert (ridge.logits(images, None, 2).argmax(axis=1) == labels).all()
    few = ridge.Ridge(images).sharpness(1.0)
    many = Features(np.tile(images.values, [40, 1]), np.tile(labels, 40))
    # 560 may move it further.
    assert 3 < few < 3.5 and few + 1 < ridge.Ridge(many).sharpness(1.0)


def test_of_images_that_are_alone_in_their_class_no_sharpness_is_learnt():
    alone = Features(SETS[1].values, np.arange(14))
    assert ridge.Ridge(alone).sharpness(1.0) == ridge.SHARPNESS
    # One more of such a class changes nothing.
    images = SETS[0]
    labels = np.append(images.labels, 99)
    more = Features(np.concatenate([images.values, images.values[:1] + 50]), labels)
    regressions = ridge.Ridge(more)
    assert regressions.sharpness(1.0) > 0.5


@pytest.mark.parametrize("images", SETS)
def test_neighbours_of_what_is_left_out_are_among_the_others(images):
    count = len(images.labels)
    expected = np.zeros([count, len(np.unique(images.labels))])
    for out in range(count):
        kept = _others(count, out)
        nearest = KNeighborsClassifier(
            min(20, count - 1), metric="cosine", weights=knn._votes(0.07)
        ).fit(images.values[kept], images.labels[kept])
        shares = nearest.predict_proba(images.values[out : out + 1])[0]
        expected[out, np.searchsorted(np.unique(images.labels), nearest.classes_)] = shares
    found = knn.left_out(images)
    np.testing.assert_allclose(found / found.sum(axis=1, keepdims=True), expected, atol=1e-5)


@pytest.mark.parametrize(("right", "count"), [(0, 9), (7, 9), (9, 9), (343, 360)])
def test_intervals_are_wilsons(right, count):
    share, z = right / count, 1.959964
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(
        share * (1 - share) / count + z**2 / (4 * count**2)
    )  # fmt: skip
    measured = probe.Measured("ridge", 5, "test", right, count)
    np.testing.assert_allclose(measured.interval, (centre - half, centre + half), atol=1e-6)
    assert measured.accuracy == share


def test_draws_are_nested_seeded_and_balanced_if_asked():
    labels = np.repeat([1, 5, 7], [30, 6, 4])
    for balanced in (False, True):
        small, large = (probe._drawn(labels, count, 3, balanced) for count in (9, 16))
        assert set(small) < set(large) and len(small) == 9 and len(large) == 16
        assert set(small) != set(probe._drawn(labels, 9, 4, balanced))
        np.testing.assert_array_equal(small, probe._drawn(labels, 9, 3, balanced))
        counts = np.bincount(labels[small], minlength=8)[[1, 5, 7]]
        assert (counts.tolist() == [3, 3, 3]) == balanced


def test_one_class_that_was_drawn_alone_is_what_all_images_get():
    images = SETS[0]
    one = Features(images.values[images.labels == 3], images.labels[images.labels == 3])
    for each in probe.measure(one, images):
        assert each.accuracy == 0.25


def test_too_many_comparisons_are_left_out(monkeypatch):
    monkeypatch.setattr(probe, "MOST_PAIRS", 60 * 14)
    train, test = SETS[0], SETS[0]
    few = Features(test.values[:14], test.labels[:14])
    assert [each.classifier for each in probe.measure(train, few)] == ["ridge", "knn"]
    assert [each.classifier for each in probe.measure(train, test)] == ["ridge"]
    assert [each.classifier for each in probe.left_out(train)] == ["ridge"]
