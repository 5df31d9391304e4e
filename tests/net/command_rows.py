"""The rows of the commands that train nothing."""

import glob
import json
import os
from typing import Any, Callable, List, Optional

import numpy as np
from PIL import Image

from tests.net.audit_rows import AUDIT
from tests.net.exported_rows import EMBED, PREDICT
from tests.net.held import Ran
from tests.net.looks import is_at, refused, tpu
from tests.net.probe_rows import PROBE
from tests.net.report_rows import REPORT
from tests.net.select_rows import SELECT
from tests.net.table import Row, Rows, anything, becomes, changes, filled, stays

_ON_A_TPU = "--use_tpu"
_DAMAGED = "--data_dir={damaged}"


def _content(path: str) -> Any:
    with open(path, encoding="utf-8") as file:
        return json.load(file)


# evaluate


def _result(*names: str) -> Callable[[Ran], List[Any]]:
    """Parts of the evaluated run's ``result.json``."""

    def result(ran: Ran) -> List[Any]:
        return [ran.seen[name] for name in names]

    return result


def _evaluators(ran: Ran) -> List[str]:
    """What was evaluated."""
    return [name for name in ("classifier", "knn", "ridge") if name in ran.seen]


def _baselines(ran: Ran) -> List[str]:
    """Which baselines stand beside the evaluation."""
    return sorted(ran.seen.get("baselines", {}).get("top_1_accuracy", {}))


def _compiles(ran: Ran) -> bool:
    return any(ran.compiles)


EVALUATE = [
    Row("model_dir", "{other_small_teacher}", _result("loss")),
    Row("dataset", "digits", _result("dataset", "num_examples"),
        becomes(["folder", 10], ["digits", 360]), besides="--data_dir={prepared}"),
    Row("data_dir", "{others}", _result("loss")),
    Row("labels", "{table}", _result("split", "num_examples"),
        becomes(["validation", 10], ["all", 40])),
    Row("eval_split", "train", _result("split"), becomes(["validation"], ["train"]), group="a"),
    Row("evaluators", "knn,ridge", _evaluators, becomes(["classifier"], ["knn", "ridge"]),
        along="--model_dir={fine_tuned}"),
    Row("eval_batch_size", 4, _result("num_examples"), becomes([10], [8]), group="a"),
    Row("eval_steps", 2, _result("num_examples"), becomes([10], [8]), group="a"),
    Row("baselines", "true", _baselines, becomes([], ["raw_pixels", "untrained_network"]),
        group="a"),
    Row("jit_compile", "true", _compiles, becomes(False, True), group="a"),
    Row("mixed_precision", "mixed_bfloat16", _result("loss")),
    Row("strategy", "multi_worker", refused, becomes(None, "strategy")),
    Row("use_tpu", "true", tpu, becomes(None, lambda seen: seen["tpu"] == "local")),
    Row("tpu_name", "grpc://1", tpu, becomes(None, lambda seen: seen["tpu"] == "grpc://1")),
    Row("tpu_zone", "moon", tpu, becomes(
        lambda seen: seen["zone"] is None, lambda seen: seen["zone"] == "moon"), _ON_A_TPU),
    Row("gcp_project", "me", tpu, becomes(
        lambda seen: seen["project"] is None, lambda seen: seen["project"] == "me"), _ON_A_TPU),
    Row("virtual_devices", 2, refused, becomes(None, "virtual_devices")),
]  # fmt: skip


# views


def _picture(ran: Ran) -> np.ndarray:
    return np.asarray(Image.open(ran.values["output"]))


def _views_are_of_the_image(ran: Ran) -> bool:
    """Whether the first image is its own two views, as it is where nothing is random."""
    first, *views = (_picture(ran)[4:100, left : left + 96] for left in (4, 104, 204))
    return all(np.array_equal(first, view) for view in views)


def _size(ran: Ran) -> List[int]:
    return list(Image.open(ran.values["output"]).size)


def _cached(ran: Ran) -> bool:
    return ran.cached > 0


def _is_cached_at(path: str) -> Callable[[Ran], bool]:
    def is_cached(ran: Ran) -> bool:
        return bool(glob.glob(filled(path, ran.command) + "*"))

    return is_cached


# Of three images, each 12 times as large and with a border, as of 8 pixels they are small.
VIEWS = [
    Row("output", "{new}_views.png", is_at("{new}_views.png"), becomes(anything, True), group="a"),
    Row("num_images", 2, _size, becomes(lambda size: size[0] == 924, lambda size: size[0] == 616),
        group="a"),
    Row("seed", 4, _picture),
    Row("seed", 4, _views_are_of_the_image, becomes(True, True)),
    Row("dataset", "digits", _picture, besides="--data_dir="),
    Row("file_format", "array_record", refused, becomes(None, "file_format"),
        "--dataset=digits --data_dir="),
    Row("data_dir", "{others}", _picture),
    Row("train_split", "validation", _picture),
    Row("image_size", 16, _picture),
    Row("holdout_fraction", 0.25, _picture),
    Row("class_level", 2, refused, becomes(None, "data_dir")),
    Row("labels", "{table}", _picture),
    Row("classes", "{classes}", refused, becomes(None, "classes")),
    Row("holdout_seed", 2, _picture),
    Row("max_bad_images", 0.5, refused, becomes("max_bad_images", None), _DAMAGED),
    Row("strict_images", "true", refused, becomes(None, "strict_images"),
        f"{_DAMAGED} --max_bad_images=0.5"),
    Row("check_images", "no", refused, becomes("max_bad_images", None),
        f"{_DAMAGED} --max_bad_images=0.2"),
    Row("order", "buffer", _picture),
    Row("max_image_pixels", 10, refused, becomes(None, "max_bad_images")),
    Row("cache_dataset", "true", _cached, becomes(False, True), group="a"),
    Row("cache_path", "{new}_cache_views_", _is_cached_at("{new}_cache_views_"),
        becomes(False, True)),
    Row("cache_max_side", 64, refused, becomes(None, "cache_max_side")),
    # Evaluation has no part in the pictures, but the flags are accepted with all others on data.
    Row("eval_split", "validation", _picture, stays, group="no use"),
    Row("eval_batch_size", 3, _picture, stays, group="no use"),
    Row("eval_steps", 2, _picture, stays, group="no use"),
    # Pictures are drawn on the host wherever training draws them.
    Row("augment_on", "device", _picture, stays, group="no use"),
    Row("color_jitter_strength", 0.5, _picture),
    Row("use_blur", "true", _picture, along="--image_size=24"),
    Row("use_flip", "true", _picture),
    Row("use_crop", "true", _picture),
    Row("crop_area_min", 0.9, _picture, along="--use_crop=true"),
    Row("crop_aspect_max", 1.0, _picture, along="--use_crop=true"),
    Row("color_space", "yiq", _picture, along="--color_jitter_strength=0.5"),
    Row("use_vertical_flip", "true", _picture),
    Row("rotate_90", "true", _picture),
    Row("rotation_max_degrees", 30, _picture),
    Row("scale_min", 0.5, _picture),
    Row("scale_max", 2.0, _picture),
    Row("shear_max", 0.5, _picture),
    Row("translate_max", 0.3, _picture),
    Row("fill_mode", "constant", _picture, along="--translate_max=0.3"),
    Row("grayscale_probability", 1.0, _picture),
    Row("blur_probability", 1.0, _picture, along="--image_size=24 --use_blur=true"),
    Row("solarize_probability", 1.0, _picture),
]  # fmt: skip


# convert


def _converted(*names: str) -> Callable[[Ran], Any]:
    """A setting of the run that was written."""

    def setting(ran: Ran) -> Any:
        content = _content(os.path.join(ran.values["model_dir"], "config.json"))
        for name in names:
            content = content[name]
        return content

    return setting


def _kernel_scale(ran: Ran) -> float:
    return _converted("converted", "kernel_scale")(ran)


CONVERT = [
    Row("google_checkpoint", "{other_google}", _kernel_scale, changes, group="a"),
    Row("model_dir", "{new}_converted", is_at("{new}_converted/config.json"),
        becomes(anything, True), group="a"),
    Row("ft_proj_selector", 1, _converted("config", "contrastive", "ft_proj_selector"),
        becomes(0, 1), group="a"),
    Row("dataset", "folder", _converted("config", "data", "dataset"),
        becomes("imagenet2012", "folder"), group="a"),
    Row("data_dir", "{letters}", _converted("class_names"),
        becomes(list("0123456789"), list("abcdefghij")), group="a"),
    Row("image_size", 16, _converted("config", "data", "image_size"), becomes(32, 16), group="a"),
    Row("to_google", "{new}_google", is_at("{new}_google.index"), becomes(anything, True),
        besides="--google_checkpoint= --model_dir={pretrained}"),
]  # fmt: skip


# export


def _exported(ran: Ran) -> Optional[List[np.ndarray]]:
    path = os.path.join(ran.values["export_dir"], "1", "variables.npz")
    with np.load(path) as archive:
        return [archive[name] for name in archive.files]


def _first_kernel(ran: Ran) -> np.ndarray:
    return next(value for value in _exported(ran) if value.ndim == 4)


def _number_of_variables(ran: Ran) -> int:
    return len(_exported(ran))


def _entries(ran: Ran) -> List[str]:
    return sorted(os.listdir(ran.values["export_dir"]))


def _licence(ran: Ran) -> List[str]:
    with open(os.path.join(ran.values["export_dir"], "README.md"), encoding="utf-8") as file:
        return [line for line in file.read().splitlines() if line.startswith("| Licence")]


EXPORT = [
    Row("model_dir", "{other_small_teacher}", _first_kernel),
    Row("export_dir", "{new}_export", is_at("{new}_export/README.md"), becomes(anything, True),
        group="a"),
    Row("use_ema_weights", "true", _first_kernel, along="--model_dir={with_memory}"),
    Row("formats", "hub", _entries, becomes(
        ["1", "README.md"],
        ["README.md", "classification_module.tar.gz", "hub", "module.tar.gz"])),
    Row("fold_batch_norm", "false", _number_of_variables,
        becomes(lambda count: count < 20, lambda count: count > 20), group="a"),
    Row("licence", "MIT", _licence, becomes([], ["| Licence | MIT |"]),
        group="a"),
    Row("overwrite", "true", refused, becomes("export_dir", None),
        along="--export_dir={full}"),
]  # fmt: skip


# demo


def _arguments(ran: Ran) -> List[str]:
    return [argument for command in ran.seen for argument in command]


def _seeds(ran: Ran) -> List[str]:
    return sorted({a for a in _arguments(ran) if a.startswith("--label_seed=")})


def _pretrainings(ran: Ran) -> List[str]:
    pretrainings = [command for command in ran.seen if "pretrain" in command]
    return sorted({a for command in pretrainings for a in command if a.startswith("--seed=")})


def _folders(ran: Ran) -> List[str]:
    paths = (a.split("=")[1] for a in _arguments(ran) if a.startswith("--model_dir="))
    return sorted({os.path.dirname(path) for path in paths})


def _recipes(ran: Ran) -> List[str]:
    return sorted({a.split("=")[1].split("/")[0] for a in _arguments(ran) if "recipe=" in a})


def _in_place(ran: Ran) -> bool:
    return _folders(ran) == [filled("{new}_demo", "demo")]


DEMO = [
    Row("output_dir", "{new}_demo", _in_place, becomes(False, True), group="a"),
    Row("dataset", "tiles", _recipes, becomes(["digits"], ["tiles"])),
    Row("label_seeds", "2,7", _seeds, becomes(["--label_seed=0"],
        ["--label_seed=2", "--label_seed=7"]), group="a"),
    Row("seeds", "3,4", _pretrainings, becomes(["--seed=0"], ["--seed=3", "--seed=4"]),
        along="--label_seeds=2,7"),
]  # fmt: skip

ROWS: Rows = {
    "evaluate": EVALUATE,
    "views": VIEWS,
    "probe": PROBE,
    "predict": PREDICT,
    "embed": EMBED,
    "select": SELECT,
    "audit": AUDIT,
    "report": REPORT,
    "convert": CONVERT,
    "export": EXPORT,
    "demo": DEMO,
}
