"""What the report shows of an audit is what the audit has written."""

import pytest

from tests.reporting import files
from tf_simclrv2.reporting import audits
from tf_simclrv2.reporting.runs import open_runs


def found_by(*paths):
    return audits.audits_of(open_runs(list(map(str, paths)), "runs"))


def test_each_kind_begins_with_the_worst_and_names_its_images(tmp_path):
    run = files.pretraining(tmp_path / "run")
    written = files.audit(run, 20)
    (found,) = found_by(run)
    assert found.sentences[0] == "Examined: 900 of train, 100 of test; 900 labels could be judged."
    doubts, leaks, pairs, outliers = (kind.findings for kind in found.kinds)
    assert [len(kind) for kind in (doubts, leaks, pairs, outliers)] == [8, 4, 4, 8]
    assert doubts[1].images == [("train", "1.png")] and doubts[1].lines == ["margin -19.0000"]
    assert leaks[0].images == [("train", "0.png"), ("test", "1.png")]
    assert pairs[0].images == [("train", "0.png"), ("train", "1.png")]
    assert leaks[0].title == "cat, or <b>dog</b>?"
    assert leaks[0].lines == ["train and test", "similarity 1.00000"]
    assert [pair.lines[0] for pair in pairs] == ["train"] * 4
    assert outliers[0].images == [("test", "0.png")]
    assert outliers[0].lines == ["distance 2.0000, of others up to 0.5000"]
    assert len(written.outliers) == 20
    pictures = {("train", "0.png"): "a", ("test", "1.png"): "b"}
    assert [item.picture for item in leaks[0].items(pictures)] == ["a", "b"]


def test_audits_of_many_runs_are_counted_but_not_all_shown(tmp_path):
    paths = [files.pretraining(tmp_path / str(n)) for n in range(3)]
    for path in paths:
        files.audit(path, 1)
    found = found_by(*paths)
    assert [len(one.kinds) for one in found] == [4, 4, 0]
    assert all(len(one.sentences) == 6 for one in found)


@pytest.mark.parametrize("content", ["", "image\n1\n", "\0", None])
def test_tables_that_somebody_has_damaged_show_nothing(tmp_path, content):
    run = files.pretraining(tmp_path / "run")
    files.audit(run, 2)
    for name in ("wrong_labels", "duplicates", "unlike"):
        path = run / "audit" / f"{name}.csv"
        path.write_text(content) if content is not None else path.unlink()
    (found,) = found_by(run)
    assert found.kinds == [] and len(found.sentences) == 6
    (run / "audit" / "audit.json").write_text("[]")
    assert found_by(run) == []
