"""Exports of any run are whole or not there, and their model cards are true."""

import datetime
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from export.formats import hub, saved_model
from export.markdown import escaped
from export.signatures import decode_batch
from tests.conftest import FEW_STEPS, TINY
from tf_simclrv2.config import DataConfig
from tf_simclrv2.data.batches import evaluation_batches
from tf_simclrv2.data.sources import open_source
from tf_simclrv2.keras2 import tf
from tf_simclrv2.runtime.checkpoint import load_run
from tf_simclrv2.runtime.run_directory import RunDirectory

IMAGES = np.random.RandomState(0).uniform(size=(5, 8, 8, 3)).astype(np.float32)


@pytest.mark.parametrize("image_size", [8, 40])
def test_encoded_images_are_cropped_and_resized_as_in_evaluation(image_size):
    data = DataConfig(image_size=image_size, eval_batch_size=4)
    source = open_source(data)
    encoded = [example["image"].numpy() for example in source.examples("test").take(4)]
    evaluated = next(iter(evaluation_batches(source, data, "test")))["image"]
    difference = np.abs(decode_batch(tf.constant(encoded), image_size)[0] - evaluated)
    assert difference.max() <= 1 / 255


def test_a_pretraining_run_exports_its_features_and_its_probe(command, method, tmp_path):
    target = tmp_path / "export"
    outcome = command(
        "export", f"--model_dir={method['pretrained']}", f"--export_dir={target}",
        "--formats=saved_model,hub", "--licence=CC-BY-4.0",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert sorted(os.listdir(target)) == [
        "1", "README.md", "classification_module.tar.gz", "hub", "module.tar.gz",
    ]  # fmt: skip
    network = load_run(method["pretrained"])
    expected = network(IMAGES, training=False)
    served = tf.saved_model.load(str(target / "1"))
    outputs = served.signatures["serving_default"](images=tf.constant(IMAGES))
    for name in "representation", "logits":
        np.testing.assert_allclose(outputs[name], expected[name], atol=1e-5)

    module = tf.saved_model.load(str(target / "hub" / "classification"))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(module(IMAGES)))
    # A linear probe keeps its gradient from the features; those who train the module on want it.
    gradients = tape.gradient(loss, module.trainable_variables)
    assert all(gradient is not None for gradient in gradients)
    card = (target / "README.md").read_text()
    assert "none for the features; all of the split for the classifier" in card
    assert "CC-BY-4.0" in card


@pytest.mark.slow
def test_no_operation_belongs_to_a_distribution_strategy(command, tmp_path):
    """Of a run on two devices, whose batch norm computes with replicas."""
    open_source(DataConfig())
    train = [
        "finetune", "--from_scratch", *TINY, *FEW_STEPS, "--virtual_devices=2", "--mode=train",
        f"--model_dir={tmp_path / 'run'}",
    ]  # fmt: skip
    # In a process of its own, since devices are split when TensorFlow starts.
    done = subprocess.run(
        [sys.executable, "-m", "tf_simclrv2", *train],
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert "MirroredStrategy, 2 replicas" in done.stdout, done.stderr
    target = tmp_path / "export"
    assert command("export", f"--model_dir={tmp_path / 'run'}", f"--export_dir={target}").code == 0
    for folder in "1", "hub/feature_vector", "hub/classification":
        saved = (target / folder / "saved_model.pb").read_bytes()
        for name in b"Collective", b"Nccl", b"AllReduce", b"replica_":
            assert name not in saved


@pytest.fixture
def stubbed(monkeypatch):
    """Replaces what takes long: a SavedModel is a file with the sum of the weights."""

    def write(model, directory):
        os.makedirs(os.path.join(directory, "1"))
        total = sum(float(tf.reduce_sum(v)) for v in model.network.variables)
        pathlib.Path(directory, "1", "saved_model.pb").write_text(str(total))

    monkeypatch.setattr(saved_model, "write", write)


def test_any_checkpoint_can_be_exported(command, exported, stubbed, tmp_path):
    newest = RunDirectory(exported.run).latest_checkpoint()
    assert newest.endswith("ckpt-80")
    totals = {}
    for name in exported.run, newest, f"{exported.run}/checkpoints/ckpt-66":
        target = tmp_path / os.path.basename(name)
        outcome = command(
            "export", f"--model_dir={name}", f"--export_dir={target}", "--formats=saved_model"
        )
        assert outcome.code == 0, outcome.err
        totals[name] = (target / "1" / "saved_model.pb").read_text()
    assert totals[exported.run] == totals[newest] != totals[name]
    card = (target / "README.md").read_text()
    assert "| Training step | 66 |" in card
    assert "| Accuracy | not measured at this step; top-1" in card


def test_a_crash_leaves_an_existing_export_as_it_is(
    command, exported, stubbed, tmp_path, monkeypatch
):
    target = tmp_path / "export"
    arguments = ["export", f"--model_dir={exported.run}", f"--export_dir={target}"]
    assert command(*arguments, "--formats=saved_model").code == 0
    before = sorted(os.listdir(target))

    def crash(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr(hub, "write", crash)
    assert command(*arguments).code == 1
    outcome = command(*arguments, "--overwrite")
    assert outcome.code == 1
    assert outcome.err.startswith(f"error: --export_dir={target}: can't be written (No space")
    assert sorted(os.listdir(target)) == before
    assert os.listdir(tmp_path) == ["export"]

    assert command(*arguments, "--overwrite", "--formats=saved_model").code == 0
    assert sorted(os.listdir(target)) == ["1", "README.md"]
    assert os.listdir(tmp_path) == ["export"]


@pytest.mark.parametrize("error", [OSError("Device busy"), KeyboardInterrupt()])
@pytest.mark.parametrize("failing_move", [1, 2])
def test_a_move_that_fails_leaves_the_old_export_in_place(
    failing_move, error, command, exported, stubbed, tmp_path, monkeypatch
):
    target = tmp_path / "export"
    arguments = [
        "export", f"--model_dir={exported.run}", f"--export_dir={target}", "--formats=saved_model",
    ]  # fmt: skip
    assert command(*arguments).code == 0
    (target / "README.md").write_text("the old one")
    moves, replace = [], os.replace

    def fail_once(source, destination):
        if str(target) in (source, destination):
            moves.append(source)
            if len(moves) == failing_move:
                raise error
        replace(source, destination)

    monkeypatch.setattr(os, "replace", fail_once)
    assert command(*arguments, "--overwrite").code != 0
    assert len(moves) >= failing_move
    assert (target / "README.md").read_text() == "the old one"
    assert os.listdir(tmp_path) == ["export"]


@pytest.mark.parametrize("beside", [[], ["1"], ["1", "README.md", "hub"]])
def test_only_exports_are_overwritten(beside, command, exported, stubbed, tmp_path):
    for name in ("2", *beside):
        (tmp_path / name).mkdir()
    (tmp_path / "thesis.txt").write_text("x")
    outcome = command(
        "export", f"--model_dir={exported.run}", f"--export_dir={tmp_path}", "--overwrite"
    )
    assert outcome.code == 1
    assert outcome.err == (
        f"error: --export_dir={tmp_path}: holds files that don't belong to an export (2, "
        "thesis.txt), so it stays as it is.\n"
    )
    assert sorted(os.listdir(tmp_path)) == sorted(["2", "thesis.txt", *beside])


def test_class_names_travel_along(exported):
    names = pathlib.Path(exported.path, "1", "assets", "class_names.txt").read_text()
    assert names.splitlines() == [str(digit) for digit in range(10)]


def test_the_card_says_what_the_model_is(exported):
    card = pathlib.Path(exported.path, "README.md").read_text()
    result = RunDirectory(exported.run).result()
    network = load_run(exported.run)
    for text in (
        "the supervised baseline of [SimCLRv2]",
        "ResNet-18, width 0.0625, CIFAR stem, 1 projection layer, linear classifier",
        f"{network.num_classifier_parameters:,} with the classifier",
        "digits, split train, 1,437 images |",
        "| Labels | all 1,437 of the split |",
        "| Classes | 10: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 |",
        f"top-1 {result['top_1_accuracy']:.1%}",
        "at step 80 |",
        "8 x 8 pixels",
        "Divide images of 0 to 255 by 255 first",
        "| Intended use | classification of images like those of the row Data",
        "| Limits | measured only as the row Accuracy says",
        f"| Date | exported on {datetime.date.today():%Y-}",
        tf.__version__,
    ):
        assert text in card
    # The weights are the user's.
    assert "icence" not in card and "Apache" not in card


@pytest.fixture
def card_of(command, stubbed, tmp_path):
    """The model card of a run's export."""

    def export_run(path):
        target = tmp_path / "of_a_card"
        flags = [f"--model_dir={path}", f"--export_dir={target}", "--formats=saved_model"]
        outcome = command("export", *flags, "--overwrite")
        assert outcome.code == 0, outcome.err
        return (target / "README.md").read_text()

    return export_run


def _config(path):
    return json.loads(pathlib.Path(path, "config.json").read_text())["config"]


def _edited(source, target, **changes):
    """A copy of a run with other content of its ``config.json``."""
    shutil.copytree(source, target)
    path = target / "config.json"
    content = json.loads(path.read_text())
    content["config"].update(changes.pop("config", {}))
    path.write_text(json.dumps({**content, **changes}))
    return target


def test_the_card_of_a_fine_tuned_run_tells_of_its_pretraining(card_of, method, tmp_path):
    card = card_of(method["fine_tuned"])
    digits = "digits, split train, 1,437 images"
    assert f"| Data | {digits}; pretrained without labels on {digits} |" in card

    source = {"google_checkpoint": "theirs/r50.ckpt", "kernel_scale": 1.0}
    converted = _edited(method["pretrained"], tmp_path / "converted", converted=source)
    start = {"fine_tuning": {"checkpoint": str(converted), "ft_proj_selector": 1}}
    fine_tuned = _edited(method["fine_tuned"], tmp_path / "fine_tuned", config=start)
    assert "; pretrained weights converted from theirs/r50.ckpt, " in card_of(fine_tuned)

    shutil.rmtree(converted)
    unknown = f"what it was pretrained on is unknown, since {converted} can't be read |"
    assert unknown in card_of(fine_tuned)


def test_the_card_of_a_distilled_run_tells_of_its_teachers_labels(card_of, method, tmp_path):
    teacher = method["fine_tuned"]
    told = f"those of the teacher, {teacher}: 29 examples of the split, drawn by seed 0 |"
    assert f"| Labels | none but {told}" in card_of(method["distilled"])

    mixed = {"distillation": {"teacher": teacher, "distillation_alpha": 0.5}}
    mixed = _edited(method["distilled"], tmp_path / "mixed", config=mixed)
    assert f"| Labels | all 1,437 of the split; and {told}" in card_of(mixed)

    orphan = {"distillation": {"teacher": f"{tmp_path}/none"}}
    orphan = _edited(method["distilled"], tmp_path / "orphan", config=orphan)
    unknown = f"whose number is unknown, since {tmp_path}/none can't be read |"
    assert f"| Labels | none but those of the teacher, {unknown}" in card_of(orphan)


def test_the_card_tells_of_the_images_without_labels(card_of, method, tmp_path):
    used = "the teacher's predictions on digits, split train, 1,437 images"
    assert f"| Data | {used} |" in card_of(method["distilled"])
    more = {"unlabelled": {"unlabeled_data_dir": "/scans"}}
    more = _edited(method["distilled"], tmp_path / "more", config=more)
    data = json.loads((more / "data.json").read_text())
    (more / "data.json").write_text(json.dumps({**data, "num_unlabelled": 5000}))
    assert f"| Data | {used}, and 5,000 unlabelled images in /scans |" in card_of(more)
    # A run of an earlier version.
    (more / "data.json").unlink()
    assert "split train, and unlabelled images in /scans |" in card_of(more)


HOSTILE = "<img src=x onerror=alert(1)>|`[a](b)\u2028\n# *b* _c_ a_b https://x.y \udcff"
SHOWN = (
    "&lt;img src=x onerror=alert(1)&gt;\\|\\`\\[a\\](b) # \\*b\\* \\_c\\_ a_b https&#58;//x.y "
    "\\\\udcff"
)


def test_text_of_others_is_escaped():
    assert escaped(HOSTILE) == SHOWN
    assert escaped("/data/my_images-1.0/cats & dogs") == "/data/my_images-1.0/cats &amp; dogs"


def test_names_are_escaped_in_the_card(card_of, method, tmp_path):
    data = {**_config(method["fine_tuned"])["data"], "data_dir": "<b>|", "train_split": "a|*c*"}
    run = _edited(
        method["fine_tuned"], tmp_path / "<b>x|y", config={"data": data},
        class_names=["<i>|*0*", *"123456789"],
    )  # fmt: skip
    title, table = card_of(run).split("\n## ")[0].split("\n", 1)
    assert title == "# &lt;b&gt;x\\|y"
    assert "| Classes | 10: &lt;i&gt;\\|\\*0\\*, 1, 2" in table
    assert " in &lt;b&gt;\\|, split a\\|\\*c\\*" in table
    rows = [line for line in table.splitlines() if line.startswith("| ") and line != "| | |"]
    # Each row still has two cells.
    assert [row for row in rows if len(re.findall(r"(?<!\\)\|", row)) != 3] == []


def blocks(card: str, kind: str):
    return re.findall(rf"^```{kind}\n(.*?)^```", card, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_cards_snippets_run(exported, tmp_path):
    folder = tmp_path / "export"
    shutil.copytree(exported.path, folder)
    card = (folder / "README.md").read_text()
    scripts = blocks(card, "python") + blocks(card, "python keras2")
    assert len(scripts) >= 4
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "TF_USE_LEGACY_KERAS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]),
    }
    arguments = {"cwd": folder, "env": environment, "capture_output": True, "text": True}
    result = subprocess.run([sys.executable, "-c", "\n".join(scripts)], **arguments)
    assert result.returncode == 0, result.stderr
    assert "'logits_sup': TensorShape([8, 10])" in result.stdout
    (shell,) = [block.replace("/tmp", str(tmp_path)) for block in blocks(card, "sh")]
    result = subprocess.run(["bash", "-ec", shell], **arguments)
    assert result.returncode == 0, result.stderr
    assert "Result for output key representation" in result.stdout
