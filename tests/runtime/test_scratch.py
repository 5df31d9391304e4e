"""Directories take their place whole, and what kills leave is removed."""

import os
import subprocess
import sys

import pytest

from tf_simclrv2.runtime import scratch
from tf_simclrv2.runtime.scratch import replacing_directory

PREFIX = ".export-"


def write(target, text="new"):
    with replacing_directory(str(target), PREFIX) as place, open(f"{place}/file", "w") as file:
        file.write(text)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "out"


# Begins to write in a process of its own, and goes where it is told: before or between the moves.
BEGIN = """
import os, sys
from tf_simclrv2.runtime import scratch
replace, moves = os.replace, []
def move(source, target):
    moves.append(source)
    if len(moves) == int(sys.argv[2]):
        print("there", flush=True)
        sys.stdin.read()
    replace(source, target)
os.replace = move
with scratch.replacing_directory(sys.argv[1], ".export-") as place:
    open(place + "/file", "w").write("newer")
"""


@pytest.fixture
def begun(target):
    started = []

    def begin(moves):
        process = subprocess.Popen(
            [sys.executable, "-c", BEGIN, target, str(moves)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        assert process.stdout.readline() == "there\n"
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_stays(
    begun, target, tmp_path
):
    process = begun(1)
    (left,) = [name for name in os.listdir(tmp_path) if name.startswith(PREFIX)]
    write(tmp_path / "other")
    assert sorted(os.listdir(tmp_path)) == [left, "other"]
    process.kill()
    process.wait()
    write(target)
    assert sorted(os.listdir(tmp_path)) == ["other", "out"]


def test_a_directory_that_a_killed_process_had_moved_aside_is_put_back(begun, target, tmp_path):
    write(target, "old")
    process = begun(2)
    process.kill()
    process.wait()
    assert not target.exists()
    write(tmp_path / "other")
    assert (target / "file").read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["other", "out"]


def test_what_earlier_versions_and_other_programs_left(target, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(scratch, "_SECONDS_TO_LOCK", 0.0)
    for name in (".export-abcd1234/new/1", ".export-settings", ".export-dcba4321/thesis",
                 ".export-efgh5678/old"):  # fmt: skip
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / ".export-xxxx0000").write_text("a file")
    (tmp_path / ".export-yyyy0000").symlink_to(tmp_path)
    write(target)
    assert sorted(os.listdir(tmp_path)) == [
        ".export-dcba4321", ".export-efgh5678", ".export-settings", ".export-xxxx0000",
        ".export-yyyy0000", "out",
    ]  # fmt: skip
    assert "move or remove it" in caplog.messages[0]


def test_a_failure_leaves_the_old_directory(target, tmp_path):
    write(target, "old")
    with pytest.raises(OSError, match="full"), replacing_directory(str(target), PREFIX):
        raise OSError("full")
    assert (target / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["out"]
