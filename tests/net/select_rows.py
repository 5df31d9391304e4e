"""The rows of ``select``."""

import csv
import json
import os
import re
from typing import Any, List

from tests.net.held import Ran
from tests.net.looks import is_at, refused
from tests.net.table import Row, anything, becomes, stays

_METHOD = "--method=random"


def _table(ran: Ran) -> List[List[str]]:
    path = os.path.join(ran.values["output_dir"], "labels.csv")
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def _chosen(ran: Ran) -> List[str]:
    """The images, in their order."""
    return [row[0] for row in _table(ran)[1:] if not row[1]]


def _methods(ran: Ran) -> List[str]:
    return sorted({row[2] for row in _table(ran)[1:] if not row[1]})


def _counts(ran: Ran) -> List[int]:
    """Rows with a label, and without."""
    labelled = sum(bool(row[1]) for row in _table(ran)[1:])
    return [labelled, len(_table(ran)) - 1 - labelled]


def _page(ran: Ran) -> Any:
    path = os.path.join(ran.values["output_dir"], "labelling.html")
    with open(path, encoding="utf-8") as file:
        return json.loads(re.search(r'id="data">(.*?)</script>', file.read())[1])


def _pictures(ran: Ran) -> List[str]:
    return [image["source"] for image in _page(ran)["images"]]


def _num_classes(ran: Ran) -> int:
    return len(_page(ran)["classes"])


def _features(ran: Ran) -> List[Any]:
    """Number of the images that were chosen from, and the number format of their features."""
    return ran.seen


SELECT = [
    Row("model_dir", "{with_memory}", _chosen),
    Row("use_ema_weights", "true", _chosen, along="--model_dir={with_memory}"),
    Row("layer", 0, _chosen),
    Row("dataset", "digits", _features, becomes([70, "float32"], [1437, "float32"]),
        besides="--data_dir={prepared}"),
    Row("data_dir", "{others}", _pictures),
    Row("train_split", "validation", _features, becomes([70, "float32"], [10, "float32"])),
    Row("labels", "{table}", _counts, becomes([0, 5], [40, 5])),
    Row("classes", "{classes}", _num_classes, becomes(10, 12)),
    Row("class_level", 2, refused, becomes(None, "data_dir")),
    Row("holdout_fraction", 0.5, _features, becomes([70, "float32"], [40, "float32"])),
    Row("feature_type", "float16", _features, becomes([70, "float32"], [70, "float16"])),
    Row("budget", 7, _counts, becomes([0, 5], [0, 7])),
    Row("method", "typiclust", _methods, becomes(["centres"], ["typiclust"])),
    Row("seed", 4, _chosen, along=_METHOD),
    Row("output_dir", "{new}_selected", is_at("{new}_selected/labels.csv"), becomes(anything, True),
        group="no use"),
    # All images are labelled and looked at in one way, whatever they will be evaluated on.
    Row("eval_split", "validation", _chosen, stays, group="no use"),
    Row("eval_batch_size", 3, _chosen, stays, group="no use"),
]  # fmt: skip
