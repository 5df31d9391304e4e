"""A run directory explains itself, and only the same run may go on in it."""

import dataclasses
import json
import os
import pathlib

import pytest

from tf_simclrv2.config import (
    ConfigError,
    DataConfig,
    FinetuneConfig,
    FineTuningConfig,
    LabelsConfig,
    OptimizationConfig,
    PretrainConfig,
    RunConfig,
)
from tf_simclrv2.data.sources import open_source
from tf_simclrv2.keras2 import tf
from tf_simclrv2.programs.training import write_labelled
from tf_simclrv2.runtime.run_directory import (
    RunDirectory,
    config_from_dict,
    config_to_dict,
    open_run,
)


@pytest.fixture
def config(tmp_path):
    return PretrainConfig(
        run=RunConfig(model_dir=str(tmp_path / "run")), data=DataConfig(image_size=16)
    )


@pytest.fixture
def run(config):
    run = RunDirectory(config.run.model_dir)
    run.begin(run.check("pretrain", config, ["a", "b"]))
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
    assert run.config == config
    assert run.step_of_method == "pretrain"
    assert run.class_names == ["a", "b"]
    environment = json.loads(pathlib.Path(run.file("environment.json")).read_text())
    assert {"command", "python", "tensorflow", "keras", "tf_simclrv2"} <= set(environment)


def test_the_same_run_goes_on_also_from_elsewhere_and_with_another_log(run, config):
    changed = dataclasses.replace(
        config, run=dataclasses.replace(config.run, log_every_steps=7, keep_checkpoint_max=1)
    )
    run.begin(run.check("pretrain", changed, ["a", "b"]))
    assert run.config == changed


@pytest.mark.parametrize(
    ("section", "fields", "words"),
    [
        ("run", {"seed": 1}, "seed was 0 and is now 1"),
        ("optimization", {"learning_rate": 0.5}, "learning_rate was 0.3 and is now 0.5"),
        ("augmentation", {"use_blur": False}, "use_blur was True and is now False"),
    ],
)
def test_other_settings_are_refused_by_name(run, config, section, fields, words):
    other = dataclasses.replace(
        config, **{section: dataclasses.replace(getattr(config, section), **fields)}
    )
    before = pathlib.Path(run.file("config.json")).read_text()
    with pytest.raises(ConfigError) as error:
        run.check("pretrain", other, ["a", "b"])
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
    run.begin(run.check("finetune", fine_tuning("p"), ["a"]))
    for spelling in ("p/", "./p", f"{tmp_path}/p", "~/p"):
        run.check("finetune", fine_tuning(spelling), ["a"])
    with pytest.raises(ConfigError, match="checkpoint was p and is now q"):
        run.check("finetune", fine_tuning("q"), ["a"])


def test_what_a_run_was_converted_from_is_kept_when_it_goes_on(config):
    run = RunDirectory(config.run.model_dir)
    source = {"google_checkpoint": "x", "kernel_scale": 1.0}
    run.begin(run.check("pretrain", config, ["0"], False, source))
    run.begin(run.check("pretrain", config, ["0"]))
    assert run.converted == source
    assert not run.class_names_known


def test_other_classes_are_refused(run, config):
    with pytest.raises(ConfigError, match="the classes of the data differ"):
        run.check("pretrain", config, ["a", "c"])


def test_a_run_without_checkpoint_is_no_starting_point(run):
    with pytest.raises(ConfigError, match="holds no checkpoint"):
        open_run(run.path, "checkpoint")


def test_rows_behind_the_last_checkpoint_are_dropped_when_a_run_goes_on(run):
    for step in (10, 20, 30):
        run.append_metrics(step, {"loss": step / 10, "learning_rate": 0.1})
    run.drop_metrics_after(20)
    run.append_metrics(30, {"loss": 3.5, "learning_rate": 0.1})
    assert [(row["step"], row["loss"]) for row in run.metrics()] == [
        ("10", "1"),
        ("20", "2"),
        ("30", "3.5"),
    ]


@pytest.fixture
def saved(run):
    """The directory of checkpoints 2 and 4."""
    manager = run.checkpoint_manager(tf.train.Checkpoint(x=tf.Variable(1.0)), keep=5)
    for step in (2, 4):
        manager.save(checkpoint_number=step)
    return pathlib.Path(run.file("checkpoints"))


def test_one_process_alone_writes_the_labelled_examples(tmp_path):
    source = open_source(DataConfig())
    for writable in (False, True):
        run = RunDirectory(str(tmp_path), writable)
        write_labelled(run, source, {"first": 3, "second": 1})
        assert os.listdir(tmp_path) == (["labelled_examples.txt"] if writable else [])
    assert (tmp_path / "labelled_examples.txt").read_text() == "first\t3\nsecond\t1\n"


def test_the_newest_checkpoint_is_found_without_a_warning(run, saved, capsys):
    assert run.latest_checkpoint() == str(saved / "ckpt-4")
    (saved / "ckpt-2.index").unlink()
    assert run.latest_checkpoint() == str(saved / "ckpt-4")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("missing", ["ckpt-4.*", "ckpt-4.index", "ckpt-4.data*"])
def test_where_the_newest_checkpoint_is_missing_the_one_before_is_taken(
    missing, run, saved, capsys
):
    for path in saved.glob(missing):
        path.unlink()
    assert run.latest_checkpoint() == str(saved / "ckpt-2")
    assert run.latest_checkpoint() == str(saved / "ckpt-2")
    assert capsys.readouterr().err == (
        f"warning: {saved}: the files of its newest checkpoint are missing, so ckpt-2 is taken\n"
    )


@pytest.mark.parametrize("missing", ["ckpt-*", "*.index", "*.data*"])
def test_checkpoints_of_which_none_is_whole_are_refused(missing, run, saved):
    for path in saved.glob(missing):
        path.unlink()
    with pytest.raises(ConfigError, match="files of its checkpoints are missing"):
        run.latest_checkpoint()


def test_a_run_interrupted_in_its_first_save_has_no_checkpoint(run):
    pathlib.Path(run.file("checkpoints", "ckpt-2_temp")).mkdir(parents=True)
    assert run.latest_checkpoint() is None
