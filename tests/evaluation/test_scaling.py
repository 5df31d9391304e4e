"""The scaling of features, against its equation, with few images and with many."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler

from tests.evaluation.scaled import standardised
from tf_simclrv2.evaluation import logistic, ridge
from tf_simclrv2.evaluation.features import Features
from tf_simclrv2.evaluation.scaling import ShrunkScaler


def _values(count, dim=6, seed=0):
    """Features of different sizes; the last is the same for all images."""
    sizes = np.append(np.linspace(0.2, 2, dim - 1), 0)
    return np.random.RandomState(seed).gamma(0.3, size=(count, dim)) * sizes + 3


@pytest.mark.parametrize("count", [2, 7, 300])
def test_values_are_those_of_the_equation(count):
    train, others = _values(count), _values(9, seed=1)
    scaler = ShrunkScaler().fit(train)
    for found, expected in zip(map(scaler.transform, (train, others)), standardised(train, others)):
        np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_parts_are_scaled_as_the_whole():
    values, scaler = _values(50), ShrunkScaler()
    for part in np.split(values, [1, 2, 30]):
        scaler.partial_fit(part)
    np.testing.assert_allclose(
        scaler.transform(values), ShrunkScaler().fit(values).transform(values), rtol=1e-10
    )


def test_of_many_images_it_is_scikit_learns():
    values = _values(100_000)
    ours, theirs = (
        scaler.fit(values).transform(values) for scaler in (ShrunkScaler(), StandardScaler())
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-2)


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0, 1e6 + 0.3])
def test_features_that_do_not_deviate_are_not_divided(value):
    values, in_parts = np.full([5, 3], value), ShrunkScaler()
    for part in np.split(values, [1, 3]):
        in_parts.partial_fit(part)
    for scaler in (ShrunkScaler().fit(values), ShrunkScaler().fit(values[:1]), in_parts):
        np.testing.assert_allclose(scaler.transform(values + 2), 2.0, rtol=1e-6)


def test_without_deviations_and_with_weights_it_is_scikit_learns():
    values = _values(20)
    plain = [make(with_std=False).fit_transform(values) for make in (ShrunkScaler, StandardScaler)]
    np.testing.assert_array_equal(*plain)
    weights = np.arange(20)
    weighted = [
        make().fit(values, sample_weight=weights).mean_ for make in (ShrunkScaler, StandardScaler)
    ]
    np.testing.assert_array_equal(*weighted)
    assert isinstance(clone(ShrunkScaler()), ShrunkScaler)


@pytest.mark.parametrize("classify", [ridge.run, logistic.run])
def test_a_feature_that_hardly_deviates_among_few_images_does_not_decide(classify):
    random = np.random.RandomState(0)
    labels = np.arange(210) % 3
    values = np.eye(3)[labels] + 0.2 * random.normal(size=(210, 3))
    # Zero in all but one of the first ten, and anything in others, whatever their class.
    rare = np.where(np.arange(210) < 10, 0.0, random.gamma(1.0, size=210))
    rare[0] = 1e-4
    images = Features(np.concatenate([values, rare[:, np.newaxis]], axis=1), labels)
    train, test = (Features(images.values[part], labels[part]) for part in np.split(
        np.arange(210), [10]
    ))  # fmt: skip
    without = [Features(part.values[:, :3], part.labels) for part in (train, test)]
    assert classify(*without)["top_1_accuracy"] > 0.9
    assert classify(train, test)["top_1_accuracy"] > 0.9
    # So it would be, each feature by its own deviation.
    scaler = StandardScaler().fit(train.values)
    assert np.abs(scaler.transform(test.values)).max() > 10_000


def test_outputs_stay_bounded_in_spite_of_it(monkeypatch):
    random = np.random.RandomState(0)
    labels = np.arange(30) % 3
    values = np.concatenate([np.eye(3)[labels], np.zeros([30, 1])], axis=1)
    values[:, :3] += random.normal(0, 0.5, size=(30, 3))
    values[:3, 3] = np.arange(3) * 1e-5
    others = random.gamma(1.0, size=(100, 4))
    assert np.abs(ridge.solve(Features(values, labels)).scores(others)).max() < 20
    monkeypatch.setattr(ridge, "ShrunkScaler", StandardScaler)
    assert np.abs(ridge.solve(Features(values, labels)).scores(others)).max() > 1000
