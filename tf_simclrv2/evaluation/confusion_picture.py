"""A picture of a confusion matrix."""

import io
import warnings
from typing import Sequence

import numpy as np
from matplotlib.figure import Figure

# Of more classes neither numbers nor names can be read.
_MOST_NUMBERS = 25
_MOST_NAMES = 80
_LONGEST_NAME = 20


def picture(counts: np.ndarray, names: Sequence[str]) -> bytes:
    """Draws a matrix whose colours are shares of the images of a class.

    Args:
      counts: int [classes, classes], rows are true classes.
      names: of the classes.

    Returns:
      A PNG.
    """
    classes = len(names)
    side = min(max(3.0, 0.4 * classes), 16.0)
    figure = Figure(figsize=(side + 2.5, side + 1.2), layout="constrained")
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    drawn = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(drawn, label="share of the images of the class", shrink=0.8)
    if classes <= _MOST_NUMBERS:
        for (row, column), count in np.ndenumerate(counts):
            color = "white" if shares[row, column] > 0.6 else "black"
            if count:
                axes.text(column, row, f"{count}", ha="center", va="center", color=color, size=8)
    if classes <= _MOST_NAMES:
        places, shown = range(classes), [_cut(name) for name in names]
        axes.set_xticks(places, shown, rotation=90, size=8)
        axes.set_yticks(places, shown, size=8)
    axes.set_xlabel("answer")
    axes.set_ylabel("label")
    file = io.BytesIO()
    with warnings.catch_warnings():
        # Of names whose letters the font lacks, boxes are drawn.
        warnings.simplefilter("ignore")
        figure.savefig(file, format="png", dpi=120)
    return file.getvalue()


def _cut(name: str) -> str:
    """A name that fits, and in which matplotlib reads no formula."""
    line = " ".join(name.encode("utf-8", "backslashreplace").decode("utf-8").split())
    short = line if len(line) <= _LONGEST_NAME else f"{line[: _LONGEST_NAME - 1]}…"
    return short.replace("$", r"\$")
