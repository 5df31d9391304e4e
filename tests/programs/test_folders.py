"""Folders as people have them, from the command line: what is refused, and by which sentence."""

import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.conftest import DIGITS_VIEWS


def _write(path, value=0, size=(8, 10)):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)


def _fill(root, *folders, count=10):
    for folder in folders:
        for number in range(count):
            _write(os.path.join(root, folder, f"{number}.png"), number)


@pytest.fixture
def views(command, tmp_path):
    """Draws views of ``tmp_path``/images, the quickest command that opens a folder."""

    def run(*flags):
        return command(
            "views", f"--data_dir={tmp_path}/images", "--image_size=8", "--num_images=1",
            "--color_jitter_strength=0", *DIGITS_VIEWS, f"--output={tmp_path}/views.png", *flags,
        )  # fmt: skip

    return run


def _empty(path):
    open(path, "wb").close()


CASES = {
    "corrupt files": (
        lambda root: _empty(f"{root}/train/cat/3.png"), [],
        "--max_bad_images=0.01: 1 of the 20 files of train are corrupt .no whole image.*cat/3.png"),
    "a corrupt file, strictly": (
        lambda root: _empty(f"{root}/train/cat/3.png"), ["--strict_images"],
        "--strict_images=True: .*train/cat/3.png is no whole image .corrupt."),
    "a FIFO": (
        lambda root: os.mkfifo(f"{root}/train/cat/x.png"), [],
        "--max_bad_images=0.01: 1 of the 21 .*x.png \\(a FIFO\\)"),
    "an endless file": (
        lambda root: os.symlink("/dev/zero", f"{root}/train/cat/x.png"), ["--strict_images"],
        "--strict_images=True: .*x.png \\(a device\\) is no whole image .corrupt."),
    "nothing but FIFOs": (
        lambda root: (shutil.rmtree(f"{root}/train"), [os.makedirs(f"{root}/train/{name}") or
                      os.mkfifo(f"{root}/train/{name}/1.png") for name in "ab"]), [],
        "--max_bad_images=0.01: 2 of the 2 files of train are corrupt"),
    "a small image": (
        lambda root: _write(f"{root}/train/cat/3.png", size=(4, 9)), [],
        "--data_dir=.*cat/3.png has 4x9 pixels, too few to crop"),
    "a class that is no UTF-8": (
        lambda root: os.rename(f"{root}/train/cat", os.fsencode(f"{root}/train/") + b"\xff"), [],
        "--data_dir=.*a class named .xff; names of classes must be UTF-8"),
    "a class with a line break": (
        lambda root: os.rename(f"{root}/train/cat", f"{root}/train/c\u2028t"), [],
        "--data_dir=.*a class named c.u2028t; .*without line breaks"),
    "a class named unlabelled": (
        lambda root: _fill(root, "train/Unlabelled"), [],
        "--data_dir=.*a directory Unlabelled among its classes; .*--unlabeled_data_dir"),
    "another split": (lambda root: None, ["--train_split=test"],
                      "--train_split=test: folder has the splits train.$"),
    "splits as classes": (lambda root: None, ["--class_level=1"], "--class_level=1: train is a sp"),
    "no --dataset": (lambda root: None, ["--dataset=digits"],
                     "--data_dir=.*images: holds images, such as train/cat/0.png, .*--dataset=fol"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_folder_is_refused_by_its_own_sentence(views, tmp_path, case):
    spoil, flags, sentence = CASES[case]
    root = f"{tmp_path}/images"
    _fill(root, "train/cat", "train/dog")
    spoil(root)
    before = sorted(path for path in (tmp_path / "images").rglob("*"))
    outcome = views("--dataset=folder", *flags)
    assert outcome.code == 1 and outcome.err.count("\n") == 1
    assert re.match(f"error: {sentence}", outcome.err), outcome.err
    assert sorted(path for path in (tmp_path / "images").rglob("*")) == before
    assert not (tmp_path / "views.png").exists()


@pytest.mark.parametrize("folders", [("labelled", "unlabelled"), ("unlabelled/a", "Labelled/a")])
def test_labelled_and_unlabelled_are_splits(views, tmp_path, folders):
    _fill(f"{tmp_path}/images", *folders, "Labelled/b" if "/" in folders[0] else folders[0])
    split = "Labelled" if "/" in folders[0] else "labelled"
    outcome = views("--dataset=folder")
    assert outcome.code == 1 and f"has no split train, but {split}, unlabelled;" in outcome.err
    outcome = views("--dataset=folder", "--train_split=unlabelled")
    assert outcome.code == 0, outcome.err


def test_class_patient_file(views, tmp_path):
    patients = [f"{name}/{patient}" for name in ("ill", "well") for patient in range(4)]
    _fill(f"{tmp_path}/images", *patients, count=3)
    outcome = views("--dataset=folder")
    assert outcome.code == 1 and "class/patient/file, give --class_level=1" in outcome.err
    outcome = views("--dataset=folder", "--class_level=1")
    assert outcome.code == 0, outcome.err

    from tf_simclrv2.config import DataConfig
    from tf_simclrv2.data.sources import open_source

    source = open_source(DataConfig(dataset="folder", data_dir=f"{tmp_path}/images", class_level=1))
    assert source.class_names == ["ill", "well"]
    held_out = [each["id"].decode() for each in source.index("validation").as_numpy_iterator()]
    # All images of one patient of each class.
    assert len(held_out) == 6 and len({os.path.dirname(file) for file in held_out}) == 2


def test_odd_names_are_read_and_other_files_named(views, tmp_path):
    root = f"{tmp_path}/images"
    _fill(root, "train/cat", "train/dog", "val/cat", "val/dog", count=1)
    good = (tmp_path / "images/train/cat/0.png").read_bytes()
    for name in (b"o\xff.png", b"o\nd.png", b"o,d[1]*.png"):
        with open(os.fsencode(f"{root}/train/cat/") + name, "wb") as file:
            file.write(good)
    _empty(f"{root}/train/cat/._0.png")
    _empty(f"{root}/train/cat/scan.xcf")
    outcome = views("--dataset=folder")
    assert outcome.code == 0, outcome.err
    assert outcome.err.startswith("warning: 2 of the files") and "1 .xcf" in outcome.err

    from tf_simclrv2.config import DataConfig
    from tf_simclrv2.data.sources import open_source

    source = open_source(DataConfig(dataset="folder", data_dir=root))
    assert source.num_examples("train") == 5
    assert source.evaluation_split(None) == "val"


def test_further_images_need_a_data_set(command, tmp_path):
    _fill(f"{tmp_path}/scans", "a")
    outcome = command(
        "pretrain", f"--unlabeled_data_dir={tmp_path}/scans", f"--model_dir={tmp_path}/run"
    )
    assert outcome.code == 1 and "--dataset=folder --data_dir instead" in outcome.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--dataset=digits:9.9.9"], "--dataset=digits:9.9.9: must be digits, tiles, folder, or"),
        (["--dataset=mnist:9.9.9"], "--dataset=mnist:9.9.9: must be .*only: 3.0.1"),
        (
            ["--dataset=huggingface:x/y"],
            "--dataset=huggingface:x/y: must be digits, tiles, folder, or",
        ),
        (["--dataset=moving_mnist"], "--dataset=moving_mnist: must be .*a feature named image"),
        (["--train_split=train[:0]"], r"--train_split=train\[:0\]: has no image of digits"),
        (["--train_split=train[5:3]"], r"--train_split=train\[5:3\]: has no image of digits"),
        (["--train_split=train["], r"--train_split=train\[: digits has the splits test, train"),
    ],
)
def test_data_sets_and_splits_that_there_are_not(command, tmp_path, flags, sentence):
    outcome = command("views", *flags, f"--output={tmp_path}/views.png")
    assert outcome.code == 1 and outcome.err.count("\n") == 1
    assert re.match(f"error: {sentence}", outcome.err), outcome.err


def test_nothing_is_written_into_a_directory_of_others(command, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.tex").write_text("")
    flags = ["--num_images=1", *DIGITS_VIEWS, f"--output={tmp_path}/views.png"]
    outcome = command("views", f"--data_dir={tmp_path}/data", *flags)
    assert outcome.code == 1 and "written next to thesis.tex" in outcome.err
    assert os.listdir(tmp_path / "data") == ["thesis.tex"]
    os.remove(tmp_path / "data" / "thesis.tex")
    from tf_simclrv2.config import DataConfig
    from tf_simclrv2.data.sources import open_source

    for _ in range(2):
        open_source(DataConfig(data_dir=f"{tmp_path}/data")).check_split("test", "eval_split")
    assert "digits" in os.listdir(tmp_path / "data")


def test_flagfiles_as_editors_write_them(command, tmp_path):
    flagfile = tmp_path / "flags.txt"

    from tf_simclrv2.config import ViewsConfig
    from tf_simclrv2.programs import command_line

    inner = tmp_path / "inner.txt"
    inner.write_bytes(b"\xef\xbb\xbf# A comment.\r\n--num_images=1\r\n\r\n")
    content = f"\ufeff--use_blur=false\r\n--flagfile={inner}\r\n"
    flagfile.write_bytes(content.encode("utf-16-le"))
    values = command_line.parse(ViewsConfig, [f"--flagfile={flagfile}", "--seed=2"])
    assert values == {"use_blur": False, "num_images": 1, "seed": 2}
    for content, words in {
        b"--seed=1\n--data_dir=caf\xe9\n": "line 2 is not: it reads --data_dir=caf.xe9",
        b"--seed=1\n\0\0\n": "line 2 is not: it has a NUL byte",
        f"--flagfile={flagfile}\n".encode(): "it names itself",
    }.items():
        flagfile.write_bytes(content)
        outcome = command("views", f"--flagfile={flagfile}")
        assert outcome.code == 1 and outcome.err.count("\n") == 1
        assert re.match(f"error: --flagfile={flagfile}: .*{words}", outcome.err), outcome.err
