"""``best/``: the checkpoint that a monitor likes best, which the newest ones don't push out."""

import contextlib
import logging
import os
import shutil
from typing import Dict, Optional

from tf_simclrv2.runtime.callbacks import MONITOR, Logs, Readings, SaveCheckpoints, StepCallback
from tf_simclrv2.runtime.checkpoint_folder import checkpoint_path, files_of, saved_steps
from tf_simclrv2.runtime.devices import Devices
from tf_simclrv2.runtime.disk import writing
from tf_simclrv2.runtime.files import sync
from tf_simclrv2.runtime.run_directory import RunDirectory

logger = logging.getLogger(__name__)

BEST = "best"


class KeepBest(StepCallback):
    """Keeps the checkpoint of the step with the best reading of a monitor in ``best/``.

    It is one of ``checkpoints/``, by hard links where the file system has them, so that nothing
    there changes and a run never continues from it. It must come behind what saves checkpoints.

    Args:
      run: the run.
      devices: what computes; with several workers the chief decides.
      readings: of the monitors.
      name: the monitor's.
      more_is_better: whether higher readings are.
      save: what saves checkpoints.
    """

    def __init__(
        self,
        run: RunDirectory,
        devices: Devices,
        readings: Readings,
        name: str,
        more_is_better: bool,
        save: SaveCheckpoints,
    ):
        super().__init__()
        self._run, self._devices, self._readings, self._save = run, devices, readings, save
        self._name, self._sign = name, 1 if more_is_better else -1
        self._best: Optional[float] = None
        self._best_step: Optional[int] = None

    def on_train_begin(self, logs: Optional[Logs] = None) -> None:
        self._start = self._step = int(self.model.optimizer.iterations.numpy())
        if self._run.writable:
            self._best = self._kept()

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        self._step = self._start + batch + 1
        value = self._readings.values.get(self._name)
        if self._readings.step != self._step or value is None:
            return
        is_best = self._best is None or self._sign * value > self._sign * self._best
        if self._devices.agreed(int(is_best)):
            self._best = value
            self._save.save_now()
            if self._run.writable:
                self._keep(self._step)
                self._best_step = self._step

    def on_train_end(self, logs: Optional[Logs] = None) -> None:
        if self._best_step is not None and self._best is not None:
            path = checkpoint_path(self._run.file(BEST), self._best_step)
            logger.info(f"{path} is the best by {self._name}, {self._best:.4g}")

    def _kept(self) -> Optional[float]:
        """The reading of the checkpoint that is in ``best/``; one of steps to come is removed."""
        folder = self._run.file(BEST)
        steps = [step for step in saved_steps(folder) if step <= self._start]
        for step in set(saved_steps(folder)) - set(steps[:1]):
            _remove(folder, step)
        readings: Dict[str, str] = {
            row["step"]: row.get(f"{MONITOR}{self._name}", "") for row in self._run.metrics()
        }
        read = readings.get(str(steps[0]), "") if steps else ""
        self._best_step = steps[0] if read else None
        return float(read) if read else None

    def _keep(self, step: int) -> None:
        folder = self._run.file(BEST)
        before = [each for each in saved_steps(folder) if each != step]
        with writing("model_dir", self._run.path):
            os.makedirs(folder, exist_ok=True)
            _remove(folder, step)
            # The index last, without which no one takes it for a checkpoint.
            for path in reversed(files_of(checkpoint_path(self._run.file("checkpoints"), step))):
                copy = os.path.join(folder, os.path.basename(path))
                try:
                    os.link(path, copy)
                except OSError:
                    shutil.copy2(path, copy)
                    sync(copy)
            sync(folder)
            for each in before:
                _remove(folder, each)


def _remove(folder: str, step: int) -> None:
    for path in files_of(checkpoint_path(folder, step)):
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
