"""Monitors while pretraining: what they measure, that they change nothing, the best checkpoint."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.conftest import DIGITS_VIEWS, TINY, interrupting
from tf_simclrv2.config import DataConfig
from tf_simclrv2.data.batches import evaluation_batches
from tf_simclrv2.data.sources import open_source
from tf_simclrv2.evaluation import representation
from tf_simclrv2.evaluation.features import features
from tf_simclrv2.keras2 import tf
from tf_simclrv2.runtime.callbacks import Progress
from tf_simclrv2.runtime.checkpoint import Checkpoint
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.training import advice, monitoring
from tf_simclrv2.training import monitored as monitored_images
from tf_simclrv2.training.monitoring import Monitor

STEPS = ["--train_steps=6", "--train_batch_size=20", "--log_every_steps=4", "--checkpoint_steps=4"]
PRETRAIN = ["pretrain", *TINY, *STEPS, *DIGITS_VIEWS, "--learning_rate=3", "--warmup_epochs=0"]
MONITORED = [*PRETRAIN, "--monitor_every_steps=2", "--keep_best=knn", "--keep_checkpoint_max=1"]


@pytest.fixture(scope="module")
def monitored(tmp_path_factory):
    """A run whose monitors are measured every two steps, by one graph."""
    from tf_simclrv2.programs.main import main

    path, traces = str(tmp_path_factory.mktemp("monitored") / "run"), []
    finish = Monitor.finish

    def count(monitor, *arguments, **named):
        finish(monitor, *arguments, **named)
        traces.append(monitor._encode.experimental_get_tracing_count())
        traces.append(monitor.model.train_tf_function.experimental_get_tracing_count())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Monitor, "finish", count)
        assert main([*MONITORED, f"--model_dir={path}"]) == 0
    assert traces == [1, 1]
    return RunDirectory(path)


def _weights(run, name="checkpoints/ckpt-6"):
    reader = tf.train.load_checkpoint(run.file(name))
    names = [name for name in reader.get_variable_to_shape_map() if "save_counter" not in name]
    return {name: reader.get_tensor(name) for name in names if name.endswith("_VALUE")}


def _assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], name)


def _rows(run):
    return [
        {name: value for name, value in row.items() if name != "images_per_second"}
        for row in run.metrics()
    ]


def test_steps_with_monitors_have_rows_and_those_are_the_networks_own(monitored):
    rows = {int(row["step"]): row for row in monitored.metrics()}
    assert list(rows) == [2, 4, 6]
    network = Checkpoint.open(monitored.path, "model_dir").restore_network()
    source = open_source(DataConfig(dataset="digits"))
    batches = list(evaluation_batches(source, monitored.config.data, "test"))
    h, z = (features(network, batches, each) for each in ("final_avg_pool", "proj_head_output"))
    last = {name: float(value) for name, value in rows[6].items()}
    # The images are uint8 there.
    assert last["monitor_rank_h"] == pytest.approx(
        representation.effective_rank(h.values), rel=0.01
    )
    assert last["monitor_rank_z"] == pytest.approx(
        representation.effective_rank(z.values), rel=0.01
    )
    accuracies = representation.with_labels(h)
    for name in ("knn", "ridge"):
        assert last[f"monitor_{name}"] == pytest.approx(accuracies[name], abs=0.02)


def test_the_line_and_result_json_are_of_the_last_step(monitored, command):
    kept, last = monitored.of_run("monitors"), monitored.metrics()[-1]
    for name in ("rank_h", "rank_z", "alignment", "uniformity", "loss", "accuracy", "knn", "ridge"):
        assert kept[name] == pytest.approx(float(last[f"monitor_{name}"]), rel=1e-4)
    assert (kept["step"], kept["checkpoint"], kept["split"]) == (6, "ckpt-6", "test")
    assert (kept["images"], kept["held_out"]) == (360, True)
    assert kept["loss_of_guessing"] == pytest.approx(2 * np.log(719))
    for name in "knn", "ridge":
        _assert_wilson(kept.pop(f"{name}_interval"), kept[name], kept["labelled_images"])
    assert kept["labelled_images"] == 360
    # The evaluation stands beside them, and is none of theirs.
    assert "monitors" not in monitored.result() and "rank_h" not in monitored.result()
    outcome = command(*MONITORED, f"--model_dir={monitored.path}")
    assert outcome.code == 0
    assert f"rank of h {kept['rank_h']:.1f}" in outcome.out
    assert "(guessing 13.156)" in outcome.out
    assert "of 360 labelled on 360 images of digits test, step 6" in outcome.out
    again = RunDirectory(monitored.path).of_run("monitors")
    low, high = again.pop("knn_interval")
    said = f"nearest neighbours {kept['knn']:.1%} (95% interval {low:.1%} to {high:.1%}) and ridge"
    assert said in outcome.out and again.pop("ridge_interval")
    assert again == pytest.approx(kept, rel=1e-5)


def _assert_wilson(interval, accuracy, count):
    """Asserts that both ends are where (p - accuracy)^2 = z^2 p (1 - p) / count."""
    low, high = interval
    assert low < accuracy < high
    for end in interval:
        allowed = 1.959964**2 * end * (1 - end) / count
        assert (end - accuracy) ** 2 == pytest.approx(allowed, rel=1e-4)


def test_monitors_are_groups_of_their_own_in_tensorboard(monitored):
    tags = set()
    for file in os.listdir(monitored.file("events")):
        if "tfevents" in file:
            for record in tf.data.TFRecordDataset(monitored.file("events", file)):
                event = tf.compat.v1.Event.FromString(record.numpy())
                tags |= {value.tag for value in event.summary.value}
    assert {"train/contrast_loss", "monitor/rank_h", "monitor/knn"} <= tags


def test_training_is_the_same_without_monitors(monitored, command, tmp_path):
    path = str(tmp_path / "run")
    assert command(*PRETRAIN, "--monitor_images=0", f"--model_dir={path}").code == 0
    run = RunDirectory(path)
    _assert_same(_weights(run), _weights(monitored))
    assert [row["step"] for row in run.metrics()] == ["4", "6"]
    assert not any(name.startswith("monitor") for name in run.metrics()[0])
    assert run.of_run("monitors") is None


def test_an_interrupted_run_goes_on_with_the_same_monitors(
    monitored, command, tmp_path, monkeypatch
):
    path = str(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "on_train_batch_end", interrupting(2))
        assert command(*MONITORED, f"--model_dir={path}").code == 130
    assert command(*MONITORED, f"--model_dir={path}").code == 0
    run = RunDirectory(path)
    _assert_same(_weights(run), _weights(monitored))
    assert _rows(run) == _rows(monitored)
    assert os.listdir(run.file("best")) and sorted(os.listdir(run.file("best"))) == sorted(
        os.listdir(monitored.file("best"))
    )


@pytest.mark.slow
def test_an_interrupted_run_is_warned_once(command, tmp_path, monkeypatch):
    # So that any network counts as collapsed, from the first monitor on.
    monkeypatch.setattr(advice, "_COLLAPSED_RANK", 1e6)
    monkeypatch.setattr(monitoring, "_SETTLED", 0)
    flags = [*PRETRAIN, "--monitor_every_steps=2", "--jit_compile=false", "--monitor_images=64"]
    flags += [f"--model_dir={tmp_path}/run", "--mode=train"]
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "on_train_batch_end", interrupting(2))
        first = command(*flags)
    assert first.code == 130 and first.err.count("has collapsed by step 2:") == 1
    then = command(*flags)
    assert then.code == 0 and "has collapsed" not in then.err
    run = RunDirectory(f"{tmp_path}/run")
    assert run.of_run("warnings") == {"collapse": 2} and run.result() is None
    assert [row["step"] for row in run.metrics() if row["monitor_rank_h"]] == ["2", "4", "6"]


def test_the_best_checkpoint_is_kept_next_to_the_newest(monitored, command):
    read = {int(row["step"]): float(row["monitor_knn"]) for row in monitored.metrics()}
    best = max(read, key=lambda step: (read[step], -step))
    names = {name.partition(".")[0] for name in os.listdir(monitored.file("best"))}
    assert names == {f"ckpt-{best}"}
    opened = Checkpoint.open(monitored.file("best", f"ckpt-{best}"), "model_dir")
    assert (opened.step, opened.run.path) == (best, monitored.path)
    saved = {name.partition(".")[0] for name in os.listdir(monitored.file("checkpoints"))}
    assert saved == {"ckpt-6", "checkpoint"}
    assert command("evaluate", f"--model_dir={opened.path}").code == 0


def _folder(path, count=12):
    os.makedirs(path)
    random = np.random.RandomState(0)
    for number in range(count):
        pixels = random.randint(0, 256, [8, 8, 3]).astype(np.uint8)
        Image.fromarray(pixels).save(os.path.join(path, f"{number}.png"))
    return str(path)


def test_a_run_without_labels_ends_with_its_monitors(command, tmp_path):
    images, path = _folder(tmp_path / "images"), str(tmp_path / "run")
    flags = [*TINY, "--dataset=folder", f"--data_dir={images}", f"--model_dir={path}"]
    flags += ["--train_steps=2", "--train_batch_size=4", "--monitor_images=7"]
    flags += ["--jit_compile=false"]
    outcome = command("pretrain", *flags, "--quiet")
    assert outcome.code == 0, outcome.err
    assert "step/s" not in outcome.err
    assert "on 6 images of folder train, which it trained on, step 2" in outcome.out
    run = RunDirectory(path)
    assert run.result() is None
    kept = json.loads((tmp_path / "run" / "result.json").read_text())["monitors"]
    assert (kept["images"], kept["held_out"]) == (6, False)
    assert kept["measured_on"] == "6 images of folder train, which it trained on"
    assert not {"knn", "knn_interval", "labelled_images"} & kept.keys()
    outcome = command("pretrain", *flags, "--keep_best=knn")
    assert outcome.code == 1
    assert outcome.err.startswith("error: --keep_best=knn: needs labels of at least 20 of the 6")


@pytest.mark.parametrize(
    ("split", "train_split", "learnt"),
    [("train", "train", ", which it trained on"),
     ("train[:10%]", "train", ", which it trained on"),
     ("train", "train[:90%]", ", some of which it trained on"),
     ("train[90%:]", "train[:90%]", ""),
     ("validation", "train", "")],
)  # fmt: skip
def test_what_is_held_out_by_name(split, train_split, learnt):
    assert monitored_images._learnt(split, train_split) == learnt


def test_a_directory_validation_holds_images_without_labels_out(tmp_path):
    for name in "train", "validation":
        _folder(tmp_path / "images" / name)
    data = DataConfig(dataset="folder", data_dir=str(tmp_path / "images"))
    assert monitored_images._split(open_source(data), data) == "validation"
    data = dataclasses.replace(data, class_level=0)
    assert monitored_images._split(open_source(data), data) == "train"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--monitor_images=1"], "--monitor_images=1: must be 0 or at least 2"),
        (["--monitor_images=0", "--keep_best=loss"], "--keep_best=loss: needs monitors"),
        (["--monitor_images=30", "--keep_best=knn"],
         "--keep_best=knn: needs labels of at least 50"),
        (["--keep_best=best"], "--keep_best"),
        (["--monitor_every_steps=-1"], "--monitor_every_steps=-1"),
        (["--lineareval_while_pretraining=false", "--mode=train", "--eval_split=nothing"],
         "--eval_split=nothing"),
    ],
)  # fmt: skip
def test_what_can_not_be_monitored_is_refused(command, tmp_path, flags, said):
    outcome = command(*PRETRAIN, *flags, f"--model_dir={tmp_path}/run")
    assert outcome.code == 1
    assert said in outcome.err and outcome.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_config_of_before_has_the_defaults(monitored, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(monitored.path, path)
    content = json.loads((path / "config.json").read_text())
    del content["config"]["monitors"]
    (path / "config.json").write_text(json.dumps(content))
    assert RunDirectory(str(path)).config.monitors.monitor_images == 512
