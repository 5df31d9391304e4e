"""Cross-validation: every labelled image is a test image once."""

import warnings
from typing import Iterable, List, Optional, Tuple

import numpy as np
from sklearn.model_selection import StratifiedKFold

from tf_simclrv2.evaluation import ridge
from tf_simclrv2.evaluation.features import Features
from tf_simclrv2.evaluation.measures import Answers

# The rows to learn from, and those of the fold.
Fold = Tuple[np.ndarray, np.ndarray]


def folds_of(labels: np.ndarray, most: int) -> int:
    """In how many folds labels can be divided: at most as many as the largest class has images."""
    return min(most, int(np.bincount(labels).max()))


def divided(labels: np.ndarray, folds: int) -> Optional[List[Fold]]:
    """Divides labelled images into folds, each with about the same share of each class.

    Args:
      labels: int [images].
      folds: parts of the images; at most as many as the largest class has images.

    Returns:
      For each fold the rows of the images to learn from, and those of the fold; None where the
      images are too few.
    """
    folds = folds_of(labels, folds)
    if folds < 2:
        return None
    parts = StratifiedKFold(folds, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        # A class may have fewer images than there are folds, and is then not in all of them.
        warnings.simplefilter("ignore", UserWarning)
        rows = list(parts.split(labels, labels))
    return None if min(len(learnt) for learnt, _ in rows) < 2 else rows


def answers(images: Features, num_classes: int, folds: Iterable[Fold]) -> Answers:
    """What ridge regression makes of each image, learnt from the images of the other folds.

    Penalty and sharpness are chosen within the images that are learnt from.

    Args:
      images: features of labelled images.
      num_classes: that the labels are of.
      folds: of the images, see :func:`divided`.

    Returns:
      The answers in the order of the images.
    """
    logits = np.empty([len(images.labels), num_classes])
    for learnt, left in folds:
        train, test = (
            Features(images.values[each], images.labels[each]) for each in (learnt, left)
        )
        logits[left] = ridge.logits(train, test, num_classes)
    return Answers(logits, images.labels)
