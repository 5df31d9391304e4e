"""What evaluations have kept of answers: confusion, reliability, risk, predictions."""

import contextlib
import csv
import os
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, TypeVar

from tf_simclrv2.reporting import charts
from tf_simclrv2.reporting.charts import Chart
from tf_simclrv2.reporting.results import EVALUATORS, finite, results_of, where
from tf_simclrv2.reporting.runs import Run

_CONFUSION, _PREDICTIONS = "confusion.csv", "predictions.csv"
_RELIABILITY, _RISKS = "reliability.csv", "risk_coverage.csv"
# Suffixes of columns, with what they are in words.
_SCALED = {"": "as it answers", "_scaled": "with its temperature"}
# Points of a curve; the file of a large evaluation has one for each image.
_MOST_POINTS = 200
# Cells of a confusion matrix that is shown as a whole.
_MOST_CLASSES = 60

T = TypeVar("T")


class Answer(NamedTuple):
    """What a run answers on an image.

    Attributes:
      image: its name.
      label: its class; empty if it isn't known.
      predicted: the class that is answered.
      confidence: the probability of that class.
    """

    image: str
    label: str
    predicted: str
    confidence: float

    @property
    def is_wrong(self) -> bool:
        """Whether the answer is known to be wrong."""
        return bool(self.label) and self.label != self.predicted


class Evaluation(NamedTuple):
    """The files of an evaluation.

    Attributes:
      run: whose it is, by name.
      name: the evaluation's.
      path: of the directory.
    """

    run: str
    name: str
    path: str

    @property
    def words(self) -> str:
        """Run and evaluation, for titles; the run's own classifier needs no further words."""
        return self.run if self.name == EVALUATORS["classifier"] else f"{self.run}: {self.name}"

    @property
    def stem(self) -> str:
        """How the names of its charts begin."""
        return f"{self.run}_{self.name}"

    def answers(self) -> List[Answer]:
        """The run's answer on each image; empty if they were not kept."""
        return [
            Answer(line["image"], line["label"], line["predicted"], finite(line["confidence"]))
            for line in _table(self, _PREDICTIONS)
        ]


def evaluations_of(run: Run) -> List[Evaluation]:
    """The evaluations of a run that have kept files: its own first, then those on other data."""
    found = []
    for result, is_own in results_of(run):
        for name, words in EVALUATORS.items():
            numbers = result.get(name)
            folder = numbers.get("files") if isinstance(numbers, dict) else None
            path = _inside(run, folder) if isinstance(folder, str) else None
            if path is not None:
                on = "" if is_own else f" on {where(result, is_own)}"
                found.append(Evaluation(run.name, f"{words}{on}", path))
    return found


def _inside(run: Run, folder: str) -> Optional[str]:
    """A directory of a run; None if it is not there, or not the run's."""
    path = os.path.realpath(run.directory.file(folder))
    root = os.path.realpath(run.directory.path)
    return path if path.startswith(f"{root}{os.sep}") and os.path.isdir(path) else None


def _rows(evaluation: Evaluation, name: str) -> List[List[str]]:
    """The rows of one of an evaluation's tables; none if it is not there or no table."""
    path = os.path.join(evaluation.path, name)
    try:
        with open(path, newline="", encoding="utf-8", errors="replace") as file:
            return [row for row in csv.reader(file) if row]
    except (OSError, csv.Error):
        return []


def _table(evaluation: Evaluation, name: str) -> List[Dict[str, str]]:
    header, *rows = _rows(evaluation, name) or [[]]
    return [dict(zip(header, row)) for row in rows if len(row) == len(header)]


def _unless_damaged(read: Callable[[Evaluation], Optional[T]], evaluation: Evaluation,
                    ) -> Optional[T]:  # fmt: skip
    """What is read from an evaluation's file; None if somebody has changed that."""
    with contextlib.suppress(ValueError, KeyError, IndexError):
        return read(evaluation)
    return None


def answers_of(evaluations: Sequence[Evaluation]) -> Dict[str, Tuple[Evaluation, List[Answer]]]:
    """The answers of each run's newest evaluation that has kept some, by run.

    Args:
      evaluations: of all runs, the newest of a run first.
    """
    found: Dict[str, Tuple[Evaluation, List[Answer]]] = {}
    for evaluation in evaluations:
        if evaluation.run not in found:
            answers = _unless_damaged(Evaluation.answers, evaluation)
            if answers:
                found[evaluation.run] = (evaluation, answers)
    return found


def confusions(evaluations: Sequence[Evaluation]) -> List[Chart]:
    """The confusion matrices, of those that have one.

    Args:
      evaluations: of all runs.
    """
    return list(filter(None, (_unless_damaged(_confusion, each) for each in evaluations)))


def _confusion(evaluation: Evaluation) -> Optional[Chart]:
    header, *rows = _rows(evaluation, _CONFUSION) or [[]]
    classes = header[1:]
    if not classes or [row[0] for row in rows] != classes:
        return None
    if len(classes) > _MOST_CLASSES:
        return _largest_confusions(evaluation, classes, rows)
    values = []
    for row in rows:
        counts = [int(finite(cell)) for cell in row[1:]]
        total = max(1, sum(counts))
        values += [
            {"true": row[0], "predicted": name, "count": count, "share": count / total}
            for name, count in zip(classes, counts)
        ]
    spec = charts.confusion(values, classes)
    return Chart(f"confusion_{evaluation.stem}", evaluation.words, spec)


def _largest_confusions(
    evaluation: Evaluation, classes: Sequence[str], rows: Sequence[Sequence[str]]
) -> Chart:
    """The classes that are confused most, where the whole matrix would be too large to see."""
    wrong = {
        row[0]: sum(int(finite(cell)) for name, cell in zip(classes, row[1:]) if name != row[0])
        for row in rows
    }
    most = sorted(wrong, key=lambda name: -wrong[name])[: _MOST_CLASSES // 2]
    values = []
    for row in rows:
        if row[0] in most:
            counts = dict(zip(classes, (int(finite(cell)) for cell in row[1:])))
            total = max(1, sum(counts.values()))
            values += [{"true": row[0], "predicted": name, "count": counts.get(name, 0),
                        "share": counts.get(name, 0) / total} for name in most]  # fmt: skip
    about = f"The {len(most)} of {len(classes):,} classes that are confused most."
    spec = charts.confusion(values, [name for name in classes if name in most])
    return Chart(f"confusion_{evaluation.stem}", evaluation.words, spec, about)


def reliability(evaluations: Sequence[Evaluation]) -> List[Chart]:
    """The reliability diagrams, of those that have one.

    Args:
      evaluations: of all runs.
    """
    return list(filter(None, (_unless_damaged(_reliability, each) for each in evaluations)))


def _reliability(evaluation: Evaluation) -> Optional[Chart]:
    """Accuracy by confidence as the run answers, and where a temperature was fitted, with that."""
    found: Dict[str, List[Dict[str, Any]]] = {}
    for line in _table(evaluation, _RELIABILITY):
        for suffix in _SCALED:
            images = int(finite(line.get(f"images{suffix}", "0")))
            if images:
                x, y = (finite(line[f"{name}{suffix}"]) for name in ("confidence", "accuracy"))
                found.setdefault(suffix, []).append({"x": x, "y": y, "images": images})
    if found.get("_scaled") == found.get(""):
        found.pop("_scaled", None)
    values = [{**each, "name": _SCALED[key]} for key, some in found.items() for each in some]
    if not values:
        return None
    spec = charts.reliability(values, [words for key, words in _SCALED.items() if key in found])
    return Chart(f"reliability_{evaluation.stem}", evaluation.words, spec)


def risk(evaluations: Sequence[Evaluation]) -> Optional[Chart]:
    """Risk by coverage of all evaluations that have it; None if none has.

    Args:
      evaluations: of all runs.
    """
    values: List[Dict[str, Any]] = []
    for each in evaluations:
        values += _unless_damaged(_risks, each) or []
    if not values:
        return None
    names = list(dict.fromkeys(each["name"] for each in values))
    about = "What `predict --abstain_below` gains: fewer answers, and fewer wrong ones among them."
    spec = charts.risks(values, names)
    return Chart("risk_coverage", "Wrong answers by share of images answered", spec, about)


def _risks(evaluation: Evaluation) -> List[Dict[str, Any]]:
    lines = _table(evaluation, _RISKS)
    every = -(-len(lines) // _MOST_POINTS) or 1
    return [
        {"x": finite(line["coverage"]), "y": finite(line["risk"]),
         "threshold": finite(line["threshold"]), "name": evaluation.words}
        for line in lines[::-1][::every]
    ]  # fmt: skip
