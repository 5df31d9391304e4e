"""The rows of ``audit``."""

import json
import os
from typing import Any, Dict, Optional

from tests.net.held import Ran
from tests.net.looks import is_at, refused
from tests.net.looks_at_features import at_a_time, number_format, values, width
from tests.net.table import Row, anything, becomes


def _summary(ran: Ran) -> Dict[str, Any]:
    with open(os.path.join(ran.values["output_dir"], "audit.json"), encoding="utf-8") as file:
        return json.load(file)


def _images(ran: Ran) -> Dict[str, int]:
    return _summary(ran)["images"]


def _judged(ran: Ran) -> int:
    return _summary(ran)["labels_judged"]


def _code(ran: Ran) -> Optional[int]:
    return ran.code


AUDIT = [
    Row("model_dir", "{with_memory}", values),
    Row("use_ema_weights", "true", values, along="--model_dir={with_memory}"),
    Row("layer", 3, width),
    Row("feature_type", "float16", number_format, becomes("float32", "float16"), group="a"),
    Row("output_dir", "{new}_audit", is_at("{new}_audit/audit.json"), becomes(anything, True),
        group="a"),
    Row("fail_on", "unlike:0,duplicates:0,labels:0", _code, becomes(0, 3)),
    Row("dataset", "digits", _images,
        becomes({"train": 70, "validation": 10}, {"train": 1437, "test": 360}),
        besides="--data_dir={prepared}"),
    Row("data_dir", "{others}", values),
    Row("train_split", "validation", _images,
        becomes({"train": 70, "validation": 10}, {"validation": 10})),
    Row("eval_split", "none", refused, becomes(None, "eval_split")),
    Row("labels", "{table}", _judged, becomes(80, 40)),
    Row("classes", "{classes}", refused, becomes(None, "classes")),
    Row("class_level", 2, refused, becomes(None, "data_dir")),
    Row("holdout_fraction", 0.25, _images,
        becomes({"train": 70, "validation": 10}, {"train": 60, "validation": 20})),
    # What is stored already is not computed again, so what no other row stores is taken.
    Row("eval_batch_size", 4, at_a_time, becomes(anything, 4),
        besides="--layer=2 --feature_type=float16"),
]  # fmt: skip
