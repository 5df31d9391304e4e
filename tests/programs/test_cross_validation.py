"""``finetune --folds``: what labels are worth where few images are held out, by either way."""

import csv
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.conftest import DIGITS_VIEWS, FEW_STEPS, TINY
from tf_simclrv2.config import DataConfig
from tf_simclrv2.data.batches import evaluation_batches
from tf_simclrv2.data.sources import open_source
from tf_simclrv2.data.sources.chosen import Chosen
from tf_simclrv2.evaluation import classifier, cross_validation, measures
from tf_simclrv2.evaluation.features import features
from tf_simclrv2.evaluation.measures import Answers
from tf_simclrv2.reporting import results
from tf_simclrv2.reporting.runs import open_runs
from tf_simclrv2.runtime import calibration_file
from tf_simclrv2.runtime.callbacks import SaveCheckpoints
from tf_simclrv2.runtime.checkpoint import load_run
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.training.fine_tuning_folds import FineTuningFolds, _read

PLAIN = "--jit_compile=false"
LABELLED = 24
REPEATED = ["--folds_of=finetune", "--folds=2", "--mode=train"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of noise, darker and lighter, and a table of some labels, two held out."""
    root = tmp_path_factory.mktemp("images")
    random, lines = np.random.RandomState(0), ["image,label\n"]
    for number in range(30):
        pixels = random.randint(0, 200, (8, 8, 3)) + 30 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(root / f"{number}.png")
        if number < LABELLED + 2:
            lines.append(f"{number}.png,{'dark' if number % 2 == 0 else 'light'}\n")
    (root / "labels.csv").write_text("".join(lines))
    return root


def _finetune(images, method, run, *flags):
    return (
        "finetune", *FEW_STEPS, *DIGITS_VIEWS, PLAIN, f"--checkpoint={method['pretrained']}",
        "--dataset=folder", f"--data_dir={images}", f"--labels={images}/labels.csv",
        "--ft_proj_selector=1", f"--model_dir={run}", *flags,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(images, method, tmp_path_factory):
    """A fine-tuned run, with two images held out."""
    from tf_simclrv2.programs.main import main

    path = str(tmp_path_factory.mktemp("run") / "run")
    assert main(_finetune(images, method, path)) == 0
    return path


def test_few_held_out_images_come_with_a_cross_validation(images, method, run):
    with open(os.path.join(run, "result.json"), encoding="utf-8") as file:
        content = json.load(file)
    found = content["cross_validation"]
    assert content["num_examples"] == 2 and (found["images"], found["folds"]) == (LABELLED, 5)
    assert "cross_validation" not in RunDirectory(run).result()
    with open(os.path.join(run, found["files"], "predictions.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    # The features are those of the pretrained network, and the images those that it learns from.
    with open(os.path.join(run, "labelled_examples.txt"), encoding="utf-8") as file:
        class_of = dict(line.rstrip("\n").split("\t") for line in file)
    assert {row["image"]: row["label"] for row in rows} == class_of
    data = DataConfig(
        dataset="folder", data_dir=str(images), image_size=8, labels=str(images / "labels.csv")
    )
    source = Chosen(open_source(data), list(class_of))
    network = load_run(method["pretrained"])
    values = features(network, evaluation_batches(source, data, "train"), "proj_layer_1")
    answers = cross_validation.answers(values, 2, cross_validation.divided(values.labels, 5))
    assert [row["predicted"] for row in rows] == [["dark", "light"][n] for n in answers.predicted]
    expected = measures.measures(answers)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
def test_what_was_validated_stays(command, images, method, run):
    before = RunDirectory(run).of_run("cross_validation")
    outcome = command("evaluate", f"--model_dir={run}", PLAIN)
    assert outcome.code == 0, outcome.err
    again = command(*_finetune(images, method, run))
    assert again.code == 0 and "cross-validation" not in again.out
    assert RunDirectory(run).of_run("cross_validation") == before
    # Another number of folds is another validation.
    again = command(*_finetune(images, method, run, "--folds=3"))
    assert again.code == 0 and f"on {LABELLED} labelled images in 3 folds" in again.out
    assert RunDirectory(run).of_run("cross_validation")["folds"] == 3


@pytest.mark.parametrize(
    ("flags", "words"),
    [(["--folds=1"], "--folds=1: must be 0 for none, or at least 2"),
     (["--folds=-1"], "--folds=-1: must be"),
     (["--folds=101"], "--folds=101: must be"),
     (["--folds=25"], "--folds=25: must be at most 24, the number of labelled images"),
     (["--folds=5", "--from_scratch", "--checkpoint="],
      "--folds=5: needs pretrained features, not --from_scratch")],
)  # fmt: skip
def test_folds_that_cannot_be_are_one_sentence(command, images, method, tmp_path, flags, words):
    new = tmp_path / "new"
    tiny = TINY if "--from_scratch" in flags else []
    outcome = command(*_finetune(images, method, new, *tiny, *flags))
    assert outcome.code == 1 and outcome.err.splitlines()[-1].startswith(f"error: {words}")
    assert not new.exists()


@pytest.mark.slow
def test_no_folds_are_none(command, images, method, tmp_path):
    outcome = command(*_finetune(images, method, tmp_path / "new", "--folds=0"))
    assert outcome.code == 0, outcome.err
    assert "cross-validation" not in outcome.out
    assert RunDirectory(str(tmp_path / "new")).of_run("cross_validation") is None


def _rows(path, result):
    with open(os.path.join(path, result["files"], "predictions.csv"), newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def repeated(images, method, run, tmp_path_factory):
    """A copy of the fine-tuned run, with a fine-tuning for each fold of its labels."""
    from tf_simclrv2.programs.main import main

    path = str(tmp_path_factory.mktemp("repeated") / "run")
    shutil.copytree(run, path)
    seen, ask = [], FineTuningFolds._ask

    def note(folds, job, ids):
        assert job.step == 4 and set(job.labelled) | set(ids) == set(folds.ids)
        assert not set(job.labelled) & set(ids)
        seen.extend(ids)
        return ask(folds, job, ids)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FineTuningFolds, "_ask", note)
        assert main(_finetune(images, method, path, *REPEATED)) == 0
    assert len(seen) == len(set(seen)) == LABELLED
    return path


def test_each_image_is_answered_by_a_network_that_has_not_learnt_it(images, run, repeated):
    directory = RunDirectory(repeated)
    found = directory.of_run("cross_fine_tuning")
    assert (found["images"], found["folds"], found["steps"]) == (LABELLED, 2, 4)
    # What stood there stays, and what was trained for it goes.
    assert directory.result() == RunDirectory(run).result()
    assert directory.of_run("cross_validation") == RunDirectory(run).of_run("cross_validation")
    assert not os.path.exists(directory.file("folds"))
    assert directory.latest_checkpoint().endswith("ckpt-4")
    rows = _rows(repeated, found)
    with open(os.path.join(run, "labelled_examples.txt"), encoding="utf-8") as file:
        class_of = dict(line.rstrip("\n").split("\t") for line in file)
    assert {row["image"]: row["label"] for row in rows} == class_of
    right = [row["label"] == row["predicted"] for row in rows]
    assert found["accuracy"] == pytest.approx(np.mean(right))
    # The temperature is that of labels that networks like this one have not learnt.
    kept = calibration_file.read(repeated, 4)
    assert kept.temperature == found["temperature"] and not kept.is_own
    assert kept.curve.images == LABELLED and "each answered by a fine-tuning without it" in (
        kept.measured_on
    )


@pytest.mark.slow
def test_its_networks_are_those_of_fine_tunings_on_the_other_folds(
    command, images, method, repeated, tmp_path
):
    rows = _rows(repeated, RunDirectory(repeated).of_run("cross_fine_tuning"))
    classes = np.array([["dark", "light"].index(row["label"]) for row in rows])
    logits = np.empty([LABELLED, 2])
    for number, (learnt, left) in enumerate(cross_validation.divided(classes, 2)):
        table = tmp_path / f"{number}.csv"
        lines = [f"{rows[row]['image']},{rows[row]['label']}\n" for row in learnt]
        table.write_text("image,label\n" + "".join(lines))
        new = tmp_path / str(number)
        flags = [f"--labels={table}", "--holdout_fraction=0", "--mode=train", "--folds=0"]
        outcome = command(*_finetune(images, method, new, *flags))
        assert outcome.code == 0, outcome.err
        data = DataConfig(
            dataset="folder", data_dir=str(images), image_size=8, labels=f"{images}/labels.csv"
        )
        source = Chosen(open_source(data), [rows[row]["image"] for row in left])
        asked = classifier.answers(load_run(str(new)), evaluation_batches(source, data, "train"))
        logits[left] = asked.logits
    expected = measures.measures(Answers(logits, classes))
    found = RunDirectory(repeated).of_run("cross_fine_tuning")
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
def test_an_interrupted_one_goes_on(command, images, method, run, repeated, tmp_path, monkeypatch):
    path = str(tmp_path / "run")
    shutil.copytree(run, path)
    arguments = _finetune(images, method, path, *REPEATED, "--checkpoint_steps=1")
    ended, end = [], SaveCheckpoints.on_train_batch_end

    def interrupt_second(self, batch, logs=None):
        end(self, batch, logs)
        ended.append(batch)
        if len(ended) == 6:  # The second step of the second fold.
            raise KeyboardInterrupt

    monkeypatch.setattr(SaveCheckpoints, "on_train_batch_end", interrupt_second)
    outcome = command(*arguments)
    assert outcome.code == 130 and "the same command continues the run" in outcome.err
    assert "adds 2 fine-tunings of 4 steps to this one, so it takes 3 times as long" in outcome.out
    assert RunDirectory(path).of_run("cross_fine_tuning") is None
    left = sorted(os.listdir(os.path.join(path, "folds")))
    assert len(left) == 2 and sum(name.endswith(".npz") for name in left) == 1
    # What others have left there, and what is not of these settings, is not used.
    folds = os.path.join(path, "folds")
    np.savez(os.path.join(folds, "0123456789abcdef.npz"), logits=np.zeros([12, 2]))
    outcome = command(*arguments)
    assert outcome.code == 0 and len(ended) == 8, outcome.err
    assert "(1 of them are done already)" in outcome.out
    assert not os.path.exists(folds)
    assert RunDirectory(path).of_run("cross_fine_tuning") == (
        RunDirectory(repeated).of_run("cross_fine_tuning")
    )
    # It is known now.
    outcome = command(*arguments)
    assert outcome.code == 0 and len(ended) == 8 and "fine-tunings" not in outcome.out


def test_answers_that_were_cut_are_computed_again(tmp_path):
    path, logits = str(tmp_path / "answers.npz"), np.arange(8.0).reshape(4, 2)
    assert _read(path, (4, 2)) is None
    np.savez(path, logits=logits)
    np.testing.assert_array_equal(_read(path, (4, 2)), logits)
    assert _read(path, (4, 3)) is None
    with open(path, "rb") as file:
        content = file.read()
    for length in (0, 10, len(content) // 2, len(content) - 30):
        with open(path, "wb") as file:
            file.write(content[:length])
        assert _read(path, (4, 2)) is None
    np.savez(path, logits=np.full([4, 2], np.nan))
    assert _read(path, (4, 2)) is None


@pytest.mark.parametrize(
    ("flags", "words"),
    [(["--folds_of=probe"], "flag --folds_of=probe: value should be one of <head|finetune>"),
     (["--folds_of=finetune", "--folds=0"],
      "--folds_of=finetune: needs folds, but --folds=0 asks for none"),
     (["--folds_of=finetune", "--mode=eval"],
      "--folds_of=finetune: trains, which --mode=eval leaves out"),
     (["--folds_of=finetune", "--folds=25"],
      "--folds=25: must be at most 24, the number of labelled images")],
)  # fmt: skip
def test_what_cannot_be_repeated_is_one_sentence(command, images, method, tmp_path, flags, words):
    new = tmp_path / "new"
    outcome = command(*_finetune(images, method, new, *flags))
    assert outcome.code == 1 and outcome.err.splitlines()[-1].startswith(f"error: {words}")
    assert not new.exists()


def test_too_few_images_of_a_class_are_refused_before_it_begins(command, images, method, tmp_path):
    table = tmp_path / "few.csv"
    table.write_text("image,label\n0.png,dark\n1.png,light\n")
    flags = [f"--labels={table}", "--holdout_fraction=0", "--folds_of=finetune", "--folds=2"]
    outcome = command(*_finetune(images, method, tmp_path / "new", *flags))
    assert outcome.code == 1 and outcome.err.splitlines()[-1].startswith(
        "error: --folds_of=finetune: needs two labelled images of a class"
    ), outcome.err
    assert not (tmp_path / "new").exists()


def test_a_file_in_the_place_of_the_folds_is_refused_and_stays(
    command, images, method, run, tmp_path
):
    path = tmp_path / "run"
    shutil.copytree(run, path)
    (path / "folds").write_text("mine")
    outcome = command(*_finetune(images, method, path, *REPEATED))
    assert outcome.code == 1 and "folds is a file, but must be" in outcome.err
    assert (path / "folds").read_text() == "mine"


def test_a_result_with_both_has_a_row_for_each(repeated):
    rows = results.rows_of(open_runs([repeated], "runs")[0])
    assert [row.on for row in rows[-2:]] == [
        "labelled images", "labelled images, fine-tuned in each fold",
    ]  # fmt: skip
    with open(os.path.join(repeated, "result.json"), encoding="utf-8") as file:
        assert json.load(file)["version"] == 2
