"""Learning curves: what ``metrics.csv`` has logged, a chart for each column."""

import contextlib
import math
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from tf_simclrv2.config import ConfigError, PretrainConfig
from tf_simclrv2.objectives.contrastive import loss_of_guessing
from tf_simclrv2.reporting import charts
from tf_simclrv2.reporting.charts import Chart
from tf_simclrv2.reporting.results import number
from tf_simclrv2.reporting.runs import Run
from tf_simclrv2.runtime import results
from tf_simclrv2.runtime.results import Result

# How the columns of monitors begin.
MONITOR = "monitor_"
# Not curves by themselves.
_ALONG = ("step", "epoch")
# Points of a curve, and about how many those of all runs may have: a page must stay small.
_MOST_POINTS, _MOST_OF_ALL = 300, 6000
_FEWEST_POINTS = 30
_WORDS = {
    "contrast_loss": "contrastive loss",
    "contrast_accuracy": "contrastive accuracy",
    "contrast_entropy": "contrastive entropy",
    "monitor_rank_h": "effective rank of h",
    "monitor_rank_z": "effective rank of z",
    "monitor_alignment": "alignment",
    "monitor_uniformity": "uniformity",
    "monitor_loss": "contrastive loss",
    "monitor_accuracy": "contrastive accuracy",
    "monitor_knn": "nearest neighbours",
    "monitor_ridge": "ridge regression",
}
_SHARES = ("accuracy", "agreement", "knn", "ridge")
# What monitors are measured on, by whether training leaves it out; None is of runs that differ or
# don't say so.
_ON = {
    True: "held-out images",
    False: "images that were trained on",
    None: "held-out or other images",
}


# What guessing gives stands beside a run's monitors.
_OF_MONITORS = {"monitor_loss": "loss_of_guessing", "monitor_accuracy": "accuracy_of_guessing"}


class Guess(NamedTuple):
    """What guessing gives.

    Attributes:
      value: the loss, or the accuracy.
      formula: how it was computed, in words.
    """

    value: float
    formula: str


class Curves(NamedTuple):
    """The curves of runs.

    Attributes:
      learning: the charts of what was trained.
      monitors: the charts of monitors.
      about: which images monitors were measured on; empty if no run has any.
    """

    learning: List[Chart]
    monitors: List[Chart]
    about: str


def charts_of(runs: Sequence[Run]) -> Curves:
    """The charts of all columns in which a run has logged more than zeros.

    Args:
      runs: whose curves they are; each has its own colour.
    """
    names = [run.name for run in runs]
    found: Dict[str, List[Dict[str, Any]]] = {}
    guesses: Dict[str, Dict[str, Optional[Guess]]] = {}
    monitored: Dict[str, Optional[bool]] = {}
    most = max(_FEWEST_POINTS, min(_MOST_POINTS, _MOST_OF_ALL // len(runs)))
    for run in runs:
        for column, points in _columns(run, most).items():
            found.setdefault(column, []).extend({**point, "name": run.name} for point in points)
            guesses.setdefault(column, {})[run.name] = guess_of(run, column)
            if column.startswith(MONITOR):
                monitored[run.name] = _is_held_out(run)
    learning: List[Chart] = []
    monitors: List[Chart] = []
    for column, values in found.items():
        share = column.rpartition("_")[2] in _SHARES
        if not share and not any(each["y"] for each in values):
            continue  # Such as a weight decay that is off.
        words = title = _WORDS.get(column, column.replace("_", " "))
        if column in _WORDS and column.startswith(MONITOR):
            title = f"{words}, {_ON[_common(monitored)]}"
        rules = _rules(guesses[column], names)
        spec = charts.lines(values, names, words, rules, share)
        chart = Chart(column, title[0].upper() + title[1:], spec, _told(guesses[column]))
        (monitors if column.startswith(MONITOR) else learning).append(chart)
    return Curves(learning, monitors, _about(monitored))


def _is_held_out(run: Run) -> Optional[bool]:
    """Whether a run's monitors are of images that training leaves out; None if it doesn't say."""
    value = _of_monitors(run).get("held_out")
    return value if isinstance(value, bool) else None


def _common(monitored: Dict[str, Optional[bool]]) -> Optional[bool]:
    kinds = set(monitored.values())
    return kinds.pop() if len(kinds) == 1 else None


def _about(monitored: Dict[str, Optional[bool]]) -> str:
    """Which images the monitors of runs were measured on."""
    kinds: Dict[str, List[str]] = {}
    for name, kind in monitored.items():
        kinds.setdefault(_ON[kind], []).append(name)
    return _listed("Measured on", kinds)


def _listed(begun: str, kinds: Dict[str, List[str]], is_of_all: bool = True) -> str:
    """A sentence on what is true of which runs; empty if there is nothing.

    Args:
      begun: how it begins.
      kinds: what is true, with the runs' names.
      is_of_all: whether it need not name them where one thing is true of all.
    """
    are_named = len(kinds) > 1 or not is_of_all
    told = [words + f" ({', '.join(names)})" * are_named for words, names in kinds.items()]
    return f"{begun} {'; '.join(told)}." if told else ""


def _rules(guesses: Dict[str, Optional[Guess]], names: Sequence[str]) -> List[Tuple[float, str]]:
    """The lines of guessing: one if it is the same for all runs, else each in the run's colour."""
    if len(set(guesses.values())) == 1:
        of_all = next(iter(guesses.values()))
        return [] if of_all is None else [(of_all.value, charts.MUTED)]
    colors: Dict[float, str] = {}
    for name, guess in guesses.items():
        if guess is not None:
            colors.setdefault(guess.value, charts.COLORS[names.index(name) % len(charts.COLORS)])
    return list(colors.items())


def _told(guesses: Dict[str, Optional[Guess]]) -> str:
    """What guessing gives, in words; where it differs, of which runs."""
    runs: Dict[str, List[str]] = {}
    for name, guess in guesses.items():
        if guess is not None:
            runs.setdefault(guess.formula, []).append(name)
    return _listed("Guessing gives", runs, is_of_all=None not in guesses.values())


def _columns(run: Run, most: int) -> Dict[str, List[Dict[str, float]]]:
    """The points of each column of a run's ``metrics.csv``, thinned out where there are many."""
    found: Dict[str, List[Dict[str, float]]] = {}
    for row in run.directory.metrics():
        for name, text in row.items():
            value = _finite(text)
            if name not in _ALONG and value is not None:
                found.setdefault(name, []).append({"x": int(row["step"]), "y": value})
    return {name: _thinned(points, most) for name, points in found.items()}


def _finite(text: str) -> Optional[float]:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _thinned(points: List[Dict[str, float]], most: int) -> List[Dict[str, float]]:
    """Some of the points, evenly, the last one among them."""
    every = -(-len(points) // most)
    return points[::-1][::every][::-1]


def guess_of(run: Run, column: str) -> Optional[Guess]:
    """What guessing gives in a column of a run's metrics; None if that is not known.

    Args:
      run: the run.
      column: of ``metrics.csv``.
    """
    config = run.config
    if column == "contrast_loss" and isinstance(config, PretrainConfig):
        if config.memory.use_memory:  # The queue fills up, and so does what there is to guess.
            return None
        batch = config.optimization.train_batch_size
        formula = f"2 log(2·{batch} - 1) with {batch:,} images in a batch"
        return Guess(loss_of_guessing(batch), formula)
    if column == "contrast_accuracy" and isinstance(config, PretrainConfig):
        if config.memory.use_memory:
            return None
        batch = config.optimization.train_batch_size
        return Guess(1 / batch, f"1/{batch:,}, one of the images of a batch")
    if column in _OF_MONITORS:
        value = number(_of_monitors(run).get(_OF_MONITORS[column]), 0)
        return None if value is None else Guess(value, f"{value:.4g} on these images")
    classes = len(run.directory.class_names or ())
    if classes and column == "supervised_loss":
        return Guess(math.log(classes), f"log({classes})")
    if classes and column in ("supervised_accuracy", "monitor_knn", "monitor_ridge"):
        return Guess(1 / classes, f"1/{classes:,}, one of the classes")
    return None


def _of_monitors(run: Run) -> Result:
    """What a run keeps of its monitors; empty if it has none, or they can't be read."""
    with contextlib.suppress(ConfigError):
        monitors = run.directory.of_run(results.MONITORS)
        if isinstance(monitors, dict):
            return monitors
    return {}
