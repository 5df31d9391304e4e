"""``probe``: what labels are worth on frozen features, and the ridge classifier as a run."""

import errno
import json
import os
import re
import shutil
import tempfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import RidgeClassifierCV

from tests.conftest import DIGITS_VIEWS, FEW_STEPS
from tests.evaluation.scaled import standardised
from tests.programs.probing import LabelledFolder, table_of
from tests.training.test_frozen import write_table
from tf_simclrv2.config import (
    ConfigError,
    LabelsConfig,
)
from tf_simclrv2.config.labelling import FrozenSection, ProbeSection
from tf_simclrv2.evaluation.probe import Draws, Measured
from tf_simclrv2.programs import probe as program
from tf_simclrv2.programs import probe_report
from tf_simclrv2.runtime import disk, feature_store
from tf_simclrv2.runtime.checkpoint import Checkpoint
from tf_simclrv2.training import frozen_weights
from tf_simclrv2.training.frozen import Frozen


@pytest.fixture(scope="module")
def run(method, tmp_path_factory):
    """A copy of the pretraining run, whose features are computed once for these tests."""
    path = tmp_path_factory.mktemp("probe") / "pretrained"
    return str(shutil.copytree(method["pretrained"], path))


@pytest.fixture
def folder(tmp_path):
    """What writes a table of labels of a folder of images."""
    return LabelledFolder(tmp_path)


def test_the_accuracy_is_that_of_scikit_learns_regression(command, run, tmp_path):
    flags = ["--label_fraction=0.05", "--label_seed=3", "--layer=0", f"--output_dir={tmp_path}"]
    outcome = command("probe", f"--model_dir={run}", *flags)
    assert outcome.code == 0, outcome.err
    row = next(
        r for r in table_of(tmp_path) if (r["classifier"], r["measured_on"]) == ("ridge", "test")
    )
    opened = Frozen.open(FrozenSection(run, layer=0))
    test, train = opened.features("test"), opened.features("train")
    labelled = opened.labelled(LabelsConfig(label_fraction=0.05, label_seed=3))
    rows = [number for number, each in enumerate(train.ids) if each in labelled]
    values, others = standardised(train.values[rows], test.values)
    classifier = RidgeClassifierCV(10.0 ** np.arange(-3, 7)).fit(values, train.labels[rows])
    expected = classifier.score(others, test.labels)
    assert float(row["top_1_accuracy"]) == pytest.approx(expected, abs=1e-6)
    assert (row["labels"], row["images"], row["seed"]) == ("72", "360", "")
    assert f"72 labelled images: {expected:.1%} right of 360 images of test (95% " in outcome.out


@pytest.mark.slow
def test_a_run_of_it_is_taken_like_a_fine_tuned_one(command, run, tmp_path):
    flags = ["--label_fraction=0.1", f"--output_dir={tmp_path}", f"--run_dir={tmp_path / 'new'}"]
    assert command("probe", f"--model_dir={run}", *flags).code == 0
    measured = next(r for r in table_of(tmp_path) if r["measured_on"] == "test")
    assert (tmp_path / "new" / "labelled_examples.txt").read_text().count("\n") == 144
    written = json.loads((tmp_path / "new" / "result.json").read_text())
    assert written["top_1_accuracy"] == pytest.approx(float(measured["top_1_accuracy"]), abs=1e-6)
    os.remove(tmp_path / "new" / "result.json")
    assert command("evaluate", f"--model_dir={tmp_path / 'new'}").code == 0
    assert json.loads((tmp_path / "new" / "result.json").read_text()) == written
    # Less than the cross entropy of guessing, so its probabilities are worth something.
    assert written["loss"] < np.log(10)
    student = command(
        "distill", *FEW_STEPS, *DIGITS_VIEWS, f"--teacher={tmp_path / 'new'}",
        "--distillation_alpha=0.5", f"--model_dir={tmp_path / 'student'}", "--mode=train",
    )  # fmt: skip
    assert student.code == 0 and "labels of 144 examples" in student.out
    exported = command(
        "export", f"--model_dir={tmp_path / 'new'}", f"--export_dir={tmp_path / 'export'}"
    )
    assert exported.code == 0, exported.err
    card = (tmp_path / "export" / "README.md").read_text()
    assert "ridge regression of the labels on its frozen features, from layer 1 of" in card
    assert "144 examples of the split" in card and "pretrained without labels on" in card
    Image.new("L", (8, 8), 90).save(tmp_path / "image.png")
    predicted = command(
        "predict", f"--saved_model={tmp_path / 'export'}", f"--images={tmp_path / 'image.png'}",
        f"--output={tmp_path / 'predictions.csv'}",
    )  # fmt: skip
    assert predicted.code == 0, predicted.err
    again = command("probe", f"--model_dir={run}", *flags)
    assert again.code == 1 and "new: must be a new or empty directory" in again.err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fine_tuned", "distilled"])
def test_classifiers_of_runs_that_have_one_are_solved_anew(command, method, name, tmp_path):
    source = shutil.copytree(method[name], tmp_path / "source")
    flags = ["--label_fraction=0.1", f"--run_dir={tmp_path / 'new'}"]
    outcome = command("probe", f"--model_dir={source}", *flags)
    assert outcome.code == 0, outcome.err
    own = json.loads((source / "result.json").read_text())
    solved = json.loads((tmp_path / "new" / "result.json").read_text())
    assert solved["num_parameters"] == own["num_parameters"]
    assert solved["top_1_accuracy"] > own["top_1_accuracy"]  # That one was trained for 4 steps.
    row = next(r for r in table_of(source / "probe") if r["measured_on"] == "test")
    assert solved["top_1_accuracy"] == pytest.approx(float(row["top_1_accuracy"]), abs=0.01)


def test_a_curve_has_a_row_for_each_draw_and_is_seeded(command, run, tmp_path):
    tables = []
    for name, draws in (("one", "random"), ("two", "random"), ("balanced", "balanced")):
        flags = ["--labels_per_class=6", "--budgets=30, 10,10", "--seeds=3"]
        flags += [f"--output_dir={tmp_path / name}", f"--balanced={draws == 'balanced'}"]
        outcome = command("probe", f"--model_dir={run}", *flags)
        assert outcome.code == 0, outcome.err
        rows = [row for row in table_of(tmp_path / name) if row["drawn"] == draws]
        keys = {(row["labels"], row["seed"], row["classifier"]) for row in rows}
        assert len(rows) == len(keys) == 2 * 3 * 2
        assert {key[0] for key in keys} == {"10", "30"}
        assert Image.open(tmp_path / name / "probe.png").size == (720, 480)
        tables.append([row["top_1_accuracy"] for row in rows])
        means = [
            100 * np.mean([float(r["top_1_accuracy"]) for r in rows
                           if (r["classifier"], r["labels"]) == ("ridge", count)])
            for count in ("10", "30")
        ]  # fmt: skip
        assert f": {means[0]:.1f}% (" in outcome.out and f", {means[1]:.1f}% (" in outcome.out
    assert tables[0] == tables[1] != tables[2]


def test_without_images_to_test_on_they_are_left_out_in_turn(command, run, folder, tmp_path):
    flags = folder(12)
    output = f"--output_dir={tmp_path}"
    outcome = command("probe", f"--model_dir={run}", *flags, output, "--budgets=6,12", "--seeds=2")
    assert outcome.code == 0, outcome.err
    rows = table_of(tmp_path)
    assert {row["measured_on"] for row in rows if row["drawn"] == "all"} == {"leave-one-out"}
    # What was not drawn serves to measure on.
    kinds = {(row["labels"], row["measured_on"], row["images"]) for row in rows if row["seed"]}
    assert kinds == {("6", "other labelled images", "6"), ("12", "leave-one-out", "12")}
    first = rows[0]
    assert float(first["low"]) < float(first["top_1_accuracy"]) <= float(first["high"]) or (
        float(first["top_1_accuracy"]) == 1.0 and float(first["high"]) == 1.0
    )
    assert "left out in turn (95% interval" in outcome.out


@pytest.mark.parametrize("name", ["probe.csv", "probe.png"])
def test_what_no_probe_has_written_stays(command, run, tmp_path, name):
    (tmp_path / name).write_text("mine")
    flags = ["--label_fraction=0.05", f"--output_dir={tmp_path}"]
    assert f"holds a {name} that no probe has written" in _refused(
        command, f"--model_dir={run}", *flags
    )
    assert (tmp_path / name).read_text() == "mine" and os.listdir(tmp_path) == [name]


def test_labels_of_a_column_split_are_tested_on(command, run, folder, tmp_path):
    flags = folder(18)
    path = tmp_path / "labels.csv"
    lines = path.read_text().splitlines()
    split = [lines[0] + ",split"] + [
        f"{line},{'test' if number % 4 == 3 else 'train'}" for number, line in enumerate(lines[1:])
    ]
    path.write_text("\n".join(split))
    outcome = command("probe", f"--model_dir={run}", *flags, f"--output_dir={tmp_path}")
    assert outcome.code == 0, outcome.err
    found = {(row["labels"], row["measured_on"], row["images"]) for row in table_of(tmp_path)}
    assert found == {("14", "leave-one-out", "14"), ("14", "test", "4")}


def test_a_class_without_an_image_keeps_a_low_logit(command, run, folder, tmp_path):
    flags = folder(12)
    (tmp_path / "classes.txt").write_text("blue\nviolet\nred\ngreen\n")
    outcome = command(
        "probe", f"--model_dir={run}", *flags, f"--classes={tmp_path / 'classes.txt'}",
        f"--output_dir={tmp_path}", f"--run_dir={tmp_path / 'new'}",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "violet" in outcome.err
    network = Checkpoint.open(str(tmp_path / "new"), "model_dir").restore_network()
    logits = network(np.random.RandomState(0).uniform(size=(9, 8, 8, 3)))["logits"].numpy()
    assert np.ptp(logits[:, 1]) < 1e-5 and logits[0, 1] < -0.05
    assert (logits.argmax(axis=1) != 1).all()


def _refused(command, *arguments):
    outcome = command("probe", *arguments)
    assert outcome.code == 1, outcome.err
    assert outcome.err.startswith("error: ") or "\nerror: " in outcome.err
    return outcome.err.splitlines()[-1]


DIGITS = ["--label_fraction=0.03"]
CASES = {
    "too large a budget": ([*DIGITS, "--budgets=10,44"], "=10,44: .* least 10, .* at most 43"),
    "too small a budget": ([*DIGITS, "--budgets=9"], "--budgets=9: each must be at least 10"),
    "no layer": ([*DIGITS, "--layer=4"], "--layer=4: the run in .* 0 .* to 3; or -1"),
    "a layer below": ([*DIGITS, "--layer=-2"], "--layer=-2: must be -1 or greater"),
    "the same split": ([*DIGITS, "--eval_split=train"], "=train: must be another"),
    "no such split": ([*DIGITS, "--eval_split=dev"], "--eval_split=dev: digits has the splits"),
    "no memory network": ([*DIGITS, "--use_ema_weights"], "--use_ema_weights=True: .*--use_memory"),
    "no directory": ([*DIGITS, "--output_dir="], "--output_dir=: must name a directory"),
    "no directory of a run": ([*DIGITS, "--run_dir="], "--run_dir=: must name a directory"),
    "one directory for both": ([*DIGITS, "--output_dir=new", "--run_dir=./new"],
                               "--run_dir=./new: must be another directory than probe.csv's"),
    "no draws": ([*DIGITS, "--budgets=10", "--seeds=0"], "--seeds=0: must be"),
    "fewer labels than classes": (["--label_fraction=0.005"], "=0.005: leaves 7"),
    **{
        f"budgets {text!r}": ([*DIGITS, f"--budgets={text}"], "must be numbers above 0")
        for text in ("", "ten", "10,", ",", "10;20", "1e1", "-10", "0", "10.5", "٣٠", "9" * 5000)
    },
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_bad_settings_are_refused_before_anything_is_computed(command, run, monkeypatch, case):
    monkeypatch.setattr(frozen_weights, "feature_batches", None)
    flags, words = CASES[case]
    before = sorted(os.walk(run))
    assert re.search(words, _refused(command, f"--model_dir={run}", *flags))
    assert sorted(os.walk(run)) == before


def test_labels_from_which_nothing_can_be_learnt_are_refused(command, run, folder, tmp_path):
    model = f"--model_dir={run}"
    path = tmp_path / "labels.csv"
    flags = folder(2)
    (tmp_path / "classes.txt").write_text("blue\nviolet\nred\ngreen\n")
    classes = f"--classes={tmp_path / 'classes.txt'}"
    said = _refused(command, model, *flags, classes)
    assert "train has 2 labelled images, fewer than its 4 classes" in said
    write_table(path, {f"red/{number}.png": "red" for number in range(5)})
    assert "all 5 labelled images of train are of class red" in _refused(
        command, model, *flags, classes
    )
    assert "has labels of 1 class" in _refused(command, model, *flags)
    write_table(path, {"red/1.png": "", "blue/1.png": ""})
    assert "has labels of 0 classes" in _refused(command, model, *flags, classes)
    assert "has labels of 0 classes" in _refused(command, model, *flags)
    assert "has no labels, which" in _refused(command, model, *flags[:2], "--class_level=0")


@pytest.mark.parametrize("asked", [None, "other"])
def test_a_split_without_labels_is_refused_if_it_was_asked_for(asked):
    data = SimpleNamespace(train_split="train")
    opened = SimpleNamespace(eval_split="other", data=data, has_labels=lambda split: False)
    if asked is None:
        assert program._test_split(opened, ProbeSection("run")) is None
        return
    with pytest.raises(ConfigError, match="--eval_split=other: has no image with a label"):
        program._test_split(opened, ProbeSection("run", eval_split=asked))


def test_runs_that_can_not_be_used_are_refused(command, run, method, folder, tmp_path):
    assert "must be an existing run directory" in _refused(
        command, f"--model_dir={tmp_path / 'no'}"
    )
    assert "must be given" in _refused(command)
    copy = shutil.copytree(run, tmp_path / "copy")
    shutil.rmtree(copy / "checkpoints")
    assert "holds no checkpoint" in _refused(command, f"--model_dir={copy}", *DIGITS)
    # A network that tells digits apart, and colours.
    said = _refused(command, f"--model_dir={method['fine_tuned']}", *folder(12))
    assert "was trained on the classes 0, 1, 2, ..., but --labels=" in said
    assert "has blue, green, red; give the pretraining run" in said


def test_a_picture_of_an_earlier_curve_is_removed(tmp_path):
    report = probe_report.Report(str(tmp_path), "output_dir")
    measured = [Measured("ridge", 20, "test", 8, 10)]
    (tmp_path / "probe.png").write_text("mine")
    report.write(measured, {})
    assert (tmp_path / "probe.png").read_text() == "mine"  # It was next to no table.
    report.write_curve(measured, {}, measured, Draws([20], 1, False))
    assert Image.open(tmp_path / "probe.png").size == (720, 480)
    report.write(measured, {})
    assert os.listdir(tmp_path) == ["probe.csv"]


def test_a_disk_that_can_not_be_written_is_refused_before_anything_is_computed(
    run, tmp_path, monkeypatch
):
    def read_only(dir):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), dir)

    opened = Frozen.open(ProbeSection(run))
    monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
    with pytest.raises(ConfigError, match=f"^--output_dir={tmp_path}/new: .*Read-only"):
        probe_report.Report.open(ProbeSection(run, output_dir=f"{tmp_path}/new"), opened)
    with pytest.raises(ConfigError, match=f"^--model_dir={run}: .*Read-only"):
        probe_report.Report.open(ProbeSection(run), opened)


def test_places_that_can_not_be_written_are_refused(command, run, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    for flag in ("output_dir", "run_dir"):
        said = _refused(command, f"--model_dir={run}", *DIGITS, f"--{flag}={tmp_path / 'file'}")
        assert said.startswith(f"error: --{flag}={tmp_path / 'file'}: is a file")
    assert (tmp_path / "file").read_text() == "mine"
    # A disk that has no room for the features.
    copy = shutil.copytree(run, tmp_path / "copy")
    shutil.rmtree(copy / "features", ignore_errors=True)
    for module in (feature_store, disk):
        monkeypatch.setattr(module, "free_bytes", lambda path: 1000)
    said = _refused(command, f"--model_dir={copy}", *DIGITS)
    assert "No space left on device" in said and "1.0 KB are free" in said
    assert [name for name in os.listdir(copy / "features") if not name.startswith(".")] == []
    assert not (copy / "probe").exists()
