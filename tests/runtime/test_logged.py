"""What a run logs: a step has one row and one point, whatever tore the files."""

import glob
import os

import pytest

from tf_simclrv2.keras2 import tf
from tf_simclrv2.runtime.events import drop_events_after
from tf_simclrv2.runtime.metrics_table import MetricsTable

WHOLE = b"step,loss\n10,1.5\n20,2.5\n30,3.5\n"


@pytest.mark.parametrize(
    ("content", "steps"),
    [
        (WHOLE, [10, 20, 30]),
        (WHOLE[:-1], [10, 20]),
        (WHOLE[:-4], [10, 20]),
        (WHOLE[:-7], [10, 20]),
        (WHOLE[:-5] + bytes(5), [10, 20]),
        (WHOLE[:-5] + b"\xff\xfe\x80\n", [10, 20]),
        (WHOLE + b"30,3.5\n", [10, 20, 30]),
        (WHOLE[:6], []),
        (b"", []),
    ],
)
def test_torn_rows_are_left_out_and_the_table_goes_on(content, steps, tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_bytes(content)
    table = MetricsTable(str(path))
    assert [int(row["step"]) for row in table.rows()] == steps
    table.drop_after(30)
    table.append(40, {"loss": 4.5})
    lines = path.read_text().splitlines()
    assert lines[0] == "step,loss"
    assert [int(line.split(",")[0]) for line in lines[1:]] == [*steps, 40]
    assert lines[-1] == "40,4.5"


def test_a_step_that_comes_again_replaces_its_row(tmp_path):
    table = MetricsTable(str(tmp_path / "metrics.csv"))
    for step, loss in ((1, 1.0), (2, 2.0), (2, 3.0)):
        table.append(step, {"loss": loss})
    assert [(row["step"], row["loss"]) for row in table.rows()] == [("1", "1"), ("2", "3")]


def test_a_table_takes_columns_that_it_did_not_have(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_bytes(WHOLE)
    MetricsTable(str(path)).append(40, {"loss": 4.5, "norm": 1.0})
    assert path.read_text().splitlines()[::4] == ["step,loss,norm", "40,4.5,1"]


def test_a_table_without_a_header_is_kept_under_another_name(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_bytes(bytes(10) + WHOLE[10:])
    MetricsTable(str(path)).append(40, {"loss": 4.5})
    assert path.read_text() == "step,loss\n40,4.5\n"
    assert (tmp_path / "metrics.csv.damaged").read_bytes() == bytes(10) + WHOLE[10:]


def _log(folder, *steps):
    with tf.summary.create_file_writer(folder).as_default():
        for step in steps:
            tf.summary.scalar("loss", float(step), step=step)


def _logged(folder):
    steps = []
    for path in sorted(glob.glob(os.path.join(folder, "*"))):
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            steps += [event.step for _ in event.summary.value]
    return sorted(steps)


def test_steps_after_the_checkpoint_are_taken_out_of_the_curves(tmp_path):
    folder = str(tmp_path)
    _log(folder, 0, 10, 20)
    _log(folder, 30, 40)
    before = {path: os.stat(path).st_mtime_ns for path in glob.glob(f"{folder}/*")}
    drop_events_after(folder, 40)
    assert {path: os.stat(path).st_mtime_ns for path in glob.glob(f"{folder}/*")} == before
    drop_events_after(folder, 10)
    assert _logged(folder) == [0, 10]
    drop_events_after(folder, 0)
    assert _logged(folder) == []
    drop_events_after(str(tmp_path / "none"), 10)


@pytest.mark.parametrize("cut", [1, 20])
def test_a_torn_end_of_the_curves_is_cut_off(cut, tmp_path):
    _log(str(tmp_path), 10, 20, 30)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-cut])
    drop_events_after(str(tmp_path), 40)
    assert _logged(str(tmp_path)) == [10, 20]
    assert list(tmp_path.iterdir()) == [path]
