"""Features as regressions take them, by the equation of their scaling."""

from typing import Tuple

import numpy as np


def standardised(train: np.ndarray, *others: np.ndarray) -> Tuple[np.ndarray, ...]:
    """Training features and others, by the training features' means and shrunk deviations.

    A variance is the mean over the images and ten more, in which it is that of all features.
    """
    train = train.astype(float)
    squares = (train - train.mean(axis=0)) ** 2
    more = np.full([10, train.shape[1]], squares.mean())
    deviations = np.sqrt(np.concatenate([squares, more]).mean(axis=0))
    return tuple((values - train.mean(axis=0)) / deviations for values in (train, *others))
