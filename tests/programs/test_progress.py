"""Commands show how far they are, also those that do little but for long."""

import os

import numpy as np
import pytest
from PIL import Image

from export import formats
from tests.interop.writers import converted_run, tiny
from tf_simclrv2 import progress
from tf_simclrv2.programs import projector


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return converted_run(str(tmp_path_factory.mktemp("progress")))


@pytest.fixture
def images(tmp_path):
    """A folder of twelve images without labels."""
    random = np.random.RandomState(0)
    (tmp_path / "images").mkdir()
    for number in range(12):
        pixels = random.randint(0, 256, [8, 8, 3]).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
    return f"{tmp_path}/images"


@pytest.fixture
def shown(command, monkeypatch):
    """Runs a command whose bars don't wait; returns the last state of each, by what is done."""
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)

    def run(*arguments):
        outcome = command(*arguments)
        assert outcome.code == 0, outcome.err
        lines = [line.partition(": ") for line in outcome.err.splitlines()]
        quiet = command(*(each.replace("/out", "/quiet") for each in arguments), "--quiet")
        assert quiet.code == 0 and quiet.err == ""
        return {what: state for what, _, state in lines}

    return run


def test_convert_counts_variables(shown, run, tmp_path):
    theirs = os.path.join(os.path.dirname(run), "theirs")
    told = shown("convert", f"--google_checkpoint={theirs}", f"--model_dir={tmp_path}/out")
    count = len(tiny("tf1"))
    assert f" {count}/{count} [" in told["converting"]
    assert {"reading the checkpoint", "building the network", "writing the run"} <= set(told)
    told = shown("convert", f"--model_dir={run}", f"--to_google={tmp_path}/out_theirs/ckpt")
    assert {"reading the run", "writing the checkpoint"} <= set(told)


def test_export_counts_formats_and_names_them(shown, run, tmp_path, monkeypatch):
    class Stub:
        SNIPPET = ""

        @staticmethod
        def write(model, directory):
            os.makedirs(os.path.join(directory, "1"), exist_ok=True)

    monkeypatch.setattr(formats, "load", lambda name: Stub)
    target = f"--export_dir={tmp_path}/out"
    told = shown("export", f"--model_dir={run}", target, "--formats=saved_model,hub")
    # What can be trained is written before batch norm is folded.
    assert " 1/2 [" in told["exporting hub"] and " 2/2 [" in told["exporting saved_model"]


def test_select_counts_images_and_names_k_means(shown, run, images, tmp_path):
    data = ["--dataset=folder", f"--data_dir={images}", "--class_level=0"]
    target = f"--output_dir={tmp_path}/out"
    told = shown("select", f"--model_dir={run}", *data, "--budget=3", target)
    assert " 3/3 [" in told["choosing images"] and " 12/12 [" in told["features"]
    assert " 3/3 [" in told["pictures"]


def test_views_count_images(shown, images, tmp_path):
    flags = [f"--data_dir={images}", "--dataset=folder", "--class_level=0", "--num_images=5"]
    told = shown("views", *flags, "--image_size=8", f"--output={tmp_path}/out.png")
    assert " 5/5 [" in told["views"]


def test_thumbnails_are_counted(images, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    paths = [os.path.join(images, name) for name in sorted(os.listdir(images))]
    projector.write(str(tmp_path / "projector"), np.zeros([12, 2]), paths)
    assert " 12/12 [" in capsys.readouterr().err.splitlines()[-1]
