"""``evaluation/``: what stands behind an evaluation's numbers, by image and by class."""

import os
import re
from typing import List, NamedTuple, Optional, Sequence

import numpy as np
from scipy.special import softmax

from tf_simclrv2.config.user_files import DIRECTORY, printable
from tf_simclrv2.evaluation import calibration, measures
from tf_simclrv2.evaluation.confusion_picture import picture
from tf_simclrv2.evaluation.measures import Answers
from tf_simclrv2.runtime.disk import writing
from tf_simclrv2.runtime.files import check_place, write_table
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.runtime.scratch import replacing_directory

FOLDER = "evaluation"
_TEMPORARY = ".new-"
# Of more, probabilities.npy would take hundreds of megabytes, in every run.
_MOST_PROBABILITIES = 10_000_000


class Answered(NamedTuple):
    """The answers to the images of an evaluation.

    Attributes:
      ids: of the images.
      class_names: names of the classes.
      answers: to them.
      temperature: of the probabilities in the files; None leaves them as they are.
    """

    ids: List[str]
    class_names: List[str]
    answers: Answers
    temperature: Optional[float]

    @property
    def probabilities(self) -> np.ndarray:
        """At the temperature, float64 [images, classes]."""
        logits = self.answers.logits.astype(np.float64)
        return softmax(logits / (self.temperature or 1.0), axis=1)


def folder_of(parts: Sequence[str]) -> str:
    """The path of an evaluation's files within a run.

    Args:
      parts: what tells the evaluation from others; any text, such as the name of a split.
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", "_".join(parts))
    return os.path.join(FOLDER, name[:200].lstrip("."))


def check_folder(run: RunDirectory) -> None:
    """Refuses a run in which something else is in the place of the files.

    Raises:
      ConfigError: the message names it.
    """
    check_place(os.path.realpath(run.file(FOLDER)), "model_dir", DIRECTORY, run.path)


def write(run: RunDirectory, folder: str, answered: Answered) -> None:
    """Writes the files of an evaluator: all of them, or nothing.

    Args:
      run: the run.
      folder: within the run; an earlier one is replaced.
      answered: what to write.

    Raises:
      ConfigError: they can't be written.
    """
    check_folder(run)
    target = os.path.realpath(run.file(folder))
    with writing("model_dir", run.path), replacing_directory(target, _TEMPORARY) as new:
        _write_images(new, answered)
        _write_classes(new, answered)
        _write_curves(new, answered)


def _write_images(new: str, answered: Answered) -> None:
    answers, names = answered.answers, answered.class_names
    probabilities = answered.probabilities
    rows = (
        (printable(each), names[label], names[predicted], f"{confidence:.6f}")
        for each, label, predicted, confidence in zip(
            answered.ids, answers.labels, answers.predicted, probabilities.max(axis=1)
        )
    )
    columns = ("image", "label", "predicted", "confidence")
    write_table(os.path.join(new, "predictions.csv"), [columns, *rows])
    if probabilities.size <= _MOST_PROBABILITIES:
        np.save(os.path.join(new, "probabilities.npy"), probabilities.astype(np.float32))


def _write_classes(new: str, answered: Answered) -> None:
    names, found = answered.class_names, measures.per_class(answered.answers)
    of_classes = (
        (name, f"{precision:.6f}", f"{recall:.6f}", support)
        for name, precision, recall, support in zip(names, *found)
    )
    write_table(os.path.join(new, "per_class.csv"), [("class", *found._fields), *of_classes])
    counts = measures.confusion(answered.answers)
    rows = ((name, *row) for name, row in zip(names, counts.tolist()))
    write_table(os.path.join(new, "confusion.csv"), [("label", *names), *rows])
    with open(os.path.join(new, "confusion.png"), "wb") as file:
        file.write(picture(counts, names))


def _write_curves(new: str, answered: Answered) -> None:
    right, confidences = answered.answers.right, answered.probabilities.max(axis=1)
    plain = answered._replace(temperature=None).probabilities.max(axis=1)
    bins = [calibration.reliability(each, right) for each in (plain, confidences)]
    columns = [*bins[0]._fields, *(f"{name}_scaled" for name in bins[1]._fields)]
    edges = np.linspace(0, 1, calibration.BINS + 1)
    of_bins = ([f"{n:.6g}" for n in row] for row in zip(edges[:-1], edges[1:], *bins[0], *bins[1]))
    write_table(os.path.join(new, "reliability.csv"), [("low", "high", *columns), *of_bins])
    curve = calibration.risk_coverage(confidences, right)
    rows = ([f"{number:.6f}" for number in point] for point in curve.points)
    write_table(os.path.join(new, "risk_coverage.csv"), [calibration.Point._fields, *rows])
