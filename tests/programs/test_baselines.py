"""``--baselines``: a sceptic's classifiers beside a run's accuracy, on its labels and images."""

import json
import os
import shutil

import matplotlib.axes
import numpy as np
import pytest

from tests.conftest import DIGITS_VIEWS, FEW_STEPS, TINY
from tf_simclrv2.config import DataConfig
from tf_simclrv2.data.images import decode
from tf_simclrv2.data.sources import open_source
from tf_simclrv2.data.sources.chosen import Chosen
from tf_simclrv2.data.views import evaluation_view
from tf_simclrv2.evaluation import baselines
from tf_simclrv2.evaluation.features import Features
from tf_simclrv2.evaluation.measures import interval, with_interval
from tf_simclrv2.programs import demo_report
from tf_simclrv2.programs.main import main
from tf_simclrv2.training.baselines import sentences

NAMES = {"nearest_neighbour", "logistic", "label_spreading"}


# Compiling takes longer here than what is compiled.
PLAIN = "--jit_compile=false"


@pytest.fixture(scope="module")
def runs(method, tmp_path_factory):
    """Copies of the method's runs, as their results change; the fine-tuned one with baselines."""
    root = tmp_path_factory.mktemp("runs")
    copies = {name: str(root / name) for name in ("pretrained", "fine_tuned", "distilled")}
    for name, path in copies.items():
        shutil.copytree(method[name], path)
    assert main(["evaluate", f"--model_dir={copies['fine_tuned']}", "--baselines", PLAIN]) == 0
    return copies


def _result(run):
    with open(os.path.join(run, "result.json"), encoding="utf-8") as file:
        return json.load(file)


def _pixels(split):
    """Pixels of the digits as networks of these tests see them, and their labels by id."""
    found = {}
    for example in open_source(DataConfig(dataset="digits")).index(split):
        image = evaluation_view(decode(example["image"]), 8).numpy()
        found[example["id"].numpy().decode()] = image.reshape(-1), int(example["label"])
    return found


def _features(found):
    values, labels = zip(*found)
    return Features(np.stack(values), np.array(labels))


def test_baselines_beside_a_fine_tuned_run(command, runs):
    result = _result(runs["fine_tuned"])
    table = result["baselines"]
    assert (table["num_labelled"], table["num_unlabelled"]) == (29, 1408)
    assert table["left_out"] == {}
    assert {name: set(found) for name, found in table["top_1_accuracy"].items()} == {
        "raw_pixels": NAMES,
        "untrained_network": NAMES,
    }
    with open(os.path.join(runs["fine_tuned"], "labelled_examples.txt"), encoding="utf-8") as file:
        ids = [line.split("\t")[0] for line in file]
    train, test = _pixels("train"), _pixels("test")
    labelled = _features([train[example_id] for example_id in ids])
    others = np.stack([pixels for name, (pixels, _) in train.items() if name not in ids])
    expected = baselines.run(labelled, _features(test.values()), others)
    assert table["top_1_accuracy"]["raw_pixels"] == pytest.approx(expected, abs=1 / 360)
    untrained = table["top_1_accuracy"]["untrained_network"]
    assert min(untrained.values()) > 0.1 and untrained != pytest.approx(expected, abs=0.05)

    # They stay when the same is evaluated without them.
    assert command("evaluate", f"--model_dir={runs['fine_tuned']}", PLAIN).code == 0
    assert _result(runs["fine_tuned"]) == result


@pytest.mark.slow
def test_baselines_of_a_student_have_its_teachers_labels(command, runs):
    outcome = command("evaluate", f"--model_dir={runs['distilled']}", "--baselines", PLAIN)
    assert outcome.code == 0, outcome.err
    table = _result(runs["distilled"])["baselines"]
    assert table["num_labelled"] == 29
    raw = table["top_1_accuracy"]["raw_pixels"]
    teacher = _result(runs["fine_tuned"])["baselines"]["top_1_accuracy"]
    assert raw == teacher["raw_pixels"]
    told = "with the same 29 labels and 360 images, on raw pixels, with 95% intervals: nearest"
    assert told in outcome.out
    # Its network is another one.
    assert table["top_1_accuracy"]["untrained_network"] != teacher["untrained_network"]


@pytest.mark.slow
def test_distillation_measures_them_after_its_evaluation(command, method, runs):
    outcome = command(
        "distill", *FEW_STEPS, *DIGITS_VIEWS, "--width_multiplier=0.03125", "--mode=eval",
        "--baselines", PLAIN, f"--teacher={method['fine_tuned']}",
        f"--model_dir={runs['distilled']}",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "on an untrained network, with 95% intervals: nearest neighbour" in outcome.out
    measured = [_result(runs[name])["baselines"] for name in ("fine_tuned", "distilled")]
    first, second = (each["top_1_accuracy"]["raw_pixels"] for each in measured)
    assert first == second


@pytest.mark.slow
def test_too_many_images_are_left_out_in_a_sentence(command, runs, monkeypatch, tmp_path):
    monkeypatch.setattr(baselines, "MOST_IMAGES", 400)
    run = tmp_path / "run"
    shutil.copytree(runs["fine_tuned"], run)
    before = _result(run)["baselines"]["top_1_accuracy"]
    outcome = command("evaluate", f"--model_dir={run}", "--baselines", PLAIN)
    assert outcome.code == 0, outcome.err
    table = _result(run)["baselines"]
    # The others are the same as where all images are read.
    for kind, measured in table["top_1_accuracy"].items():
        assert measured == pytest.approx({n: before[kind][n] for n in measured}, abs=1 / 360)
    assert set(table["top_1_accuracy"]["raw_pixels"]) == NAMES - {"label_spreading"}
    assert (
        "label spreading is left out: it would compare 1,797 images, and does so up to 400"
        in outcome.out
    )
    monkeypatch.setattr(baselines, "MOST_IMAGES", 100)
    outcome = command("evaluate", f"--model_dir={run}", "--baselines", PLAIN)
    assert outcome.code == 0 and outcome.out.count("is left out") == 3
    assert _result(run)["baselines"]["top_1_accuracy"] == {}


def test_labelled_images_alone_are_decoded_as_all_of_their_source_are():
    source = open_source(DataConfig(dataset="digits"))
    assert Chosen(source, ["1"]).decoder("train") is source.decoder("train")


def test_baselines_without_known_labels_are_refused(command, runs, tmp_path):
    new = f"--model_dir={tmp_path}/new"
    flags = ["finetune", "--from_scratch", *TINY, "--baselines", "--mode=train", new]
    outcome = command(*flags)
    assert (outcome.code, outcome.err) == (
        1,
        "error: --baselines=True: stands beside the evaluation, which --mode=train leaves out.\n",
    )
    lost = tmp_path / "lost"
    shutil.copytree(runs["fine_tuned"], lost)
    os.remove(lost / "labelled_examples.txt")
    before = (lost / "result.json").read_bytes()
    outcome = command("evaluate", f"--model_dir={lost}", "--baselines")
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1] == (
        f"error: --baselines=True: needs labels, and those of {lost} are unknown; leave the flag "
        "out."
    )
    (lost / "labelled_examples.txt").write_text("nobody\t0\n")
    outcome = command("evaluate", f"--model_dir={lost}", "--baselines")
    assert outcome.code == 1
    assert "--baselines=True: needs labels, and those of" in outcome.err
    assert "1 of its 1 names are no examples" in outcome.err
    assert (lost / "result.json").read_bytes() == before
    assert not (tmp_path / "new").exists()


def test_a_baseline_that_is_not_beaten_is_named():
    table = {"nearest_neighbour": 0.7, "logistic": 0.5, "label_spreading": 0.9}
    beside = {
        "num_labelled": 1400,
        "top_1_accuracy": {"raw_pixels": table},
        "left_out": {"logistic": "of the heat"},
    }
    result = {"top_1_accuracy": 0.7, "num_examples": 100, "baselines": beside}
    assert sentences("run", result) == [
        "run: with the same 1,400 labels and 100 images, on raw pixels, with 95% intervals: "
        "nearest neighbour 70.0% (60.4% to 78.1%), logistic regression 50.0% (40.4% to 59.6%), "
        "label spreading 90.0% (82.6% to 94.5%)",
        "run: its own 70.0% (60.4% to 78.1%) on 100 images does not beat nearest neighbour on raw "
        "pixels 70.0% (60.4% to 78.1%), label spreading on raw pixels 90.0% (82.6% to 94.5%)",
        "run: logistic regression is left out: of the heat",
    ]
    assert len(sentences("run", {**result, "top_1_accuracy": 0.95})) == 2


def _row(model, *accuracies):
    return demo_report.Row(model, None, 14, list(accuracies), 100, None, "black")


def test_the_demo_says_where_the_method_does_not_win():
    method = [_row("fine-tuned", 0.7), _row("distilled", 0.8, 0.9)]
    rows = [_row("spreading", 0.8, 0.8), _row("neighbour", 0.6), _row("strong", 0.9)]
    assert demo_report.verdict(rows, method) == [
        "- Not better than spreading at 80.0% ± 0.0: fine-tuned at 70.0% (60.4% to 78.1%).",
        "- Not better than strong at 90.0% (82.6% to 94.5%): fine-tuned at 70.0% (60.4% to 78.1%), "
        "distilled at 85.0% ± 5.0.",
    ]
    assert demo_report.verdict(rows[1:2], method) == [
        "- Each step of the method is better than each baseline."
    ]


def test_one_accuracy_has_an_interval_and_several_a_standard_error(monkeypatch, tmp_path):
    drawn = []

    def errorbar(axes, x, y, xerr, **_):
        drawn.append((x, y, *np.ravel(xerr)))

    monkeypatch.setattr(matplotlib.axes.Axes, "errorbar", errorbar)
    rows = [_row("several", 0.8, 0.9), _row("one", 0.7)]
    head, _, several, one, _, *about = demo_report._table(rows).splitlines()
    assert "| test top-1 on 100 images |" in head
    assert "| 85.0% ± 5.0 |" in several and "| 70.0% (60.4% to 78.1%) |" in one
    assert [line.split(":")[0] for line in about] == ["In brackets", "±"]
    demo_report._plot_accuracies(rows, str(tmp_path / "accuracy.png"))
    low, high = interval(70, 100)
    assert drawn == [pytest.approx((70, 1, 70 - 100 * low, 100 * high - 70))]


def test_the_demos_table_and_picture_have_the_baselines(runs, tmp_path):
    kinds = {"pretrained": "pretrained", "supervised_0": "fine_tuned", "fine_tuned_0": "fine_tuned",
             "self_distilled_0": "distilled", "small_student_0": "distilled",
             "chosen_probed_0": "fine_tuned", "chosen_fine_tuned_0": "fine_tuned",
             "chosen_self_distilled_0": "distilled"}  # fmt: skip
    for name, run in kinds.items():
        shutil.copytree(runs[run], tmp_path / name)
    table = demo_report.write(str(tmp_path), "digits", dict.fromkeys(kinds, 1.0))
    raw = _result(runs["fine_tuned"])["baselines"]["top_1_accuracy"]["raw_pixels"]
    spreading = with_interval(raw["label_spreading"], 360)
    line = f"| label spreading on raw pixels |  | 29 | {spreading} |  |"
    assert line in table.splitlines()
    models = [line.split("|")[1].strip() for line in table.splitlines()[2:16]]
    assert models == [
        "linear probe while pretraining (all labels)",
        *(f"{words} on raw pixels" for words in _WORDS),
        *(f"{words} on an untrained network" for words in _WORDS),
        *demo_report.KINDS.values(),
    ]
    # Such short runs beat nothing.
    assert f"- Not better than label spreading on raw pixels at {spreading}: " in table
    assert table in (tmp_path / "report.md").read_text()
    assert (tmp_path / "accuracy.png").stat().st_size > 5000


_WORDS = ("nearest neighbour", "logistic regression", "label spreading")
