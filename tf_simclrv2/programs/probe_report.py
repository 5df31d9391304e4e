"""What ``probe`` tells: sentences, a table, and a picture of accuracy by labels."""

import contextlib
import io
import logging
import os
from typing import Dict, List, Mapping, NamedTuple, Sequence

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from tf_simclrv2.config import refuse
from tf_simclrv2.config.labelling import ProbeSection
from tf_simclrv2.config.user_files import DIRECTORY, FILE, printable
from tf_simclrv2.evaluation.probe import KNN, LEFT_OUT, RIDGE, Draws, Measured
from tf_simclrv2.runtime.disk import writing
from tf_simclrv2.runtime.files import check_can_write, check_place, whole_file, write_table
from tf_simclrv2.training.frozen import Frozen

logger = logging.getLogger(__name__)

_TABLE, _PICTURE = "probe.csv", "probe.png"
_COLUMNS = (
    "labels", "drawn", "seed", "classifier", "measured_on", "images", "top_1_accuracy", "low",
    "high",
)  # fmt: skip
_LONGEST_HEAD = 1000
_WORDS = {RIDGE: "ridge regression", KNN: "nearest neighbours"}
_COLORS = {RIDGE: "#1f77b4", KNN: "#999999"}


class Bound(NamedTuple):
    """What an accuracy is that is no estimate.

    Attributes:
      words: ``at least`` or ``at most``.
      reason: why, as a sentence without its end.
    """

    words: str
    reason: str


CHOSEN = Bound(
    "at least",
    "these images were chosen, not drawn at random, and others like them are easier",
)


def alone(count: int) -> Bound:
    """The bound where some images are the only ones of their class."""
    of_them = "1 of them is alone in its class" if count == 1 else (
        f"{count:,} of them are alone in their class"
    )  # fmt: skip
    return Bound("at least", f"{of_them}, of which nothing is learnt without it")


def learnt(count: int, labelled: int) -> Bound:
    """The bound where the features were made with some of the labels."""
    return Bound("at most", f"the network was trained on {count:,} of these {labelled:,} labels")


class Report(NamedTuple):
    """Where to write.

    Attributes:
      directory: of the files.
      flag: the flag that named it.
    """

    directory: str
    flag: str

    @classmethod
    def open(cls, section: ProbeSection, frozen: Frozen) -> "Report":
        """Checks that the files can be written.

        Args:
          section: names the directory, or leaves it to the run.
          frozen: the run.

        Raises:
          ConfigError: something else is in their place.
        """
        given = section.output_dir
        directory = frozen.place_for("probe") if given is None else os.path.expanduser(given)
        flag, value = ("model_dir", frozen.path) if given is None else ("output_dir", given)
        check_place(os.path.realpath(directory), flag, DIRECTORY, value)
        for name in (_TABLE, _PICTURE):
            check_place(os.path.join(directory, name), flag, FILE, value)
        _check_own(directory, flag, value)
        check_can_write(os.path.realpath(directory), flag, value)
        return cls(directory, flag)

    def write(self, measured: Sequence[Measured], bounds: Mapping[str, Bound]) -> None:
        """Writes the table of what was measured, and logs it; removes an earlier one's picture.

        Args:
          measured: with all labels.
          bounds: by what it was measured on, where it is no estimate.

        Raises:
          ConfigError: it can't be written.
        """
        for each in measured:
            logger.info(_sentence(each, bounds))
        # It is of other measurements.
        with writing(self.flag, self.directory), contextlib.suppress(FileNotFoundError):
            if os.path.lexists(os.path.join(self.directory, _TABLE)):
                os.remove(os.path.join(self.directory, _PICTURE))
        self._write_table([_row(each, "all", bounds) for each in measured])

    def write_curve(
        self,
        measured: Sequence[Measured],
        bounds: Mapping[str, Bound],
        drawn: Sequence[Measured],
        draws: Draws,
    ) -> None:
        """Writes the table with all draws, and the picture, and logs what they show.

        Args:
          measured, bounds: see :meth:`write`.
          drawn: with the labels that were drawn.
          draws: how they were.

        Raises:
          ConfigError: they can't be written.
        """
        how = "balanced" if draws.balanced else "random"
        rows = [_row(each, "all", bounds) for each in measured]
        self._write_table(rows + [_row(each, how, bounds) for each in drawn])
        for name in _WORDS:
            if any(each.classifier == name for each in drawn):
                logger.info(_curve_sentence(name, drawn, draws, bounds))
        path = os.path.join(self.directory, _PICTURE)
        with writing(self.flag, self.directory), whole_file(path) as file:
            file.write(_picture(drawn, how))
        logger.info("%s: accuracy by number of labels", path)

    def _write_table(self, rows: Sequence[Sequence[object]]) -> None:
        with writing(self.flag, self.directory):
            os.makedirs(self.directory, exist_ok=True)
            write_table(os.path.join(self.directory, _TABLE), [_COLUMNS, *rows])


def _check_own(directory: str, flag: str, value: str) -> None:
    """Refuses a table or picture that no probe has written."""
    table, picture = (os.path.join(directory, name) for name in (_TABLE, _PICTURE))
    try:
        if os.path.exists(table):
            with open(table, encoding="utf-8", errors="replace") as file:
                is_own = file.readline(_LONGEST_HEAD).strip() == ",".join(_COLUMNS)
        else:
            is_own = not os.path.exists(picture)
    except OSError as error:
        raise refuse(flag, value, f"{table} can't be read ({error.strerror})") from error
    if not is_own:
        there = _TABLE if os.path.exists(table) else _PICTURE
        raise refuse(flag, value, f"holds a {there} that no probe has written; name another")


def _sentence(measured: Measured, bounds: Mapping[str, Bound]) -> str:
    low, high = measured.interval
    right = f"{measured.accuracy:.1%} right"
    where = f"of {measured.images:,} images of {measured.on}"
    if measured.on == LEFT_OUT:
        where = "where each is left out in turn"
    told = f"{right} {where} (95% interval {low:.1%} to {high:.1%})"
    bound = bounds.get(measured.on)
    if bound is not None:
        told = f"{bound.words} {right} {where}; {bound.reason}"
    return f"{_WORDS[measured.classifier]}, {measured.labels:,} labelled images: {told}"


def _row(measured: Measured, drawn: str, bounds: Mapping[str, Bound]) -> List[object]:
    low, high = (f"{bound:.6f}" for bound in measured.interval)
    if measured.on in bounds:
        low, high = "", ""
    seed = "" if measured.seed is None else measured.seed
    return [
        measured.labels, drawn, seed, measured.classifier, measured.on, measured.images,
        f"{measured.accuracy:.6f}", low, high,
    ]  # fmt: skip


def _by_budget(name: str, drawn: Sequence[Measured]) -> Dict[int, np.ndarray]:
    """Accuracies of a classifier's draws in %, by number of labels."""
    found: Dict[int, List[float]] = {}
    for each in drawn:
        if each.classifier == name:
            found.setdefault(each.labels, []).append(100 * each.accuracy)
    return {labels: np.array(values) for labels, values in sorted(found.items())}


def _curve_sentence(
    name: str, drawn: Sequence[Measured], draws: Draws, bounds: Mapping[str, Bound]
) -> str:
    parts = [
        f"{values.mean():.1f}% ({values.min():.1f} to {values.max():.1f}) of {labels:,}"
        for labels, values in _by_budget(name, drawn).items()
    ]
    how = "balanced over the classes" if draws.balanced else "at random"
    on = sorted({each.on for each in drawn})
    told = f"{_WORDS[name]}, {draws.seeds} draws {how}, mean (worst to best)"
    bound = next((bounds[each] for each in on if each in bounds), None)
    caveat = "" if bound is None else f"; {bound.words} that: {bound.reason}"
    return f"{told}: {', '.join(parts)} labels, measured on {' or '.join(on)}{caveat}"


def _picture(drawn: Sequence[Measured], how: str) -> bytes:
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, words in _WORDS.items():
        found = _by_budget(name, drawn)
        if found:
            labels, values = list(found), list(found.values())
            means = [each.mean() for each in values]
            axes.plot(labels, means, "o-", color=_COLORS[name], label=words)
            bounds = [each.min() for each in values], [each.max() for each in values]
            axes.fill_between(labels, *bounds, color=_COLORS[name], alpha=0.2, linewidth=0)
    ticks = sorted({each.labels for each in drawn})
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{each:,}" for each in ticks])
    axes.minorticks_off()
    axes.set_xlabel(f"labelled images, {how} draws: mean, worst and best")
    # A split may have any name, in which matplotlib would read formulas.
    measured_on = printable(" or ".join(sorted({each.on for each in drawn}))).replace("$", r"\$")
    axes.set_ylabel(f"top-1 in %, {measured_on}")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    plt.close(figure)
    return file.getvalue()
