"""``evaluate``: numbers with intervals, on any run, by any evaluator, and runs side by side."""

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
from tf_simclrv2.evaluation import calibration, knn, measures, ridge
from tf_simclrv2.evaluation.features import Features, features
from tf_simclrv2.evaluation.measures import Answers
from tf_simclrv2.progress import working
from tf_simclrv2.runtime import calibration_file
from tf_simclrv2.runtime.checkpoint import load_run
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.training import evaluating_features

# Compiling takes longer here than what is compiled.
PLAIN = "--jit_compile=false"
DATA = DataConfig(dataset="digits", image_size=8)


@pytest.fixture(scope="module")
def runs(method, tmp_path_factory):
    """Copies of the method's runs, as their results change."""
    root = tmp_path_factory.mktemp("runs")
    for name in ("pretrained", "fine_tuned", "distilled"):
        shutil.copytree(method[name], root / name)
    return {name: str(root / name) for name in ("pretrained", "fine_tuned", "distilled")}


def _result(run):
    with open(os.path.join(run, "result.json"), encoding="utf-8") as file:
        return json.load(file)


def _table(run, *names):
    with open(os.path.join(run, *names), encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def _answers(run, split="test"):
    """What the classifier of a run answers, computed in another way."""
    source, network = open_source(DATA), load_run(run)
    logits, labels = [], []
    for batch in evaluation_batches(source, DATA, split):
        counts = batch["weight"].numpy() > 0
        logits.append(network(batch["image"])["logits"].numpy()[counts])
        labels.append(batch["label"].numpy()[counts])
    return Answers(np.concatenate(logits), np.concatenate(labels))


def test_a_training_ends_with_intervals_files_and_a_temperature(runs):
    run = runs["fine_tuned"]
    result, answers = _result(run), _answers(run)
    found = result["classifier"]
    assert result["version"] == 2 and "version" not in RunDirectory(run).result()
    expected = measures.measures(answers)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=2e-3)
    assert found["accuracy"] == result["top_1_accuracy"]
    assert found["images"] == result["num_examples"] == 360
    folder = found["files"].split("/")
    ids = [each["id"].numpy().decode() for each in open_source(DATA).index("test")]
    rows = _table(run, *folder, "predictions.csv")
    assert rows[0] == ["image", "label", "predicted", "confidence"]
    assert [row[:3] for row in rows[1:]] == [
        [each, str(label), str(predicted)]
        for each, label, predicted in zip(ids, answers.labels, answers.predicted)
    ]
    probabilities = np.load(os.path.join(run, *folder, "probabilities.npy"))
    scaled = np.exp(answers.logits / found["temperature"])
    scaled /= scaled.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, scaled, atol=1e-4)
    np.testing.assert_allclose([float(row[3]) for row in rows[1:]], scaled.max(axis=1), atol=1e-4)
    counts = np.array([row[1:] for row in _table(run, *folder, "confusion.csv")[1:]], int)
    np.testing.assert_array_equal(counts, measures.confusion(answers))
    support = [int(row[3]) for row in _table(run, *folder, "per_class.csv")[1:]]
    assert support == np.bincount(answers.labels).tolist()
    bins = np.array(_table(run, *folder, "reliability.csv")[1:], float)
    assert bins.shape == (15, 8) and bins[:, 2].sum() == bins[:, 5].sum() == 360
    curve = np.array(_table(run, *folder, "risk_coverage.csv")[1:], float)
    assert curve[-1, 1] == 1 and curve[-1, 2] == pytest.approx(1 - found["accuracy"], abs=1e-6)
    kept = calibration_file.read(run, 4)
    assert kept.temperature == found["temperature"] and kept.is_own
    assert kept.curve.images == 360
    with open(os.path.join(run, *folder, "confusion.png"), "rb") as file:
        assert file.read(4) == b"\x89PNG"


def test_evaluators_on_frozen_features_learn_from_the_runs_labels(command, runs, monkeypatch):
    run, told = runs["fine_tuned"], []

    def note(what):
        told.append(what)
        return working(what)

    monkeypatch.setattr(evaluating_features, "working", note)
    before = _result(run)
    outcome = command("evaluate", f"--model_dir={run}", "--evaluators=knn,ridge")
    assert outcome.code == 0, outcome.err
    assert "nearest neighbours and ridge regression learn from 29 labelled images" in outcome.out
    assert told == ["nearest neighbours", "ridge regression"]
    result = _result(run)
    # What stood there stays.
    assert {name: result[name] for name in before} == before
    source, network = open_source(DATA), load_run(run)
    layer = network.classifier_input
    train, test = (
        features(network, evaluation_batches(source, DATA, split), layer)
        for split in ("train", "test")
    )
    with open(os.path.join(run, "labelled_examples.txt"), encoding="utf-8") as file:
        names = {line.split("\t")[0] for line in file}
    learnt = [e["id"].numpy().decode() in names for e in source.index("train")]
    train = Features(train.values[learnt], train.labels[learnt])
    for name, module in (("knn", knn), ("ridge", ridge)):
        expected = measures.measures(Answers(module.logits(train, test, 10), test.labels))
        found = {key: result[name][key] for key in expected}
        assert found == pytest.approx(expected, abs=6e-3), name
        low = expected["interval"][0]
        words = {"knn": "nearest neighbours", "ridge": "ridge regression"}[name]
        assert f"{words} {expected['accuracy']:.1%} (95% interval {low:.1%}" in outcome.out
        assert len(_table(run, *result[name]["files"].split("/"), "predictions.csv")) == 361


@pytest.fixture(scope="module")
def without_probe(tmp_path_factory):
    """A pretraining run without a classifier."""
    from tf_simclrv2.programs.main import main

    run = str(tmp_path_factory.mktemp("pretrained") / "run")
    flags = [*TINY, *FEW_STEPS, *DIGITS_VIEWS, "--lineareval_while_pretraining=false", PLAIN]
    assert main(["pretrain", *flags, f"--model_dir={run}"]) == 0
    return run


@pytest.mark.slow
def test_a_run_without_a_classifier_is_evaluated_by_its_features(command, without_probe):
    outcome = command("evaluate", f"--model_dir={without_probe}")
    assert outcome.code == 0, outcome.err
    result = RunDirectory(without_probe).result()
    assert set(result) >= {"knn", "ridge", "num_examples"} and "top_1_accuracy" not in result
    assert "learn from 1,437 labelled images" in outcome.out
    assert not os.path.exists(os.path.join(without_probe, "calibration.json"))
    refused = command("evaluate", f"--model_dir={without_probe}", "--evaluators=classifier")
    assert refused.code == 1 and "without a linear probe" in refused.err
    refused = command("evaluate", f"--model_dir={without_probe}", "--baselines")
    assert "--baselines=True: stands beside a classifier, not beside knn,ridge" in refused.err
    # Images that they learn from are left out in turn.
    outcome = command("evaluate", f"--model_dir={without_probe}", "--eval_split=train[:40]")
    assert outcome.code == 0, outcome.err
    outcome = command("evaluate", f"--model_dir={without_probe}", "--eval_split=train")
    assert outcome.code == 0, outcome.err
    (on_train,) = [
        each for each in _result(without_probe)["other_evaluations"] if each["split"] == "train"
    ]
    train = features(
        load_run(without_probe), evaluation_batches(open_source(DATA), DATA, "train"),
        "proj_layer_1",
    )  # fmt: skip
    left_out = Answers(ridge.logits(train, None, 10), train.labels)
    assert on_train["ridge"]["accuracy"] == pytest.approx(left_out.right.mean(), abs=3e-3)
    # That of knn would be nearly 1 if an image were its own neighbour.
    assert on_train["knn"]["accuracy"] < 0.97


@pytest.mark.slow
def test_labels_of_other_classes_are_learnt_and_left_out_in_turn(command, without_probe, tmp_path):
    random, lines = np.random.RandomState(0), ["image,label\n"]
    (tmp_path / "images").mkdir()
    for number in range(26):
        pixels = random.randint(0, 200, (8, 8, 3)) + 40 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "images" / f"{number:02d}.png")
        lines.append(f"{number:02d}.png,{'dark' if number % 2 == 0 else 'light'}\n")
    (tmp_path / "labels.csv").write_text("".join(lines[:23]))
    flags = ["--dataset=folder", f"--data_dir={tmp_path}/images"]
    refused = command("evaluate", f"--model_dir={without_probe}", *flags)
    assert refused.code == 1
    assert "has no labels, which --evaluators=knn,ridge needs" in refused.err.splitlines()[-1]
    flags += [f"--labels={tmp_path}/labels.csv"]
    outcome = command("evaluate", f"--model_dir={without_probe}", *flags)
    assert outcome.code == 0, outcome.err
    assert (
        "learn from 22 labelled images" in outcome.out and "on 22 images of folder" in outcome.out
    )
    result = next(r for r in _result(without_probe)["other_evaluations"] if "labels" in r)
    data = DataConfig(dataset="folder", data_dir=str(tmp_path / "images"), image_size=8)
    values = features(
        load_run(without_probe), evaluation_batches(open_source(data), data, "train"),
        "proj_layer_1",
    ).values  # fmt: skip
    train = Features(values[:22], np.arange(22) % 2)
    for name, module in (("knn", knn), ("ridge", ridge)):
        right = Answers(module.logits(train, None, 2), train.labels).right
        assert result[name]["accuracy"] == pytest.approx(right.mean(), abs=1e-6), name


def test_runs_are_compared_on_the_same_images(command, runs):
    paths = [runs["fine_tuned"], runs["distilled"], runs["pretrained"]]
    outcome = command("evaluate", f"--model_dir={','.join(paths)}", PLAIN)
    assert outcome.code == 0, outcome.err
    found = [_answers(path) for path in paths]
    one, other = found[:2]
    folder = _result(paths[0])["classifier"]["files"].split("/")[:-1]
    first, second, third = _table(paths[0], *folder, "comparison.csv")[1:]
    assert first[:3] == [paths[0], "classifier", "360"] and second[0] == paths[1]
    difference = other.right.mean() - one.right.mean()
    assert float(second[6]) == pytest.approx(difference, abs=1e-6)
    assert float(second[7]) < difference < float(second[8])
    counts = [(other.right & ~one.right).sum(), (one.right & ~other.right).sum()]
    assert list(map(int, second[9:11])) == counts
    assert "compared on the same 360 images of digits test" in outcome.out
    assert (
        f"only this one right {counts[0]}, only the first {counts[1]}; McNemar p =" in outcome.out
    )
    # Every pair of them, and not only those with the first.
    pairs = _table(paths[0], *folder, "pairs.csv")[1:]
    assert [[row[0], row[2]] for row in pairs] == [
        [paths[later], paths[earlier]] for earlier, later in [(0, 1), (0, 2), (1, 2)]
    ]
    assert pairs[0][5:11] == second[6:] and pairs[1][5:11] == third[6:]
    difference = found[2].right.mean() - other.right.mean()
    counts = [(found[2].right & ~other.right).sum(), (other.right & ~found[2].right).sum()]
    assert float(pairs[2][5]) == pytest.approx(difference, abs=1e-6)
    assert list(map(int, pairs[2][8:10])) == counts
    assert [row[11] for row in pairs] != [row[10] for row in pairs]
    told = f"{paths[2]} against {paths[1]}, classifier: {100 * difference:+.1f} points ("
    assert told in outcome.out and "as one of 3 pairs" in outcome.out
    assert f"against {paths[0]}" not in outcome.out


REFUSED = {
    "an unknown evaluator": (["--evaluators=svm"], "must be among classifier, knn, ridge"),
    "none": (["--evaluators="], "must be among classifier, knn, ridge"),
    "one twice": (["--evaluators=knn,knn"], "each once"),
    "spaces": (["--evaluators=knn, ridge"], "must be among"),
    "several processes": (
        ["--evaluators=ridge", "--strategy=multi_worker"], "--strategy=multi_worker"),
    "nothing behind the comma": (["--model_dir={fine_tuned},"], "must be an existing run"),
    "runs of other images": (["--model_dir={fine_tuned},{letters}"], "can't be compared, since "),
    "no run": (["--model_dir={fine_tuned},nowhere"], "--model_dir=nowhere: must be an existing"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_evaluated_is_one_sentence(command, runs, tmp_path, case):
    flags, words = REFUSED[case]
    other = tmp_path / "other"
    shutil.copytree(runs["fine_tuned"], other)
    config = json.loads((other / "config.json").read_text())
    config["config"]["data"]["eval_split"] = "train[:30]"
    (other / "config.json").write_text(json.dumps(config))
    before = _result(runs["fine_tuned"])
    flags = [flag.format(**runs, letters=other) for flag in flags]
    outcome = command("evaluate", f"--model_dir={runs['fine_tuned']}", *flags)
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1].startswith("error: --")
    assert words in outcome.err.splitlines()[-1]
    assert _result(runs["fine_tuned"]) == before


def test_a_result_of_an_earlier_version_is_read_and_added_to(command, runs, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(runs["fine_tuned"], run)
    kept = ("step", "checkpoint", "dataset", "data_dir", "split", "fingerprint", "eval_steps",
            "num_parameters", "top_1_accuracy", "top_5_accuracy", "loss",
            "num_examples")  # fmt: skip
    old = {name: _result(run)[name] for name in kept}
    (run / "result.json").write_text(json.dumps(old))
    shutil.rmtree(run / "evaluation")
    (run / "calibration.json").unlink()
    assert RunDirectory(str(run)).result() == old
    outcome = command("evaluate", f"--model_dir={run}", PLAIN, "--eval_split=train[:50]")
    assert outcome.code == 0, outcome.err
    result = _result(run)
    assert result["version"] == 2 and {name: result[name] for name in kept} == old
    assert calibration_file.read(str(run), 4) is None  # Perhaps it was trained on them.
    outcome = command("evaluate", f"--model_dir={run}", PLAIN)
    assert _result(run)["classifier"]["interval"][0] < old["top_1_accuracy"]
    assert calibration_file.read(str(run), 4).curve.images == 360


def test_what_is_in_the_place_of_the_files_stays(command, runs, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(runs["fine_tuned"], run)
    shutil.rmtree(run / "evaluation")
    (run / "evaluation").write_text("mine")
    outcome = command("evaluate", f"--model_dir={run}", PLAIN)
    assert outcome.code == 1 and "is a file, but must be" in outcome.err
    assert (run / "evaluation").read_text() == "mine"


def test_the_calibration_of_a_run_is_by_step(runs):
    assert calibration.FEWEST == 20
    assert calibration_file.read(runs["fine_tuned"], 3) is None
