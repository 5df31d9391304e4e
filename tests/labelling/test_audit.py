"""Labels against their leave-one-out outputs, and images against their neighbours."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge as SklearnRidge

from tests.evaluation.scaled import standardised
from tf_simclrv2.evaluation.features import Features
from tf_simclrv2.evaluation.ridge import PENALTIES
from tf_simclrv2.labelling import audit
from tf_simclrv2.labelling.audit import LOOKS_WRONG, UNLIKE, distances, judge


def _clusters(count, num_classes=3, dim=6, spread=1.0, seed=0):
    """Features around a centre for each class."""
    random = np.random.RandomState(seed)
    labels = np.arange(count) % num_classes
    centres = 3 * random.randn(num_classes, dim)
    values = centres[labels] + spread * random.randn(count, dim)
    return Features(values.astype(np.float32), labels.astype(np.int64))


def _refitted(values, targets, penalty):
    """What regressions to all images but one make of that one, by fitting each of them."""
    found = np.zeros_like(targets)
    for row in range(len(values)):
        rest = np.arange(len(values)) != row
        ridge = SklearnRidge(alpha=penalty).fit(values[rest], targets[rest])
        found[row] = ridge.predict(values[[row]])[0]
    return found


def _expected(scores, labels, num_classes):
    """Margins and suggestions, image by image, as the docstring of ``judge`` defines them."""
    margins, suggested = [], []
    for row, label in enumerate(labels):
        squares = []
        for each in range(num_classes):
            others = [i for i in range(len(labels)) if labels[i] == each and i != row]
            perfect = np.where(np.arange(num_classes) == each, 1.0, -1.0)
            # Three perfect images stand among those of the class.
            typical = np.mean([*scores[others], perfect, perfect, perfect], axis=0)
            squares.append(np.sum((scores[row] - typical) ** 2))
        own = squares[label]
        squares[label] = np.inf
        margins.append((min(squares) - own) / 4)
        suggested.append(int(np.argmin(squares)))
    return np.array(margins), np.array(suggested)


@pytest.mark.parametrize("dim", [6, 60])
def test_margins_are_those_of_regressions_fitted_to_all_other_images(dim):
    train = _clusters(33, dim=dim, spread=4.0)
    (values,) = standardised(train.values)
    targets = np.where(train.labels[:, np.newaxis] == np.arange(3), 1.0, -1.0)
    of_penalties = [_refitted(values, targets, penalty) for penalty in PENALTIES]
    errors = [np.sum((scores - targets) ** 2) for scores in of_penalties]
    margins, suggested = _expected(of_penalties[int(np.argmin(errors))], train.labels, 3)
    verdicts = judge(train)[0]
    np.testing.assert_allclose(verdicts.margins, margins, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(verdicts.suggested, suggested)


def test_planted_errors_look_wrong_and_no_others():
    train = _clusters(300, spread=0.5)
    wrong = np.random.RandomState(1).choice(300, 12, replace=False)
    labels = train.labels.copy()
    labels[wrong] = (labels[wrong] + 1) % 3
    verdicts = judge(Features(train.values, labels))[0]
    assert set(np.flatnonzero(verdicts.look_wrong)) == set(wrong)
    assert set(verdicts.doubtful[:12]) == set(wrong)
    np.testing.assert_array_equal(verdicts.suggested[wrong], train.labels[wrong])
    assert np.all(np.diff(verdicts.margins[verdicts.doubtful]) >= 0)


def test_other_images_are_judged_by_the_training_images_alone():
    train, other = _clusters(90), _clusters(30)
    labels = other.labels.copy()
    labels[4] = (labels[4] + 1) % 3
    alone = judge(train)[0]
    same, verdicts = judge(train, [Features(other.values, labels)])
    np.testing.assert_array_equal(same.margins, alone.margins)
    assert list(np.flatnonzero(verdicts.look_wrong)) == [4]
    assert verdicts.suggested[4] == other.labels[4]
    # Copies of training images are judged as these are, but for the image's own part.
    np.testing.assert_allclose(judge(train, [train])[1].margins, alone.margins, atol=0.25)


def test_an_image_that_is_alone_in_its_class_is_not_judged():
    train = _clusters(60)
    labels = 10 * train.labels
    labels[7] = 5
    others = Features(train.values[:3], np.array([0, 5, 99]))
    verdicts, of_others = judge(Features(train.values, labels), [others])
    assert np.isnan(verdicts.margins[7]) and verdicts.suggested[7] == -1
    assert np.isfinite(np.delete(verdicts.margins, 7)).all()
    assert 7 not in verdicts.doubtful and not verdicts.look_wrong[7]
    assert list(np.isfinite(of_others.margins)) == [True, True, False]
    assert of_others.suggested[2] == -1
    assert set(np.delete(verdicts.suggested, 7)) <= {0, 5, 10, 20}


def test_other_images_may_be_none():
    train = _clusters(60)
    none = Features(train.values[:0], train.labels[:0])
    same, verdicts = judge(train, [none])
    np.testing.assert_array_equal(same.margins, judge(train)[0].margins)
    assert len(verdicts.margins) == len(verdicts.suggested) == len(verdicts.doubtful) == 0


def test_labels_of_one_class_are_refused():
    with pytest.raises(ValueError, match="two classes"):
        judge(Features(np.random.RandomState(0).randn(5, 3), np.ones(5, np.int64)))


def test_the_threshold_is_between_a_right_and_a_wrong_label():
    assert -1 < LOOKS_WRONG < 0


def test_distances_are_means_of_those_to_the_nearest_five():
    values = np.random.RandomState(0).randn(700, 8) + 2
    centred = values - values.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    apart = 1 - centred @ centred.T
    np.fill_diagonal(apart, np.inf)
    expected = np.sort(apart, axis=1)[:, :5].mean(axis=1)
    found = distances(values)
    np.testing.assert_allclose(found.values, expected, atol=1e-5)
    first, third = np.percentile(expected, (25, 75))
    assert found.threshold == pytest.approx(third + UNLIKE * (third - first), abs=1e-3)


def test_an_image_unlike_all_others_is_found(monkeypatch):
    values = _clusters(240, spread=0.3).values
    strange = np.concatenate([values, [10 * np.ones(6) * [1, -1, 1, -1, 1, -1]]])
    assert list(distances(strange).unlike) == [240]
    assert len(distances(values).unlike) == 0
    # Neighbours are looked for among a part of many images.
    monkeypatch.setattr(audit, "_MOST_COMPARED", 100)
    assert 240 in distances(strange).unlike


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_images_are_like_each_other(count):
    found = distances(np.random.RandomState(0).randn(count, 4))
    assert found.values.shape == (count,) and np.isfinite(found.values).all()
    assert len(found.unlike) == 0


def test_images_without_any_difference_are_like_each_other():
    found = distances(np.ones([50, 4]))
    assert np.all(found.values < 1e-3) and len(found.unlike) == 0
