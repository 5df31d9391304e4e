"""The progress bar counts the run's steps, whatever Keras calls a batch; few metrics are read."""

import io
import sys
import types

import pytest

from tf_simclrv2 import progress
from tf_simclrv2.config import ComputeConfig
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.optimization.schedules import WarmupCosine
from tf_simclrv2.runtime.callbacks import LogMetrics, Progress, SaveCheckpoints
from tf_simclrv2.runtime.devices import Devices
from tf_simclrv2.runtime.health import Watch
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.runtime.stopping import StopAtSignal


def _fit(steps, *used, steps_per_execution=1):
    model = keras.Sequential([keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(keras.optimizers.SGD(0.0), "mse", steps_per_execution=steps_per_execution)
    model.health = types.SimpleNamespace(reset_state=lambda: None)
    batches = tf.data.Dataset.from_tensors((tf.ones([2, 2]), tf.ones([2, 1]))).repeat()
    model.fit(batches, steps_per_epoch=steps, verbose=0, callbacks=list(used))


@pytest.mark.parametrize("steps_per_execution", [1, 4])
def test_the_bar_goes_from_the_first_step_to_the_last(steps_per_execution, capsys):
    progress = Progress("pretrain", 10, 30, "loss")
    _fit(20, progress, steps_per_execution=steps_per_execution)
    lines = capsys.readouterr().err.replace("\r", "\n").split("\n")
    assert lines[-1] == ""  # The bar's line is ended.
    first, *_, last = filter(None, lines)
    assert first.startswith("pretrain:  33%") and " 10/30 " in first
    assert last.startswith("pretrain: 100%") and " 30/30 " in last
    # The metric that was asked for, and only that.
    assert last.endswith("step/s, loss=1.000]")


@pytest.mark.parametrize("seconds", [0.0, 10.0])
def test_where_output_is_no_terminal_lines_are_few(seconds, capsys, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", seconds)
    _fit(50, Progress("pretrain", 0, 50, "loss"))
    lines = [line for line in capsys.readouterr().err.replace("\r", "\n").split("\n") if line]
    assert len(lines) == 2 if seconds else len(lines) > 10


def test_metrics_are_read_only_when_they_are_shown_or_logged(monkeypatch, tmp_path):
    """What reads a number of a step waits for the device."""
    step, readings, tensor = 0, [], type(tf.constant(0.0))

    def begin(batch, logs):
        nonlocal step
        step = batch + 1

    def noted(read):
        def reading(own):
            # Keras itself reads steps_per_execution, an integer, in each step.
            readings.extend([step] if own.dtype.is_floating else [])
            return read(own)

        return reading

    for name in ("__float__", "numpy"):
        monkeypatch.setattr(tensor, name, noted(getattr(tensor, name)))
    watching = keras.callbacks.LambdaCallback(on_batch_begin=begin)
    watching._supports_tf_logs = True
    run, schedule = RunDirectory(str(tmp_path)), WarmupCosine(0.1, 0, 50)
    _fit(
        50,
        watching,
        StopAtSignal(Devices.open(ComputeConfig()), 20),
        Watch(run, 20, schedule, ""),
        LogMetrics(run, 20, schedule, 2, 10.0),
        SaveCheckpoints(lambda step: None, 50, is_saved=True),
        Progress("pretrain", 0, 50, "loss"),
    )
    # At the first step, which says from where the loss starts, at rows, and at the last one.
    assert set(readings) == {1, 20, 40, 50}


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def test_an_interrupted_bar_can_be_closed(monkeypatch):
    def interrupt(batch, logs):
        if batch == 2:
            raise KeyboardInterrupt

    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    bar = Progress("pretrain", 0, 5, "loss")
    bar.close()  # Before training there is nothing to close.
    with pytest.raises(KeyboardInterrupt):
        _fit(5, bar, keras.callbacks.LambdaCallback(on_batch_end=interrupt))
    assert "0/5" in terminal.getvalue() and not terminal.getvalue().endswith("\n")
    bar.close()
    assert terminal.getvalue().endswith("\n")
