"""Which runs belong in one report, what they are called, and what they stem from."""

import json
import os
import shutil

import pytest

from tests.reporting import files
from tf_simclrv2.config import ConfigError
from tf_simclrv2.config.reporting import joined, separate
from tf_simclrv2.reporting.report import _described, _lineages
from tf_simclrv2.reporting.runs import labels_used, open_runs


def opened(*paths):
    return open_runs([str(path) for path in paths], "runs")


@pytest.mark.parametrize(
    "paths", [["a"], ["a", "b"], ["lr=0.1,wd=0", 'the "good" one', "c"], ["line\nbreak", "é"]]
)
def test_paths_survive_being_joined(paths):
    assert separate(joined(paths)) == paths


def test_runs_are_called_by_the_end_that_tells_them_apart(tmp_path):
    paths = [tmp_path / "a" / "run", tmp_path / "b" / "run"]
    for path in paths:
        files.pretraining(path)
    assert [run.name for run in opened(*paths)] == ["a/run", "b/run"]
    assert [run.name for run in opened(paths[0], paths[0])] == ["run"]


def test_what_stems_from_one_another_belongs_together_whatever_its_images(tmp_path):
    files.pretraining(tmp_path / "pretrained", dataset="tiles")
    files.fine_tuning(tmp_path / "tuned", tmp_path / "pretrained" / "checkpoints" / "ckpt-5")
    files.distilling(tmp_path / "student", tmp_path / "tuned", dataset="cifar10")
    names = ["student", "pretrained", "tuned"]
    runs = opened(*(tmp_path / name for name in names))
    assert [run.name for run in runs] == names
    assert _lineages(runs) == [[("pretrained", True), ("tuned", True), ("student", True)]]
    # The one between them links them, though it is not reported on.
    assert len(opened(tmp_path / "student", tmp_path / "pretrained")) == 2


def test_other_images_do_not_belong_to_a_report(tmp_path):
    first = files.pretraining(tmp_path / "digits")
    second = files.pretraining(tmp_path / "tiles", dataset="tiles")
    third = files.pretraining(tmp_path / "more")
    with pytest.raises(ConfigError) as error:
        opened(first, third, second)
    assert str(error.value) == (
        f"--runs={second}: does not belong to {first}: it was trained on tiles, and that on "
        "digits; runs of one report must have the same images, or stem from one another."
    )


def test_images_that_were_moved_are_known_by_their_fingerprint(tmp_path):
    runs = [files.pretraining(tmp_path / d, dataset="folder", data_dir=f"/{d}") for d in "ab"]
    with pytest.raises(ConfigError, match="does not belong"):
        opened(*runs)
    for run in runs:
        files.write(run / "data.json", {"dataset": "folder", "fingerprint": "1"})
    assert len(opened(*runs)) == 2
    files.write(runs[1] / "data.json", {"dataset": "folder", "fingerprint": "2"})
    with pytest.raises(ConfigError, match="does not belong"):
        opened(*runs)


def test_a_run_that_was_moved_is_still_where_others_stem_from(tmp_path):
    files.pretraining(tmp_path / "pretrained", dataset="tiles")
    files.fine_tuning(tmp_path / "tuned", tmp_path / "pretrained")
    shutil.move(tmp_path / "pretrained", tmp_path / "elsewhere")
    runs = opened(tmp_path / "tuned", tmp_path / "elsewhere")
    assert _lineages(runs) == [[("elsewhere", True), ("tuned", True)]]


def test_a_lineage_that_leads_in_a_circle_ends(tmp_path):
    for name, other in (("a", "b"), ("b", "a")):
        files.distilling(tmp_path / name, tmp_path / other)
    (run,) = opened(tmp_path / "a")
    assert 2 <= len(run.lineage) <= 20


def test_labels_are_those_of_the_run_or_of_its_teacher(tmp_path):
    files.pretraining(tmp_path / "pretrained", files.CLASSES)
    files.fine_tuning(tmp_path / "tuned", tmp_path / "pretrained", labels=7)
    files.distilling(tmp_path / "student", tmp_path / "tuned")
    files.distilling(tmp_path / "grandchild", tmp_path / "student")
    names = ("pretrained", "tuned", "student", "grandchild")
    runs = opened(*(tmp_path / name for name in names))
    assert [labels_used(run) for run in runs] == [None, 7, 7, 7]
    # Without a number, all labels of the split were used.
    files.write(tmp_path / "pretrained" / "data.json", {"num_labelled": None, "num_examples": 90})
    files.write(tmp_path / "tuned" / "data.json", {"num_labelled": None, "num_examples": 80})
    assert [labels_used(run) for run in runs] == [90, 80, 80, 80]
    shutil.rmtree(tmp_path / "tuned")
    assert labels_used(runs[2]) is None


def test_a_classifier_that_was_solved_is_no_fine_tuning(tmp_path):
    run = files.fine_tuning(tmp_path / "run", tmp_path / "none", head_start="ridge")
    (run / "checkpoints").mkdir()
    for name in ("ckpt-0.index", "ckpt-0.data-00000-of-00001"):
        (run / "checkpoints" / name).touch()

    def told():
        (opened_run,) = opened(run)
        card = _described(opened_run)
        return card["step_in_words"], dict(card["facts"])["training"]

    assert told() == (
        "step 1 and ridge regression of the labels on its frozen features",
        "no step was taken: the classifier is solved in closed form",
    )
    # Trained on from there, it is a fine-tuning.
    (run / "checkpoints" / "ckpt-5.index").touch()
    words, training = told()
    assert words.startswith("step 2, fine-tuning") and "learning rate" in training


def test_settings_say_which_are_defaults(tmp_path):
    run = files.pretraining(tmp_path / "run", dataset="tiles")
    (opened_run,) = opened(run)
    data = {one.name: one for one in opened_run.settings["data"]}
    assert (data["dataset"].value, data["dataset"].is_default) == ("tiles", False)
    assert (data["holdout_fraction"].value, data["holdout_fraction"].is_default) == ("0.1", True)


@pytest.mark.parametrize("content", ["", "[1]", "{", "[" * 100_000])
def test_files_that_somebody_has_damaged_are_left_out(tmp_path, content):
    run = files.pretraining(tmp_path / "run")
    for name in ("environment.json", "data.json"):
        (run / name).write_text(content)
    (opened_run,) = opened(run)
    assert opened_run.environment == {} and opened_run.data == {}


def test_a_config_that_is_damaged_is_refused(tmp_path):
    run = files.pretraining(tmp_path / "run")
    content = json.loads((run / "config.json").read_text())
    content["config"]["data"]["image_size"] = "large"
    files.write(run / "config.json", content)
    with pytest.raises(ConfigError, match=r"config\.json"):
        opened(run)
    os.remove(run / "config.json")
    with pytest.raises(ConfigError, match=r"holds no config\.json"):
        opened(run)
