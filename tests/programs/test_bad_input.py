"""Bad input ends before any training: one sentence, exit code 1, and no file touched."""

import hashlib
import json
import os
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.conftest import DIGITS_VIEWS, FEW_STEPS, TINY
from tf_simclrv2.config import ConfigError
from tf_simclrv2.runtime.settings import RunSettings


def _snapshot(*roots):
    """Every file's content under some directories."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for root in roots
        for path in sorted(pathlib.Path(root).rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def refused(command, method, tmp_path):
    """Runs a command that must be refused; returns its one sentence."""

    def run(*arguments):
        arguments = [argument.format(tmp=tmp_path, **method) for argument in arguments]
        root = os.path.dirname(method["pretrained"])
        before = _snapshot(root, tmp_path)
        outcome = command(*arguments)
        assert outcome.code == 1, outcome.err
        assert outcome.err.startswith("error: "), outcome.err
        assert outcome.err.count("\n") == 1, outcome.err
        assert outcome.err.endswith(".\n")
        assert "step/s" not in outcome.err
        assert _snapshot(root, tmp_path) == before
        assert not os.path.exists(tmp_path / "new")
        return outcome.err

    return run


NEW = "--model_dir={tmp}/new"
CASES = {
    "unknown data set": (["pretrain", "--dataset=digitz", NEW],
                         ["--dataset=digitz", "digits, tiles, folder, or a data set of"]),
    "missing data directory": (["pretrain", "--data_dir={tmp}/none", NEW],
                               ["--data_dir={tmp}/none", "existing directory"]),
    "no model_dir": (["pretrain"], ["--model_dir=None", "must be given"]),
    "unknown split": (["pretrain", "--train_split=training", NEW],
                      ["--train_split=training", "test, train"]),
    "unknown evaluation split": (["pretrain", "--eval_split=dev", NEW],
                                 ["--eval_split=dev", "test, train"]),
    "image under the CIFAR stem": (["pretrain", "--image_size=7", NEW],
                                   ["--image_size=7", "at least 8"]),
    "image under the ImageNet stem": (["pretrain", "--stem=imagenet", "--image_size=16", NEW],
                                      ["--image_size=16", "at least 32"]),
    "no batch": (["pretrain", "--train_batch_size=0", NEW],
                 ["--train_batch_size=0", "greater than 0"]),
    "batch without negatives": (["pretrain", "--train_batch_size=1", NEW],
                                ["--train_batch_size=1", "at least 2"]),
    "more projection layers than any head": (["pretrain", "--num_proj_layers=100000", NEW],
                                           ["--num_proj_layers=100000", "at most 100"]),
    "a memory beyond all machines": (
        ["pretrain", "--use_memory", "--memory_size=4294967295", NEW],
        ["--memory_size=4294967295", "GiB of memory, but this machine has"]),
    "a batch beyond all machines": (
        ["finetune", "--from_scratch", "--train_batch_size=4294967295", NEW],
        ["--train_batch_size=4294967295", "GiB of memory"]),
    "more devices than there are": (["pretrain", "--virtual_devices=1000", NEW],
                                    ["--virtual_devices=1000", "between 0 and 64"]),
    "a picture beyond all machines": (
        ["views", "--image_size=16384", "--num_images=10000", "--output={tmp}/new.png"],
        ["--num_images=10000", "GiB of memory"]),
    "a flag of the authors": (["finetune", "--variable_schema=x", NEW],
                              ["--variable_schema", "leave it out"]),
    "batch beyond the data": (["pretrain", "--train_batch_size=2000", NEW],
                              ["--train_batch_size=2000", "at most 1437"]),
    "negative temperature": (["pretrain", "--temperature=-0.1", NEW],
                             ["--temperature=-0.1", "greater than 0"]),
    "temperature 0 of distillation": (
        ["distill", "--teacher={fine_tuned}", "--distillation_temperature=0", NEW],
        ["--distillation_temperature=0", "greater than 0"]),
    "probe beyond the head": (["pretrain", "--ft_proj_selector=4", NEW],
                              ["--ft_proj_selector=4", "0 (the head's input) to 3"]),
    "selector beyond the head": (
        ["finetune", "--checkpoint={pretrained}", "--ft_proj_selector=4", NEW],
        ["--ft_proj_selector=4", "0 (the head's input) to 3"]),
    "missing checkpoint": (["finetune", "--checkpoint={tmp}/none", NEW],
                           ["--checkpoint={tmp}/none", "existing run directory"]),
    "checkpoint that is no run": (["finetune", "--checkpoint={tmp}", NEW],
                                  ["--checkpoint={tmp}", "config.json"]),
    "checkpoint of another step": (["finetune", "--checkpoint={fine_tuned}", NEW],
                                   ["--checkpoint={fine_tuned}", "must hold pretrain"]),
    "checkpoint of another architecture": (
        ["finetune", "--checkpoint={pretrained}", "--resnet_depth=34", NEW],
        ["--resnet_depth=34", "pretrained with 18"]),
    "no checkpoint": (["finetune", NEW], ["--checkpoint=None", "--from_scratch=true"]),
    "label fraction that empties a class": (
        ["finetune", "--checkpoint={pretrained}", "--label_fraction=0.005", NEW],
        ["--label_fraction=0.005", "classes empty", "0.007 or more"]),
    "more labels per class than there are": (
        ["finetune", "--checkpoint={pretrained}", "--labels_per_class=500", NEW],
        ["--labels_per_class=500", "at most that"]),
    "missing teacher": (["distill", "--teacher={tmp}/none", NEW],
                        ["--teacher={tmp}/none", "existing run directory"]),
    "evaluation of a new run": (["pretrain", *TINY, "--mode=eval", NEW],
                                ["--mode=eval", "holds no checkpoint to evaluate yet"]),
    "evaluation of nothing": (["evaluate", "--model_dir={tmp}/none"],
                              ["--model_dir={tmp}/none", "existing run directory"]),
    "run of another step in the directory": (
        ["finetune", "--checkpoint={pretrained}", "--model_dir={pretrained}"],
        ["--model_dir={pretrained}", "holds a pretrain run"]),
    "export of nothing": (["export", "--model_dir={tmp}/none", "--export_dir={tmp}/new"],
                          ["--model_dir={tmp}/none", "existing run directory"]),
    "export over an export": (["export", "--model_dir={distilled}", "--export_dir={export}"],
                              ["--export_dir={export}", "--overwrite"]),
    "export in an unknown format": (
        ["export", "--model_dir={distilled}", "--export_dir={tmp}/new", "--formats=onnx"],
        ["--formats=onnx", "saved_model, hub"]),
    "regression without a pretrained network": (
        ["finetune", "--from_scratch", "--dataset=digits", "--head_start=ridge", NEW],
        ["--head_start=ridge", "needs pretrained features"]),
    "regression and zeros": (
        ["finetune", "--checkpoint={pretrained}", "--head_start=ridge",
         "--zero_init_logits_layer", NEW],
        ["--head_start=ridge", "--zero_init_logits_layer"]),
    "TPU that does not answer": (
        ["pretrain", *TINY, "--tpu_name=grpc://localhost:1", NEW],
        ["--tpu_name=grpc://localhost:1", "no TPU answers (ConnectionRefusedError"]),
    "prediction without a model": (
        ["predict", "--saved_model={tmp}/none", "--images={tmp}", "--output={tmp}/new.csv"],
        ["--images={tmp}", "at least one image"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_refused(case, refused, method, tmp_path):
    arguments, words = CASES[case]
    sentence = refused(*arguments)
    for word in words:
        assert word.format(tmp=tmp_path, **method) in sentence


def test_settings_changed_since_the_run_began_are_named(refused):
    sentence = refused(
        "pretrain", "--model_dir={pretrained}", "--image_size=8", "--resnet_depth=34",
        "--train_steps=4", "--train_batch_size=20", "--seed=3", "--width_multiplier=0.0625",
        "--use_flip=false", "--use_blur=false", "--temperature=0.2",
    )  # fmt: skip
    assert "resnet_depth was 18 and is now 34" in sentence
    assert "temperature was 0.5 and is now 0.2" in sentence
    assert sentence.count(" was ") == 2


def test_a_directory_with_other_files_is_not_made_a_run(refused, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    assert "new or empty directory" in refused("pretrain", "--model_dir={tmp}")


def test_weights_that_do_not_fit_their_config_are_refused(refused, method, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(method["pretrained"], broken)
    content = json.loads((broken / "config.json").read_text())
    content["config"]["network"]["width_multiplier"] = 0.125
    (broken / "config.json").write_text(json.dumps(content))
    sentence = refused("evaluate", "--model_dir={tmp}/broken")
    assert "doesn't fit" in sentence


@pytest.mark.parametrize("fault", ["section", "field", "value", "type", "no section", "number"])
def test_a_config_with_what_is_no_setting_is_refused_by_name(fault, refused, method, tmp_path):
    shutil.copytree(method["pretrained"], tmp_path / "broken")
    path = tmp_path / "broken" / "config.json"
    content = json.loads(path.read_text())
    extra, word = {
        "section": ({"datum": {}}, "no setting datum"),
        "field": ({"data": {"pixels": 8}}, "no setting data.pixels"),
        "value": ({"data": {"image_size": -8}}, "--image_size=-8: must be"),
        "type": ({"data": {"image_size": "8"}}, "--image_size=8: must be a whole number"),
        "no section": ({"data": [8]}, "config.data must be an object with settings, not [8]"),
        "number": ({"network": {"sk_ratio": float("nan")}}, "--sk_ratio=nan: must be a number"),
    }[fault]
    content["config"].update(extra)
    path.write_text(json.dumps(content))
    sentence = refused("evaluate", "--model_dir={tmp}/broken")
    assert sentence.startswith(f"error: {path}: ")
    assert word in sentence


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("class_names", ["0", 1], "class_names must be null or texts"),
        ("class_names", [], "class_names must be null or texts"),
        ("class_names", ["\ud800"], "class_names must be null or texts"),
        ("class_names_known", "yes", "class_names_known must be true or false"),
        ("converted", {"google_checkpoint": "x"}, "converted must be null or an object with"),
        ("config", None, "config must be an object with sections, not null"),
        ("step", ["pretrain"], "must be a run's readable config.json"),
    ],
)
def test_a_config_of_other_types_is_refused_by_name(key, value, word, tmp_path):
    path = tmp_path / "config.json"
    content = {"step": "pretrain", "config": {"run": {"model_dir": "x"}}, "class_names": None}
    path.write_text(json.dumps(content))
    assert RunSettings.read(str(path)).class_names is None
    path.write_text(json.dumps({**content, key: value}))
    with pytest.raises(ConfigError) as error:
        RunSettings.read(str(path))
    assert str(error.value).startswith(f"{path}: ") and word in str(error.value)


@pytest.mark.parametrize("place", ["{tmp}/file/new", "/proc/new"])
def test_a_place_where_no_run_can_be_written_is_refused(place, refused, tmp_path):
    (tmp_path / "file").write_text("mine")
    sentence = refused("pretrain", *TINY, *FEW_STEPS, f"--model_dir={place}")
    assert f"--model_dir={place.format(tmp=tmp_path)}: can't be written" in sentence


def _cut_short(method, tmp_path, name):
    """A copy of a run, under its name, whose checkpoint has lost its end."""
    shutil.copytree(method[name], tmp_path / name)
    (data,) = (tmp_path / name / "checkpoints").glob("ckpt-4.data*")
    os.truncate(data, 1000)


DAMAGED = {
    "pretrained": [
        ["pretrain", *TINY, *FEW_STEPS, *DIGITS_VIEWS, "--model_dir={tmp}/pretrained"],
        ["finetune", "--checkpoint={tmp}/pretrained", NEW],
        ["convert", "--model_dir={tmp}/pretrained", "--to_google={tmp}/new"],
    ],
    "fine_tuned": [
        ["distill", "--teacher={tmp}/fine_tuned", NEW],
        ["evaluate", "--model_dir={tmp}/fine_tuned"],
        ["export", "--model_dir={tmp}/fine_tuned", "--export_dir={tmp}/new"],
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "arguments"),
    [(name, arguments) for name, commands in DAMAGED.items() for arguments in commands],
    ids=lambda value: value[0] if isinstance(value, list) else value,
)
def test_a_damaged_checkpoint_is_refused(name, arguments, refused, method, tmp_path):
    _cut_short(method, tmp_path, name)
    sentence = refused(*arguments)
    assert f"{tmp_path}/{name}/checkpoints: none of its checkpoints" in sentence
    assert "(ckpt-4: " in sentence


def test_an_unreadable_config_is_named(refused, method, tmp_path):
    shutil.copytree(method["pretrained"], tmp_path / "broken")
    (tmp_path / "broken" / "config.json").write_text("{")
    assert "broken/config.json" in refused("evaluate", "--model_dir={tmp}/broken")


def test_a_teacher_of_other_classes_is_refused(refused, tmp_path):
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "1.png")
    sentence = refused(
        "distill", "--teacher={fine_tuned}", "--dataset=folder", "--data_dir={tmp}/images", NEW
    )
    assert "knows 10 classes (0, 1, 2, ...), but folder has 2 (cat, dog)" in sentence
