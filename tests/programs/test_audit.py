"""``audit``: what was planted is found and written, and --fail_on gives an exit code of its own."""

import csv
import json
import os
import pathlib
import shutil
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tf_simclrv2.config import ConfigError
from tf_simclrv2.config.labelling import AuditSection, Limit, limits_of
from tf_simclrv2.programs import audit as program
from tf_simclrv2.programs import audit_report

_COLOURS = {"blue": (20, 40, 220), "green": (30, 200, 40), "red": (220, 30, 30)}


def _write(path, colour, seed):
    """An image of 16 pixels: a colour, and patches of it that are lighter and darker."""
    patches = np.random.RandomState(seed).uniform(0.4, 1.1, (4, 4, 1)).repeat(4, 0).repeat(4, 1)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    pixels = (patches * colour).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of three classes, with a leak, a conflict and a wrong label."""
    root = tmp_path_factory.mktemp("data")
    for split, count in (("train", 14), ("test", 5)):
        for number, (name, colour) in enumerate(_COLOURS.items()):
            for each in range(count):
                seed = 1000 * (split == "test") + 100 * number + each
                _write(root / split / name / f"{each}.png", colour, seed)
    shutil.copy(root / "train" / "red" / "3.png", root / "test" / "red" / "leak.png")
    conflict = Image.open(root / "train" / "blue" / "5.png").resize((32, 32), Image.NEAREST)
    conflict.save(root / "train" / "green" / "conflict.png")
    _write(root / "train" / "red" / "wrong.png", _COLOURS["green"], 7)
    return root


@pytest.fixture(scope="module")
def model(method, tmp_path_factory):
    """A copy of the pretraining run, in which features are stored."""
    path = tmp_path_factory.mktemp("run") / "pretrained"
    shutil.copytree(method["pretrained"], path)
    return str(path)


@pytest.fixture
def audit(command, model, folder):
    def run(*flags, data=folder):
        return command(
            "audit", f"--model_dir={model}", "--dataset=folder", f"--data_dir={data}", *flags
        )

    return run


def _rows(directory, name):
    with open(pathlib.Path(directory) / name, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _written(directory):
    return {path.name: path.read_bytes() for path in pathlib.Path(directory).iterdir()}


def test_what_was_planted_is_found(audit, tmp_path):
    output = tmp_path / "found"
    outcome = audit(f"--output_dir={output}")
    assert outcome.code == 0, outcome.err
    wrong = _rows(output, "wrong_labels.csv")
    planted = [row for row in wrong if row["image"] == "train/red/wrong.png"]
    assert [(row["label"], row["suggested"], row["looks_wrong"]) for row in planted] == [
        ("red", "green", "yes")
    ]
    assert wrong == sorted(wrong, key=lambda row: float(row["margin"]))
    pairs = {(row["image"], row["other_image"]): row for row in _rows(output, "duplicates.csv")}
    leak = pairs["train/red/3.png", "test/red/leak.png"]
    assert (leak["split"], leak["other_split"], leak["leaks"]) == ("train", "test", "yes")
    conflict = pairs["train/blue/5.png", "train/green/conflict.png"]
    assert (conflict["leaks"], conflict["labels_differ"]) == ("no", "yes")
    assert len(pairs) == 2
    summary = json.loads((output / "audit.json").read_text())
    assert summary["images"] == {"train": 44, "test": 16}
    assert summary["found"]["leaks"] == summary["found"]["conflicts"] == 1
    assert summary["labels_judged"] == 60
    for sentence in (
        "examined the images 44 of train, 16 of test",
        f"{summary['found']['labels']} of 60 labels look wrong",
        "2 pairs of 60 images are near-duplicates",
        "1 of 16 images of test are near-duplicates of images of train",
        "images are unlike all others",
        str(output),
    ):
        assert sentence in outcome.out
    sheet = Image.open(output / "duplicates.png")
    # Four pictures in a row, of 128 pixels and the space between them.
    assert sheet.width == 4 * 136 + 8


def test_a_conflict_is_found_beside_a_copy_without_a_label(audit, tmp_path):
    root = tmp_path / "images"
    for number, colour in enumerate(_COLOURS.values()):
        for each in range(4):
            _write(root / f"{number}{each}.png", colour, 10 * number + each)
    near = np.asarray(Image.open(root / "00.png")) * 1.04
    Image.fromarray(near.clip(0, 255).astype(np.uint8)).save(root / "90.png")
    shutil.copy(root / "90.png", root / "80.png")  # The most similar one of 90.png.
    rows = [f"{number}{each}.png,{number}" for number in range(3) for each in range(4)]
    (tmp_path / "labels.csv").write_text("\n".join(["image,label", *rows, "90.png,2"]))
    flags = ["--class_level=0", f"--labels={tmp_path}/labels.csv", "--holdout_fraction=0"]
    outcome = audit(*flags, "--fail_on=conflicts", f"--output_dir={tmp_path}/found", data=root)
    assert outcome.code == 3, outcome.err
    pairs = [(row["image"], row["other_image"], row["labels_differ"])
             for row in _rows(tmp_path / "found", "duplicates.csv")]  # fmt: skip
    assert ("00.png", "90.png", "yes") in pairs and ("80.png", "90.png", "no") in pairs


def test_fail_on_has_an_exit_code_of_its_own(audit, model):
    outcome = audit("--fail_on=leaks,conflicts:1,duplicates:0.5")
    assert outcome.code == 3
    assert outcome.err.splitlines()[-1] == (
        "--fail_on=leaks,conflicts:1,duplicates:0.5: 1 of 16 images of test are near-duplicates of "
        "images of train, more than 0"
    )
    # What was found is there all the same, in the run's directory.
    assert _rows(f"{model}/audit", "duplicates.csv")
    assert audit("--fail_on=leaks:1,conflicts:1,duplicates:2,labels:0.9").code == 0
    outcome = audit("--fail_on=labels:.001,conflicts")
    assert outcome.code == 3
    assert outcome.err.count("--fail_on=") == 2 and "more than 0.001 of them" in outcome.err


def test_only_an_earlier_audit_is_replaced(audit, tmp_path):
    output = tmp_path / "found"
    assert audit(f"--output_dir={output}").code == 0
    before = _written(output)
    (output / "wrong_labels.csv").unlink()
    assert audit(f"--output_dir={output}").code == 0
    assert _written(output) == before
    (output / "notes.txt").write_text("mine")
    before = _written(output)
    outcome = audit(f"--output_dir={output}")
    assert (outcome.code, outcome.err.count("\n")) == (1, 1)
    assert f"--output_dir={output}: " in outcome.err and "notes.txt" in outcome.err
    assert _written(output) == before
    assert os.listdir(tmp_path) == ["found"]


def test_what_comes_to_the_place_meanwhile_stays(audit, tmp_path, monkeypatch):
    output = tmp_path / "found"

    def write(*_):
        output.mkdir()
        (output / "notes.txt").write_text("mine")

    monkeypatch.setattr(audit_report, "_write_sheets", write)
    outcome = audit(f"--output_dir={output}")
    assert outcome.code == 1 and "but holds notes.txt" in outcome.err
    assert os.listdir(tmp_path) == ["found"] and os.listdir(output) == ["notes.txt"]


def test_a_table_gives_labels_to_a_folder_without_any(audit, folder, tmp_path):
    paths = sorted((folder / "train").rglob("*.png"))
    names = [str(path.relative_to(folder)) for path in paths]
    rows = [f"{name},{pathlib.Path(name).parts[1]},train" for name in names]
    rows[-1] = rows[-1].replace(",red,", ",blue,")  # A second error, of wrong.png.
    (tmp_path / "labels.csv").write_text("\n".join(["image,label,split", *rows]))
    output = tmp_path / "found"
    outcome = audit("--class_level=0", f"--labels={tmp_path}/labels.csv", f"--output_dir={output}")
    assert outcome.code == 0, outcome.err
    wrong = {row["image"]: row for row in _rows(output, "wrong_labels.csv")}["train/red/wrong.png"]
    assert (wrong["label"], wrong["suggested"], wrong["looks_wrong"]) == ("blue", "green", "yes")
    assert json.loads((output / "audit.json").read_text())["labels_judged"] == 44


def test_without_labels_the_rest_is_done(audit, folder, tmp_path):
    output = tmp_path / "found"
    outcome = audit("--class_level=0", f"--output_dir={output}")
    assert outcome.code == 0, outcome.err
    assert "warning: labels are not judged: " in outcome.err and "has no labels" in outcome.err
    assert "warning: leaks can't be found" in outcome.err
    assert _rows(output, "wrong_labels.csv") == []
    # In one split they are duplicates of each other.
    assert len(_rows(output, "duplicates.csv")) == 2
    for limit, reason in (("labels", "has no labels"), ("leaks", "--eval_split")):
        outcome = audit("--class_level=0", f"--fail_on={limit}", f"--output_dir={tmp_path}/new")
        assert (outcome.code, outcome.err.count("\n")) == (1, 1)
        assert f"--fail_on={limit}: " in outcome.err and reason in outcome.err
    assert not os.path.exists(tmp_path / "new")


@pytest.mark.parametrize(
    ("rows", "classes", "reason"),
    [
        (["3.png,red", "4.png,red", "5.png,"], None, "has labels of 1 class"),
        (["3.png,red", "4.png,red"], "red\nblue", "all 2 labelled images of train are"),
        (["3.png,red", "4.png,blue"], None, "each class has only one labelled image in train"),
        (["3.png,", "4.png,"], None, "has labels of 0 classes"),
    ],
)
def test_labels_that_say_nothing_are_not_judged(audit, folder, tmp_path, rows, classes, reason):
    lines = ["image,label", *(f"train/red/{row}" for row in rows)]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    flags = ["--class_level=0", f"--labels={tmp_path}/labels.csv"]
    if classes is not None:
        (tmp_path / "classes.txt").write_text(classes)
        flags.append(f"--classes={tmp_path}/classes.txt")
    outcome = audit(*flags, f"--output_dir={tmp_path}/found")
    assert outcome.code == 0, outcome.err
    assert "warning: labels are not judged: " in outcome.err and reason in outcome.err
    outcome = audit(*flags, "--fail_on=labels:5", f"--output_dir={tmp_path}/found")
    assert outcome.code == 1 and reason in outcome.err


REFUSED = {
    "no limit": (["--fail_on=everything"], ["--fail_on=everything", "labels, duplicates"]),
    "no run": (["--model_dir={tmp}/none"], ["--model_dir={tmp}/none"]),
    "no checkpoint": (["--model_dir={tmp}/empty"], ["--model_dir={tmp}/empty", "no checkpoint"]),
    "a file in the way": (["--output_dir={tmp}/file"], ["--output_dir={tmp}/file", "a file"]),
    "a file above": (["--output_dir={tmp}/file/new"], ["--output_dir={tmp}/file/new"]),
    "something else there": (["--output_dir={tmp}/empty"], ["--output_dir={tmp}/empty", "config"]),
    "another's summary": (["--output_dir={tmp}/summary"], ["--output_dir={tmp}/summary", ".json"]),
    "a directory called so": (["--output_dir={tmp}/folder"], ["{tmp}/folder", "unlike.csv"]),
    "no directory": (["--output_dir="], ["--output_dir=: must name a directory"]),
    "no such split": (["--eval_split=dev"], ["--eval_split=dev", "test, train"]),
    "no such layer": (["--layer=9"], ["--layer=9"]),
    "another data set's split": (["--train_split=validation"], ["--train_split=validation"]),
    "no table": (["--labels={tmp}/none.csv"], ["--labels={tmp}/none.csv"]),
}


@pytest.mark.parametrize(("flags", "parts"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_used_is_refused_in_one_sentence(audit, model, tmp_path, flags, parts):
    (tmp_path / "empty").mkdir()
    shutil.copy(f"{model}/config.json", tmp_path / "empty")
    (tmp_path / "file").write_text("mine")
    for name, content in (("summary", "{}"), ("folder", '{"labels_judged": 3}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "audit.json").write_text(content)
    (tmp_path / "folder" / "unlike.csv").mkdir()
    outcome = audit(*(flag.format(tmp=tmp_path) for flag in flags))
    assert outcome.code == 1, outcome.err
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1
    for part in parts:
        assert part.format(tmp=tmp_path) in outcome.err
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["empty", "file", "folder", "summary"]
    assert os.listdir(tmp_path / "summary") == ["audit.json"]


@pytest.mark.parametrize(
    ("limit", "number", "among", "exceeded"),
    [
        # 0.29 * 100 is 28.999999999999996.
        ("labels:0.29", 29, 100, False),
        ("labels:0.29", 30, 100, True),
        ("labels:0.0", 0, 0, False),
        ("labels:3", 3, 100, False),
        ("labels:3", 4, 100, True),
    ],
)
def test_what_is_allowed_is_no_failure(monkeypatch, limit, number, among, exceeded):
    counts = {"labels": audit_report.Count(number, among, "some labels")}
    monkeypatch.setattr(audit_report, "counted", lambda audit: counts)
    assert bool(program._exceeded(limits_of(limit), None)) == exceeded


@pytest.mark.parametrize("labelled", [None, "train", "test"])
def test_conflicts_take_labels_of_a_split(labelled):
    frozen = SimpleNamespace(has_labels=lambda split: split == labelled)
    section = AuditSection("run", fail_on="duplicates,conflicts:5")
    refused = nullcontext()
    if labelled is None:
        refused = pytest.raises(ConfigError, match=r"no image of train, test has a label")
    with refused:
        program._check_limits(section, frozen, ["train", "test"])


def test_limits_are_numbers_or_shares():
    assert limits_of("leaks,duplicates:5, labels:0.01") == [
        Limit("leaks", 0, False),
        Limit("duplicates", 5, False),
        Limit("labels", 0.01, True),
    ]
    assert limits_of("unlike:1.0") == [Limit("unlike", 1, True)]


@pytest.mark.parametrize(
    "text",
    ["", ",", "leaks,", "leak", "leaks:", "leaks:-1", "leaks:1.5", "labels:1%", "labels:nan",
     "labels=1", "labels:0.1:2", "leaks;labels", "leaks,leaks:1", "labels:1e-2", "labels:\u0661",
     "labels:9999999999", "Leaks", "labels:."],
)  # fmt: skip
def test_malformed_limits_are_none(text):
    assert limits_of(text) is None
