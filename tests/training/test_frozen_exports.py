"""``select``, ``probe`` and ``audit`` on an export: the features of its run, without the run."""

import csv
import os
import shutil

import numpy as np
import pytest

from tf_simclrv2.config.labelling import FrozenSection
from tf_simclrv2.training.frozen import Frozen

IMAGES = os.path.join("assets", "images.json")
DIGITS = "--dataset=digits"


@pytest.fixture
def export(method, tmp_path):
    """A copy of the fine-tuned run's export, so that others' is not written."""
    return shutil.copytree(method["export"], tmp_path / "export")


def test_features_are_those_of_the_run(method, export, tmp_path):
    run = shutil.copytree(method["fine_tuned"], tmp_path / "run")
    expected = Frozen.open(FrozenSection(str(run), layer=0)).features("test")
    opened = Frozen.open(FrozenSection(str(export), dataset="digits", eval_batch_size=100))
    found = opened.features("test")
    assert found.ids == expected.ids and found.values.shape == expected.values.shape == (360, 32)
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_allclose(found.values, expected.values, atol=1e-5)
    kept = os.listdir(export / "features")
    assert [name for name in kept if name.startswith("export_8px_")], kept


def test_features_of_other_weights_are_computed_anew(command, method, export, tmp_path):
    section = FrozenSection(str(export), dataset="digits")
    before = Frozen.open(section).features("test")
    assert Frozen.open(section).features("test").values.filename == before.values.filename
    flags = [f"--model_dir={method['distilled']}", f"--export_dir={tmp_path / 'other'}"]
    assert command("export", *flags).code == 0
    shutil.copytree(tmp_path / "other" / "1", export / "1", dirs_exist_ok=True)
    after = Frozen.open(section).features("test")
    assert after.values.filename != before.values.filename
    width = min(before.values.shape[1], after.values.shape[1])
    assert np.abs(after.values[:, :width] - before.values[:, :width]).max() > 1e-3


def test_an_export_chooses_probes_and_audits(command, export, tmp_path):
    model, before = f"--model_dir={export}", set(os.listdir(export))
    outcome = command("select", model, DIGITS, "--budget=20", f"--output_dir={tmp_path / 'chosen'}")
    assert outcome.code == 0, outcome.err
    with open(tmp_path / "chosen" / "labels.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 20
    for name in ("probe", "audit"):
        outcome = command(name, model, DIGITS, f"--output_dir={tmp_path / name}")
        assert outcome.code == 0, outcome.err
    assert (tmp_path / "probe" / "probe.csv").exists()
    # Nothing but the features is written into the export, which can still be replaced.
    assert set(os.listdir(export)) == {*before, "features"}


def test_an_export_with_features_can_be_replaced(command, method, export):
    Frozen.open(FrozenSection(str(export), dataset="digits")).features("test")
    flags = [f"--model_dir={method['fine_tuned']}", f"--export_dir={export}", "--overwrite"]
    assert command("export", *flags).code == 0
    assert not (export / "features").exists()


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["select", "--budget=20"], "--dataset must name the images, which --model_dir="),
        (["select", "--budget=20", DIGITS], "--output_dir must name a directory for the results"),
        (["probe", DIGITS], "--output_dir must name a directory for the results"),
        (["audit", DIGITS], "--output_dir must name a directory for the results"),
        (["select", "--budget=20", DIGITS, "--layer=1"], "--layer=1: the export in "),
        (["select", "--budget=20", DIGITS, "--layer=-1"], "--layer=-1: the export in "),
        (["probe", DIGITS, "--use_ema_weights"], "--use_ema_weights=True: "),
        (
            ["probe", DIGITS, "--output_dir={new}", "--run_dir={new}_run"],
            " is an export, but --run_dir needs",
        ),
    ],
)
def test_what_an_export_has_not_is_refused(arguments, said, command, export, tmp_path):
    new = str(tmp_path / "new")
    name, *flags = (each.replace("{new}", new) for each in arguments)
    outcome = command(name, f"--model_dir={export}", *flags)
    assert outcome.code == 1 and said in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1, outcome.err
    assert not os.path.exists(new) and not (export / "features").exists()


@pytest.mark.parametrize("content", [None, "{", "{}", '{"image_size": 0}', '{"image_size": "x"}'])
def test_an_export_that_does_not_say_its_image_size_is_refused(content, command, export, tmp_path):
    path = export / "1" / IMAGES
    path.unlink() if content is None else path.write_text(content)
    flags = [DIGITS, "--budget=20", f"--output_dir={tmp_path / 'new'}"]
    outcome = command("select", f"--model_dir={export}", *flags)
    assert outcome.code == 1 and f"--model_dir={export}: " in outcome.err
    assert IMAGES in outcome.err and "export" in outcome.err.split(IMAGES)[1]
