"""A linear classifier by logistic regression on frozen features: the linear probe."""

from typing import Dict

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from tf_simclrv2.evaluation.features import Features, accuracies
from tf_simclrv2.evaluation.scaling import ShrunkScaler

_MAX_ITERATIONS = 2000
# Of the gradient. scikit-learn's own 1e-4 stops where a few test images still change sides.
_TOLERANCE = 1e-6


def run(
    train: Features, test: Features, penalty: float = 1e-3, per_feature: bool = True
) -> Dict[str, float]:
    """Fits a softmax classifier to standardised features until it no longer changes.

    Args:
      train: features of labelled images.
      test: features of the images to classify.
      penalty: factor of the squared weights' sum, which is added to the mean cross entropy in nats.
      per_feature: whether to divide each feature by its own deviation, or all by a common one,
        which keeps those small that hardly change, such as pixels at an image's edge.

    Returns:
      ``top_1_accuracy`` and ``top_5_accuracy`` in [0, 1], and ``num_examples``.
    """
    # scikit-learn minimises half of the squared weights' sum plus C times the summed cross entropy.
    inverse = 1 / (2 * penalty * len(train.labels))
    classifier = make_pipeline(
        ShrunkScaler(with_std=per_feature),
        LogisticRegression(C=inverse, tol=_TOLERANCE, max_iter=_MAX_ITERATIONS),
    )
    values = train.values.astype(np.float64)
    unit = 1.0 if per_feature else np.sqrt(values.var(axis=0).sum()) or 1.0
    classifier.fit(values / unit, train.labels)
    scores = classifier.predict_proba(test.values.astype(np.float64) / unit)
    return accuracies(scores, classifier.classes_, test.labels)
