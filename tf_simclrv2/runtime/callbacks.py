"""Callbacks of ``fit``: progress, metrics, checkpoints."""

import sys
import time
from typing import Callable, Dict, Optional, Union

from tqdm import tqdm

from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.optimization.schedules import WarmupCosine
from tf_simclrv2.runtime.run_directory import RunDirectory

# Means of metrics by name; after a step they are still on the device, see StepCallback.
Logs = Dict[str, Union[float, tf.Tensor]]
# Where output is not a terminal (a log file, CI), a line this often is enough.
_SECONDS_BETWEEN_LINES = 10.0


class StepCallback(keras.callbacks.Callback):
    """A callback that is told of every step, and reads metrics only when it needs their numbers.

    Keras turns the metrics of every step into numbers for other callbacks, for which the host waits
    until the device has done the step, and the device then until the host has sent the next one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._supports_tf_logs = True


class Progress(StepCallback):
    """A progress bar over all steps of the run, with the time that is left.

    tqdm's own callback for Keras does not replace it: it counts the calls, of which there is one
    for several steps with ``steps_per_execution``, shows every metric, can't start at the step
    where the run continues, and leaves its bar open when training is interrupted.

    Args:
      name: what is being done.
      start_step: steps done before.
      total_steps: steps of the whole run.
      shown: metric to show after the bar.
    """

    def __init__(self, name: str, start_step: int, total_steps: int, shown: str):
        super().__init__()
        self._name = name
        self._start_step = start_step
        self._total_steps = total_steps
        self._shown = shown
        self._bar: Optional[tqdm] = None

    def on_train_begin(self, logs: Optional[Logs] = None) -> None:
        self._seconds = 0.2 if sys.stderr.isatty() else _SECONDS_BETWEEN_LINES
        self._next_reading = 0.0
        self._bar = tqdm(
            desc=self._name,
            initial=self._start_step,
            total=self._total_steps,
            unit="step",
            mininterval=self._seconds,
            dynamic_ncols=True,
        )

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        if self._bar is None:
            return
        step, now = self._start_step + batch + 1, time.monotonic()
        if now >= self._next_reading or step == self._total_steps:
            self._next_reading = now + self._seconds
            self._bar.set_postfix({self._shown: f"{float(logs[self._shown]):.3f}"}, refresh=False)
        self._bar.update(step - self._bar.n)

    def on_train_end(self, logs: Optional[Logs] = None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the bar's line, so that the next message, perhaps an error, starts on a new one."""
        if self._bar is not None:
            self._bar.close()


class LogMetrics(StepCallback):
    """Writes the means since the last row to ``metrics.csv`` and to TensorBoard.

    Args:
      run: where to write.
      every_steps: steps between rows; the last step has one too.
      schedule: the learning rate, and the number of steps of the whole run.
      batch_size: images in a batch, for the column ``images_per_second``.
      steps_per_epoch: steps in an epoch, for the column ``epoch``.
    """

    def __init__(
        self,
        run: RunDirectory,
        every_steps: int,
        schedule: WarmupCosine,
        batch_size: int,
        steps_per_epoch: float,
    ):
        super().__init__()
        self._run = run
        self._every_steps = every_steps
        self._schedule = schedule
        self._batch_size = batch_size
        self._steps_per_epoch = steps_per_epoch

    def on_train_begin(self, logs: Optional[Logs] = None) -> None:
        self._start = self._step = int(self.model.optimizer.iterations.numpy())
        if self._run.writable:
            self._run.table.drop_after(self._step)
            self._writer = tf.summary.create_file_writer(self._run.file("events"))
        self._restart_clock()

    def _restart_clock(self) -> None:
        self._since, self._since_step = time.monotonic(), self._step

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        step = self._start + batch + 1
        if self._is_due(step):
            self._log(step, logs)
        self._step = step

    def on_train_end(self, logs: Optional[Logs] = None) -> None:
        # Training may have been interrupted between a step and its callbacks.
        step = int(self.model.optimizer.iterations.numpy())
        if self._is_due(step):
            self._log(step, {mean.name: mean.result() for mean in self.model.metrics})
        self._step = step

    def _is_due(self, step: int) -> bool:
        # Several steps may have run since the last call.
        due = step // self._every_steps > self._step // self._every_steps
        return due or self._step < step == self._schedule.total_steps

    def _log(self, step: int, means: Logs) -> None:
        elapsed = time.monotonic() - self._since
        images = (step - self._since_step) * self._batch_size
        if self._run.writable:
            self._write(
                step,
                {
                    "epoch": step / self._steps_per_epoch,
                    **{name: float(mean) for name, mean in means.items()},
                    "learning_rate": float(self._schedule(step - 1)),
                    "images_per_second": images / elapsed,
                },
            )
        self._step = step
        self.model.reset_metrics()
        self._restart_clock()

    def _write(self, step: int, values: Dict[str, float]) -> None:
        self._run.table.append(step, values)
        with self._writer.as_default():
            for name, value in values.items():
                tf.summary.scalar(name, value, step=step)
        self._writer.flush()


class SaveCheckpoints(StepCallback):
    """Saves a checkpoint every so many steps, and when training ends or is interrupted.

    Args:
      save: saves a checkpoint of a training step.
      every_steps: steps between checkpoints.
      is_saved: whether training starts from a checkpoint, so that none is saved before a step.
    """

    def __init__(self, save: Callable[[int], object], every_steps: int, is_saved: bool):
        super().__init__()
        self._save_step = save
        self._every_steps = every_steps
        self._is_saved = is_saved

    def on_train_begin(self, logs: Optional[Logs] = None) -> None:
        self._start = self._step = int(self.model.optimizer.iterations.numpy())
        self._saved_step = self._start if self._is_saved else None

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        before, self._step = self._step, self._start + batch + 1
        if self._step // self._every_steps > before // self._every_steps:
            self._save()

    def on_train_end(self, logs: Optional[Logs] = None) -> None:
        # Training may have been interrupted between a step and its callbacks.
        self._step = int(self.model.optimizer.iterations.numpy())
        self._save()

    def _save(self) -> None:
        if self._saved_step != self._step:
            self._save_step(self._step)
            self._saved_step = self._step
