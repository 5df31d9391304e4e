"""Callbacks of ``fit``: progress, metrics, checkpoints."""

import time
from typing import Callable, Dict, Optional, Union

from tqdm import tqdm

from tf_simclrv2 import progress
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.optimization.schedules import WarmupCosine
from tf_simclrv2.runtime.run_directory import RunDirectory

# Means of metrics by name; after a step they are still on the device, see StepCallback.
Logs = Dict[str, Union[float, tf.Tensor]]
# How the columns of monitors begin, and which of them there is room for behind the bar.
MONITOR = "monitor_"
_BEHIND_BAR = ("rank_h", "accuracy", "knn")


class StepCallback(keras.callbacks.Callback):
    """A callback that is told of every step, and reads metrics only when it needs their numbers.

    Keras turns the metrics of every step into numbers for other callbacks, for which the host waits
    until the device has done the step, and the device then until the host has sent the next one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._supports_tf_logs = True


class Readings:
    """What monitors have read after a step, for the callbacks that come behind them.

    Attributes:
      step: the step of the newest readings.
      values: the readings by name.
      seconds: what they took, which the training then waited for.
      constants: what the progress bar shows besides, such as what guessing would give.
    """

    def __init__(self, constants: Optional[Dict[str, float]] = None) -> None:
        self.constants = constants or {}
        self.step = 0
        self.values: Dict[str, float] = {}
        self.seconds = 0.0

    def note(self, step: int, values: Dict[str, float], seconds: float) -> None:
        """Keeps the readings of a step."""
        self.step, self.values, self.seconds = step, values, seconds


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
      readings: of monitors, to show behind it.
    """

    def __init__(
        self,
        name: str,
        start_step: int,
        total_steps: int,
        shown: str,
        readings: Optional[Readings] = None,
    ):
        super().__init__()
        self._readings = readings or Readings()
        self._name = name
        self._start_step = start_step
        self._total_steps = total_steps
        self._shown = shown
        self._bar: Optional[tqdm] = None

    def on_train_begin(self, logs: Optional[Logs] = None) -> None:
        self._next_reading = 0.0
        self._bar = progress.bar(
            self._total_steps, self._name, "step", at_once=True, initial=self._start_step
        )

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        if self._bar is None or self._bar.disable:
            return
        step, now = self._start_step + batch + 1, time.monotonic()
        if now >= self._next_reading or step == self._total_steps:
            self._next_reading = now + self._bar.mininterval
            values = self._readings.values
            shown = {self._shown: float(logs[self._shown]), **self._readings.constants}
            shown.update({name: values[name] for name in _BEHIND_BAR if name in values})
            self._bar.set_postfix(
                {name: f"{value:.3f}" for name, value in shown.items()}, refresh=False
            )
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
      readings: of monitors; a step that has some has a row too.
    """

    def __init__(
        self,
        run: RunDirectory,
        every_steps: int,
        schedule: WarmupCosine,
        batch_size: int,
        steps_per_epoch: float,
        readings: Optional[Readings] = None,
    ):
        super().__init__()
        self._run = run
        self._every_steps = every_steps
        self._schedule = schedule
        self._batch_size = batch_size
        self._steps_per_epoch = steps_per_epoch
        self._readings = readings or Readings()

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
        read = step == self._readings.step and bool(self._readings.values)
        return due or (self._step < step and (read or step == self._schedule.total_steps))

    def _log(self, step: int, means: Logs) -> None:
        elapsed, monitors = time.monotonic() - self._since, {}
        if step == self._readings.step:
            elapsed -= self._readings.seconds
            monitors = {f"{MONITOR}{name}": v for name, v in self._readings.values.items()}
        images = (step - self._since_step) * self._batch_size
        if self._run.writable:
            self._write(
                step,
                {
                    "epoch": step / self._steps_per_epoch,
                    **{name: float(mean) for name, mean in means.items()},
                    "learning_rate": float(self._schedule(step - 1)),
                    "images_per_second": images / elapsed,
                    **monitors,
                },
            )
        self._step = step
        self.model.reset_metrics()
        self._restart_clock()

    def _write(self, step: int, values: Dict[str, float]) -> None:
        self._run.table.append(step, values)
        with self._writer.as_default():
            for name, value in values.items():
                tf.summary.scalar(_tag(name), value, step=step)
        self._writer.flush()


def _tag(column: str) -> str:
    """The name of a column of ``metrics.csv`` in TensorBoard, which groups by what is before /."""
    if column.startswith(MONITOR):
        return f"monitor/{column[len(MONITOR) :]}"
    return f"train/{column}"


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
            self.save_now()

    def on_train_end(self, logs: Optional[Logs] = None) -> None:
        # Training may have been interrupted between a step and its callbacks.
        self._step = int(self.model.optimizer.iterations.numpy())
        self.save_now()

    def save_now(self) -> None:
        """Saves the step that was just done, unless it is saved."""
        if self._saved_step != self._step:
            self._save_step(self._step)
            self._saved_step = self._step
