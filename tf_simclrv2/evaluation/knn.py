"""Nearest neighbours by cosine similarity: what the features tell without any training."""

from typing import Callable, Dict, Optional

import numpy as np
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from tf_simclrv2.evaluation.features import Features, accuracies

# The probability of a class that no neighbour votes for, as votes can't say how small it is.
_LEAST = 1e-6


def run(
    train: Features, test: Features, k: int = 20, temperature: Optional[float] = 0.07
) -> Dict[str, float]:
    """Classifies by the votes of the ``k`` most similar training images.

    As in Section 3.4 of `Unsupervised Feature Learning via Non-Parametric Instance Discrimination
    <https://arxiv.org/abs/1805.01978>`_ (Wu et al., 2018), which takes 200 neighbours; DINO and
    others report 20. A vote weighs exp(similarity / temperature).

    Args:
      train: features of labelled images.
      test: features of the images to classify.
      k: neighbours, at most all training images.
      temperature: of the votes; None gives all neighbours the same vote.

    Returns:
      ``top_1_accuracy`` and ``top_5_accuracy`` in [0, 1], and ``num_examples``.
    """
    neighbours = _fitted(train, k, temperature)
    return accuracies(neighbours.predict_proba(test.values), neighbours.classes_, test.labels)


def logits(train: Features, test: Optional[Features], num_classes: int) -> np.ndarray:
    """What the neighbours make of images, as logarithms of their shares of the votes.

    Args:
      train: features of labelled images.
      test: features of the images to classify; None leaves each training image out in turn.
      num_classes: that the labels are of.

    Returns:
      float64 [images, num_classes].
    """
    if test is None:
        votes, classes = left_out(train), np.unique(train.labels)
        votes = votes / votes.sum(axis=1, keepdims=True)
    else:
        neighbours = _fitted(train)
        votes, classes = neighbours.predict_proba(test.values), neighbours.classes_
    shares = np.zeros([len(votes), num_classes])
    shares[:, classes] = votes
    return np.log(np.maximum(shares, _LEAST))


def _fitted(
    train: Features, k: int = 20, temperature: Optional[float] = 0.07
) -> KNeighborsClassifier:
    neighbours = KNeighborsClassifier(
        min(k, len(train.labels)),
        metric="cosine",
        algorithm="brute",
        weights="uniform" if temperature is None else _votes(temperature),
    )
    return neighbours.fit(train.values, train.labels)


def left_out(train: Features, k: int = 20, temperature: float = 0.07) -> np.ndarray:
    """The votes for each training image of its neighbours among the others.

    Args:
      train: features of at least two labelled images.
      k, temperature: see :func:`run`.

    Returns:
      float64 [images, classes], a column for each class that is among the labels, in their order.
    """
    neighbours = NearestNeighbors(
        n_neighbors=min(k, len(train.labels) - 1), metric="cosine", algorithm="brute"
    )
    # Without a query no image is its own neighbour.
    distances, nearest = neighbours.fit(train.values).kneighbors()
    classes, columns = np.unique(train.labels, return_inverse=True)
    scores = np.zeros([len(train.labels), len(classes)])
    images = np.arange(len(scores))[:, np.newaxis]
    np.add.at(scores, (images, columns[nearest]), _votes(temperature)(distances))
    return scores


def _votes(temperature: float) -> Callable[[np.ndarray], np.ndarray]:
    def votes(distances: np.ndarray) -> np.ndarray:
        # Relative to the nearest one, whose vote of 1 can neither overflow nor vanish.
        nearest = distances.min(axis=1, keepdims=True)
        return np.exp((nearest - distances) / temperature)

    return votes
