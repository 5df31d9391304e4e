"""A run directory that explains itself: settings, checkpoints, metrics, result, environment."""

import csv
import dataclasses
import glob
import io
import json
import os
import platform
import re
import shlex
import sys
import tempfile
from typing import Any, Dict, List, Optional, Sequence, Type, TypeVar

from tf_simclrv2 import __version__
from tf_simclrv2.config import (
    ConfigError,
    DistillConfig,
    FinetuneConfig,
    PretrainConfig,
    refuse,
)
from tf_simclrv2.keras2 import keras, tf

STEPS_OF_METHOD = {
    "pretrain": PretrainConfig,
    "finetune": FinetuneConfig,
    "distill": DistillConfig,
}
_PREFIX = "ckpt"
T = TypeVar("T")


def config_to_dict(config: Any) -> Dict[str, Dict[str, Any]]:
    """Returns a config's sections as nested dicts of plain values."""
    return dataclasses.asdict(config)


def config_from_dict(config_class: Type[T], sections: Dict[str, Dict[str, Any]]) -> T:
    """The inverse of :func:`config_to_dict`.

    Raises:
      ConfigError: there is no such section, field or value.
    """
    fields = {field.name: field.type for field in dataclasses.fields(config_class)}
    unknown = sections.keys() - fields
    for name in fields:
        known = {field.name for field in dataclasses.fields(fields[name])}
        unknown |= {f"{name}.{field}" for field in sections.get(name, {}).keys() - known}
    if unknown:
        raise ConfigError(f"there is no setting {' or '.join(sorted(unknown))}")
    return config_class(**{name: fields[name](**sections.get(name, {})) for name in fields})


def write_whole(path: str, text: str) -> None:
    """Writes a file under a temporary name and moves it into place, so that it is never half."""
    temporary = f"{path}.tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)


class RunDirectory:
    """The directory of one run.

    It holds ``config.json`` (what the run is and the classes it knows), ``checkpoints/``,
    ``events/`` (TensorBoard), ``metrics.csv``, ``labelled_examples.txt`` where labels were chosen,
    ``result.json`` after an evaluation, and ``environment.json``.

    Args:
      path: the directory; it need not exist yet.
      writable: False for all processes but one of those that share a run; they write nothing.
    """

    def __init__(self, path: str, writable: bool = True):
        self.path = os.path.expanduser(path)
        self.writable = writable
        self._has_warned = False

    def file(self, *names: str) -> str:
        """Returns the path of a file in the run directory."""
        return os.path.join(self.path, *names)

    @property
    def exists(self) -> bool:
        """Whether a run was begun here."""
        return os.path.isfile(self.file("config.json"))

    def check(
        self,
        step_of_method: str,
        config: Any,
        class_names: Optional[List[str]],
        class_names_known: bool = True,
        converted: Optional[Dict[str, Any]] = None,
    ) -> Dict[str, Any]:
        """Checks that a run can begin here, or that the run here has the same settings.

        Args:
          step_of_method: pretrain, finetune or distill.
          config: the run's config.
          class_names: names of the classes; None without labels.
          class_names_known: False if they are mere numbers, since nobody told their names.
          converted: what the weights were converted from; None if they were trained here.

        Returns:
          The content for ``config.json``, which :meth:`begin` writes.

        Raises:
          ConfigError: another run is here; the message names the fields that differ.
        """
        content = {
            "step": step_of_method,
            "class_names": class_names,
            "config": config_to_dict(config),
        }
        if not class_names_known:
            content["class_names_known"] = False
        if converted is not None:
            content["converted"] = converted
        if self.exists:
            self._check_same(content, config)
            before = self._read()
            for name in ("class_names_known", "converted"):
                if name in before:
                    content.setdefault(name, before[name])
        elif self.writable:
            self.check_empty("must be a new or empty directory or one that holds a run")
        return content

    def begin(self, content: Dict[str, Any]) -> None:
        """Writes the run's settings, as :meth:`check` returned them, and its environment.

        Raises:
          ConfigError: the directory can't be written.
        """
        if not self.writable:
            return
        environment = {
            "command": shlex.join([os.path.basename(sys.executable), *sys.argv]),
            "tf_simclrv2": __version__,
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "platform": platform.platform(),
            "devices": [device.device_type for device in tf.config.list_physical_devices()],
        }
        try:
            os.makedirs(self.path, exist_ok=True)
            write_whole(self.file("config.json"), json.dumps(content, indent=2) + "\n")
            write_whole(self.file("environment.json"), json.dumps(environment, indent=2) + "\n")
        except OSError as error:
            raise refuse("model_dir", self.path, f"can't be written ({error.strerror})") from error

    def check_empty(self, allowed: str) -> None:
        """Raises ConfigError, which tells what is ``allowed``, if anything is here already."""
        if os.path.exists(self.path) and not os.path.isdir(self.path):
            raise refuse("model_dir", self.path, "is a file, but must be a directory")
        if os.path.isdir(self.path) and os.listdir(self.path):
            raise refuse("model_dir", self.path, allowed)

    def _check_same(self, content: dict, config: Any) -> None:
        before = self._read()
        if before["step"] != content["step"]:
            raise refuse(
                "model_dir",
                self.path,
                f"holds a {before['step']} run, so {content['step']} needs another directory",
            )
        differing = []
        config_before = self.config
        for section in dataclasses.fields(config):
            sections = getattr(config_before, section.name), getattr(config, section.name)
            for field in dataclasses.fields(sections[0]):
                was, now = (getattr(each, field.name) for each in sections)
                same = _same_path(was, now) if field.metadata["is_path"] else was == now
                if not same and not field.metadata["may_change"]:
                    differing.append(f"{field.name} was {was} and is now {now}")
        if before["class_names"] != content["class_names"]:
            differing.append("the classes of the data differ")
        if differing:
            raise refuse(
                "model_dir",
                self.path,
                f"holds a run with other settings ({'; '.join(differing)}), so it must be "
                "continued with the same ones or started in another directory",
            )

    def _read(self) -> dict:
        try:
            with open(self.file("config.json"), encoding="utf-8") as file:
                content = json.load(file)
            content["step"], content["class_names"], content["config"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{self.file('config.json')}: it must be a run's readable config.json "
                f"({type(error).__name__}: {error})."
            ) from error
        return content

    @property
    def step_of_method(self) -> str:
        """Which step of the method the run is: pretrain, finetune or distill."""
        return self._read()["step"]

    @property
    def class_names(self) -> Optional[List[str]]:
        """Names of the classes that the run knows; None without labels."""
        return self._read()["class_names"]

    @property
    def class_names_known(self) -> bool:
        """Whether ``class_names`` are names, not mere numbers since nobody told their names."""
        return self._read().get("class_names_known", True)

    def knows_classes(self, class_names: Optional[List[str]]) -> bool:
        """Whether a data set's classes are the run's: by name, or by number without names."""
        if self.class_names_known or class_names is None:
            return class_names == self.class_names
        return len(class_names) == len(self.class_names)

    @property
    def converted(self) -> Optional[Dict[str, Any]]:
        """What the weights were converted from: ``google_checkpoint``, ``kernel_scale``; or None.

        See :func:`tf_simclrv2.interop.checkpoints.kernel_scale`.
        """
        return self._read().get("converted")

    @property
    def config(self) -> Any:
        """The run's config."""
        content = self._read()
        try:
            return config_from_dict(STEPS_OF_METHOD[content["step"]], content["config"])
        except ConfigError as error:
            raise ConfigError(f"{self.file('config.json')}: {str(error).rstrip('.')}.") from error

    def latest_checkpoint(self) -> Optional[str]:
        """The path of the newest checkpoint that is whole, or None if none was saved yet.

        Raises:
          ConfigError: checkpoints were saved, but none is whole.
        """
        folder = self.file("checkpoints")
        state = tf.train.get_checkpoint_state(folder)
        # Once it names a checkpoint, that was written to its end.
        if state is not None and _is_whole(state.model_checkpoint_path):
            return state.model_checkpoint_path
        names = os.listdir(folder) if os.path.isdir(folder) else []
        found = [re.fullmatch(rf"{_PREFIX}-(\d+)\.(index|data-.*)", name) for name in names]
        steps = sorted({int(match[1]) for match in found if match}, reverse=True)
        if state is None and not steps:
            return None
        paths = [os.path.join(folder, f"{_PREFIX}-{step}") for step in steps]
        newest = next((path for path in paths if _is_whole(path)), None)
        if newest is None:
            raise ConfigError(
                f"{folder}: files of its checkpoints are missing, so that none can be used; "
                "remove the directory if the run is to begin anew."
            )
        if self.writable and not self._has_warned:
            self._has_warned = True
            print(
                f"warning: {folder}: the files of its newest checkpoint are missing, so "
                f"{os.path.basename(newest)} is taken",
                file=sys.stderr,
            )
        return newest

    def checkpoint_manager(
        self, checkpoint: tf.train.Checkpoint, keep: int
    ) -> tf.train.CheckpointManager:
        """Returns a manager that keeps the newest ``keep`` checkpoints.

        Saving reads variables that are spread over processes, so that all must take part; those
        that may not write here save to a directory of their own, which goes when they end.
        """
        directory = self.file("checkpoints")
        if not self.writable:
            self._scratch = tempfile.TemporaryDirectory()
            directory = self._scratch.name
        return tf.train.CheckpointManager(
            checkpoint, directory, max_to_keep=keep, checkpoint_name=_PREFIX
        )

    def drop_metrics_after(self, step: int) -> None:
        """Drops the rows of ``metrics.csv`` that an interrupted run left after ``step``."""
        rows = self.metrics()
        kept = [row for row in rows if int(row["step"]) <= step]
        if len(kept) < len(rows):
            lines = io.StringIO()
            writer = csv.DictWriter(lines, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(kept)
            write_whole(self.file("metrics.csv"), lines.getvalue())

    def append_metrics(self, step: int, values: Dict[str, float]) -> None:
        """Adds a row to ``metrics.csv``, with ``step`` and ``values`` as its columns."""
        path = self.file("metrics.csv")
        row = {"step": step, **{name: f"{value:.6g}" for name, value in values.items()}}
        is_new = not os.path.exists(path)
        with open(path, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row), lineterminator="\n")
            if is_new:
                writer.writeheader()
            writer.writerow(row)

    def metrics(self) -> List[Dict[str, str]]:
        """The rows of ``metrics.csv``, oldest first."""
        if not os.path.exists(self.file("metrics.csv")):
            return []
        with open(self.file("metrics.csv"), newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def write_result(self, result: Dict[str, Any]) -> None:
        """Writes ``result.json``."""
        if not self.writable:
            return
        write_whole(self.file("result.json"), json.dumps(result, indent=2) + "\n")

    def result(self) -> Optional[Dict[str, Any]]:
        """The content of ``result.json``, or None before an evaluation."""
        if not os.path.exists(self.file("result.json")):
            return None
        with open(self.file("result.json"), encoding="utf-8") as file:
            return json.load(file)


def _same_path(path: Optional[str], other: Optional[str]) -> bool:
    """Whether two paths, either of which may be None, are spellings of the same."""
    if path is None or other is None:
        return path == other
    path, other = (os.path.abspath(os.path.expanduser(each)) for each in (path, other))
    return path == other


def _is_whole(checkpoint: str) -> bool:
    """Whether all of a checkpoint's files are there."""
    shards = glob.glob(f"{glob.escape(checkpoint)}.data-?????-of-?????")
    has_all_shards = bool(shards) and len(shards) == int(shards[0][-5:])
    return has_all_shards and os.path.isfile(f"{checkpoint}.index")


def open_run(
    path: str, flag: str, steps_of_method: Sequence[str] = tuple(STEPS_OF_METHOD)
) -> RunDirectory:
    """Opens a finished or interrupted run.

    Args:
      path: the run directory.
      flag: the flag that named it, for the error.
      steps_of_method: which kinds of run will do.

    Raises:
      ConfigError: it is not a run, not of these kinds, or has no checkpoint.
    """
    run = RunDirectory(path)
    if not os.path.isdir(run.path):
        raise refuse(flag, path, "must be an existing run directory")
    if not run.exists:
        raise refuse(flag, path, "must be a run directory, but it holds no config.json")
    if run.step_of_method not in steps_of_method:
        allowed = " or ".join(steps_of_method)
        raise refuse(flag, path, f"holds a {run.step_of_method} run, but must hold {allowed}")
    if run.latest_checkpoint() is None:
        raise refuse(flag, path, "holds no checkpoint; the run must have saved at least one")
    return run
