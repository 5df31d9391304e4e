"""A linear classifier in closed form: ridge regression on frozen features."""

from typing import Dict, NamedTuple, Optional

import numpy as np
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tf_simclrv2.evaluation.features import Features, accuracies

# Tried where no penalty is given. Features are standardised, so that they suit any network.
PENALTIES = tuple(10.0**power for power in range(-3, 7))


class Solution(NamedTuple):
    """A linear classifier: ``features @ kernel + bias`` has a column for each class.

    Attributes:
      kernel: float64 [dim, classes].
      bias: float64 [classes].
      classes: int [classes], the class that each column is about.
      penalty: that was taken.
    """

    kernel: np.ndarray
    bias: np.ndarray
    classes: np.ndarray
    penalty: float


def solve(train: Features, penalty: Optional[float] = None) -> Solution:
    """Fits one regression to 1 and -1 per class.

    A single decomposition of the training features serves all penalties, and also gives the error
    on each training image of the regression that was fitted to all others, by which the penalty is
    chosen. It needs a few copies of the training features in float64, and as many numbers as there
    are images and classes.

    Args:
      train: features of labelled images.
      penalty: L2 penalty on the weights, of the sum of squared errors; None takes the best of
        ``PENALTIES`` in leave-one-out cross-validation on the training images.
    """
    penalties = PENALTIES if penalty is None else (penalty,)
    classifier = make_pipeline(StandardScaler(), RidgeClassifierCV(np.array(penalties)))
    classifier.fit(train.values.astype(np.float64), train.labels)
    scaler, ridge = classifier
    kernel = np.atleast_2d(ridge.coef_).T / scaler.scale_[:, np.newaxis]
    bias = np.atleast_1d(ridge.intercept_) - scaler.mean_ @ kernel
    if len(bias) == 1:  # Of two classes it fits the second one's only.
        kernel, bias = np.concatenate([-kernel, kernel], axis=1), np.concatenate([-bias, bias])
    return Solution(kernel, bias, ridge.classes_, float(ridge.alpha_))


def run(train: Features, test: Features, penalty: Optional[float] = None) -> Dict[str, float]:
    """Takes the class with the largest output of :func:`solve`.

    Args:
      train: features of labelled images.
      test: features of the images to classify.
      penalty: see :func:`solve`.

    Returns:
      ``top_1_accuracy`` and ``top_5_accuracy`` in [0, 1], ``penalty`` and ``num_examples``.
    """
    solution = solve(train, penalty)
    scores = test.values.astype(np.float64) @ solution.kernel + solution.bias
    return {**accuracies(scores, solution.classes, test.labels), "penalty": solution.penalty}
