"""The best checkpoint: which is kept, and that one of steps to come or half written is not."""

import os
import types

import pytest

from tf_simclrv2.config import PretrainConfig, RunConfig
from tf_simclrv2.keras2 import tf
from tf_simclrv2.runtime.best import KeepBest
from tf_simclrv2.runtime.callbacks import Readings, SaveCheckpoints
from tf_simclrv2.runtime.checkpoint_folder import saved_steps, whole_checkpoint
from tf_simclrv2.runtime.devices import Devices
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.runtime.settings import RunSettings


class _Training:
    """Steps of a training whose weight is the number of the step."""

    def __init__(self, path, start=0, name="knn", more=True, every=100):
        self.run = RunDirectory(str(path))
        self.run.claim(RunSettings("pretrain", PretrainConfig(RunConfig(str(path))), None))
        self.run.begin()
        self.weight, self.readings = tf.Variable(float(start)), Readings()
        manager = self.run.checkpoint_manager(tf.train.Checkpoint(weight=self.weight), keep=2)
        save = SaveCheckpoints(manager.save, every, is_saved=bool(start))
        keep = KeepBest(self.run, Devices(), self.readings, name, more, save)
        self.callbacks, self.start = [save, keep], start
        iterations = tf.Variable(start)
        model = types.SimpleNamespace(optimizer=types.SimpleNamespace(iterations=iterations))
        for callback in self.callbacks:
            callback.set_model(model)
            callback.on_train_begin()

    def step(self, step, value=None):
        self.weight.assign(float(step))
        if value is not None:
            self.readings.note(step, {"knn": value, "loss": value}, 0.0)
            self.run.table.append(step, {"monitor_knn": value, "monitor_loss": value})
        for callback in self.callbacks:
            callback.on_train_batch_end(step - self.start - 1, {})

    @property
    def best(self):
        return saved_steps(self.run.file("best"))


def _weight(training, step):
    path = training.run.file("best", f"ckpt-{step}")
    return tf.train.load_checkpoint(path).get_tensor("weight/.ATTRIBUTES/VARIABLE_VALUE")


def test_the_highest_reading_is_kept_though_newer_ones_push_it_out(tmp_path):
    training = _Training(tmp_path / "run", every=2)
    for step, value in enumerate((0.5, 0.9, 0.7, 0.9, 0.2, 0.3), 1):
        training.step(step, value)
    assert training.best == [2] and _weight(training, 2) == 2
    # Only the best ones and those of every second step were saved.
    assert saved_steps(training.run.file("checkpoints")) == [6, 4]
    assert whole_checkpoint(training.run.file("checkpoints")).endswith("ckpt-6")


def test_of_a_loss_the_lowest_is_kept(tmp_path):
    training = _Training(tmp_path / "run", name="loss", more=False)
    for step, value in enumerate((0.5, 0.9, None, 0.3, None), 1):
        training.step(step, value)
    assert training.best == [4]


def test_a_run_that_goes_on_compares_with_what_it_kept(tmp_path):
    before = _Training(tmp_path / "run")
    before.step(1, 0.8)
    before.step(2, 0.6)
    after = _Training(tmp_path / "run", start=2)
    after.step(3, 0.7)
    assert after.best == [1]
    after.step(4, 0.85)
    assert after.best == [4] and _weight(after, 4) == 4


def test_one_of_steps_that_are_made_again_is_forgotten(tmp_path):
    before = _Training(tmp_path / "run")
    before.step(1, 0.3)
    before.step(5, 0.9)
    assert before.best == [5]
    before.run.table.drop_after(2)
    after = _Training(tmp_path / "run", start=2)
    assert after.best == []
    after.step(3, 0.2)
    assert after.best == [3]


def test_where_nothing_can_be_linked_files_are_copied(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    training = _Training(tmp_path / "run")
    training.step(1, 0.3)
    assert training.best == [1] and _weight(training, 1) == 1


def test_half_of_a_checkpoint_is_replaced(tmp_path):
    training = _Training(tmp_path / "run")
    os.makedirs(training.run.file("best"))
    with open(training.run.file("best", "ckpt-1.data-00000-of-00001"), "w") as file:
        file.write("half")
    training.step(1, 0.3)
    assert _weight(training, 1) == 1


def test_damage_of_the_newest_leaves_the_best_alone(tmp_path):
    training = _Training(tmp_path / "run", every=1)
    training.step(1, 0.9)
    training.step(2, 0.1)
    training.step(3, 0.1)
    folder = training.run.file("checkpoints")
    with open(os.path.join(folder, "ckpt-3.data-00000-of-00001"), "wb") as file:
        file.write(b"damaged")
    assert whole_checkpoint(folder, repair=True).endswith("ckpt-2")
    assert training.best == [1] and _weight(training, 1) == 1


def test_something_else_in_its_place_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "best").write_text("mine")
    with pytest.raises(ValueError, match="best is a file"):
        _Training(tmp_path / "run")
