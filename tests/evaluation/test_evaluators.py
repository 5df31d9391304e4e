"""Evaluators on frozen features, against second implementations in NumPy."""

import inspect
import pkgutil

import numpy as np
import pytest

from tests.evaluation.scaled import standardised
from tf_simclrv2 import evaluation
from tf_simclrv2.evaluation import EVALUATORS, class_means, knn, logistic, ridge
from tf_simclrv2.evaluation.features import Features, accuracies

CLASSES = 6


def _split(seed, count, classes=CLASSES, sizes=(-2, 2)):
    """Classes that overlap, in dimensions of very different sizes and means."""
    random = np.random.RandomState(seed)
    labels = random.randint(classes, size=count)
    centres = np.random.RandomState(7).normal(size=(classes, 8))
    values = centres[labels] + random.normal(size=(count, 8))
    return Features((values * np.logspace(*sizes, 8) + 3).astype(np.float32), labels)


TRAIN, TEST = _split(0, 90), _split(1, 41)


def _standardised():
    mean, deviation = TRAIN.values.mean(axis=0), TRAIN.values.std(axis=0)
    return [(part.values - mean) / deviation for part in (TRAIN, TEST)]


def _cosines(one, other):
    one, other = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (one, other))
    return one @ other.T


def _top(scores, labels, k):
    """How often fewer than k classes have a higher score, or as high a one of a smaller number."""
    ranks = [
        sum(other > row[label] for other in row) + sum(row[:label] == row[label])
        for row, label in zip(scores, labels)
    ]
    return np.mean(np.array(ranks) < k)


@pytest.mark.parametrize("temperature", [0.07, 0.5, 1e-4, None])
@pytest.mark.parametrize("k", [1, 5, 1000])
def test_knn_is_a_vote_of_the_most_similar(k, temperature):
    scores = np.zeros((len(TEST.labels), CLASSES))
    similarities = _cosines(TEST.values.astype(float), TRAIN.values.astype(float))
    for image, row in enumerate(similarities):
        nearest = np.argsort(-row)[:k]
        for neighbour in nearest:
            vote = 1.0
            if temperature is not None:
                vote = np.exp((row[neighbour] - row[nearest[0]]) / temperature)
            scores[image, TRAIN.labels[neighbour]] += vote
    results = knn.run(TRAIN, TEST, k=k, temperature=temperature)
    assert results["top_1_accuracy"] == pytest.approx(_top(scores, TEST.labels, 1))
    assert results["top_5_accuracy"] == pytest.approx(_top(scores, TEST.labels, 5))
    assert results["num_examples"] == 41


def test_knn_differs_by_its_settings():
    found = {knn.run(TRAIN, TEST, k=k)["top_1_accuracy"] for k in (1, 5, 90)}
    assert len(found) == 3
    votes = {knn.run(TRAIN, TEST, k=50, temperature=t)["top_1_accuracy"] for t in (0.01, 1.0)}
    assert len(votes) == 2


def _ridge_outputs(penalty, values, targets, others):
    """Regression to centred targets by the normal equations."""
    kernel = np.linalg.solve(values.T @ values + penalty * np.eye(8), values.T @ targets)
    return others @ kernel


def _one_against_all():
    return np.where(TRAIN.labels[:, np.newaxis] == np.arange(CLASSES), 1.0, -1.0)


@pytest.mark.parametrize("penalty", [0.1, 100.0])
def test_ridge_solves_the_normal_equations(penalty):
    values, others = standardised(TRAIN.values, TEST.values)
    targets = _one_against_all()
    mean = targets.mean(axis=0)
    scores = _ridge_outputs(penalty, values, targets - mean, others) + mean
    results = ridge.run(TRAIN, TEST, penalty=penalty)
    assert results["penalty"] == penalty
    assert results["top_1_accuracy"] == pytest.approx(_top(scores, TEST.labels, 1))
    assert results["top_5_accuracy"] == pytest.approx(_top(scores, TEST.labels, 5))


def test_ridge_takes_the_penalty_that_is_best_for_images_left_out():
    train, test = (_split(seed, count, sizes=(-0.5, 0.5)) for seed, count in ((0, 90), (1, 41)))
    (values,) = standardised(train.values)
    targets = _one_against_all()
    errors = {}
    for penalty in ridge.PENALTIES:
        total = 0.0
        for out in range(len(values)):
            kept = np.arange(len(values)) != out
            centre, mean = values[kept].mean(axis=0), targets[kept].mean(axis=0)
            predicted = _ridge_outputs(
                penalty, values[kept] - centre, targets[kept] - mean, values[out] - centre
            )
            total += np.sum((predicted + mean - targets[out]) ** 2)
        errors[penalty] = total
    best = min(errors, key=errors.get)
    assert best not in (ridge.PENALTIES[0], ridge.PENALTIES[-1])
    results = ridge.run(train, test)
    assert results["penalty"] == best
    assert results == ridge.run(train, test, penalty=best)


@pytest.mark.parametrize("penalty", [1e-3, 1.0])
def test_logistic_regression_minimises_the_penalised_cross_entropy(penalty):
    values, others = standardised(TRAIN.values, TEST.values)
    kernel, bias = np.zeros((8, CLASSES)), np.zeros(CLASSES)
    targets = np.eye(CLASSES)[TRAIN.labels]
    for _ in range(20_000):
        logits = values @ kernel + bias
        probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        error = (probabilities - targets) / len(values)
        kernel -= 0.3 * (values.T @ error + 2 * penalty * kernel)
        bias -= 0.3 * error.sum(axis=0)
    scores = others @ kernel + bias
    results = logistic.run(TRAIN, TEST, penalty=penalty)
    assert results["top_1_accuracy"] == pytest.approx(_top(scores, TEST.labels, 1))
    assert results["top_5_accuracy"] == pytest.approx(_top(scores, TEST.labels, 5))
    assert results["num_examples"] == 41


def test_penalties_matter():
    for evaluator, penalties in ((ridge, (0.1, 1e5)), (logistic, (1e-3, 10.0))):
        weak, strong = (evaluator.run(TRAIN, TEST, penalty=penalty) for penalty in penalties)
        assert weak["top_1_accuracy"] > strong["top_1_accuracy"]


def test_class_means_of_all_labels():
    values, others = _standardised()
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    means = np.stack([values[TRAIN.labels == label].mean(axis=0) for label in range(CLASSES)])
    scores = _cosines(others, means)
    results = class_means.run(TRAIN, TEST)
    assert results == {
        "top_1_accuracy": pytest.approx(_top(scores, TEST.labels, 1)),
        "num_examples": 41,
    }


def test_class_means_of_one_label_per_class_are_its_images():
    """With an image of each class the classifier is the nearest neighbour among those images."""
    values, others = _standardised()
    random = np.random.RandomState(3)
    right = []
    for _ in range(4):
        random.permutation(CLASSES)  # Which classes have one more label: here none.
        chosen = [
            random.choice(np.flatnonzero(TRAIN.labels == label), 1, replace=False)[0]
            for label in range(CLASSES)
        ]
        right.append(_top(_cosines(others, values[chosen]), TEST.labels, 1))
    results = class_means.run(TRAIN, TEST, num_labels=CLASSES, choices=4, seed=3)
    assert results["top_1_accuracy"] == pytest.approx(np.mean(right))
    assert len(set(right)) > 1


def test_more_labels_make_better_class_means():
    found = [class_means.run(TRAIN, TEST, num_labels=count) for count in (6, 9, 40)]
    one, some, many = (results["top_1_accuracy"] for results in found)
    assert one < some < many
    with pytest.raises(ValueError, match="at least 6, but is 5"):
        class_means.run(TRAIN, TEST, num_labels=5)


@pytest.mark.parametrize("name", [name for name, row in EVALUATORS.items() if "features" in row[1]])
def test_evaluators_of_features_take_two_classes_and_unknown_ones(name):
    train, test = (_split(seed, 60, classes=2, sizes=(0, 0.5)) for seed in (0, 1))
    results = EVALUATORS[name].run(train, test)
    assert 0.6 < results["top_1_accuracy"] < 1
    assert results.get("top_5_accuracy", 1.0) == 1.0
    # A class that no training image has is never right.
    other = Features(test.values, np.where(np.arange(60) < 30, test.labels, 2))
    assert EVALUATORS[name].run(train, other)["top_1_accuracy"] <= 0.5


def test_equal_scores_go_to_the_first_class():
    scores = np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]])
    classes = np.array([4, 7, 9])
    assert accuracies(scores, classes, np.array([4, 7]))["top_1_accuracy"] == 1.0
    assert accuracies(scores, classes, np.array([7, 9]))["top_1_accuracy"] == 0.0


def test_each_evaluator_is_a_file_and_a_row():
    files = {module.name for module in pkgutil.iter_modules(evaluation.__path__)}
    others = {"features", "baselines", "probe", "measures", "calibration", "confusion_picture",
              "comparing", "cross_validation", "representation", "scaling"}  # fmt: skip
    assert {row.module for row in EVALUATORS.values()} == files - others
    for row in EVALUATORS.values():
        needs = set(inspect.signature(row.run).parameters)
        assert needs >= ({"train", "test"} if "features" in row.needs else {"network", "batches"})
        assert "Returns:" in row.run.__doc__
