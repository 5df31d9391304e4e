"""Commands that train nothing, with the flags that all rows give, each run once and kept."""

import contextlib
import functools
import json
import os
from typing import Any, Dict, Iterator

from tests.net import held
from tests.net.held import Ran
from tests.net.table import PLACES, PLAIN, filled, pretrained, training

_BASE = {
    "evaluate": "--model_dir={small_teacher} --jit_compile=false",
    "views": "--dataset=folder --data_dir={colours} --image_size=8 --num_images=3 --seed=3 "
    f"{PLAIN}",
    "probe": "--model_dir={pretrained} --labels_per_class=1",
    "select": "--model_dir={pretrained} --budget=5",
    "audit": "--model_dir={pretrained}",
    "report": "--runs={fine_tuned} --max_images=0",
    "predict": "--saved_model={exported} --images={three}",
    "embed": "--saved_model={exported} --images={three}",
    "convert": "--google_checkpoint={google}",
    "export": "--model_dir={small_teacher} --formats=saved_model",
    "demo": "",
}
# The flag that names what a command writes, and a name for that.
_WRITTEN = {
    "views": ("--output", "views.png"),
    "probe": ("--output_dir", "probe"),
    "select": ("--output_dir", "selected"),
    "audit": ("--output_dir", "audit"),
    "report": ("--output", "report.html"),
    "predict": ("--output", "predictions.csv"),
    "embed": ("--output", "embeddings.npy"),
    "convert": ("--model_dir", "run"),
    "export": ("--export_dir", "export"),
    "demo": ("--output_dir", "demo"),
}
_ran: Dict[tuple, Ran] = {}


def ran(command: str, *flags: str) -> Ran:
    """A command that ran; what it writes goes to a place of its own unless told otherwise."""
    given = held.once_each(filled(_BASE[command], command), *flags)
    key = (command, *sorted(given.items()))
    if key not in _ran:
        if command in _WRITTEN:
            flag, name = _WRITTEN[command]
            given.setdefault(flag, held.new_path(name))
        with _watched(command) as seen:
            _ran[key] = held.run(command, *(f"{name}={value}" for name, value in given.items()))
        _ran[key].seen = seen
        if command == "evaluate" and _ran[key].refused is None:
            # The one evaluation, since the file of earlier ones is removed.
            path = os.path.join(_ran[key].values["model_dir"], "result.json")
            with open(path, encoding="utf-8") as file:
                content = json.load(file)
            _ran[key].seen = content.get("other_evaluations", [content])[0]
            os.remove(path)
    return _ran[key]


@contextlib.contextmanager
def _watched(command: str) -> Iterator[Any]:
    if command == "export":
        with held.saving_is_stubbed():
            yield []
    elif command in ("probe", "audit"):
        with held.frozen_network() as frozen:
            yield frozen
    elif command == "select":
        with held.features_of_frozen_runs() as seen:
            yield seen
    elif command in ("predict", "embed"):
        with held.images_at_a_time() as seen:
            yield seen
    elif command == "demo":
        with held.commands_of_the_demo() as seen:
            yield seen
    else:
        yield []


# Places, for rows to name.


def _exported(*flags: str) -> str:
    exported = held.run("export", f"--export_dir={held.new_path('export')}", *flags)
    return exported.values["export_dir"]


@functools.lru_cache(None)
def exported() -> str:
    """An export that can be loaded."""
    return _exported(filled(_BASE["export"], "export"))


@functools.lru_cache(None)
def other_export() -> str:
    """Another one, of other weights."""
    return _exported(filled("--model_dir={other_small_teacher} --formats=saved_model", "export"))


def full() -> str:
    """A directory that holds an export."""
    return ran("export", "--licence=none").values["export_dir"]


def _google(run: str) -> str:
    path = held.new_path("google")
    held.run("convert", f"--model_dir={run}", f"--to_google={path}")
    return path


def fresh() -> str:
    """A place for a directory, another one each time."""
    return held.new_path("fresh")


def prepared() -> str:
    """Where the digits are prepared."""
    return os.environ["TFDS_DATA_DIR"]


@functools.lru_cache(None)
def google() -> str:
    """A checkpoint such as google-research/simclr writes."""
    return _google(pretrained())


@functools.lru_cache(None)
def other_google() -> str:
    """Another one, of other weights."""
    other = training("pretrain", "--train_steps=1 --seed=7")
    assert other.played.saved
    return _google(other.path)


PLACES.update(
    exported=exported, other_export=other_export, full=full, google=google, prepared=prepared,
    fresh=fresh,
    other_google=other_google,
)  # fmt: skip
