"""Exports that are damaged are refused in one line, by predict and by embed."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

NAMES = "1/assets/class_names.txt"
GRAPH = "1/saved_model.pb"
DATA = "1/variables/variables.data-00000-of-00001"


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)


def _put(content):
    return lambda path: path.write_bytes(content)


DAMAGES = [
    (GRAPH, "cut", lambda path: os.truncate(path, path.stat().st_size // 2), "saved_model.pb is"),
    (GRAPH, "empty", _put(b""), "saved_model.pb is damaged"),
    (GRAPH, "noise", _put(bytes(range(256)) * 20), "saved_model.pb is damaged"),
    (GRAPH, "flipped", _flip, "saved_model.pb is damaged"),
    (DATA, "missing", os.unlink, "SavedModel is damaged"),
    (DATA, "flipped", _flip, "SavedModel is damaged"),
    (NAMES, "too few", _put(b"0\n1\n"), "a line for each of the 10 classes, but has 2"),
    (NAMES, "too many", _put(b"x\n" * 20), "a line for each of the 10 classes, but has 20"),
    (NAMES, "empty", _put(b""), "a line for each of the 10 classes, but has 0"),
    (NAMES, "no UTF-8", _put(b"\xff\xfe\n" * 10), "class_names.txt is damaged"),
    (NAMES, "missing", os.unlink, "class_names.txt is damaged"),
]


@pytest.fixture
def image(tmp_path):
    Image.fromarray(np.zeros([8, 8, 3], np.uint8)).save(tmp_path / "image.png")
    return tmp_path / "image.png"


@pytest.mark.parametrize(
    ("file", "damage", "words"),
    [pytest.param(file, do, words, id=f"{os.path.basename(file)} {name}")
     for file, name, do, words in DAMAGES],
)  # fmt: skip
def test_a_damaged_export_is_refused(file, damage, words, command, method, image, tmp_path):
    export = tmp_path / "export"
    shutil.copytree(method["export"], export, ignore=shutil.ignore_patterns("hub", "*.gz"))
    damage(export / file)
    for name, output in (("predict", "out.csv"), ("embed", "out.npy")):
        outcome = command(
            name, f"--saved_model={export}", f"--images={image}", f"--output={tmp_path / output}"
        )
        assert outcome.code == 1
        (line,) = outcome.err.splitlines()
        assert line.startswith(f"error: --saved_model={export}: its ")
        assert words in line
        assert not (tmp_path / output).exists()


def test_an_export_of_before_checksums_is_used(command, method, image, tmp_path):
    export = tmp_path / "export"
    shutil.copytree(method["export"], export, ignore=shutil.ignore_patterns("hub", "*.gz"))
    shutil.rmtree(export / "1" / "assets.extra")
    outcome = command(
        "predict", f"--saved_model={export}", f"--images={image}", f"--output={tmp_path}/out.csv"
    )
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize("images", ["unreadable", "empty"])
def test_predict_and_embed_say_the_same(images, command, method, tmp_path):
    place = tmp_path / images
    if images == "empty":
        place.mkdir()
    else:
        place.write_bytes(b"no image")
    said = [
        command(name, f"--saved_model={method['export']}", f"--images={place}",
                f"--output={tmp_path}/out.{suffix}")
        for name, suffix in (("predict", "csv"), ("embed", "npy"))
    ]  # fmt: skip
    one, other = ([line for line in each.err.splitlines() if "batch" not in line] for each in said)
    assert one == other
    assert [each.code for each in said] == [1, 1]
    assert one[-1].startswith(f"error: --images={place}: ")
    assert not list(tmp_path.glob("out*"))
