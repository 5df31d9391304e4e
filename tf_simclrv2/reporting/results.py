"""Results of runs: the table of evaluations with intervals, and accuracy by number of labels."""

import csv
import math
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from tf_simclrv2.config import FinetuneConfig
from tf_simclrv2.config.words import in_one_line
from tf_simclrv2.evaluation import measures
from tf_simclrv2.reporting import charts
from tf_simclrv2.reporting.charts import Chart
from tf_simclrv2.reporting.runs import Run, labels_used
from tf_simclrv2.runtime import results
from tf_simclrv2.runtime.results import Result
from tf_simclrv2.training.baselines import measured_by_words

# What evaluators are called in words.
EVALUATORS = {
    "classifier": "classifier",
    "knn": "nearest neighbours",
    "ridge": "ridge regression",
}
# Further numbers of an evaluation, with their heading; shares are shown in percent.
_SHARES = {"balanced_accuracy": "balanced", "top_5": "top-5"}
_NUMBERS = {
    "brier": "Brier",
    "calibration_error": "calibration error",
    "calibration_error_scaled": "after scaling",
    "temperature": "temperature",
    "loss": "loss",
}
# No file has more images; a larger number is a mistake.
_LARGEST = 1e12
# The headings of further numbers, in their order.
HEADINGS = (*_SHARES.values(), *_NUMBERS.values())
# What was cross-validated, and by what.
_VALIDATED = {
    results.CROSS_VALIDATION: "labelled images",
    results.CROSS_FINE_TUNING: "labelled images, fine-tuned in each fold",
}
# What the steps of the method are called where there is little room.
_STEPS = {"pretrain": "probe while pretraining", "finetune": "fine-tuned", "distill": "distilled"}


class Row(NamedTuple):
    """An evaluation.

    Attributes:
      run: which run, by name.
      evaluator: in words.
      on: data and split.
      images: how many.
      accuracy: top-1, in [0, 1].
      interval: of the accuracy at 95%; None if it isn't known.
      more: further numbers as text, by heading.
      parameters: weights that classification runs through.
      labels: labelled images that were learnt from.
      is_own: whether it is the run's own evaluation, and not on other images or of earlier weights.
    """

    run: str
    evaluator: str
    on: str
    images: Optional[int]
    accuracy: float
    interval: Optional[Tuple[float, float]]
    more: Dict[str, str]
    parameters: Optional[int] = None
    labels: Optional[int] = None
    is_own: bool = True


def number(value: Any, low: float = -math.inf, high: float = math.inf) -> Optional[float]:
    """A number that a file holds, or None if it is none, not finite, or out of bounds."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) and low <= value <= high else None


def finite(text: str) -> float:
    """A number that a table holds.

    Raises:
      ValueError: it is none, or not finite.
    """
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _count(value: Any) -> Optional[int]:
    found = number(value, 0, _LARGEST)
    return None if found is None else int(found)


def results_of(run: Run) -> List[Tuple[Result, bool]]:
    """The evaluations of a run, and whether they are its own; own first.

    Raises:
      ConfigError: ``result.json`` can't be read.
    """
    own = run.directory.result()
    others = [(other, False) for other in run.directory.other_results()]
    return [*([(own, True)] if own else []), *others]


def rows_of(run: Run) -> List[Row]:
    """The rows of a run's evaluations.

    Raises:
      ConfigError: ``result.json`` can't be read.
    """
    found = []
    for result, is_own in results_of(run):
        parameters, labels = _count(result.get("num_parameters")), labels_used(run)
        for name, words in EVALUATORS.items():
            row = _row(run.name, words, where(result, is_own), _evaluated(result, name))
            if row is not None:
                found.append(row._replace(parameters=parameters, labels=labels, is_own=is_own))
    return [*found, *_cross_validated(run)]


def _cross_validated(run: Run) -> List[Row]:
    """What few labels gave where too few images were held out to evaluate on."""
    found = []
    for name, on in _VALIDATED.items():
        kept = run.directory.of_run(name)
        kept = kept if isinstance(kept, dict) else {}
        folds = _count(kept.get("folds"))
        words = "cross-validation" if folds is None else f"cross-validation, {folds} folds"
        row = _row(run.name, words, on, kept)
        if row is not None:
            found.append(row._replace(labels=labels_used(run)))
    return found


def where(result: Result, is_own: bool) -> str:
    """Data and split of an evaluation, and what else tells one from the run's own."""
    parts = [result.get("dataset"), result.get("split")]
    if not is_own:
        parts += [result.get("data_dir"), result.get("labels"), result.get("checkpoint")]
    return in_one_line(" ".join(str(part) for part in parts if part))


def _evaluated(result: Result, evaluator: str) -> Mapping[str, Any]:
    """The numbers of one evaluator; an earlier version has those of the classifier alone."""
    kept = result.get(evaluator)
    if isinstance(kept, dict):
        return {"loss": result.get("loss"), **kept} if evaluator == "classifier" else kept
    if evaluator != "classifier":
        return {}
    few = result.get("top_5_accuracy") == 1.0
    return {
        "accuracy": result.get("top_1_accuracy"),
        "images": result.get("num_examples"),
        "top_5": None if few else result.get("top_5_accuracy"),
        "loss": result.get("loss"),
    }


def _row(run: str, evaluator: str, on: str, numbers: Mapping[str, Any]) -> Optional[Row]:
    accuracy, images = number(numbers.get("accuracy"), 0, 1), _count(numbers.get("images"))
    if accuracy is None:
        return None
    interval = _interval(numbers.get("interval"))
    if interval is None and images:
        interval = measures.interval_of(accuracy, images)
    more = {}
    for name, heading in {**_SHARES, **_NUMBERS}.items():
        value = number(numbers.get(name))
        if value is not None:
            more[heading] = f"{value:.1%}" if name in _SHARES else f"{value:.3g}"
    return Row(run, evaluator, on, images, accuracy, interval, more)


def _interval(value: Any) -> Optional[Tuple[float, float]]:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        return None
    low, high = (number(bound, 0, 1) for bound in value)
    return None if low is None or high is None else (low, high)


def baselines_of(run: Run) -> List[Tuple[str, str]]:
    """What was measured beside a run's evaluation, in words, with accuracies and intervals.

    Raises:
      ConfigError: ``result.json`` can't be read.
    """
    result = run.directory.result() or {}
    try:
        measured = list(measured_by_words(result).items()) if "baselines" in result else []
    except (KeyError, TypeError, AttributeError):  # Of a file that somebody changed.
        return []
    images = _count(result.get("num_examples"))
    return [
        (words, measures.with_interval(top_1, images) if images else f"{top_1:.1%}")
        for words, top_1 in measured
        if number(top_1, 0, 1) is not None
    ]


def accuracies(rows: Sequence[Row], names: Sequence[str]) -> Optional[Chart]:
    """The chart of accuracies with intervals; None if there are none.

    Args:
      rows: of the table.
      names: of the runs, in their order.
    """
    several = len({(row.evaluator, row.on) for row in rows}) > 1
    values = []
    for row in rows:
        low, high = row.interval or (None, None)
        label = f"{row.run}, {row.evaluator}, {row.on}" if several else row.run
        values.append({"label": label, "name": row.run, "y": row.accuracy,
                       "low": low, "high": high})  # fmt: skip
    if not values:
        return None
    return Chart("accuracy", "Accuracy with 95% intervals", charts.intervals(values, names))


def label_efficiency(runs: Sequence[Run], rows: Sequence[Row]) -> Optional[Chart]:
    """Accuracy by number of labels, of runs and of their probes; None if there is but one number.

    Args:
      runs: the runs.
      rows: their evaluations.
    """
    values: List[Dict[str, Any]] = []
    for run in runs:
        values += _of_probe(run)
    kinds = {run.name: _kind(run) for run in runs}
    # Others are of other images or weights, and would stand on the same curve.
    owns = [row for row in rows if row.is_own and row.labels and row.evaluator == "classifier"]
    several = len({row.on for row in owns}) > 1
    for row in owns:
        low, high = row.interval or (None, None)
        name = f"{kinds[row.run]}, {row.on}" if several else kinds[row.run]
        values.append({"x": row.labels, "y": row.accuracy, "low": low, "high": high, "name": name})
    if len({each["x"] for each in values}) < 2:
        return None
    names = list(dict.fromkeys(each["name"] for each in values))
    about = "Bars are 95% intervals of runs, and worst and best of a probe's draws."
    spec = charts.by_labels(values, names)
    return Chart("label_efficiency", "Accuracy by number of labels", spec, about)


def _kind(run: Run) -> str:
    is_baseline = isinstance(run.config, FinetuneConfig) and run.config.fine_tuning.from_scratch
    if run.is_solved:
        return f"{EVALUATORS['ridge']} on frozen features"
    return "supervised" if is_baseline else _STEPS[run.directory.step_of_method]


def _of_probe(run: Run) -> List[Dict[str, Any]]:
    """The curves of a run's ``probe.csv``: mean, worst and best of the draws of each number."""
    drawn: Dict[Tuple[str, int], List[float]] = {}
    try:
        with open(run.directory.file("probe", "probe.csv"), encoding="utf-8") as file:
            for line in csv.DictReader(file):
                if line["drawn"] != "all":
                    key = (line["classifier"], int(line["labels"]))
                    drawn.setdefault(key, []).append(finite(line["top_1_accuracy"]))
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return []
    return [
        {
            "x": labels,
            "y": sum(found) / len(found),
            "low": min(found),
            "high": max(found),
            "name": f"{EVALUATORS.get(classifier, classifier)} on {run.name}",
        }
        for (classifier, labels), found in sorted(drawn.items())
    ]
