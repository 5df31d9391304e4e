"""What an evaluation says of a classifier's answers: how good they are, and how sure that is.

docs/evaluation.md explains each number, with its source.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
from scipy.special import log_softmax, softmax
from scipy.stats import binomtest
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    precision_recall_fscore_support,
    recall_score,
    top_k_accuracy_score,
)

from tf_simclrv2.evaluation import calibration

CONFIDENCE = 0.95
# The right class is among so many answers, which says little where there are no more.
TOP = 5


class Answers(NamedTuple):
    """What a classifier makes of labelled images.

    Attributes:
      logits: float [images, classes]; their softmax are the probabilities.
      labels: int64 [images], each below the number of classes.
    """

    logits: np.ndarray
    labels: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """The likeliest class of each image, int64 [images]; of equal ones the first."""
        return np.argmax(self.logits, axis=1)

    @property
    def right(self) -> np.ndarray:
        """Whether the likeliest class is the label's, bool [images]."""
        return self.predicted == self.labels

    @property
    def num_classes(self) -> int:
        """Classes that there are answers for, whether or not images have them."""
        return self.logits.shape[1]

    @property
    def loss(self) -> float:
        """Mean cross entropy in nats."""
        # scikit-learn's is of probabilities, which it clips. Of weights that have diverged it is
        # NaN here, which others tell, and an error there.
        with np.errstate(invalid="ignore"):
            likelihoods = log_softmax(self.logits.astype(np.float64), axis=1)
        return float(-likelihoods[np.arange(len(self.labels)), self.labels].mean())


class ClassMeasures(NamedTuple):
    """How good the answers are for each class; all are [classes].

    Attributes:
      precision: of the images with this answer, how many are of the class; 0 without any.
      recall: of the images of the class, how many have this answer; 0 without any.
      support: images of the class.
    """

    precision: np.ndarray
    recall: np.ndarray
    support: np.ndarray


def interval(right: int, images: int) -> Tuple[float, float]:
    """Wilson's 95% interval of an accuracy, if the images are a random sample.

    Args:
      right: images that are right.
      images: that there are.
    """
    low, high = binomtest(right, images).proportion_ci(CONFIDENCE, "wilson")
    return float(low), float(high)


def interval_of(share: float, images: int) -> Tuple[float, float]:
    """The 95% interval of a share of so many images, see :func:`interval`."""
    return interval(round(share * images), images)


def with_interval(accuracy: float, images: int) -> str:
    """An accuracy and its 95% interval in a few words, such as ``70.0% (60.4% to 78.1%)``.

    Args:
      accuracy: in [0, 1].
      images: that it was measured on.
    """
    low, high = interval_of(accuracy, images)
    return f"{accuracy:.1%} ({low:.1%} to {high:.1%})"


def measures(answers: Answers) -> Dict[str, Any]:
    """Measures the answers to at least one image.

    Args:
      answers: of finite logits.

    Returns:
      ``accuracy`` and its ``interval``, ``images``, ``balanced_accuracy``, ``top_5`` where there
      are more than five classes, ``loss``, ``brier`` and ``calibration_error``; and, of at least
      ``calibration.FEWEST`` images, ``temperature``, ``brier_scaled`` and
      ``calibration_error_scaled``, which are of probabilities that were scaled by the temperature
      of other images.
    """
    labels, predicted, right = answers.labels, answers.predicted, answers.right
    probabilities = softmax(answers.logits.astype(np.float64), axis=1)
    found: Dict[str, Any] = {
        "accuracy": float(accuracy_score(labels, predicted)),
        "interval": list(interval(int(right.sum()), len(labels))),
        "images": len(labels),
        "balanced_accuracy": float(
            recall_score(labels, predicted, labels=np.unique(labels), average="macro")
        ),
        "loss": answers.loss,
        "brier": brier(probabilities, labels),
        "calibration_error": calibration.error(probabilities.max(axis=1), right),
    }
    if answers.num_classes > TOP:
        classes = np.arange(answers.num_classes)
        found["top_5"] = float(top_k_accuracy_score(labels, answers.logits, k=TOP, labels=classes))
    if len(labels) >= calibration.FEWEST:
        scaled = calibration.cross_scaled(answers.logits, labels)
        found["temperature"] = calibration.temperature(answers.logits, labels)
        found["brier_scaled"] = brier(scaled, labels)
        found["calibration_error_scaled"] = calibration.error(scaled.max(axis=1), right)
    return found


def brier(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The mean squared error of the probabilities, summed over the classes: from 0 to 2.

    Args:
      probabilities: [images, classes].
      labels: int [images].
    """
    # scikit-learn's is for two classes until its release 1.7.
    of_label = probabilities[np.arange(len(labels)), labels]
    return float(np.mean(np.sum(probabilities**2, axis=1) - 2 * of_label + 1))


def per_class(answers: Answers) -> ClassMeasures:
    """Precision, recall and support of each class."""
    precision, recall, _, support = precision_recall_fscore_support(
        answers.labels, answers.predicted, labels=np.arange(answers.num_classes), zero_division=0.0
    )
    return ClassMeasures(precision, recall, support)


def confusion(answers: Answers) -> np.ndarray:
    """How many images of each class (rows) have which answer (columns), int [classes, classes]."""
    classes = np.arange(answers.num_classes)
    return confusion_matrix(answers.labels, answers.predicted, labels=classes)


def sentence(measured: Dict[str, Any]) -> str:
    """The numbers of :func:`measures` in words, as a part of a sentence.

    Args:
      measured: what it returned.
    """
    low, high = measured["interval"]
    return f"{measured['accuracy']:.1%} ({CONFIDENCE:.0%} interval {low:.1%} to {high:.1%})"


def details(measured: Dict[str, Any]) -> str:
    """What else :func:`measures` found, in words."""
    parts = [f"balanced {measured['balanced_accuracy']:.1%}"]
    if "top_5" in measured:
        parts.append(f"top-5 {measured['top_5']:.1%}")
    parts += [f"loss {measured['loss']:.4f}", f"Brier score {measured['brier']:.3f}"]
    error = f"calibration error {measured['calibration_error']:.1%}"
    scaled: Optional[float] = measured.get("calibration_error_scaled")
    if scaled is not None:
        error += f", {scaled:.1%} at temperature {measured['temperature']:.2f}"
    return ", ".join([*parts, error])


__all__: List[str] = [
    "Answers", "ClassMeasures", "brier", "confusion", "details", "interval", "measures",
    "per_class", "sentence", "with_interval",
]  # fmt: skip
