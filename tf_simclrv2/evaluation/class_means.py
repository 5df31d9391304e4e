"""The nearest class mean by cosine similarity: how far a few labels go."""

from typing import Dict, Optional

import numpy as np
from sklearn.preprocessing import StandardScaler, normalize

from tf_simclrv2.evaluation.features import Features


def run(
    train: Features,
    test: Features,
    num_labels: Optional[int] = None,
    choices: int = 200,
    seed: int = 0,
) -> Dict[str, float]:
    """Classifies by the class mean that is most similar, over many choices of labelled images.

    With few labels the choice decides more than the network does, and this classifier is quick to
    fit again. Features are standardised by all training images, for which labels are not needed.
    scikit-learn's ``NearestCentroid`` knows no cosine similarity.

    Args:
      train: features of the images to choose from.
      test: features of the images to classify.
      num_labels: labelled images of a choice, at least one per class: each class has as many as the
        others, or one more. None uses all training images, once.
      choices: number of choices.
      seed: of the choices.

    Returns:
      ``top_1_accuracy``, the mean over the choices in [0, 1], and ``num_examples``.

    Raises:
      ValueError: there are fewer labels than classes.
    """
    classes = np.unique(train.labels)
    if num_labels is not None and num_labels < len(classes):
        raise ValueError(f"num_labels must be at least {len(classes)}, but is {num_labels}.")
    scaler = StandardScaler().fit(train.values)
    values, test_values = (normalize(scaler.transform(part.values)) for part in (train, test))
    of_class = [np.flatnonzero(train.labels == label) for label in classes]
    random = np.random.RandomState(seed)
    right = []
    for _ in range(1 if num_labels is None else choices):
        chosen = of_class
        if num_labels is not None:
            each, more = divmod(num_labels, len(classes))
            counts = each + (random.permutation(len(classes)) < more)
            chosen = [
                random.choice(images, count, replace=False)
                for images, count in zip(of_class, counts)
            ]
        means = normalize(np.stack([values[images].mean(axis=0) for images in chosen]))
        nearest = classes[np.argmax(test_values @ means.T, axis=1)]
        right.append(np.mean(nearest == test.labels))
    return {"top_1_accuracy": float(np.mean(right)), "num_examples": len(test.labels)}
