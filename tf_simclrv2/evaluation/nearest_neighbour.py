"""The one nearest neighbour: what anybody would try first."""

from typing import Dict

from sklearn.neighbors import KNeighborsClassifier

from tf_simclrv2.evaluation.features import Features, accuracies


def run(train: Features, test: Features) -> Dict[str, float]:
    """Gives each image the class of the labelled image at the least Euclidean distance.

    Args:
      train: features of labelled images.
      test: features of the images to classify.

    Returns:
      ``top_1_accuracy`` and ``top_5_accuracy`` in [0, 1], and ``num_examples``.
    """
    nearest = KNeighborsClassifier(1, algorithm="brute").fit(train.values, train.labels)
    return accuracies(nearest.predict_proba(test.values), nearest.classes_, test.labels)
