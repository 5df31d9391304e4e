"""Stored data sets with damaged files are refused in a sentence, before or while they are read."""

import glob
import os
import re
import shutil

import pytest

from tests.conftest import DIGITS_VIEWS, FEW_STEPS, TINY
from tf_simclrv2.config import DataConfig
from tf_simclrv2.data.sources import open_source


@pytest.fixture(scope="module", params=["tfrecord", "array_record"])
def intact(request, tmp_path_factory):
    directory = str(tmp_path_factory.mktemp(request.param))
    open_source(DataConfig(data_dir=directory, file_format=request.param))
    return directory


def _cut(path):
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) // 2)


def _flip(path):
    with open(path, "r+b") as file:
        file.seek(os.path.getsize(path) // 2)
        byte = file.read(9)
        file.seek(-9, os.SEEK_CUR)
        file.write(bytes(255 - each for each in byte))


def _empty(path):
    os.truncate(path, 0)


DAMAGES = {
    "cut": (_cut, "*train*", r".* damaged \(.*(truncated|can't be read).*--data_dir"),
    "flipped": (_flip, "*train*", r".* damaged \(.*(corrupted|can't be read).*--data_dir"),
    "deleted": (os.remove, "*test*", r"--dataset=digits: .*digits-test\S* is missing\)"),
    "empty": (_empty, "*test*", r"--dataset=digits: .*digits-test\S* is empty\)"),
    "nameless": (os.remove, "dataset_info.json", r"--dataset=digits: .*dataset_info.json is miss"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_told_in_a_sentence(command, intact, damage, tmp_path):
    change, name, sentence = DAMAGES[damage]
    stored = tmp_path / "stored"
    shutil.copytree(intact, stored)
    (path,) = glob.glob(f"{stored}/digits/*/{name}")
    change(path)
    outcome = command(
        "pretrain", "--dataset=digits", f"--data_dir={stored}", *DIGITS_VIEWS, *TINY, *FEW_STEPS,
        "--train_steps=40", f"--model_dir={tmp_path / 'run'}",
    )  # fmt: skip
    assert outcome.code == 1 and "Traceback" not in outcome.err
    assert re.match("error: " + sentence, outcome.err.splitlines()[-1])
    # What is read while training is found late; all else before anything is written. Of a file that
    # was cut, the end of array_record's index is missing, which a look at the first images needs.
    found_late = damage == "flipped" or (damage == "cut" and path.split(".")[-1][:8] == "tfrecord")
    assert os.path.exists(tmp_path / "run") == found_late
