"""What labels are worth, without training: ridge and nearest neighbours on frozen features."""

from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from tf_simclrv2.config import LabelsConfig
from tf_simclrv2.data.labels import choose_labelled
from tf_simclrv2.evaluation import EVALUATORS, knn
from tf_simclrv2.evaluation.features import Features
from tf_simclrv2.evaluation.measures import interval
from tf_simclrv2.evaluation.ridge import Ridge

RIDGE, KNN = "ridge", "knn"
# Comparisons of two images by their neighbours; more would take minutes.
MOST_PAIRS = 1_000_000_000
# What an accuracy is measured on, besides a split.
LEFT_OUT, OTHERS = "leave-one-out", "other labelled images"


class Measured(NamedTuple):
    """An accuracy.

    Attributes:
      classifier: ``RIDGE`` or ``KNN``.
      labels: labelled images that it learnt from.
      on: what it was measured on: a split, ``LEFT_OUT`` or ``OTHERS``.
      right: images that are right.
      images: images that it was measured on.
      seed: of the draw of labelled images; None if they were not drawn.
    """

    classifier: str
    labels: int
    on: str
    right: int
    images: int
    seed: Optional[int] = None

    @property
    def accuracy(self) -> float:
        """In [0, 1]."""
        return self.right / self.images

    @property
    def interval(self) -> Tuple[float, float]:
        """Wilson's 95% interval of the accuracy, if the images are a random sample."""
        return interval(self.right, self.images)


def measure(
    train: Features, test: Optional[Features] = None, on: str = "test", seed: Optional[int] = None
) -> List[Measured]:
    """Measures ridge and, where that takes no minutes, nearest neighbours on other images.

    Args:
      train: features of labelled images.
      test: features of labelled images to measure on; None leaves each training image out in turn.
      on: what these are.
      seed: of the draw of the labelled images.
    """
    if test is None:
        return [each._replace(seed=seed) for each in left_out(train)]
    names = [RIDGE, KNN] if _few_pairs(train, len(test.labels)) else [RIDGE]
    count, images = len(train.labels), len(test.labels)
    accuracies = {name: EVALUATORS[name].run(train, test)["top_1_accuracy"] for name in names}
    return [
        Measured(name, count, on, round(accuracy * images), images, seed)
        for name, accuracy in accuracies.items()
    ]


def left_out(train: Features) -> List[Measured]:
    """Measures on each labelled image what was fitted to all others."""
    ridge = Ridge(train)
    scores = {RIDGE: ridge.left_out(ridge.best())}
    if _few_pairs(train, len(train.labels)):
        scores[KNN] = knn.left_out(train)
    count = len(train.labels)
    return [
        Measured(name, count, LEFT_OUT, num_right(train, each, ridge.classes), count)
        for name, each in scores.items()
    ]


def num_alone(train: Features) -> int:
    """How many images are the only ones of their class, and so wrong when they are left out."""
    return int(np.sum(np.unique(train.labels, return_counts=True)[1] == 1))


def num_right(images: Features, scores: np.ndarray, classes: np.ndarray) -> int:
    """How many images have the highest score, [images, classes], at their label."""
    return int(np.sum(classes[np.argmax(scores, axis=1)] == images.labels))


def _few_pairs(train: Features, others: int) -> bool:
    return len(train.labels) * others <= MOST_PAIRS


class Draws(NamedTuple):
    """How labelled images are drawn.

    Attributes:
      budgets: how many, ascending.
      seeds: how many draws of each.
      balanced: whether classes have as many as each other, or one more, as long as they last; else
        all images are drawn alike. A smaller draw is a part of every larger one of its seed.
    """

    budgets: Sequence[int]
    seeds: int
    balanced: bool


def curve(
    labelled: Features, test: Optional[Features], on: str, draws: Draws
) -> Iterator[List[Measured]]:
    """Measures what fewer labels are worth.

    Args:
      labelled: features of labelled images, to draw from.
      test: features of labelled images to measure on; None takes those that were not drawn, or
        leaves each one out in turn where all were drawn.
      on: what these are.
      draws: how many are drawn.

    Yields:
      What was measured on one draw.
    """
    for seed in range(draws.seeds):
        for budget in draws.budgets:
            rows = _drawn(labelled.labels, budget, seed, draws.balanced)
            train, measured_on, name = _rows(labelled, rows), test, on
            if test is None and budget < len(labelled.labels):
                others = np.setdiff1d(np.arange(len(labelled.labels)), rows)
                measured_on, name = _rows(labelled, others), OTHERS
            yield measure(train, measured_on, name, seed)


def _drawn(labels: np.ndarray, budget: int, seed: int, balanced: bool) -> np.ndarray:
    if not balanced:
        return np.sort(np.random.RandomState(seed).permutation(len(labels))[:budget])
    classes, columns = np.unique(labels, return_inverse=True)
    choice = LabelsConfig(label_fraction=budget / len(labels), label_seed=seed)
    return np.array(choose_labelled(columns, [str(name) for name in classes], choice))


def _rows(images: Features, rows: np.ndarray) -> Features:
    return Features(images.values[rows], images.labels[rows])
