"""The progress bar counts the run's steps, whatever Keras calls a batch."""

import pytest

from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.runtime import callbacks
from tf_simclrv2.runtime.callbacks import Progress


def _fit(steps, *used, steps_per_execution=1):
    model = keras.Sequential([keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(keras.optimizers.SGD(0.0), "mse", steps_per_execution=steps_per_execution)
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
    monkeypatch.setattr(callbacks, "_SECONDS_BETWEEN_LINES", seconds)
    _fit(50, Progress("pretrain", 0, 50, "loss"))
    lines = [line for line in capsys.readouterr().err.replace("\r", "\n").split("\n") if line]
    assert len(lines) == 2 if seconds else len(lines) > 10


def test_an_interrupted_bar_can_be_closed(capsys):
    def interrupt(batch, logs):
        if batch == 2:
            raise KeyboardInterrupt

    progress = Progress("pretrain", 0, 5, "loss")
    progress.close()  # Before training there is nothing to close.
    with pytest.raises(KeyboardInterrupt):
        _fit(5, progress, keras.callbacks.LambdaCallback(on_batch_end=interrupt))
    assert not capsys.readouterr().err.endswith("\n")
    progress.close()
    assert capsys.readouterr().err.endswith("\n")
