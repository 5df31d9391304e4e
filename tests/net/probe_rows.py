"""The rows of ``probe``."""

import csv
import json
import os
from typing import Any, Callable, Dict, List

from tests.net.held import Ran
from tests.net.looks import is_at, refused
from tests.net.looks_at_features import at_a_time, number_format, values, width
from tests.net.table import Row, anything, becomes, changes

_BUDGETS = "--budgets=10"
# What others give in the place of the base's --labels_per_class.
_ALL = "--labels_per_class="


def _table(ran: Ran) -> List[Dict[str, str]]:
    with open(os.path.join(ran.values["output_dir"], "probe.csv"), encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _column(name: str) -> Callable[[Ran], List[str]]:
    """The different values in a column of the table that was written."""

    def column(ran: Ran) -> List[str]:
        return sorted({row[name] for row in _table(ran)})

    return column


def _drawn(ran: Ran) -> int:
    return len([row for row in _table(ran) if row["seed"]])


def _draws(ran: Ran) -> List[str]:
    return sorted({row["drawn"] for row in _table(ran)} - {"all"})


def _labelled(ran: Ran) -> List[str]:
    return sorted(ran.seen["labelled"])


def _images_learnt_from(ran: Ran) -> int:
    return len(_labelled(ran))


def _splits(ran: Ran) -> List[str]:
    return sorted(ran.seen["features"])


def _num_classes(ran: Ran) -> int:
    with open(os.path.join(ran.values["run_dir"], "config.json"), encoding="utf-8") as file:
        content: Any = json.load(file)
    return len(content["class_names"])


PROBE = [
    Row("model_dir", "{with_memory}", values),
    Row("use_ema_weights", "true", values, along="--model_dir={with_memory}"),
    Row("layer", 3, width),
    Row("feature_type", "float16", number_format, becomes("float32", "float16"), group="a"),
    Row("output_dir", "{new}_probe", is_at("{new}_probe/probe.csv"), becomes(anything, True),
        group="a"),
    Row("run_dir", "{new}_run", is_at("{new}_run/config.json"), becomes(anything, True)),
    Row("budgets", "10", _drawn, becomes(0, 20), group="a"),
    Row("seeds", 2, _drawn, becomes(20, 4), along=_BUDGETS, group="draws"),
    Row("balanced", "true", _draws, becomes(["random"], ["balanced"]), along=_BUDGETS,
        group="draws"),
    Row("dataset", "digits", _column("images"), becomes(["10"], ["10", "360"]),
        besides="--data_dir={prepared}"),
    Row("data_dir", "{others}", values),
    Row("train_split", "validation", _splits, becomes(["train", "validation"], ["validation"])),
    Row("eval_split", "train", refused, becomes(None, "eval_split")),
    Row("labels", "{table}", _images_learnt_from, becomes(70, 40), along=_ALL),
    Row("classes", "{classes}", _num_classes, becomes(10, 12),
        along=f"{_ALL} --labels={{table}} --run_dir={{fresh}}"),
    Row("class_level", 2, refused, becomes(None, "data_dir")),
    Row("holdout_fraction", 0.25, _column("images"), becomes(["10"], ["10", "20"])),
    # What is stored already is not computed again, so another layer is taken.
    Row("eval_batch_size", 4, at_a_time, becomes(anything, 4), besides="--layer=2"),
    Row("labels_per_class", 2, _images_learnt_from, becomes(10, 20), group="labels"),
    Row("label_seed", 1, _labelled, changes),
    Row("label_fraction", 0.5, _images_learnt_from, becomes(10, 35), besides=_ALL),
    Row("label_subset_file", "{subset}", _images_learnt_from, becomes(10, 20), besides=_ALL),
]  # fmt: skip
