"""Whether probabilities are what they say: temperature, calibration error, risk and coverage.

Everything is about the confidence of an answer, which is the probability of the likeliest class.
"""

from typing import Dict, List, NamedTuple, Optional

import numpy as np
from scipy.special import log_softmax, softmax

# Below, one parameter is too many.
FEWEST = 20
BINS = 15
_FOLDS = 5
_BOUNDS = (0.05, 20.0)
# Logits of more images tell nothing more of one number.
_MOST_LOGITS = 5_000_000
_MOST_POINTS = 1000
# Of confidences: exports compute in float32.
_DIGITS = 1e6


def temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The number by which logits are divided so that their probabilities fit labels best.

    Temperature scaling, Guo et al. 2017. Where all answers are right, no temperature is too low;
    so the target of the label is (n + 1) / (n + 2), and the rest is the other classes', as Platt
    (1999) has it.

    Args:
      logits: float [images, classes], of images that were not trained on.
      labels: int [images].
    """
    # Here and below only when it is needed, since predict, which only reads what was fitted, would
    # start half a second later.
    from scipy.optimize import minimize_scalar

    step = -(-logits.size // _MOST_LOGITS)
    logits, labels = logits[::step].astype(np.float64), labels[::step]
    images = np.arange(len(labels))
    others = 1 / (len(labels) + 2) / max(logits.shape[1] - 1, 1)
    of_label = (len(labels) + 1) / (len(labels) + 2) - others

    def cross_entropy(log_temperature: float) -> float:
        likelihoods = log_softmax(logits / np.exp(log_temperature), axis=1)
        summed = likelihoods.sum(axis=1) * others
        return float(-np.mean(of_label * likelihoods[images, labels] + summed))

    found = minimize_scalar(cross_entropy, bounds=np.log(_BOUNDS), method="bounded")
    return float(np.exp(found.x))


def cross_scaled(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Probabilities, each image's scaled by the temperature of images that it is not among.

    Args:
      logits: float [images, classes].
      labels: int [images].

    Returns:
      float64 [images, classes].
    """
    from sklearn.model_selection import KFold

    scaled = np.empty(logits.shape)
    for fitted, others in KFold(_FOLDS, shuffle=True, random_state=0).split(logits):
        divisor = temperature(logits[fitted], labels[fitted])
        scaled[others] = softmax(logits[others].astype(np.float64) / divisor, axis=1)
    return scaled


class Bins(NamedTuple):
    """Answers by their confidence; all are [bins], and 0 where a bin is empty.

    Attributes:
      images: how many there are.
      confidence: their mean confidence.
      accuracy: how many of them are right.
    """

    images: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def reliability(confidences: np.ndarray, right: np.ndarray) -> Bins:
    """Puts answers into ``BINS`` bins of equal width.

    Args:
      confidences: float [images] in [0, 1].
      right: bool [images].
    """
    # Each but the first holds its upper end, as in Guo et al. 2017.
    numbers = np.clip(np.ceil(confidences * BINS).astype(int) - 1, 0, BINS - 1)
    images = np.bincount(numbers, minlength=BINS)
    sums = [np.bincount(numbers, weights=each, minlength=BINS) for each in (confidences, right)]
    return Bins(images, *(each / np.maximum(images, 1) for each in sums))


def error(confidences: np.ndarray, right: np.ndarray) -> float:
    """The expected calibration error: how far confidence and accuracy are apart, over the bins.

    Args:
      confidences, right: see :func:`reliability`.
    """
    bins = reliability(confidences, right)
    return float(np.average(np.abs(bins.confidence - bins.accuracy), weights=bins.images))


class Point(NamedTuple):
    """What answers above a threshold are worth.

    Attributes:
      threshold: the least confidence of an answer that is given.
      coverage: how many images have one.
      risk: how many of these answers are wrong.
    """

    threshold: float
    coverage: float
    risk: float


class Curve(NamedTuple):
    """Risk by coverage, measured on some images.

    Attributes:
      points: by falling threshold, so by rising coverage.
      images: that they were measured on.
    """

    points: List[Point]
    images: int

    def largest_coverage(self, risk: float) -> Optional[Point]:
        """The point of the largest coverage at no more than a risk; None if there is none."""
        allowed = [point for point in self.points if point.risk <= risk]
        return allowed[-1] if allowed else None

    def columns(self) -> Dict[str, List[float]]:
        """The points by column."""
        names = Point._fields
        return {name: [getattr(point, name) for point in self.points] for name in names}


def risk_coverage(confidences: np.ndarray, right: np.ndarray) -> Curve:
    """Measures the risk of giving only the surest answers (Geifman and El-Yaniv 2017).

    Args:
      confidences, right: see :func:`reliability`.

    Returns:
      At most ``_MOST_POINTS`` points, the last of all images.
    """
    rounded = np.floor(confidences * _DIGITS) / _DIGITS
    order = np.argsort(-rounded, kind="stable")
    rounded, wrong = rounded[order], np.cumsum(~right[order])
    count = np.arange(1, len(order) + 1)
    # Equal confidences are above a threshold together.
    last = np.flatnonzero(np.append(rounded[1:] < rounded[:-1], True))
    chosen = np.unique(np.linspace(0, len(last) - 1, _MOST_POINTS).round().astype(int))
    points = [
        Point(float(rounded[row]), float(count[row] / len(order)), float(wrong[row] / count[row]))
        for row in last[chosen]
    ]
    return Curve(points, len(order))
