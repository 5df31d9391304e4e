"""TensorFlow Datasets' own directories, and processes that prepare a data set at once."""

import os
import subprocess
import sys
import threading

import pytest

from tf_simclrv2.data.sources.preparing import foreign_entry, only_one


@pytest.mark.parametrize(
    ("entries", "foreign"),
    [
        ([], None),
        (["downloads/x.zip", "cifar10/3.0.2/x", "imagenet2012_subset/1pct/5.0.0/x"], None),
        ([".DS_Store", "mnist/3.0.1.incomplete_AB/x", "lost+found/"], None),
        (["cifar10/3.0.2/x", "train/cat/1.tif"], "train"),
        (["notes.txt"], "notes.txt"),
    ],
)
def test_its_own_directories_are_known(tmp_path, entries, foreign):
    for entry in entries:
        path = tmp_path / entry
        (path if entry.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not entry.endswith("/"):
            path.write_text("")
    assert foreign_entry(str(tmp_path)) == foreign
    assert foreign_entry(str(tmp_path / "none")) is None


def test_one_prepares_while_the_others_wait(tmp_path):
    order, inside = [], threading.Event()

    def wait():
        inside.wait()
        with only_one(str(tmp_path / "new"), "digits/x"):
            order.append("second")

    waiting = threading.Thread(target=wait)
    waiting.start()
    with only_one(str(tmp_path / "new"), "digits/x"):
        inside.set()
        waiting.join(0.3)
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]


@pytest.mark.slow
def test_two_processes_prepare_a_data_set_once(tmp_path):
    program = (
        "from tf_simclrv2.config import DataConfig\n"
        "from tf_simclrv2.data.sources import open_source\n"
        f"source = open_source(DataConfig(data_dir={str(tmp_path)!r}))\n"
        "print(source.num_examples('train'))\n"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert all(output.splitlines()[-1] == "1437" for output in outputs)
    assert sum("Downloading and preparing" in output for output in outputs) <= 1
    assert os.listdir(tmp_path / "digits") == ["1.0.0"]
