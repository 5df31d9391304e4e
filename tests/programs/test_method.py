"""The three steps through the command line: what they leave behind, and that they go on."""

import dataclasses
import glob
import json
import os
import pathlib
import shutil

import numpy as np
import pytest

from tests.conftest import DIGITS_VIEWS, FEW_STEPS, TINY, interrupting
from tf_simclrv2.config import DataConfig
from tf_simclrv2.data.batches import evaluation_batches
from tf_simclrv2.data.sources import open_source
from tf_simclrv2.keras2 import tf
from tf_simclrv2.runtime.callbacks import LogMetrics, Progress
from tf_simclrv2.runtime.checkpoint import Checkpoint
from tf_simclrv2.runtime.run_directory import RunDirectory

PRETRAIN = ["pretrain", *TINY, *FEW_STEPS, *DIGITS_VIEWS]


def _weights(path):
    reader = tf.train.load_checkpoint(RunDirectory(path).latest_checkpoint())
    names = [name for name in reader.get_variable_to_shape_map() if name.endswith("_VALUE")]
    return {name: reader.get_tensor(name) for name in names if "save_counter" not in name}


def _assert_same_weights(path, other):
    weights, others = _weights(path), _weights(other)
    assert weights.keys() == others.keys()
    for name, value in weights.items():
        np.testing.assert_array_equal(value, others[name], name)


def _events(path):
    """Tags of scalars with their steps, and the sizes and pictures of images by tag."""
    scalars, images = {}, {}
    for file in glob.glob(os.path.join(path, "events", "*.v2")):
        for record in tf.data.TFRecordDataset(file):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "images":
                    images[value.tag] = value.tensor.string_val
                elif value.metadata.plugin_data.plugin_name == "scalars":
                    scalars.setdefault(value.tag, {})[event.step] = tf.make_ndarray(value.tensor)
    return scalars, images


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        (
            "pretrained",
            {"contrast_loss", "contrast_accuracy", "contrast_entropy", "supervised_loss"},
        ),
        ("fine_tuned", {"supervised_loss", "supervised_accuracy"}),
        ("distilled", {"distillation_loss", "teacher_agreement"}),
    ],
)
def test_metrics_are_in_the_table_and_in_tensorboard(method, name, columns):
    rows = RunDirectory(method[name]).metrics()
    assert [row["step"] for row in rows] == ["2", "4"]
    common = {"step", "epoch", "loss", "weight_decay", "learning_rate", "images_per_second"}
    assert set(rows[0]) >= columns | common
    scalars, _ = _events(method[name])
    for column in set(rows[0]) - {"step"}:
        is_monitor = column.startswith("monitor_")
        curve = scalars[column.replace("_", "/", 1) if is_monitor else f"train/{column}"]
        assert set(curve) == ({4} if is_monitor else {2, 4})
        for row in rows[is_monitor:]:
            value = float(curve[int(row["step"])])
            assert value == pytest.approx(float(row[column]), rel=1e-4)


def test_pairs_of_views_are_drawn_for_tensorboard(method):
    _, images = _events(method["pretrained"])
    (pictures,) = images.values()
    width, height, *pngs = pictures
    assert (int(width), int(height)) == (16, 8)  # two views of 8 pixels beside each other
    assert len(pngs) == 16
    pixels = [tf.io.decode_png(png).numpy() for png in pngs]
    assert all(pixel.shape == (8, 16, 3) and pixel.std() > 5 for pixel in pixels)
    assert any((pixel[:, :8] != pixel[:, 8:]).any() for pixel in pixels)


@pytest.mark.parametrize("name", ["pretrained", "fine_tuned", "distilled"])
def test_result_is_that_of_the_checkpoint(method, name):
    run = RunDirectory(method[name])
    result = run.result()
    network = Checkpoint.open(run.path, "model_dir").restore_network()
    right, count, loss = 0, 0, 0.0
    source = open_source(DataConfig(dataset="digits"))
    data = dataclasses.replace(run.config.data, eval_batch_size=360)
    for batch in evaluation_batches(source, data, "test"):
        logits = network(batch["image"], training=False)["logits"].numpy().astype(float)
        right += (logits.argmax(axis=1) == batch["label"].numpy()).sum()
        count += len(logits)
        picked = logits[np.arange(len(logits)), batch["label"].numpy()]
        loss += (np.log(np.exp(logits).sum(axis=1)) - picked).sum()
    assert (result["num_examples"], result["step"]) == (count, 4) == (360, 4)
    assert result["top_1_accuracy"] == pytest.approx(right / count)
    assert result["loss"] == pytest.approx(loss / count, rel=1e-4)
    assert result["top_1_accuracy"] <= result["top_5_accuracy"] <= 1


def test_fine_tuning_starts_from_the_pretrained_weights_and_notes_its_labels(
    command, method, tmp_path
):
    assert (
        command(
            "finetune", f"--checkpoint={method['pretrained']}", "--ft_proj_selector=1",
            "--label_fraction=0.02", "--train_steps=1", "--learning_rate=1e-30",
            f"--model_dir={tmp_path}", "--train_batch_size=20", "--batch_norm_decay=0.99",
        ).code
        == 0
    )  # fmt: skip
    before, after = _weights(method["pretrained"]), _weights(str(tmp_path))
    trained = [n for n in after if n.startswith("network/") and "moving" not in n]
    loaded = [n for n in trained if "supervised_head" not in n]
    assert any("projection_head/projections/0" in name for name in loaded)
    assert not any("projection_head/projections/1" in name for name in after)
    for name in loaded:
        np.testing.assert_array_equal(after[name], before[name], name)
    heads = [name for name in trained if name.endswith("dense/kernel/.ATTRIBUTES/VARIABLE_VALUE")]
    head = next(name for name in heads if "supervised_head" in name)
    assert not np.array_equal(after[head], before[head])

    lines = (tmp_path / "labelled_examples.txt").read_text().splitlines()
    truth = {
        example["id"].decode(): str(example["label"])
        for example in open_source(DataConfig(dataset="digits"))
        .examples("train")
        .as_numpy_iterator()
    }
    assert len(lines) == round(0.02 * 1437)
    assert all(truth[line.split("\t")[0]] == line.split("\t")[1] for line in lines)


def test_an_interrupted_run_goes_on_to_the_very_same_weights(
    command, method, tmp_path, monkeypatch
):
    path = str(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "on_train_batch_end", interrupting(2))
        outcome = command(*PRETRAIN, f"--model_dir={path}")
    assert outcome.code == 130
    assert "the same command continues" in outcome.err
    assert RunDirectory(path).latest_checkpoint().endswith("ckpt-3")

    assert command(*PRETRAIN, f"--model_dir={path}").code == 0
    _assert_same_weights(path, method["pretrained"])
    # Step 3 was done before, step 4 after the interrupt: the row is a mean of both.
    rows, expected = (RunDirectory(each).metrics() for each in (path, method["pretrained"]))
    for row in (*rows, *expected):
        row.pop("images_per_second")
    assert rows == expected
    assert [row["step"] for row in rows] == ["2", "4"]


@pytest.mark.slow
def test_an_interrupt_between_a_step_and_its_callbacks_loses_nothing(
    command, method, tmp_path, monkeypatch
):
    whole = LogMetrics.on_train_batch_end

    def interrupt(self, batch, logs=None):
        if batch == 1:
            raise KeyboardInterrupt
        whole(self, batch, logs)

    path = str(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(LogMetrics, "on_train_batch_end", interrupt)
        assert command(*PRETRAIN, f"--model_dir={path}").code == 130
    assert RunDirectory(path).latest_checkpoint().endswith("ckpt-2")
    assert Checkpoint.open(path, "model_dir").step == 2

    assert command(*PRETRAIN, f"--model_dir={path}").code == 0
    _assert_same_weights(path, method["pretrained"])
    rows, expected = (RunDirectory(each).metrics() for each in (path, method["pretrained"]))
    assert [row["step"] for row in rows] == ["2", "4"]
    for row, other in zip(rows, expected):
        row.pop("images_per_second"), other.pop("images_per_second")
        assert {k: float(v or 0) for k, v in row.items()} == pytest.approx(
            {k: float(v or 0) for k, v in other.items()}, rel=1e-4
        )


def test_a_finished_run_is_only_evaluated_again(command, method, tmp_path):
    path = str(tmp_path / "run")
    shutil.copytree(method["pretrained"], path)
    os.remove(os.path.join(path, "result.json"))
    outcome = command(*PRETRAIN, f"--model_dir={path}")
    assert outcome.code == 0
    assert "step/s" not in outcome.err
    _assert_same_weights(path, method["pretrained"])
    assert RunDirectory(path).result() == RunDirectory(method["pretrained"]).result()


def test_evaluate_takes_the_run_and_one_checkpoint_of_it(command, method, tmp_path):
    path = str(tmp_path / "run")
    shutil.copytree(method["distilled"], path)
    os.remove(os.path.join(path, "result.json"))
    expected = RunDirectory(method["distilled"]).result()
    assert command("evaluate", f"--model_dir={path}").code == 0
    assert RunDirectory(path).result() == expected
    checkpoint = os.path.join(path, "checkpoints", "ckpt-4")
    outcome = command("evaluate", f"--model_dir={checkpoint}", "--eval_split=train[:64]")
    assert outcome.code == 0
    assert RunDirectory(path).result() == expected
    (other,) = RunDirectory(path).other_results()
    assert (other["num_examples"], other["split"], other["checkpoint"]) == (
        64, "train[:64]", "ckpt-4",
    )  # fmt: skip
    assert f"top-1 {other['top_1_accuracy']:.1%}" in outcome.out
    assert "one device, 1 replica, batch 256 (256 per replica)\n" in outcome.out


def test_the_student_has_its_own_architecture_and_no_projection_head(method):
    teacher, student = (RunDirectory(method[name]) for name in ("fine_tuned", "distilled"))
    assert student.config.network.width_multiplier == 0.03125
    assert teacher.config.network.width_multiplier == 0.0625
    network = Checkpoint.open(student.path, "teacher").restore_network()
    assert network.projection_head.projections == []
    assert student.class_names == teacher.class_names == [str(digit) for digit in range(10)]
    parameters = [run.result()["num_parameters"] for run in (teacher, student)]
    assert parameters[1] < parameters[0] / 3


@pytest.mark.slow
def test_the_baseline_trains_without_a_checkpoint_and_distillation_with_labels(
    command, method, tmp_path
):
    assert (
        command(
            "finetune", "--from_scratch=true", *TINY, "--train_steps=1", "--labels_per_class=2",
            "--train_batch_size=20", f"--model_dir={tmp_path}/baseline",
        ).code
        == 0
    )  # fmt: skip
    assert len((tmp_path / "baseline" / "labelled_examples.txt").read_text().splitlines()) == 20
    assert (
        command(
            "distill", f"--teacher={method['fine_tuned']}", "--distillation_alpha=0.5",
            "--labels_per_class=1", "--train_steps=1", "--train_batch_size=10", "--mode=train",
            f"--model_dir={tmp_path}/mixed",
        ).code
        == 0
    )  # fmt: skip
    assert len((tmp_path / "mixed" / "labelled_examples.txt").read_text().splitlines()) == 10
    assert not (tmp_path / "mixed" / "result.json").exists()


def test_the_run_tells_how_it_was_made(method):
    content = json.loads(pathlib.Path(method["fine_tuned"], "config.json").read_text())
    assert content["step"] == "finetune"
    assert content["config"]["network"]["resnet_depth"] == 18
    assert content["config"]["network"]["stem"] == "cifar"
    assert content["config"]["data"]["image_size"] == 8
    assert content["config"]["data"]["eval_split"] == "test"
