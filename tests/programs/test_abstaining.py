"""``predict --abstain_below`` and ``--target_risk``: no class where the network isn't sure."""

import csv
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tf_simclrv2.runtime import calibration_file
from tf_simclrv2.runtime.served import stored_calibration

CALIBRATION = ("1", "assets", "calibration.json")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Some of the digits that the classifier was measured on, as files."""
    folder = tmp_path_factory.mktemp("images")
    pixels = (load_digits().images[-40:] * 255 / 16).round().astype(np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{number:02d}.png")
    return folder


@pytest.fixture
def export(method, tmp_path):
    """A copy of an export, to be changed."""
    path = tmp_path / "export"
    return shutil.copytree(method["export"], path, ignore=shutil.ignore_patterns("hub", "*.gz"))


def _rows(command, export, images, *flags):
    output = os.path.join(os.path.dirname(export), "predictions.csv")
    outcome = command(
        "predict", f"--saved_model={export}", f"--images={images}", f"--output={output}",
        "--top_k=2", *flags,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    with open(output, newline="") as file:
        return list(csv.DictReader(file)), outcome.out


def _middle(rows):
    """A probability that about half of the images have, and none nearly."""
    values = sorted(float(row["probability"]) for row in rows)
    number = max(range(17, 24), key=lambda n: values[n] - values[n - 1])
    # Tables have six digits, so what a network computes is within half of the last one.
    assert values[number] - values[number - 1] > 1.5e-6
    return (values[number] + values[number - 1]) / 2


def test_classes_are_left_empty_below_a_probability(command, export, images):
    plain, _ = _rows(command, export, images)
    middle = _middle(plain)
    unsure, out = _rows(command, export, images, f"--abstain_below={middle}")
    assert len(plain) == len(unsure) == 40
    for before, after in zip(plain, unsure):
        kept = float(before["probability"]) >= middle
        assert after["class"] == (before["class"] if kept else "")
        assert after["class_2"] == (before["class_2"] if kept else "")
        assert after["probability"] == before["probability"]
    empty = sum(row["class"] == "" for row in unsure)
    assert 15 < empty < 25 and f"{empty} of them have no class" in out
    assert _rows(command, export, images, "--abstain_below=0")[0] == plain
    assert all(row["class"] == "" for row in _rows(command, export, images, "--abstain_below=1")[0])


def _change(export, **values):
    path = os.path.join(export, *CALIBRATION)
    with open(path, encoding="utf-8") as file:
        content = json.load(file)
    with open(path, "w", encoding="utf-8") as file:
        json.dump({**content, **values}, file)


def test_the_threshold_of_a_risk_is_that_of_the_stored_curve(command, method, export, images):
    stored = stored_calibration(os.path.join(export, "1"))
    assert stored == calibration_file.read(method["fine_tuned"], 4)
    plain, _ = _rows(command, export, images)
    middle = _middle(plain)
    # More answers are right at the second point than at the first, and too few at the last.
    curve = {
        "threshold": [middle + 0.1, middle, middle - 0.1],
        "coverage": [0.25, 0.5, 1.0],
        "risk": [0.04, 0.02, 0.3],
        "images": 200,
    }
    _change(export, curve=curve)
    rows, out = _rows(command, export, images, "--target_risk=0.02")
    assert [row["class"] for row in rows] == [
        row["class"] if float(row["probability"]) >= middle else "" for row in plain
    ]
    assert 10 < sum(row["class"] == "" for row in rows) < 30
    # Two of a hundred.
    assert "50.0% had it, and 2.0% of these 100 were wrong (95% interval 0.6% to 7.0%)" in out
    rows, _ = _rows(command, export, images, "--target_risk=1")
    assert all(row["class"] for row in rows)


REFUSED = {
    "no curve": (
        lambda export: os.remove(os.path.join(export, *CALIBRATION)), ["--target_risk=0.02"],
        "--target_risk=0.02: needs the risk that was measured, but"),
    "a damaged curve": (
        lambda export: _change(export, curve=3), ["--target_risk=0.02"],
        "calibration.json is damaged, so export it again"),
    "an unreachable risk": (
        lambda export: _change(
            export, curve={"threshold": [0.5], "coverage": [1.0], "risk": [0.3], "images": 10}),
        ["--target_risk=0.02"], "--target_risk=0.02: must be at least 0.3, the least that was"),
    "both": (
        lambda export: None, ["--target_risk=0.1", "--abstain_below=0.5"],
        "--target_risk=0.1: can't be combined with --abstain_below"),
    "no probability": (
        lambda export: None, ["--abstain_below=1.5"], "--abstain_below=1.5: must be"),
    "no number": (lambda export: None, ["--abstain_below=nan"], "--abstain_below=nan: must be"),
    "a negative risk": (lambda export: None, ["--target_risk=-0.1"], "--target_risk=-0.1: must"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_asked_for_is_one_sentence(command, export, images, tmp_path, case):
    change, flags, words = REFUSED[case]
    change(export)
    outcome = command(
        "predict", f"--saved_model={export}", f"--images={images}", *flags,
        f"--output={tmp_path}/out.csv",
    )  # fmt: skip
    assert outcome.code == 1 and outcome.err.count("\n") == 1
    assert words in outcome.err
    assert not os.path.exists(tmp_path / "out.csv")
