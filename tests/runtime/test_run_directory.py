"""A run directory explains itself, and only the same run may go on in it."""

import dataclasses
import json
import os
import pathlib
import shutil

import numpy as np
import pytest

from tf_simclrv2.config import (
    ConfigError,
    DataConfig,
    FinetuneConfig,
    FineTuningConfig,
    LabelsConfig,
    NetworkConfig,
    OptimizationConfig,
    PretrainConfig,
    RunConfig,
)
from tf_simclrv2.keras2 import tf
from tf_simclrv2.runtime.checkpoint import Checkpoint
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.runtime.settings import RunSettings, config_from_dict, config_to_dict


@pytest.fixture
def config(tmp_path):
    return PretrainConfig(
        run=RunConfig(model_dir=str(tmp_path / "run")),
        data=DataConfig(image_size=16),
        network=NetworkConfig(stem="cifar"),
    )


def begin(run, settings):
    run.claim(settings)
    run.begin()


@pytest.fixture
def run(config):
    run = RunDirectory(config.run.model_dir)
    begin(run, RunSettings("pretrain", config, ["a", "b"]))
    return run


def test_a_config_survives_json(tmp_path):
    config = FinetuneConfig(
        run=RunConfig(model_dir=str(tmp_path), seed=3),
        fine_tuning=FineTuningConfig(from_scratch=True, fine_tune_after_block=2),
        labels=LabelsConfig(label_fraction=0.01),
        optimization=OptimizationConfig(learning_rate=0.1),
    )
    sections = json.loads(json.dumps(config_to_dict(config)))
    assert config_from_dict(FinetuneConfig, sections) == config


def test_a_run_is_described_whole(run, config):
    run = RunDirectory(run.path)
    assert run.config == config
    assert run.step_of_method == "pretrain"
    assert run.class_names == ["a", "b"]
    environment = json.loads(pathlib.Path(run.file("environment.json")).read_text())
    assert {"command", "python", "tensorflow", "keras", "tf_simclrv2"} <= set(environment)


def test_the_first_layers_follow_the_image_size_where_a_config_does_not_say(method):
    path = pathlib.Path(method["pretrained"], "config.json")
    written = path.read_text()
    content = json.loads(written)
    del content["config"]["network"]["stem"]
    path.write_text(json.dumps(content))
    try:
        network = Checkpoint.open(method["pretrained"], "model_dir").restore_network()
    finally:
        path.write_text(written)
    assert network.encoder.config.stem == "cifar"


def test_the_same_run_goes_on_also_from_elsewhere_and_with_another_log(run, config):
    changed = dataclasses.replace(
        config, run=dataclasses.replace(config.run, log_every_steps=7, keep_checkpoint_max=1)
    )
    begin(run, RunSettings("pretrain", changed, ["a", "b"]))
    assert run.config == changed == RunDirectory(run.path).config


@pytest.mark.parametrize(
    ("section", "fields", "words"),
    [
        ("run", {"seed": 1}, "seed was 0 and is now 1"),
        ("optimization", {"learning_rate": 0.5}, "learning_rate was 0.3 and is now 0.5"),
        ("augmentation", {"use_blur": False}, "use_blur was True and is now False"),
    ],
)
def test_other_settings_are_refused_by_name(run, saved, config, section, fields, words):
    other = dataclasses.replace(
        config, **{section: dataclasses.replace(getattr(config, section), **fields)}
    )
    before = pathlib.Path(run.file("config.json")).read_text()
    with pytest.raises(ConfigError) as error:
        run.claim(RunSettings("pretrain", other, ["a", "b"]))
    assert words in str(error.value)
    assert pathlib.Path(run.file("config.json")).read_text() == before


def test_paths_may_be_spelt_in_another_way(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "p").mkdir()

    def fine_tuning(checkpoint):
        start = FineTuningConfig(checkpoint)
        return FinetuneConfig(run=config.run, fine_tuning=start, data=config.data)

    run = RunDirectory(config.run.model_dir)
    begin(run, RunSettings("finetune", fine_tuning("p"), ["a"]))
    run.table.append(1, {"loss": 1.0})
    for spelling in ("p/", "./p", f"{tmp_path}/p", "~/p"):
        run.claim(RunSettings("finetune", fine_tuning(spelling), ["a"]))
    with pytest.raises(ConfigError, match="checkpoint was p and is now q"):
        run.claim(RunSettings("finetune", fine_tuning("q"), ["a"]))


def test_what_a_run_was_converted_from_is_kept_when_it_goes_on(config):
    run = RunDirectory(config.run.model_dir)
    source = {"google_checkpoint": "x", "kernel_scale": 1.0}
    begin(run, RunSettings("pretrain", config, ["0"], False, source))
    run.table.append(1, {"loss": 1.0})
    begin(run, RunSettings("pretrain", config, ["0"]))
    for settings in (run.settings, RunDirectory(run.path).settings):
        assert settings.converted == source
        assert not settings.class_names_known


def test_other_classes_are_refused(run, saved, config):
    with pytest.raises(ConfigError, match="the classes of the data differ"):
        run.claim(RunSettings("pretrain", config, ["a", "c"]))


def test_a_run_that_failed_before_its_first_step_can_be_begun_with_other_settings(run, config):
    settings = RunSettings("pretrain", dataclasses.replace(config, data=DataConfig()), ["c"])
    begin(RunDirectory(run.path), settings)
    assert RunDirectory(run.path).config.data == DataConfig()
    assert RunDirectory(run.path).class_names == ["c"]


@pytest.mark.parametrize("left", [{"config.json.tmp": "{"}, {"config.json": "", "metrics.csv": ""}])
def test_a_run_begins_where_a_kill_left_only_temporary_or_empty_files(left, config):
    path = pathlib.Path(config.run.model_dir)
    path.mkdir()
    for name, text in left.items():
        (path / name).write_text(text)
    begin(RunDirectory(str(path)), RunSettings("pretrain", config, None))
    assert RunDirectory(str(path)).config == config
    assert not list(path.glob("*.tmp"))


def test_a_run_does_not_begin_next_to_other_files(config):
    path = pathlib.Path(config.run.model_dir)
    path.mkdir()
    for name in ("config.json.tmp", "notes.txt"):
        (path / name).write_text("")
    with pytest.raises(ConfigError, match="must be a new or empty directory"):
        RunDirectory(str(path)).claim(RunSettings("pretrain", config, None))


def test_a_run_without_checkpoint_is_no_starting_point(run):
    with pytest.raises(ConfigError, match="holds no checkpoint"):
        Checkpoint.open(run.path, "checkpoint")


def test_rows_behind_the_last_checkpoint_are_dropped_when_a_run_goes_on(run):
    for step in (10, 20, 30):
        run.table.append(step, {"loss": step / 10, "learning_rate": 0.1})
    run.table.drop_after(20)
    run.table.append(30, {"loss": 3.5, "learning_rate": 0.1})
    assert [(row["step"], row["loss"]) for row in run.metrics()] == [
        ("10", "1"),
        ("20", "2"),
        ("30", "3.5"),
    ]


def test_it_is_said_that_a_run_goes_on_without_its_rows(run, caplog):
    run.table.append(100, {"loss": 1.0})
    run.drop_after(100)
    assert not caplog.text
    os.remove(run.file("metrics.csv"))
    run.drop_after(100)
    assert "metrics.csv lacks its rows up to step 100" in caplog.text


@pytest.fixture
def saved(run):
    """The directory of checkpoints 2 and 4."""
    manager = run.checkpoint_manager(tf.train.Checkpoint(x=tf.Variable(1.0)), keep=5)
    for step in (2, 4):
        manager.save(checkpoint_number=step)
    return pathlib.Path(run.file("checkpoints"))


def test_one_process_alone_writes_the_labelled_examples(tmp_path):
    for writable in (False, True):
        run = RunDirectory(str(tmp_path), writable)
        run.write_labelled({"first": "3", "second": "1"})
        assert os.listdir(tmp_path) == (["labelled_examples.txt"] if writable else [])
    assert (tmp_path / "labelled_examples.txt").read_text() == "first\t3\nsecond\t1\n"


def test_the_newest_checkpoint_is_found_without_a_warning(run, saved, caplog):
    assert run.latest_checkpoint() == str(saved / "ckpt-4")
    (saved / "ckpt-2.index").unlink()
    assert run.latest_checkpoint() == str(saved / "ckpt-4")
    assert caplog.messages == []


@pytest.mark.parametrize("missing", ["ckpt-4.*", "ckpt-4.index", "ckpt-4.data*"])
def test_where_the_newest_checkpoint_is_missing_the_one_before_is_taken(
    missing, run, saved, caplog
):
    for path in saved.glob(missing):
        path.unlink()
    assert run.latest_checkpoint() == str(saved / "ckpt-2")
    assert run.latest_checkpoint() == str(saved / "ckpt-2")
    assert caplog.messages == [f"{saved}: damaged: ckpt-4 (files are missing); ckpt-2 is taken"]


@pytest.mark.parametrize("missing", ["ckpt-*", "*.index", "*.data*"])
def test_checkpoints_of_which_none_is_whole_are_refused(missing, run, saved):
    for path in saved.glob(missing):
        path.unlink()
    with pytest.raises(ConfigError, match="none of its checkpoints can be read"):
        run.latest_checkpoint()


def test_a_run_interrupted_in_its_first_save_has_no_checkpoint(run):
    pathlib.Path(run.file("checkpoints", "ckpt-2_temp")).mkdir(parents=True)
    assert run.latest_checkpoint() is None


def test_weights_and_step_are_of_one_checkpoint_though_another_is_saved_meanwhile(method, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(method["distilled"], path)
    checkpoint = Checkpoint.open(str(path), "model_dir")
    expected = Checkpoint.open(method["distilled"], "model_dir").restore_network().get_weights()
    # A run that trains on saves another one.
    reader = tf.train.load_checkpoint(checkpoint.path)
    iterations = tf.Variable(9, dtype=tf.int64)
    later = tf.train.Checkpoint(optimizer=tf.train.Checkpoint(_iterations=iterations))
    checkpoint.run.checkpoint_manager(later, keep=5).save(checkpoint_number=9)
    assert Checkpoint.open(str(path), "model_dir").step == 9

    assert checkpoint.step == 4
    assert checkpoint.path.endswith("ckpt-4")
    assert reader.get_tensor("optimizer/_iterations/.ATTRIBUTES/VARIABLE_VALUE") == 4
    for value, other in zip(checkpoint.restore_network().get_weights(), expected):
        np.testing.assert_array_equal(value, other)


def test_a_checkpoint_may_be_named_from_home(method, monkeypatch):
    monkeypatch.setenv("HOME", os.path.dirname(method["distilled"]))
    for path in ("~/distilled", "~/distilled/checkpoints/ckpt-4"):
        assert Checkpoint.open(path, "model_dir").step == 4


def test_a_run_reads_its_settings_once(method, monkeypatch):
    run, reads = RunDirectory(method["fine_tuned"]), []
    read = RunSettings.read
    monkeypatch.setattr(RunSettings, "read", lambda path: reads.append(path) or read(path))
    assert (run.step_of_method, len(run.class_names)) == ("finetune", 10)
    assert run.config.fine_tuning.ft_proj_selector == 1
    assert run.converted is None
    assert reads == [run.file("config.json")]
