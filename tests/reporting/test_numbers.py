"""Tables and curves of a report hold the numbers of a run's files."""

import math
import pathlib

import numpy as np
import pytest

from tests.reporting import files
from tf_simclrv2.keras2 import tf
from tf_simclrv2.objectives.contrastive import nt_xent
from tf_simclrv2.reporting import answers, charts, curves, results
from tf_simclrv2.reporting.report import _table
from tf_simclrv2.reporting.runs import open_runs


def opened(*paths):
    return open_runs([str(path) for path in paths], "runs")


ANSWERS = [
    ("1.png", "cat", "cat", 0.9),
    ("2.png", "cat", "owl", 0.8),
    ("3.png", "owl", "owl", 0.6),
    ("4.png", files.CLASSES[1], files.CLASSES[1], 0.95),
]


@pytest.fixture
def evaluated(tmp_path):
    run = files.pretraining(tmp_path / "run", files.CLASSES)
    files.evaluate(run, files.CLASSES, ANSWERS)
    return opened(run)[0]


def test_a_result_of_an_earlier_version_has_an_interval(tmp_path):
    run = files.pretraining(tmp_path / "run", files.CLASSES)
    other = {"top_1_accuracy": 0.5, "num_examples": 4, "dataset": "folder", "split": "all",
             "data_dir": "/x", "checkpoint": "ckpt-3"}  # fmt: skip
    files.write(run / "result.json", {
        "top_1_accuracy": 0.75, "top_5_accuracy": 1.0, "loss": 0.5, "num_examples": 40,
        "dataset": "digits", "split": "test", "num_parameters": 77, "other_evaluations": [other],
    })  # fmt: skip
    own, elsewhere = results.rows_of(opened(run)[0])
    assert (own.on, own.images, own.accuracy, own.parameters) == ("digits test", 40, 0.75, 77)
    # Wilson's.
    z = 1.959963984540054
    half = z / (1 + z * z / 40) * math.sqrt(0.75 * 0.25 / 40 + (z / 80) ** 2)
    centre = (0.75 + z * z / 80) / (1 + z * z / 40)
    assert own.interval == pytest.approx((centre - half, centre + half))
    assert own.more == {"loss": "0.5"}
    assert elsewhere.on == "folder all /x ckpt-3"


def test_a_result_has_what_each_evaluator_found(tmp_path, evaluated):
    (row,) = results.rows_of(evaluated)
    assert row.interval == (0.375, 1.0)
    assert row.more["balanced"] == "75.0%" and row.more["temperature"] == "1.5"
    table = _table([row, row._replace(evaluator="nearest neighbours", more={"loss": "2"})])
    assert table["headings"][:3] == ["run", "evaluator", "on"]
    assert [line["loss"] for line in table["rows"]] == ["", "2"]
    assert _table([row])["headings"][:2] == ["run", "on"]


def test_what_was_cross_validated_is_a_row_of_its_own(tmp_path):
    run = files.fine_tuning(tmp_path / "run", tmp_path / "none", 40)
    numbers = {"accuracy": 0.6, "interval": [0.4, 0.7], "images": 40, "folds": 5}
    files.write(run / "result.json", {"version": 2, "cross_validation": numbers})
    (row,) = results.rows_of(opened(run)[0])
    assert (row.evaluator, row.on) == ("cross-validation, 5 folds", "labelled images")
    assert (row.accuracy, row.images, row.labels) == (0.6, 40, 40)
    both = {"cross_validation": numbers, "cross_fine_tuning": {**numbers, "accuracy": 0.7}}
    files.write(run / "result.json", {"version": 2, **both})
    first, second = results.rows_of(opened(run)[0])
    assert first == row and (second.accuracy, second.evaluator) == (0.7, row.evaluator)
    assert second.on == "labelled images, fine-tuned in each fold"


@pytest.mark.parametrize("value", ["0.5", None, True, float("nan"), 1.5, [1]])
def test_what_is_no_accuracy_is_no_row(tmp_path, value):
    run = files.pretraining(tmp_path / "run")
    files.write(run / "result.json", {"top_1_accuracy": value, "num_examples": 4})
    assert results.rows_of(opened(run)[0]) == []


def test_labels_make_a_curve_where_there_are_several_numbers(tmp_path):
    paths = [files.fine_tuning(tmp_path / f"of_{n}", tmp_path / "none", n) for n in (10, 40)]
    for path in paths:
        files.evaluate(path, files.CLASSES, ANSWERS)
    runs = opened(*paths)
    rows = [row for run in runs for row in results.rows_of(run)]
    chart = results.label_efficiency(runs, rows)
    assert [(point["x"], point["y"]) for point in chart.spec["data"]["values"]] == [
        (10, 0.75), (40, 0.75)
    ]  # fmt: skip
    assert results.label_efficiency(runs[:1], rows[:1]) is None
    (tmp_path / "of_10" / "probe").mkdir()
    (tmp_path / "of_10" / "probe" / "probe.csv").write_text(
        "labels,drawn,seed,classifier,top_1_accuracy\n14,all,,ridge,0.9\n"
        "5,random,0,ridge,0.4\n5,random,1,ridge,0.6\n"
    )
    (point,) = [
        each
        for each in results.label_efficiency(runs[:1], rows[:1]).spec["data"]["values"]
        if "ridge" in each["name"]
    ]
    assert [point[name] for name in ("x", "y", "low", "high")] == [5, 0.5, 0.4, 0.6]


def test_the_curve_of_labels_has_only_the_runs_own_evaluations(tmp_path):
    other = {"top_1_accuracy": 1.0, "num_examples": 4, "dataset": "digits", "split": "train",
             "checkpoint": "ckpt-3"}  # fmt: skip
    paths = [files.fine_tuning(tmp_path / f"of_{n}", tmp_path / "none", n) for n in (10, 40)]
    for path in paths:
        own = {"top_1_accuracy": 0.5, "num_examples": 4, "dataset": "digits", "split": "test"}
        files.write(path / "result.json", {**own, "other_evaluations": [other]})
    runs = opened(*paths)

    def points():
        rows = [row for run in runs for row in results.rows_of(run)]
        assert len(rows) == 4
        values = results.label_efficiency(runs, rows).spec["data"]["values"]
        return [(point["x"], point["y"], point["name"]) for point in values]

    assert points() == [(10, 0.5, "fine-tuned"), (40, 0.5, "fine-tuned")]
    # Of different images, they are no one curve.
    files.write(paths[1] / "result.json", {**own, "split": "all", "other_evaluations": [other]})
    names = ["fine-tuned, digits test", "fine-tuned, digits all"]
    assert [name for _, _, name in points()] == names


def test_guessing_gives_the_loss_of_projections_that_are_all_the_same(tmp_path):
    (run,) = opened(files.pretraining(tmp_path / "run", files.CLASSES))
    same = tf.ones([16, 4])
    loss = float(nt_xent(same, same, 0.1).loss)
    assert curves.guess_of(run, "contrast_loss").value == pytest.approx(loss, rel=1e-5)
    assert curves.guess_of(run, "contrast_accuracy").value == 1 / 16
    assert curves.guess_of(run, "supervised_loss").value == pytest.approx(math.log(3))
    assert curves.guess_of(run, "monitor_loss") is None
    files.write(tmp_path / "run" / "result.json", {"monitors": {"loss_of_guessing": 12.5}})
    assert curves.guess_of(run, "monitor_loss").value == 12.5


def test_curves_are_the_columns_that_hold_numbers(tmp_path):
    run = files.pretraining(tmp_path / "run")
    files.log(run, {"step": [5, 10, 15], "epoch": [1, 2, 3], "loss": [3, "nan", 1],
                    "weight_decay": [0, 0, 0], "supervised_accuracy": [0, 0, 0],
                    "monitor_rank_h": ["", 8, ""]})  # fmt: skip
    learning, monitors, _ = curves.charts_of(opened(run))
    assert [chart.name for chart in learning] == ["loss", "supervised_accuracy"]
    assert learning[0].spec["data"]["values"] == [
        {"x": 5, "y": 3.0, "name": "run"}, {"x": 15, "y": 1.0, "name": "run"}
    ]  # fmt: skip
    assert [chart.name for chart in monitors] == ["monitor_rank_h"]


def rules_of(chart):
    """The lines of guessing in a chart: value and colour of each."""
    return [
        (layer["data"]["values"][0]["y"], layer["mark"]["color"])
        for layer in chart.spec["layer"]
        if layer["mark"]["type"] == "rule"
    ]


def test_guessing_is_a_line_for_each_value_where_runs_differ(tmp_path):
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path, batch in zip(paths, (16, 32, 16)):
        files.pretraining(path, batch=batch)
        files.log(path, {"step": [5, 10], "contrast_accuracy": [0.1, 0.2]})
    runs = opened(*paths)
    ((chart,), *_) = curves.charts_of(runs)
    assert rules_of(chart) == [(1 / 16, charts.COLORS[0]), (1 / 32, charts.COLORS[1])]
    assert "1/16, one of the images of a batch (a, c); 1/32" in chart.about
    assert "(b)." in chart.about
    ((chart,), *_) = curves.charts_of([runs[0], runs[2]])
    assert rules_of(chart) == [(1 / 16, "@muted")]
    assert chart.about == "Guessing gives 1/16, one of the images of a batch."


def test_monitors_say_which_images_they_were_measured_on(tmp_path):
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path in paths:
        files.pretraining(path)
        files.log(path, {"step": [5], "monitor_loss": [1], "monitor_rank_h": [1]})
    files.write(paths[0] / "result.json", {"monitors": {"held_out": True}})
    files.write(paths[1] / "result.json", {"monitors": {"held_out": False}})
    runs = opened(*paths)

    def told(*some):
        found = curves.charts_of(some)
        assert {chart.name for chart in found.monitors} == {"monitor_loss", "monitor_rank_h"}
        return found.monitors[0].title, found.about

    held_out, trained_on, unknown = runs
    assert told(held_out) == (
        "Contrastive loss, held-out images", "Measured on held-out images."
    )  # fmt: skip
    title, about = told(trained_on)
    assert title == "Contrastive loss, images that were trained on"
    assert about == "Measured on images that were trained on."
    for mixed in ([held_out, trained_on], [unknown]):
        assert told(*mixed)[0] == "Contrastive loss, held-out or other images"
    assert told(*runs)[1] == (
        "Measured on held-out images (a); images that were trained on (b); held-out or other "
        "images (c)."
    )


def test_a_long_curve_is_thinned_out_and_keeps_its_end(tmp_path):
    run = files.pretraining(tmp_path / "run")
    files.log(run, {"step": range(1, 3002), "loss": range(1, 3002)})
    values = curves.charts_of(opened(run))[0][0].spec["data"]["values"]
    assert len(values) <= 300 and values[-1]["x"] == 3001


def test_answers_are_read_from_the_files_of_an_evaluation(evaluated):
    found = answers.evaluations_of(evaluated)
    (confusion,) = answers.confusions(found)
    cells = {(c["true"], c["predicted"]): c for c in confusion.spec["data"]["values"]}
    assert cells["cat", "owl"]["count"] == 1 and cells["cat", "owl"]["share"] == 0.5
    (diagram,) = answers.reliability(found)
    curve = diagram.spec["data"]["values"]
    confidence = np.mean([answer[3] for answer in ANSWERS])
    assert [(p["x"], p["y"]) for p in curve] == [(confidence, 0.75), (0.75, 0.75)]
    last = answers.risk(found).spec["data"]["values"][0]
    assert (last["x"], last["y"]) == (1.0, 0.25)
    ((_, given),) = answers.answers_of(found).values()
    assert [answer.is_wrong for answer in given] == [False, True, False, False]


@pytest.mark.parametrize(
    "content", ["", "a,b\n1\n", "\0", "image,label,predicted,confidence\n1,2,3,x"]
)
def test_an_evaluation_whose_files_are_damaged_is_left_out(evaluated, content):
    (evaluation,) = answers.evaluations_of(evaluated)
    for name in ("predictions.csv", "confusion.csv", "reliability.csv", "risk_coverage.csv"):
        with open(f"{evaluation.path}/{name}", "w") as file:
            file.write(content)
    found = [evaluation]
    assert answers.confusions(found) == [] and answers.answers_of(found) == {}
    assert answers.reliability(found) == [] and answers.risk(found) is None


def test_numbers_that_are_none_are_left_out(evaluated):
    """JSON has no NaN, so that one would leave the page empty."""
    (evaluation,) = answers.evaluations_of(evaluated)
    for name in ("reliability.csv", "risk_coverage.csv", "predictions.csv"):
        path = f"{evaluation.path}/{name}"
        with open(path) as file:
            content = file.read()
        with open(path, "w") as file:
            file.write(content.replace("0.95", "nan").replace("0.75", "inf"))
    assert answers.reliability([evaluation]) == [] and answers.answers_of([evaluation]) == {}
    assert answers.risk([evaluation]) is None
    result = evaluated.directory.result()
    measured = {"raw_pixels": {"logistic": [1], "nearest_neighbour": 0.5}}
    table = {"num_labelled": 3, "top_1_accuracy": measured}
    files.write(
        pathlib.Path(evaluated.directory.file("result.json")), {**result, "baselines": table}
    )
    # Wilson's of 2 of 4.
    told = "50.0% (15.0% to 85.0%)"
    assert results.baselines_of(evaluated) == [("nearest neighbour on raw pixels", told)]


def test_an_evaluation_outside_of_its_run_is_not_read(tmp_path, evaluated):
    run = files.pretraining(tmp_path / "other")
    numbers = {"accuracy": 1.0, "files": "../run/evaluation/test/classifier"}
    files.write(run / "result.json", {"classifier": numbers})
    assert answers.evaluations_of(opened(run)[0]) == []


def test_of_many_classes_those_are_shown_that_are_confused_most(tmp_path):
    names = [f"class {n}" for n in range(80)]
    run = files.pretraining(tmp_path / "run", names)
    wrong = [(str(n), names[70], names[71], 0.5) for n in range(9)]
    files.evaluate(run, names, [*wrong, *((f"r{n}", n, n, 0.9) for n in names)])
    (chart,) = answers.confusions(answers.evaluations_of(opened(run)[0]))
    shown = {cell["true"] for cell in chart.spec["data"]["values"]}
    assert len(shown) == 30 and {names[70]} <= shown
    assert "of 80 classes" in chart.about
