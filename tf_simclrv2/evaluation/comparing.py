"""Classifiers compared on the same images, so that what is hard for all of them cancels."""

from typing import List, NamedTuple, Sequence

import numpy as np
from scipy.stats import binomtest, norm

from tf_simclrv2.evaluation.measures import CONFIDENCE


class Difference(NamedTuple):
    """How much more accurate one classifier is than another one.

    Attributes:
      difference: of the accuracies, in [-1, 1].
      low, high: its 95% interval.
      only_one: images that only the one has right.
      only_other: images that only the other has right.
      p_value: of McNemar's exact test that both are as good.
    """

    difference: float
    low: float
    high: float
    only_one: int
    only_other: int
    p_value: float


def paired(one: np.ndarray, other: np.ndarray) -> Difference:
    """Compares which images are right, bool [images], of at least one image.

    The interval is that of Agresti and Min (2005): Wald's, with half an image more in each of the
    four cells. McNemar's test looks at the images that only one of both has right.
    """
    only_one, only_other = int(np.sum(one & ~other)), int(np.sum(other & ~one))
    count = len(one) + 2
    shares = (only_one + 0.5) / count, (only_other + 0.5) / count
    middle = shares[0] - shares[1]
    half = norm.ppf(0.5 + CONFIDENCE / 2) * np.sqrt((sum(shares) - middle**2) / count)
    differing = only_one + only_other
    return Difference(
        (only_one - only_other) / len(one),
        float(max(middle - half, -1)),
        float(min(middle + half, 1)),
        only_one,
        only_other,
        float(binomtest(only_one, differing).pvalue) if differing else 1.0,
    )


def holm(p_values: Sequence[float]) -> List[float]:
    """The p-values of several tests, each made so large that all may be looked at.

    Where no two differ, one of them is below 0.05 in at most 5 of 100 cases (Holm, 1979).

    Args:
      p_values: of each test by itself.
    """
    order = np.argsort(p_values, kind="stable")
    left = len(order) - np.arange(len(order))
    adjusted = np.minimum(np.maximum.accumulate(left * np.asarray(p_values)[order]), 1.0)
    found = np.empty(len(order))
    found[order] = adjusted
    return found.tolist()
