"""A run directory that explains itself: settings, checkpoints, metrics, result, environment."""

import glob
import json
import logging
import os
import platform
import shlex
import sys
import tempfile
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from tf_simclrv2 import __version__
from tf_simclrv2.config import ConfigError, TrainingConfig, check_local, refuse
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.learners.steps import STEPS
from tf_simclrv2.runtime import labelled, lock, results
from tf_simclrv2.runtime.checkpoint_folder import saved_steps, whole_checkpoint
from tf_simclrv2.runtime.checkpoint_saver import CheckpointSaver, remove_unfinished
from tf_simclrv2.runtime.disk import writing
from tf_simclrv2.runtime.events import drop_events_after
from tf_simclrv2.runtime.files import (
    DIRECTORY,
    TEMPORARY,
    check_place,
    check_run_places,
    sync,
    write_whole,
)
from tf_simclrv2.runtime.lock import RUN_LOCK
from tf_simclrv2.runtime.metrics_table import MetricsTable
from tf_simclrv2.runtime.results import Result
from tf_simclrv2.runtime.settings import Converted, RunSettings

logger = logging.getLogger(__name__)

# What a run writes before its first step.
_FIRST_FILES = (
    "config.json", "environment.json", "labelled_examples.txt", "data.json", "metrics.csv",
)  # fmt: skip


class RunDirectory:
    """The directory of one run.

    It holds ``config.json`` (what the run is and the classes it knows), ``checkpoints/``,
    ``events/`` (TensorBoard), ``metrics.csv``, ``labelled_examples.txt`` where labels were chosen,
    ``result.json`` and ``evaluation/`` after an evaluation, ``features/`` of the frozen network for
    those who asked for them, ``data.json`` (what it was trained on, counted), and
    ``environment.json``.

    Args:
      path: the directory; it need not exist yet.
      writable: False for all but one of the processes that share a run; they write nothing.

    Attributes:
      table: the rows of ``metrics.csv``.
      claimed: what :func:`lock.state_of` was when this process claimed or last wrote
        the run; None before.
      before: the config of the run that :meth:`claim` found here; None if there was none.
    """

    def __init__(self, path: str, writable: bool = True):
        self.path = os.path.expanduser(path)
        self.writable = writable
        self.table = MetricsTable(self.file("metrics.csv"))
        self.claimed: Optional[lock.State] = None
        self.before: Optional[TrainingConfig] = None
        self._settings: Optional[RunSettings] = None

    def file(self, *names: str) -> str:
        """Returns the path of a file in the run directory."""
        return os.path.join(self.path, *names)

    @property
    def exists(self) -> bool:
        """Whether a run was begun here."""
        return os.path.isfile(self.file("config.json"))

    @property
    def has_trained(self) -> bool:
        """Whether the run has left anything of a training step."""
        saved = saved_steps(self.file("checkpoints"))
        state, result = self.file("checkpoints", "checkpoint"), self.file("result.json")
        return bool(saved) or any(map(os.path.lexists, (state, result))) or bool(self.metrics())

    @property
    def _is_unwritten(self) -> bool:
        """Whether there is nothing here, or only what a kill or a power cut leaves of the start."""
        names = set(os.listdir(self.path) if os.path.isdir(self.path) else []) - {RUN_LOCK}
        mine = {f"{name}{suffix}" for name in _FIRST_FILES for suffix in ("", TEMPORARY)}
        return bool(names) and all(
            name in mine and (name.endswith(TEMPORARY) or os.path.getsize(self.file(name)) == 0)
            for name in names
        )

    @property
    def settings(self) -> RunSettings:
        """The run's settings: those of :meth:`claim`, else those of config.json, read once.

        Raises:
          ConfigError: config.json can't be read.
        """
        if self._settings is None:
            self._settings = RunSettings.read(self.file("config.json"))
        return self._settings

    @property
    def config(self) -> TrainingConfig:
        """The run's config."""
        return self.settings.config

    @property
    def step_of_method(self) -> str:
        """Which step of the method the run is: pretrain, finetune or distill."""
        return self.settings.step_of_method

    @property
    def class_names(self) -> Optional[List[str]]:
        """Names of the classes that the run knows; None without labels."""
        return self.settings.class_names

    @property
    def converted(self) -> Optional[Converted]:
        """What the weights were converted from, or None if they were trained here."""
        return self.settings.converted

    def claim(self, settings: RunSettings) -> None:
        """Checks that a run with these settings can begin or continue here; writes nothing.

        Args:
          settings: of the run; :meth:`begin` writes them.

        Raises:
          ConfigError: another run, or something else, is here; the message says what differs.
        """
        check_run_places(self.path)
        self.claimed = lock.state_of(self.path)
        if self._is_unwritten:
            pass
        elif self.exists:
            before = RunSettings.read(self.file("config.json"))
            # A run that failed before its first step holds nothing that others could mix up.
            if self.has_trained:
                settings = before.continued_by(settings, self.path)
                self.before = before.config
        elif self.writable:
            self.check_empty("must be a new or empty directory or one that holds a run")
        self._settings = settings

    def check_empty(self, allowed: str, flag: str = "model_dir") -> None:
        """Refuses a directory in which anything is already.

        Args:
          allowed: what is allowed, as the end of a sentence.
          flag: the flag that named the directory.

        Raises:
          ConfigError: something is here.
        """
        check_place(os.path.realpath(self.path), flag, DIRECTORY, self.path)
        # A lock that a kill has left is nothing.
        if os.path.isdir(self.path) and set(os.listdir(self.path)) - {RUN_LOCK}:
            raise refuse(flag, self.path, allowed)

    def begin(self) -> None:
        """Writes the settings of :meth:`claim`, and the environment.

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
            sync(os.path.dirname(os.path.abspath(self.path)))
            self._remove_unfinished()
            written = self.settings.spelled_as(self.before) if self.before else self.settings
            written.write(self.file("config.json"))
            write_whole(self.file("environment.json"), _json(environment))
            self.claimed = lock.state_of(self.path)
        except OSError as error:
            raise refuse("model_dir", self.path, f"can't be written ({error.strerror})") from error

    def _remove_unfinished(self) -> None:
        """Removes temporary files that a killed process has left."""
        remove_unfinished(self.file("checkpoints"))
        for name in (*_FIRST_FILES, "result.json"):
            if os.path.isfile(self.file(f"{name}{TEMPORARY}")):
                os.remove(self.file(f"{name}{TEMPORARY}"))

    def latest_checkpoint(self, repair: bool = False) -> Optional[str]:
        """The path of the newest checkpoint that is not damaged, or None if none was saved yet.

        Args:
          repair: whether to move damaged newer ones aside; only for the process that trains.

        Raises:
          ConfigError: checkpoints were saved, but all are damaged.
        """
        return whole_checkpoint(self.file("checkpoints"), repair, warn=self.writable)

    def drop_after(self, step: int) -> None:
        """Drops rows and curves that an interrupted run left after ``step``, to be made again.

        Nothing must be writing to ``events/``.
        """
        if self.writable:
            self.table.drop_after(step)
            if step >= self.config.run.log_every_steps and not self.table.rows():
                logger.warning(
                    "%s lacks its rows up to step %d; events/ still has their curves",
                    self.file("metrics.csv"), step,
                )  # fmt: skip
            drop_events_after(self.file("events"), step)

    def checkpoint_manager(self, checkpoint: tf.train.Checkpoint, keep: int) -> CheckpointSaver:
        """Returns what saves checkpoints and keeps the newest ``keep`` checkpoints.

        Saving reads variables that are spread over processes, so that all must take part; those
        that may not write here save to a temporary directory, which is removed when they end.
        """
        folder = self.file("checkpoints")
        if not self.writable:
            self._scratch = tempfile.TemporaryDirectory()
            folder = self._scratch.name
        return CheckpointSaver(folder, checkpoint, keep, self._logged_files)

    def _logged_files(self) -> List[str]:
        """Files and directories of what was logged."""
        events, table = self.file("events"), self.file("metrics.csv")
        paths = [table, *glob.glob(os.path.join(glob.escape(events), "*")), events, self.path]
        return [path for path in paths if os.path.exists(path)]

    def metrics(self) -> List[Dict[str, str]]:
        """The rows of ``metrics.csv``, oldest first."""
        return self.table.rows()

    def write_labelled(self, class_of: Dict[str, str]) -> None:
        """Writes ``labelled_examples.txt``: the labelled examples' ids and class names."""
        if self.writable:
            content = "".join(f"{line}\n" for line in labelled.lines(class_of))
            write_whole(self.file("labelled_examples.txt"), content)

    def write_data(self, data: Result) -> None:
        """Writes ``data.json``: what the run was trained on, with numbers of images."""
        if self.writable:
            write_whole(self.file("data.json"), _json(data))

    def data(self) -> Result:
        """The content of ``data.json``; empty if the run has none that can be read."""
        try:
            with open(self.file("data.json"), encoding="utf-8") as file:
                content = json.load(file)
        except (OSError, ValueError, RecursionError):
            return {}
        return content if isinstance(content, dict) else {}

    def write_result(self, result: Result, is_own: bool = True) -> None:
        """Adds an evaluation to ``result.json``.

        Args:
          result: the evaluation.
          is_own: whether it is on the run's own data; others are kept next to that.
        """
        self._change_result(lambda before: results.added(before, result, is_own))

    def write_of_run(self, name: str, value: Result) -> None:
        """Adds to ``result.json`` what is about the run, see ``results.OF_RUN``."""
        self._change_result(lambda before: results.added_of_run(before, name, value))

    def _change_result(self, change: Callable[[Result], Dict[str, Any]]) -> None:
        if not self.writable:
            return
        path = self.file("result.json")
        with writing("model_dir", self.path), results.alone_in(self.path):
            try:
                before = results.read(path)
            except ConfigError:
                results.set_aside(path)
                before = {}
            write_whole(path, _json(change(before)))

    def result(self, step: Optional[int] = None) -> Optional[Result]:
        """The run's evaluation on its own data, or None if there was none.

        Args:
          step: of the weights, if those of this training step are wanted rather than the newest.

        Raises:
          ConfigError: ``result.json`` can't be read.
        """
        return results.own(results.read(self.file("result.json")), step)

    def of_run(self, name: str) -> Optional[Result]:
        """What :meth:`write_of_run` has written, or None.

        Raises:
          ConfigError: ``result.json`` can't be read.
        """
        return results.read(self.file("result.json")).get(name)

    def other_results(self) -> List[Result]:
        """The evaluations on other data, other splits or earlier weights.

        Raises:
          ConfigError: ``result.json`` can't be read.
        """
        return results.read(self.file("result.json")).get(results.OTHERS, [])


def _json(content: Mapping[str, object]) -> str:
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def open_run(
    path: str, flag: str, steps_of_method: Sequence[str] = tuple(STEPS), writable: bool = True
) -> RunDirectory:
    """Opens a finished or interrupted run.

    Args:
      path: the run directory.
      flag: the flag that named it, for the error.
      steps_of_method: which kinds of run are accepted.
      writable: see :class:`RunDirectory`.

    Raises:
      ConfigError: it is not a run, or not of these kinds.
    """
    check_local(flag, path)
    run = RunDirectory(path, writable)
    if not os.path.isdir(run.path):
        raise refuse(flag, path, "must be an existing run directory")
    if not run.exists:
        raise refuse(flag, path, "must be a run directory, but it holds no config.json")
    if run.step_of_method not in steps_of_method:
        allowed = " or ".join(steps_of_method)
        raise refuse(flag, path, f"holds a {run.step_of_method} run, but must hold {allowed}")
    return run
