"""A run directory that explains itself: settings, checkpoints, metrics, result, environment."""

import json
import os
import platform
import shlex
import sys
import tempfile
from typing import Any, Dict, List, Mapping, Optional, Sequence

from tf_simclrv2 import __version__
from tf_simclrv2.config import TrainingConfig, refuse
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.learners.steps import STEPS
from tf_simclrv2.runtime.checkpoint_folder import checkpoint_manager, newest_checkpoint
from tf_simclrv2.runtime.files import write_whole
from tf_simclrv2.runtime.metrics_table import MetricsTable
from tf_simclrv2.runtime.settings import Converted, RunSettings

# An evaluation's numbers, and which data and weights they are of. Any, since JSON has no types.
Result = Mapping[str, Any]


class RunDirectory:
    """The directory of one run.

    It holds ``config.json`` (what the run is and the classes it knows), ``checkpoints/``,
    ``events/`` (TensorBoard), ``metrics.csv``, ``labelled_examples.txt`` where labels were chosen,
    ``result.json`` after an evaluation, and ``environment.json``.

    Args:
      path: the directory; it need not exist yet.
      writable: False for all but one of the processes that share a run; they write nothing.

    Attributes:
      table: the rows of ``metrics.csv``.
    """

    def __init__(self, path: str, writable: bool = True):
        self.path = os.path.expanduser(path)
        self.writable = writable
        self.table = MetricsTable(self.file("metrics.csv"))
        self._settings: Optional[RunSettings] = None

    def file(self, *names: str) -> str:
        """Returns the path of a file in the run directory."""
        return os.path.join(self.path, *names)

    @property
    def exists(self) -> bool:
        """Whether a run was begun here."""
        return os.path.isfile(self.file("config.json"))

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
        if self.exists:
            before = RunSettings.read(self.file("config.json"))
            settings = before.continued_by(settings, self.path)
        elif self.writable:
            self.check_empty("must be a new or empty directory or one that holds a run")
        self._settings = settings

    def check_empty(self, allowed: str) -> None:
        """Raises ConfigError, which says what is ``allowed``, if anything is here already."""
        if os.path.exists(self.path) and not os.path.isdir(self.path):
            raise refuse("model_dir", self.path, "is a file, but must be a directory")
        if os.path.isdir(self.path) and os.listdir(self.path):
            raise refuse("model_dir", self.path, allowed)

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
            self.settings.write(self.file("config.json"))
            write_whole(self.file("environment.json"), json.dumps(environment, indent=2) + "\n")
        except OSError as error:
            raise refuse("model_dir", self.path, f"can't be written ({error.strerror})") from error

    def latest_checkpoint(self) -> Optional[str]:
        """The path of the newest complete checkpoint, or None if none was saved yet.

        Raises:
          ConfigError: checkpoints were saved, but none is complete.
        """
        return newest_checkpoint(self.file("checkpoints"), warn=self.writable)

    def checkpoint_manager(
        self, checkpoint: tf.train.Checkpoint, keep: int
    ) -> tf.train.CheckpointManager:
        """Returns a manager that keeps the newest ``keep`` checkpoints.

        Saving reads variables that are spread over processes, so that all must take part; those
        that may not write here save to a temporary directory, which is removed when they end.
        """
        folder = self.file("checkpoints")
        if not self.writable:
            self._scratch = tempfile.TemporaryDirectory()
            folder = self._scratch.name
        return checkpoint_manager(folder, checkpoint, keep)

    def metrics(self) -> List[Dict[str, str]]:
        """The rows of ``metrics.csv``, oldest first."""
        return self.table.rows()

    def write_labelled(self, class_of: Dict[str, str]) -> None:
        """Writes ``labelled_examples.txt``: the labelled examples' ids and class names."""
        if self.writable:
            lines = (f"{example}\t{name}\n" for example, name in class_of.items())
            write_whole(self.file("labelled_examples.txt"), "".join(lines))

    def write_result(self, result: Result) -> None:
        """Writes ``result.json``."""
        if self.writable:
            write_whole(self.file("result.json"), json.dumps(result, indent=2) + "\n")

    def result(self) -> Optional[Result]:
        """The content of ``result.json``, or None before an evaluation."""
        if not os.path.exists(self.file("result.json")):
            return None
        with open(self.file("result.json"), encoding="utf-8") as file:
            return json.load(file)


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
    run = RunDirectory(path, writable)
    if not os.path.isdir(run.path):
        raise refuse(flag, path, "must be an existing run directory")
    if not run.exists:
        raise refuse(flag, path, "must be a run directory, but it holds no config.json")
    if run.step_of_method not in steps_of_method:
        allowed = " or ".join(steps_of_method)
        raise refuse(flag, path, f"holds a {run.step_of_method} run, but must hold {allowed}")
    return run
