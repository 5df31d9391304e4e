"""What ``probe`` tells: sentences, a table, and a picture of accuracy by labels."""

import contextlib
import io
import logging
import os
from typing import Collection, Dict, List, NamedTuple, Sequence

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

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
_WORDS = {RIDGE: "ridge regression", KNN: "nearest neighbours"}
_COLORS = {RIDGE: "#1f77b4", KNN: "#999999"}


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
        check_can_write(os.path.realpath(directory), flag, value)
        return cls(directory, flag)

    def write(self, measured: Sequence[Measured], selected: Collection[str]) -> None:
        """Writes the table of what was measured, and logs it; removes an earlier one's picture.

        Args:
          measured: with all labels.
          selected: on what images were chosen, and not drawn at random.

        Raises:
          ConfigError: it can't be written.
        """
        for each in measured:
            logger.info(_sentence(each, selected))
        # It is of other measurements.
        with writing(self.flag, self.directory), contextlib.suppress(FileNotFoundError):
            if os.path.lexists(os.path.join(self.directory, _TABLE)):
                os.remove(os.path.join(self.directory, _PICTURE))
        self._write_table([_row(each, "all", selected) for each in measured])

    def write_curve(
        self,
        measured: Sequence[Measured],
        selected: Collection[str],
        drawn: Sequence[Measured],
        draws: Draws,
    ) -> None:
        """Writes the table with all draws, and the picture, and logs what they show.

        Args:
          measured, selected: see :meth:`write`.
          drawn: with the labels that were drawn.
          draws: how they were.

        Raises:
          ConfigError: they can't be written.
        """
        how = "balanced" if draws.balanced else "random"
        rows = [_row(each, "all", selected) for each in measured]
        self._write_table(rows + [_row(each, how, selected) for each in drawn])
        for name in _WORDS:
            if any(each.classifier == name for each in drawn):
                logger.info(_curve_sentence(name, drawn, draws))
        path = os.path.join(self.directory, _PICTURE)
        with writing(self.flag, self.directory), whole_file(path) as file:
            file.write(_picture(drawn, how))
        logger.info("%s: accuracy by number of labels", path)

    def _write_table(self, rows: Sequence[Sequence[object]]) -> None:
        with writing(self.flag, self.directory):
            os.makedirs(self.directory, exist_ok=True)
            write_table(os.path.join(self.directory, _TABLE), [_COLUMNS, *rows])


def _is_bound(measured: Measured, selected: Collection[str]) -> bool:
    """Whether it is no estimate, as images that were chosen are harder than others."""
    return measured.on in selected


def _sentence(measured: Measured, selected: Collection[str]) -> str:
    low, high = measured.interval
    right = f"{measured.accuracy:.1%} right"
    where = f"of {measured.images:,} images of {measured.on}"
    if measured.on == LEFT_OUT:
        where = "where each is left out in turn"
    told = f"{right} {where} (95% interval {low:.1%} to {high:.1%})"
    if _is_bound(measured, selected):
        told = (
            f"at least {right} {where}; these images were chosen, not drawn "
            "at random, and others like them are easier"
        )
    return f"{_WORDS[measured.classifier]}, {measured.labels:,} labelled images: {told}"


def _row(measured: Measured, drawn: str, selected: Collection[str]) -> List[object]:
    low, high = (f"{bound:.6f}" for bound in measured.interval)
    if _is_bound(measured, selected):
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


def _curve_sentence(name: str, drawn: Sequence[Measured], draws: Draws) -> str:
    parts = [
        f"{values.mean():.1f}% ({values.min():.1f} to {values.max():.1f}) of {labels:,}"
        for labels, values in _by_budget(name, drawn).items()
    ]
    how = "balanced over the classes" if draws.balanced else "at random"
    told = f"{_WORDS[name]}, {draws.seeds} draws {how}, mean (worst to best)"
    return f"{told}: {', '.join(parts)} labels"


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
