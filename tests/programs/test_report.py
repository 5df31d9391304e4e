"""``report``: one page on a run, on a whole lineage, and one sentence where that can't be."""

import json
import os
import re
import shutil

import numpy as np
import pytest

from tests.reporting import files
from tf_simclrv2.reporting import maps
from tf_simclrv2.reporting.images import Images
from tf_simclrv2.reporting.runs import open_runs

_LARGEST = 10_000_000


def _data(path):
    with open(path, encoding="utf-8") as file:
        html = file.read()
    return html, json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1])


@pytest.fixture(scope="module")
def lineage(method, tmp_path_factory):
    """Copies of the runs of the whole method."""
    root = tmp_path_factory.mktemp("runs")
    for name in ("pretrained", "fine_tuned", "distilled"):
        shutil.copytree(method[name], root / name)
    return root


@pytest.fixture
def report(command, lineage, tmp_path, monkeypatch):
    monkeypatch.chdir(lineage)

    def run(*arguments):
        return command("report", *arguments, f"--output={tmp_path / 'report.html'}")

    return run


def test_a_page_tells_of_all_steps_of_the_method(report, lineage, tmp_path):
    names = ["pretrained", "fine_tuned", "distilled"]
    outcome = report(*names, "--max_images=30")
    assert outcome.code == 0, outcome.err
    assert outcome.out.rstrip().endswith("open it in a browser")
    html, data = _data(tmp_path / "report.html")
    assert len(html) < _LARGEST
    assert "30 images, drawn at random from the 360 of digits test" in html
    assert html.count('class="lineage"') == 1 and html.count('class="row"') == 8 * (1 + 3)
    assert html.count("pair ") >= 12
    assert len(data["images"]) == 30 and all(len(each) == 2 for each in data["images"])
    for name in names:
        points = data["charts"][f"map_{name}"]["data"]["values"]
        assert [point["image"] for point in points] == list(range(30))
        assert [point["name"] for point in points] == [label for _, label in data["images"]]
    plots = tmp_path / "report_plots"
    listed = json.loads((plots / "plots.json").read_text())
    assert {*listed, "plots.json"} == set(os.listdir(plots))
    assert {f"{chart}.png" for chart in data["charts"]} == set(listed)
    # Its place may be taken by the next one.
    outcome = report("pretrained", "--max_images=0")
    assert outcome.code == 0, outcome.err
    assert "Left out by <code>--max_images=0</code>" in (tmp_path / "report.html").read_text()
    assert "map_pretrained.png" not in os.listdir(plots)


@pytest.mark.slow
def test_representations_are_those_of_the_very_images(lineage):
    """Also of a few of a split, whatever was stored of it before."""
    (run,) = open_runs([str(lineage / "fine_tuned")], "runs")
    some, every = Images.open([run], 25), Images.open([run], 1000)
    frozen = every.frozen["fine_tuned"]
    of_some = maps.representations(frozen, some.reference, some.shown)
    of_every = maps.representations(frozen, every.reference, every.shown)
    rows = [every.shown.ids.index(each) for each in some.shown.ids]
    np.testing.assert_allclose(of_some, of_every[rows], rtol=1e-4, atol=1e-5)
    assert some.classes == [every.classes[row] for row in rows]


def _without_checkpoints(path, lineage):
    shutil.copytree(lineage / "pretrained", path)
    shutil.rmtree(path / "checkpoints")
    return path


def test_a_run_without_checkpoints_is_refused_unless_no_image_is_wanted(report, lineage, tmp_path):
    run = _without_checkpoints(tmp_path / "run", lineage)
    outcome = report(str(run))
    assert outcome.code == 1
    assert outcome.err == (
        f"error: --runs={run}: holds no checkpoint; the run must have saved at least one; "
        "--max_images=0 writes the report without what needs images.\n"
    )
    assert not (tmp_path / "report.html").exists()
    outcome = report(str(run), "--max_images=0")
    assert outcome.code == 0, outcome.err
    assert "Contrastive loss" in (tmp_path / "report.html").read_text()


def test_images_that_are_gone_are_told_of(command, report, lineage, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(lineage / "fine_tuned", run)
    content = json.loads((run / "config.json").read_text())
    content["config"]["data"].update(dataset="folder", data_dir=str(tmp_path / "gone"))
    files.write(run / "config.json", content)
    outcome = report(str(run))
    assert outcome.code == 1
    (line,) = outcome.err.splitlines()
    assert str(run) in line and str(tmp_path / "gone") in line and "--max_images=0" in line
    assert report(str(run), "--max_images=0").code == 0


def test_runs_of_other_images_are_refused(report, tmp_path):
    run = files.pretraining(tmp_path / "tiles", dataset="tiles")
    outcome = report("pretrained", str(run))
    assert outcome.code == 1
    (line,) = outcome.err.splitlines()
    assert line.startswith(f"error: --runs={run}: does not belong to pretrained")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--runs=None: the directory of a run must be given, as in report RUN."),
        (["nowhere"], "--runs=nowhere: must be an existing run directory."),
        (["."], "--runs=.: must be a run directory, but it holds no config.json."),
        (["pretrained", "nowhere"], "--runs=nowhere: must be an existing run directory."),
        (["pretrained", "--runs=distilled"], "--runs=distilled: can't be given beside pretrained."),
        (["pretrained", "--max_images=-1"], "--max_images=-1: must be between 0 and 10000."),
        (["gs://bucket/run"], "--runs=gs://bucket/run: must be a path of this machine's file "
         "system, not a gs:// address; mount the remote place, or copy it here."),
        (["pretrained", "--out=x"], "Unknown command line flag 'out'."),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_in_one_sentence(report, tmp_path, arguments, message):
    outcome = report(*arguments)
    assert outcome.code == 1
    assert outcome.err.splitlines()[0].startswith(f"error: {message.rstrip('.')}")
    assert len(outcome.err.splitlines()) == 1
    assert os.listdir(tmp_path) == []


def test_only_an_earlier_report_is_replaced(report, tmp_path):
    page, plots = tmp_path / "report.html", tmp_path / "report_plots"
    page.write_text("<html>mine</html>")
    outcome = report("pretrained", "--max_images=0")
    assert outcome.code == 1 and "must be new or an earlier report" in outcome.err
    assert page.read_text() == "<html>mine</html>"
    page.unlink()
    plots.mkdir()
    (plots / "mine.png").touch()
    outcome = report("pretrained", "--max_images=0")
    assert outcome.code == 1
    assert f"{plots} must be new, empty or an earlier report's, but holds mine.png" in outcome.err
    assert os.listdir(tmp_path) == ["report_plots"]
    # A list that names it makes nobody's file a plot.
    (plots / "plots.json").write_text('{"mine.png": "", "../x": ""}')
    (plots / "other").mkdir()
    assert report("pretrained", "--max_images=0").code == 1


def test_the_page_must_be_html_in_a_directory_that_is_there(command, lineage, tmp_path):
    run = str(lineage / "pretrained")
    for output, told in (("report.pdf", "must end in .html"), ("none/report.html", "must exist")):
        outcome = command("report", run, f"--output={tmp_path / output}")
        assert outcome.code == 1 and told in outcome.err
    assert os.listdir(tmp_path) == []


def test_a_damaged_result_is_told_of_and_the_rest_is_there(report, lineage, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(lineage / "pretrained", run)
    (run / "result.json").write_text("{")
    outcome = report(str(run), "--max_images=0")
    assert outcome.code == 0, outcome.err
    html = (tmp_path / "report.html").read_text()
    assert "result.json: is damaged" in html and "Contrastive loss" in html
