"""Label spreading: a few labels that spread over a graph of near images."""

from typing import Dict, Optional

import numpy as np
from sklearn.semi_supervised import LabelSpreading

from tf_simclrv2.evaluation.features import Features, accuracies

_UNLABELLED = -1
# scikit-learn's 30 stop before labels have come to all images.
_MAX_ITERATIONS = 1000


def run(
    train: Features,
    test: Features,
    unlabelled: Optional[np.ndarray] = None,
    neighbours: int = 7,
    alpha: float = 0.8,
) -> Dict[str, float]:
    """Spreads labels to the images to classify, over a graph of all images' nearest neighbours.

    As in `Learning with Local and Global Consistency <https://papers.nips.cc/paper/2506>`_ (Zhou et
    al., 2004), by scikit-learn. The images to classify are part of the graph, without labels, which
    no classifier that is trained beforehand could use.

    Args:
      train: features of labelled images.
      test: features of the images to classify.
      unlabelled: features of further images, float32 [images, dim].
      neighbours: that each image is connected to, of which one is the image itself.
      alpha: in (0, 1), how much an image takes from its neighbours at each iteration, rather than
        from its own label.

    Returns:
      ``top_1_accuracy`` and ``top_5_accuracy`` in [0, 1], and ``num_examples``.
    """
    further = [] if unlabelled is None else [unlabelled]
    values = np.concatenate([train.values, *further, test.values])
    labels = np.full(len(values), _UNLABELLED)
    labels[: len(train.labels)] = train.labels
    spreading = LabelSpreading(
        "knn", n_neighbors=min(neighbours, len(values)), alpha=alpha, max_iter=_MAX_ITERATIONS
    )
    spreading.fit(values, labels)
    scores = spreading.label_distributions_[-len(test.labels) :]
    return accuracies(scores, spreading.classes_, test.labels)
