"""The rows of the commands that apply an export: ``predict`` and ``embed``."""

import csv
from typing import List

import numpy as np

from tests.net.held import Ran
from tests.net.looks import is_at, refused
from tests.net.table import Row, anything, becomes


def _table(ran: Ran) -> List[List[str]]:
    with open(ran.values["output"], encoding="utf-8") as file:
        return list(csv.reader(file))


def _rows(ran: Ran) -> int:
    return len(_table(ran)) - 1


def _columns(ran: Ran) -> int:
    return len(_table(ran)[0])


def _empty_classes(ran: Ran) -> int:
    return sum(row[1] == "" for row in _table(ran))


def _array(ran: Ran) -> np.ndarray:
    return np.load(ran.values["output"])


def _count(ran: Ran) -> int:
    return len(_array(ran))


def _num_known(ran: Ran) -> int:
    """How many images the projector shows a true label of."""
    path = ran.values["output"].replace(".npy", "_projector/metadata.tsv")
    with open(path, encoding="utf-8", newline="") as file:
        return sum(row["label"] != "unknown" for row in csv.DictReader(file, delimiter="\t"))


def _at_a_time(ran: Ran) -> List[int]:
    return ran.seen


PREDICT = [
    Row("saved_model", "{other_export}", _table),
    Row("images", "{more}", _rows, becomes(3, 30), group="a"),
    Row("max_image_pixels", 10, refused, becomes(None, "images")),
    Row("batch_size", 16, _at_a_time, becomes([3], [16, 14]), group="a"),
    Row("output", "{new}_out.csv", is_at("{new}_out.csv"), becomes(anything, True), group="a"),
    Row("top_k", 2, _columns, becomes(11, 5), group="a"),
    Row("abstain_below", 0.99, _empty_classes, becomes(0, 3)),
    # The export is of a run that was never evaluated.
    Row("target_risk", 0.1, refused, becomes(None, "target_risk")),
]
EMBED = [
    Row("saved_model", "{other_export}", _array),
    Row("images", "{more}", _count, becomes(3, 30), group="a"),
    Row("max_image_pixels", 10, refused, becomes(None, "images")),
    Row("batch_size", 16, _at_a_time, becomes([3], [16, 14]), group="a"),
    Row("output", "{new}_out.npy", is_at("{new}_out.npy"), becomes(anything, True), group="a"),
    Row("projector", "true", is_at("{new}_out_projector/tensor.tsv"), becomes(anything, True),
        group="a"),
    Row("labels", "{table}", _num_known, becomes(80, 40),
        along="--images={colours} --projector=true"),
]  # fmt: skip
