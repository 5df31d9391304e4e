"""``select``, from a run to a table, a contact sheet and a page, and round after round."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tf_simclrv2.config import SelectConfig, refuse, sections_of
from tf_simclrv2.config.user_files import printable
from tf_simclrv2.labelling.select import METHODS
from tf_simclrv2.training.frozen import Frozen

NAMES = ["a, b.png", 'quo"ted.png', "</script>.png", "deep/er/c.png", "d\u00e9.png"]
NUM_IMAGES = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images without labels, some with unusual names, one of them no UTF-8; the last is a copy."""
    root = tmp_path_factory.mktemp("select") / "images"
    names = [*NAMES, os.fsdecode(b"latin\xe9.png")]
    names += [f"{n}.png" for n in range(NUM_IMAGES - 1 - len(names))]
    images = (load_digits().images * 15.9).astype(np.uint8)
    for name, image in zip([*names, "copy.png"], [*images[: NUM_IMAGES - 1], images[0]]):
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Image.fromarray(image).resize((20, 20)).save(path)
    return root


@pytest.fixture(scope="module")
def run(method, folder):
    """A run on the digits, that is to be used on these images."""
    path = folder.parent / "run"
    shutil.copytree(method["pretrained"], path)
    return path


@pytest.fixture
def arguments(run, folder):
    """What all commands begin with."""
    images = ["--dataset=folder", f"--data_dir={folder}", "--class_level=0"]
    return ["select", f"--model_dir={run}", *images]


@pytest.fixture
def select(command, arguments, tmp_path):
    """Runs the command; returns its outcome and the table's rows."""

    def selected(*flags, output="chosen"):
        outcome = command(*arguments, f"--output_dir={tmp_path / output}", *flags)
        assert outcome.code == 0, outcome.err
        with open(tmp_path / output / "labels.csv", encoding="utf-8", newline="") as file:
            return outcome, list(csv.reader(file))

    return selected


def test_a_first_round_leaves_a_table_a_sheet_and_a_page(select, folder, tmp_path):
    outcome, (header, *rows) = select(f"--budget={NUM_IMAGES - 1}")
    assert header == ["image", "label", "chosen_by", "number"]
    assert {row[0] for row in rows} >= {*NAMES, "latin\\xe9.png"}
    # One of the two images that are the same.
    assert len({row[0] for row in rows} & {NAMES[0], "copy.png"}) == 1
    assert [row[1:] for row in rows] == [
        ["", "centres", str(number)] for number in range(1, NUM_IMAGES)
    ]
    assert f"39 of {NUM_IMAGES} images" in outcome.out and "near-duplicates" not in outcome.err
    assert sorted(os.listdir(tmp_path / "chosen")) == [
        "contact_sheet.png", "labelling.html", "labels.csv"
    ]  # fmt: skip
    html = (tmp_path / "chosen" / "labelling.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', html)[1])
    assert data["table"] == [header, *rows] and data["classes"] == []
    assert [each["name"] for each in data["images"]] == [row[0] for row in rows]
    sheet = np.asarray(Image.open(tmp_path / "chosen" / "contact_sheet.png"))
    with Image.open(folder / rows[0][0]) as first:
        wanted = np.asarray(first.convert("RGB"))
    # Each pixel is six pixels wide, and the picture is in the middle of 128.
    np.testing.assert_array_equal(sheet[8 + 4 : 8 + 124 : 6, 8 + 4 : 8 + 124 : 6], wanted)


def test_the_last_image_is_said_to_be_a_copy(select):
    outcome, _ = select(f"--budget={NUM_IMAGES}")
    assert "no more images differ: 1;" in outcome.err


def test_rounds_add_up(select, tmp_path):
    _, (header, *first) = select("--budget=6", "--method=typiclust")
    for number, row in enumerate(first[:5]):
        row[1] = "ab"[number % 2]
    table = tmp_path / "mine.csv"
    with open(table, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerows([[*header, "note"], *([*row, f"n, {row[3]}"] for row in first)])
    _, (header, *rows) = select(
        f"--labels={table}", "--budget=35", "--method=random", output="second"
    )
    assert header == ["image", "label", "chosen_by", "number", "note"]
    # The one that was left without a label is to be labelled again, as all others are.
    assert rows[:5] == [[*row, f"n, {row[3]}"] for row in first[:5]]
    assert len({row[0] for row in rows}) == len(rows) == NUM_IMAGES
    assert {row[2] for row in rows[5:]} == {"random"}
    assert [row[3] for row in rows[5:]] == [str(number) for number in range(6, 41)]
    assert next(row[4] for row in rows if row[0] == first[5][0]) == f"n, {first[5][3]}"
    # What was written can be given at once.
    _, (_, *again) = select(
        f"--labels={tmp_path / 'second' / 'labels.csv'}", "--budget=1", output="third"
    )
    assert again[-1][3] == "41"
    html = (tmp_path / "third" / "labelling.html").read_text(encoding="utf-8")
    assert '"classes": ["a", "b"]' in html


def test_labels_of_a_single_class_count_as_well(select, tmp_path):
    (tmp_path / "one.csv").write_text('image,label\n"a, b.png",a\n0.png,a\n')
    _, (_, *rows) = select(f"--labels={tmp_path / 'one.csv'}", "--budget=20")
    chosen = [row[0] for row in rows[2:]]
    assert len(chosen) == 20 and not {"a, b.png", "0.png", "copy.png"} & set(chosen)


def test_classes_may_be_named_before_there_are_labels(select, tmp_path):
    (tmp_path / "classes.txt").write_text("owl\nbat\n")
    select(f"--classes={tmp_path / 'classes.txt'}", "--budget=2")
    html = (tmp_path / "chosen" / "labelling.html").read_text(encoding="utf-8")
    assert '"classes": ["owl", "bat"]' in html


def test_the_seed_decides_and_without_output_dir_each_choice_has_a_new_place(
    command, arguments, run
):
    for name in ("selected", "selected_2", "selected_3"):
        seed = int(name == "selected_3")
        outcome = command(*arguments, "--budget=3", f"--seed={seed}", "--method=random")
        assert outcome.code == 0 and f"{run}/{name}: 3 of" in outcome.out
    first, second, third = (
        (run / name / "labels.csv").read_text() for name in ("selected", "selected_2", "selected_3")
    )
    assert first == second != third


def test_two_choices_at_once_have_two_places(arguments, run):
    before = {name for name in os.listdir(run) if name.startswith("selected")}
    command = [sys.executable, "-m", "tf_simclrv2", *arguments, "--budget=3"]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [each.communicate()[1] for each in both]
    assert [each.returncode for each in both] == [0, 0], errors
    new = {name for name in os.listdir(run) if name.startswith("selected")} - before
    assert len(new) == 2


def test_a_run_that_can_not_be_written_is_noticed_before_features_are_computed(
    command, arguments, run, monkeypatch
):
    def read_only(folder, flag, given):
        assert (os.path.dirname(folder), given) == (str(run), str(run))
        raise refuse(flag, given, "can't be written")

    monkeypatch.setattr("tf_simclrv2.programs.select.check_can_write", read_only)
    monkeypatch.setattr("tf_simclrv2.training.frozen.Frozen.features", None)
    outcome = command(*arguments, "--budget=3")
    assert (outcome.code, outcome.err) == (1, f"error: --model_dir={run}: can't be written.\n")


def test_what_comes_to_the_place_meanwhile_stays(command, arguments, tmp_path, monkeypatch):
    place = tmp_path / "new"

    def write(*_):
        place.mkdir()
        (place / "labels.csv").write_text("mine")

    monkeypatch.setattr("tf_simclrv2.programs.select._write", write)
    outcome = command(*arguments, "--budget=3", f"--output_dir={place}")
    assert outcome.code == 1 and f"{place}: holds labels.csv already" in outcome.err
    assert (place / "labels.csv").read_text() == "mine"
    assert os.listdir(tmp_path) == ["new"]


def test_a_table_that_changes_meanwhile_is_taken_as_it_was(select, tmp_path, monkeypatch):
    table = tmp_path / "mine.csv"
    table.write_text("image,label,note\n0.png,owl,1\n1.png,bat,2\n2.png,,3\n")
    features = Frozen.features

    def edited(self, split):
        table.write_text("image,label,note\n0.png,owl,1\n")
        return features(self, split)

    monkeypatch.setattr(Frozen, "features", edited)
    _, (_, *rows) = select(f"--labels={table}", f"--budget={NUM_IMAGES - 2}")
    assert [row[:3] for row in rows[:2]] == [["0.png", "owl", "1"], ["1.png", "bat", "2"]]
    assert len(rows) == NUM_IMAGES and {row[2] for row in rows[2:]} == {"", "3"}


def test_many_images_take_several_sheets(select, tmp_path, monkeypatch):
    monkeypatch.setattr("tf_simclrv2.labelling.contact_sheet.MOST_ON_A_SHEET", 9)
    select("--budget=20")
    sheets = [f"contact_sheet{n}.png" for n in ("", "_2", "_3")]
    assert set(sheets) < set(os.listdir(tmp_path / "chosen"))
    assert Image.open(tmp_path / "chosen" / sheets[2]).width == 2 * 136 + 8


REFUSED = {
    "more than there are": (["--budget=41"], ["--budget=41", "at most 40", "images without a"]),
    "more than are left": (["--budget=39", "--labels={tmp}/two.csv"], ["at most 38"]),
    "none": (["--budget=0"], ["--budget=0", "greater than 0"]),
    "no budget": ([], ["--budget=None", "how many images"]),
    "no number": (["--budget=ten"], ["budget"]),
    "unknown method": (["--budget=3", "--method=nearest"], ["method", "centres", "typiclust"]),
    "no run": (["--budget=3", "--model_dir={tmp}/none"], ["--model_dir={tmp}/none"]),
    "no checkpoint": (["--budget=3", "--model_dir={tmp}/empty"], ["holds no checkpoint"]),
    "a file": (["--budget=3", "--output_dir={tmp}/two.csv"], ["--output_dir", "is a file"]),
    "a table": (["--budget=3", "--output_dir={tmp}/full"], ["holds labels.csv already"]),
    "something": (["--budget=3", "--output_dir={tmp}/other"], ["holds something already"]),
    "no name": (["--budget=3", "--output_dir="], ["--output_dir=", "name a directory"]),
    "below a file": (["--budget=3", "--output_dir={tmp}/two.csv/new"], ["--output_dir"]),
    "the system's": (["--budget=3", "--output_dir=/proc/new"], ["--output_dir=/proc/new"]),
    "other images": (["--budget=3", "--labels={tmp}/alien.csv"], ["alien.csv", "line 2"]),
    "no labels": (["--budget=3", "--labels={tmp}/none.csv"], ["none.csv", "not there"]),
    "a label that is no class": (
        ["--budget=3", "--labels={tmp}/two.csv", "--classes={tmp}/classes.txt"], ["two.csv", "bat"]
    ),
    "nothing is left": (["--budget=1", "--labels={tmp}/all.csv"], ["all.csv", "none is left"]),
    "no layer": (["--budget=3", "--layer=9"], ["--layer=9"]),
    "empty folder": (["--budget=3", "--data_dir={tmp}/void"], ["--data_dir={tmp}/void"]),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_not_be_done_is_told_in_one_sentence(
    command, arguments, run, folder, tmp_path, name
):
    for directory in ("full", "other", "empty", "void"):
        (tmp_path / directory).mkdir()
    (tmp_path / "empty" / "config.json").write_text((run / "config.json").read_text())
    (tmp_path / "full" / "labels.csv").write_text("image,label\n")
    (tmp_path / "other" / "notes.txt").write_text("mine")
    (tmp_path / "two.csv").write_text("image,label\n0.png,owl\n1.png,bat\n")
    names = sorted(os.fspath(each.relative_to(folder)) for each in folder.rglob("*.png"))
    with open(tmp_path / "all.csv", "w", encoding="utf-8", newline="") as file:
        rows = [[printable(name), str(number % 2)] for number, name in enumerate(names)]
        csv.writer(file).writerows([["image", "label"], *rows])
    (tmp_path / "alien.csv").write_text("image,label\nalien.png,owl\n")
    (tmp_path / "classes.txt").write_text("owl\ncat\n")
    flags, words = ([each.format(tmp=tmp_path) for each in part] for part in REFUSED[name])
    before = sorted(tmp_path.rglob("*"))
    outcome = command(*arguments, f"--output_dir={tmp_path}/new", *flags)
    assert outcome.code == 1
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1, outcome.err
    for word in words:
        assert word in outcome.err
    assert sorted(tmp_path.rglob("*")) == before


def test_the_methods_are_those_of_the_table():
    field = sections_of(SelectConfig)["selection"].__dataclass_fields__["method"]
    assert list(field.metadata["choices"]) == list(METHODS)
