"""What representations tell without labels: rank, alignment, uniformity and held-out contrast.

Sources: RankMe (Garrido et al., arXiv:2210.02885); alignment and uniformity (Wang and Isola,
arXiv:2005.10242); NT-Xent (Chen et al., arXiv:2002.05709). docs/monitors.md says how to read them,
docs/results.md what they are worth.
"""

from typing import Dict, NamedTuple, Optional, Tuple

import numpy as np
from scipy.spatial.distance import pdist
from scipy.special import logsumexp, xlogy
from sklearn.metrics import accuracy_score

from tf_simclrv2.evaluation import knn
from tf_simclrv2.evaluation.features import Features
from tf_simclrv2.evaluation.ridge import Ridge

# Fewer labelled images of a class, on average, have too few neighbours of their own class.
FEWEST_OF_CLASS = 5


class Encoded(NamedTuple):
    """What a network makes of images, and of two views of each.

    Attributes:
      representations: h of the images as they are, float32 [images, dim].
      projections: z of them, float32 [images, proj_dim].
      first, second: z of the two views.
      labels: int64 [images], below 0 for an image without a label.
    """

    representations: np.ndarray
    projections: np.ndarray
    first: np.ndarray
    second: np.ndarray
    labels: np.ndarray


def run(
    encoded: Encoded, temperature: float, hidden_norm: bool, few_labels: Optional[int] = None
) -> Dict[str, float]:
    """Measures a network on images that it need not have labels of.

    Args:
      encoded: what it makes of the images.
      temperature, hidden_norm: of the contrastive loss.
      few_labels: least number of labelled images for what needs labels; None is never.

    Returns:
      ``rank_h``, ``rank_z``, ``alignment``, ``uniformity``, ``loss`` in nats, ``accuracy`` and,
      with enough labels, ``knn`` and ``ridge``, accuracies in [0, 1] of the images that are left
      out in turn. Nothing if a number of the network's is not finite.
    """
    if not all(np.isfinite(values).all() for values in encoded):
        return {}
    first, second = _normalised(encoded.first), _normalised(encoded.second)
    pair = (first, second) if hidden_norm else (encoded.first, encoded.second)
    loss, accuracy = contrast(*pair, temperature)
    measured = {
        "rank_h": effective_rank(encoded.representations),
        "rank_z": effective_rank(encoded.projections),
        "alignment": alignment(first, second),
        "uniformity": (uniformity(first) + uniformity(second)) / 2,
        "loss": loss,
        "accuracy": accuracy,
    }
    labelled = encoded.labels >= 0
    enough = few_labels is not None and labelled.sum() >= few_labels
    if enough and len(np.unique(encoded.labels[labelled])) > 1:
        of_labelled = Features(encoded.representations[labelled], encoded.labels[labelled])
        measured.update(with_labels(of_labelled))
    return measured


def effective_rank(values: np.ndarray) -> float:
    """RankMe: the exponential of the entropy of the singular values, as shares of their sum.

    Args:
      values: [images, dim], not centred.

    Returns:
      1 where all rows are multiples of one, at most the smaller of the two dimensions.
    """
    values = values.astype(np.float64)
    # The squares of the singular values, by a matrix as small as the shorter side.
    products = values @ values.T if len(values) < values.shape[1] else values.T @ values
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh(products), 0))
    if not roots.sum():
        return 1.0
    shares = roots / roots.sum()
    return float(np.exp(-xlogy(shares, shares).sum()))


def alignment(first: np.ndarray, second: np.ndarray) -> float:
    """The mean squared distance of the two views of an image, normalised [images, dim]; 0 to 4."""
    return float(np.mean(np.sum((first - second).astype(np.float64) ** 2, axis=1)))


def uniformity(values: np.ndarray) -> float:
    """The log of the mean of exp(-2 distance^2) over pairs of images, normalised [images, dim].

    Returns:
      0 where all are the same, down to -4 where they are spread over a large sphere.
    """
    exponents = -2 * pdist(values.astype(np.float64), "sqeuclidean")
    return float(logsumexp(exponents) - np.log(len(exponents)))


def contrast(first: np.ndarray, second: np.ndarray, temperature: float) -> Tuple[float, float]:
    """NT-Xent among all images at once, and how often a view's other view is its nearest.

    It is :func:`tf_simclrv2.objectives.contrastive.nt_xent` of one batch, in NumPy: what a network
    makes of the images comes in parts, and is on the host when all are there.

    Args:
      first, second: z of the views, [images, dim], normalised if the run normalises them.
      temperature: divides the similarities.

    Returns:
      Loss and accuracy.
    """
    first, second = first.astype(np.float64), second.astype(np.float64)
    across = first @ second.T / temperature
    within_1, within_2 = (each @ each.T / temperature for each in (first, second))
    for within in (within_1, within_2):
        np.fill_diagonal(within, -np.inf)
    own = np.diagonal(across)
    losses = logsumexp(np.hstack([across, within_1]), axis=1) - own
    losses += logsumexp(np.hstack([across.T, within_2]), axis=1) - own
    right = across.argmax(axis=1) == np.arange(len(across))
    return float(losses.mean()), float(right.mean())


def with_labels(images: Features) -> Dict[str, float]:
    """Accuracies of neighbours and of ridge regression on each image, learnt from all others.

    Args:
      images: features of labelled images, of at least two classes.
    """
    ridge = Ridge(images)
    scores = {"knn": knn.left_out(images), "ridge": ridge.left_out(ridge.best())}
    return {
        name: float(accuracy_score(images.labels, ridge.classes[each.argmax(axis=1)]))
        for name, each in scores.items()
    }


def _normalised(values: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.maximum(lengths, 1e-12)
