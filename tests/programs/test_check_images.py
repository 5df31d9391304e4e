"""--check_images from the command line: what each way finds, and runs that meet damaged images."""

import csv
import os
import re
import shutil
import signal

import numpy as np
import pytest
from PIL import Image

from tests.conftest import DIGITS_VIEWS, TINY
from tests.data.test_check_images import spoil
from tf_simclrv2.data import checking
from tf_simclrv2.keras2 import tf
from tf_simclrv2.runtime.callbacks import LogMetrics

STEPS = ["--train_steps=6", "--train_batch_size=10", "--log_every_steps=1", "--checkpoint_steps=2"]
# What a header and an end show.
DAMAGES = ("cut.jpg", "cut.png", "empty.png", "text.jpg")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "images"
    root.mkdir()
    noise = np.random.RandomState(0)
    for number in range(26):
        pixels = noise.randint(0, 256, (12, 10, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(root / f"{number:02}.{'jpg' if number % 2 else 'png'}")
    return root


def _damage(folder):
    for name, whole in (("cut.jpg", "01.jpg"), ("cut.png", "02.png")):
        content = (folder / whole).read_bytes()
        (folder / name).write_bytes(content[: len(content) * 3 // 4])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("no image, but a text of some length")
    spoil(folder / "04.png")


def _views(command, folder, *flags):
    return command(
        "views", "--dataset=folder", f"--data_dir={folder}", "--image_size=8", "--num_images=60",
        "--color_jitter_strength=0", *DIGITS_VIEWS, f"--output={folder.parent}/views.png", *flags,
    )  # fmt: skip


@pytest.mark.slow
def test_each_way_finds_what_it_says_it_does(command, folder):
    _damage(folder)
    found = {"full": (*DAMAGES, "04.png"), "quick": DAMAGES, "no": ()}
    for how, left_out in found.items():
        flags = [] if how == "full" else [f"--check_images={how}"]
        outcome = _views(command, folder, "--max_bad_images=0.2", *flags)
        assert outcome.code == 0, outcome.err
        others = {*DAMAGES, "04.png"} - {*left_out}
        for name in left_out:
            assert f"corrupt, left out: {name}" in outcome.err
        # Sixty images are two epochs, so that all are met.
        for name in others:
            assert f"damaged, another image takes its place: {name}" in outcome.err
        if others:
            count = 30 - len(left_out)
            said = f"{len(others)} of the {count} images that were trained on are damaged"
            assert said in outcome.err
    for flags, sentence in (
        (["--max_bad_images=0.03"], r"error: --max_bad_images=0.03: 1 of the 26 images .*04.png"),
        (["--strict_images"], r"error: --strict_images=True: 04.png is no whole image"),
    ):
        for name in DAMAGES:
            (folder / name).unlink(missing_ok=True)
        outcome = _views(command, folder, "--check_images=quick", *flags)
        assert outcome.code == 1 and re.search(sentence, outcome.err), outcome.err


def _trained(command, folder, where, *flags):
    outcome = command(
        "pretrain", "--dataset=folder", f"--data_dir={folder}", *TINY, *STEPS, *DIGITS_VIEWS,
        "--max_bad_images=0.2", f"--model_dir={folder.parent}/{where}", *flags,
    )  # fmt: skip
    return outcome, os.path.join(folder.parent, where)


def _rows(run):
    with open(os.path.join(run, "metrics.csv"), encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if "second" not in k and "time" not in k} for row in rows]


def _weights(run):
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(os.path.join(run, "checkpoints")))
    names = [name for name in reader.get_variable_to_shape_map() if "save_counter" not in name]
    return {name: reader.get_tensor(name) for name in names if name.endswith("VARIABLE_VALUE")}


@pytest.mark.slow
def test_a_run_that_meets_damaged_images_continues_bit_by_bit(command, folder, monkeypatch):
    _damage(folder)
    outcome, whole = _trained(command, folder, "whole", "--check_images=no")
    assert outcome.code == 0, outcome.err
    assert "5 of the 30 images that were trained on are damaged" in outcome.err
    rows, write = [], LogMetrics._write

    def interrupted(self, *given):
        write(self, *given)
        rows.append(given)
        if len(rows) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(LogMetrics, "_write", interrupted)
        outcome, parted = _trained(command, folder, "parted", "--check_images=no")
    assert outcome.code == 130, outcome.err
    other, _ = _trained(command, folder, "parted")
    assert other.code == 1 and "check_images was no and is now full" in other.err
    outcome, _ = _trained(command, folder, "parted", "--check_images=no")
    assert outcome.code == 0, outcome.err
    assert _rows(parted) == _rows(whole)
    weights, others = _weights(whole), _weights(parted)
    assert weights.keys() == others.keys()
    for name, value in weights.items():
        np.testing.assert_array_equal(value, others[name], name)


@pytest.mark.slow
def test_a_second_command_decodes_nothing(command, folder, monkeypatch):
    monkeypatch.setattr("tf_simclrv2.data.kept_checks._SETTLED", 0)
    looked, shapes_of = [], checking.shapes_of
    monkeypatch.setattr(
        checking, "shapes_of", lambda *given: looked.extend(given[1]) or shapes_of(*given)
    )
    assert _views(command, folder).code == 0 and len(looked) == 26
    outcome, run = _trained(command, folder, "run")
    assert outcome.code == 0 and len(looked) == 26
    # It is about a folder, so that a run of the same begins with nothing to look at.
    shutil.rmtree(run)
    outcome, _ = _trained(command, folder, "run", "--check_images=quick")
    assert outcome.code == 0 and len(looked) == 26
