"""The commands of docs/labels.md, from images to a model and back, all run as they stand."""

import csv
import json
import os
import pathlib
import re
import shlex

import numpy as np
import pytest
from PIL import Image

from tests.conftest import DIGITS_VIEWS, FEW_STEPS, TINY

GUIDE = pathlib.Path(__file__).parents[2] / "docs" / "labels.md"
# What makes them small.
SMALL = {
    # The network has to tell light from dark, or the check of labels doubts one of them.
    "pretrain": [*TINY, *FEW_STEPS, *DIGITS_VIEWS, "--train_steps=60"],
    "finetune": [*FEW_STEPS, *DIGITS_VIEWS],
    "distill": [*FEW_STEPS, *DIGITS_VIEWS],
}
COUNT = 160


def _commands():
    """The command lines of the guide."""
    text = GUIDE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("simclrv2 ")]


def _class_of(file):
    """What a person sees in an image."""
    return "light" if np.asarray(Image.open(os.path.join("images", file))).mean() > 128 else "dark"


def _label(table, filled):
    """Fills a table in, as a person does."""
    with open(table, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["label"] = row["label"] or _class_of(row["image"])
    with open(filled, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return len(rows)


@pytest.mark.slow
def test_the_whole_way_and_back(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random = np.random.RandomState(0)
    for number in range(COUNT):
        pixels = random.randint(0, 120, (8, 8, 3)) + 130 * (number % 2)
        path = pathlib.Path("images", f"day_{number % 5}", "camera" * (number % 3), f"{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    tested = [str(path.relative_to("images")) for path in pathlib.Path("images").rglob("1*.png")]
    lines = [f"{file},{_class_of(file)}\n" for file in tested]
    pathlib.Path("test_labels.csv").write_text("image,label\n" + "".join(lines))
    done = []
    for name, *arguments in _commands():
        outcome = command(name, *arguments, *SMALL.get(name, []))
        assert outcome.code == 0, (name, arguments, outcome.err)
        done.append(name)
        if name == "select" and f"--output_dir=round_{done.count(name)}" in arguments:
            table = {1: "labels.csv", 2: "labels_2.csv"}[done.count("select")]
            count = _label(f"round_{done.count('select')}/labels.csv", table)
            assert count == 50 * done.count("select")
    assert done == [
        "pretrain", "select", "probe", "audit", "finetune", "distill", "export", "select",
        "finetune", "evaluate", "select", "select", "probe", "probe", "audit", "audit",
    ]  # fmt: skip
    for written in ("pretrained/selected_2/labels.csv", "probe/config.json", "pretrained/audit"):
        assert pathlib.Path("runs", written).exists()
    for run, count in {"fine_tuned": 50, "fine_tuned_2": 100}.items():
        data, result = (
            json.loads(pathlib.Path("runs", run, name).read_text())
            for name in ("data.json", "result.json")
        )
        assert data["num_labelled"] + result["num_examples"] == count
        assert data["num_examples"] + result["num_examples"] == COUNT
