"""What TensorBoard shows besides curves, as its own plugins read it."""

import glob
import os

import numpy as np
import pytest
from PIL import Image

from tf_simclrv2.config import ContrastiveConfig, PretrainConfig, RunConfig
from tf_simclrv2.keras2 import tf
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.runtime.settings import RunSettings
from tf_simclrv2.runtime.tensorboard import draw_guessing, write_evaluation, write_settings


def _run(path, temperature):
    run = RunDirectory(str(path))
    config = PretrainConfig(
        RunConfig(str(path)), contrastive=ContrastiveConfig(temperature=temperature)
    )
    run.claim(RunSettings("pretrain", config, None))
    run.begin()
    return run


def _values(folder):
    """Scalars by tag, with their steps, and pictures by tag."""
    scalars, pictures = {}, {}
    for file in sorted(glob.glob(os.path.join(folder, "*.v2"))):
        for record in tf.data.TFRecordDataset(file):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "images":
                    pictures[value.tag] = tf.io.decode_png(value.tensor.string_val[2]).numpy()
                else:
                    numbers = scalars.setdefault(value.tag, [])
                    numbers.append((event.step, float(tf.make_ndarray(value.tensor))))
    return scalars, pictures


def test_runs_stand_in_the_table_of_settings(tmp_path):
    metadata = pytest.importorskip("tensorboard.plugins.hparams.metadata")
    for name, temperature in (("cold", 0.1), ("warm", 0.7)):
        write_settings(_run(tmp_path / name, temperature))
    found = {}
    for file in glob.glob(f"{tmp_path}/*/events/*.v2"):
        for record in tf.data.TFRecordDataset(file):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                assert value.metadata.plugin_data.plugin_name == metadata.PLUGIN_NAME
                if value.tag == metadata.SESSION_START_INFO_TAG:
                    info = metadata.parse_session_start_info_plugin_data(
                        value.metadata.plugin_data.content
                    )
                    found[info.group_name] = info.hparams
    # Each run is a group of its own, also those with the same settings. What tells them apart comes
    # first, as the table cuts their names.
    assert set(found) == {f"cold in {tmp_path}", f"warm in {tmp_path}"}
    read = sorted(each["temperature"].number_value for each in found.values())
    assert read == pytest.approx([0.1, 0.7])
    one = next(iter(found.values()))
    assert one["step"].string_value == "pretrain" and one["use_blur"].bool_value is True
    assert "model_dir" not in one and "label_fraction" not in one


def test_guessing_is_a_straight_line_that_a_continued_run_draws_anew(tmp_path):
    run = _run(tmp_path / "run", 0.1)
    draw_guessing(run, 100, {"train/contrast_loss": 9.7})
    draw_guessing(run, 200, {"train/contrast_loss": 9.7})
    scalars, _ = _values(run.file("events", "guessing"))
    assert list(scalars) == ["train/contrast_loss"]
    assert scalars["train/contrast_loss"] == [(0, pytest.approx(9.7)), (200, pytest.approx(9.7))]


def test_an_evaluation_is_drawn_once_with_its_confusion_matrix(tmp_path):
    run = _run(tmp_path / "run", 0.1)
    os.makedirs(run.file("evaluation", "test", "knn"))
    pixels = np.random.RandomState(0).randint(0, 256, [6, 5, 3]).astype(np.uint8)
    Image.fromarray(pixels).save(run.file("evaluation", "test", "knn", "confusion.png"))
    result = {
        "step": 7, "checkpoint": "ckpt-7", "top_1_accuracy": 0.5, "num_examples": 30,
        "classifier": {"accuracy": 0.5, "files": "evaluation/gone"},
        "knn": {"accuracy": 0.75, "interval": [0.7, 0.8], "files": "evaluation/test/knn"},
    }  # fmt: skip
    write_evaluation(run, result)
    write_evaluation(run, {**result, "top_1_accuracy": 0.25})
    scalars, pictures = _values(run.file("events", "evaluation"))
    assert scalars == {
        "eval/top_1_accuracy": [(7, 0.25)],
        "eval/classifier_accuracy": [(7, 0.5)],
        "eval/knn_accuracy": [(7, 0.75)],
    }
    assert list(pictures) == ["eval/confusion_knn"]
    np.testing.assert_array_equal(pictures["eval/confusion_knn"], pixels)
