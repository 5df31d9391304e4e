"""A linear classifier in closed form: ridge regression on frozen features."""

from typing import Dict, Optional

import numpy as np
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tf_simclrv2.evaluation.features import Features, accuracies

# Tried where no penalty is given. Features are standardised, so that they suit any network.
PENALTIES = tuple(10.0**power for power in range(-3, 7))


def run(train: Features, test: Features, penalty: Optional[float] = None) -> Dict[str, float]:
    """Fits one regression to 1 and -1 per class, and takes the class with the largest output.

    A single decomposition of the training features serves all penalties, and also gives the error
    on each training image of the regression that was fitted to all others, by which the penalty is
    chosen. It needs a few copies of the training features in float64, and as many numbers as there
    are images and classes.

    Args:
      train: features of labelled images.
      test: features of the images to classify.
      penalty: L2 penalty on the weights, of the sum of squared errors; None takes the best of
        ``PENALTIES`` in leave-one-out cross-validation on the training images.

    Returns:
      ``top_1_accuracy`` and ``top_5_accuracy`` in [0, 1], ``penalty`` and ``num_examples``.
    """
    penalties = PENALTIES if penalty is None else (penalty,)
    classifier = make_pipeline(StandardScaler(), RidgeClassifierCV(np.array(penalties)))
    classifier.fit(train.values.astype(np.float64), train.labels)
    ridge = classifier[-1]
    scores = classifier.decision_function(test.values.astype(np.float64))
    if scores.ndim == 1:  # Of two classes it returns the second one's only.
        scores = np.stack([-scores, scores], axis=1)
    return {**accuracies(scores, ridge.classes_, test.labels), "penalty": float(ridge.alpha_)}
