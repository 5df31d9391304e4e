"""What a sceptic tries first: simple classifiers on few labels, whatever the features are."""

from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional

import numpy as np

from tf_simclrv2.evaluation import EVALUATORS
from tf_simclrv2.evaluation.features import Features
from tf_simclrv2.keras2 import tf

# Of images: larger ones are averaged down to this height and width first.
_PIXELS = 32
# What is compared takes memory and time by the number of images (label spreading: by its square).
MOST_IMAGES = 20_000
# Logistic regression takes time by the number of labelled images times that of classes.
MOST_LABELS_BY_CLASSES = 300_000


class Baseline(NamedTuple):
    """A row of ``BASELINES``.

    Attributes:
      words: its name for people.
      settings: of the evaluator, which has the row's name.
      takes_unlabelled: whether it uses images without labels.
    """

    words: str
    settings: Mapping[str, Any] = {}
    takes_unlabelled: bool = False


# Each is an evaluator, with the settings that suit few labels.
BASELINES: Dict[str, Baseline] = {
    "nearest_neighbour": Baseline("nearest neighbour"),
    "logistic": Baseline("logistic regression", {"per_feature": False}),
    "label_spreading": Baseline("label spreading", takes_unlabelled=True),
}


class Counts(NamedTuple):
    """How many images there are.

    Attributes:
      labelled: to learn from.
      unlabelled: to use without labels.
      test: to classify.
      classes: that the labels are of.
    """

    labelled: int
    unlabelled: int
    test: int
    classes: int


def run(
    train: Features,
    test: Features,
    unlabelled: Optional[np.ndarray] = None,
    names: Optional[Iterable[str]] = None,
) -> Dict[str, float]:
    """Accuracy of the baselines on one kind of features.

    Args:
      train: features of labelled images.
      test: features of the images to classify.
      unlabelled: features of further images, float32 [images, dim].
      names: some of ``BASELINES``; by default all.

    Returns:
      Top-1 accuracy in [0, 1] by the baseline's name.
    """
    measured = {}
    for name in BASELINES if names is None else names:
        settings = dict(BASELINES[name].settings)
        if BASELINES[name].takes_unlabelled:
            settings["unlabelled"] = unlabelled
        measured[name] = EVALUATORS[name].run(train, test, **settings)["top_1_accuracy"]
    return measured


def left_out(counts: Counts) -> Dict[str, str]:
    """Which baselines would take too much memory or time, each with the reason as a sentence's end.

    Args:
      counts: of the images.
    """
    reasons = {}
    for name, baseline in BASELINES.items():
        images = counts.labelled + counts.test
        images += counts.unlabelled if baseline.takes_unlabelled else 0
        products = counts.labelled * counts.classes
        if images > MOST_IMAGES:
            reasons[name] = f"it would compare {images:,} images, and does so up to {MOST_IMAGES:,}"
        elif name == "logistic" and products > MOST_LABELS_BY_CLASSES:
            reasons[name] = (
                f"{counts.labelled:,} labelled images times {counts.classes:,} classes are more "
                f"than {MOST_LABELS_BY_CLASSES:,}"
            )
    return reasons


def raw_pixels(batches: Iterable[Dict[str, tf.Tensor]]) -> Features:
    """The pixels of images, as features.

    Args:
      batches: as :func:`tf_simclrv2.evaluation.features.features` takes them.

    Returns:
      The values of at most 32 by 32 pixels, to which larger images are averaged down.
    """
    values: List[np.ndarray] = []
    labels: List[np.ndarray] = []
    for batch in batches:
        images = batch["image"]
        if max(images.shape[1:3]) > _PIXELS:
            images = tf.image.resize(images, [_PIXELS, _PIXELS], "area")
        counts = batch["weight"].numpy() > 0
        values.append(images.numpy().reshape(len(counts), -1)[counts])
        labels.append(batch["label"].numpy()[counts])
    return Features(np.concatenate(values), np.concatenate(labels))
