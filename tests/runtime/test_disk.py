"""Disks that are full or can't be written are named in one line."""

import errno
import os

import pytest

from tests.conftest import DIGITS_VIEWS, FEW_STEPS, TINY
from tf_simclrv2.config import ConfigError
from tf_simclrv2.keras2 import tf
from tf_simclrv2.runtime import disk
from tf_simclrv2.runtime.disk import shown_bytes, warn_of_little_space, watched, writing
from tf_simclrv2.runtime.metrics_table import MetricsTable


def full(path=None):
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def said_by_tensorflow(path, number=errno.ENOSPC):
    return tf.errors.ResourceExhaustedError(
        None, None, f"{path}; {os.strerror(number)} [Op:SaveV2]"
    )


@pytest.mark.parametrize("error", [full(), said_by_tensorflow("/tmp/x/part-0")])
def test_a_full_disk_says_what_is_needed_and_what_is_free(error, tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "free_bytes", lambda path: 1500)
    with pytest.raises(ConfigError) as refused, writing("output", str(tmp_path), needed=2_000_000):
        raise error
    assert str(refused.value).startswith(f"--output={tmp_path}: can't be written (No space left")
    assert str(refused.value).endswith("about 2.0 MB are needed; 1.5 KB are free).")


def test_other_errors_stay_what_they_are(tmp_path):
    for error in (tf.errors.ResourceExhaustedError(None, None, "OOM"), KeyError("x")):
        with pytest.raises(type(error)), writing("output", str(tmp_path)):
            raise error
    # Of an image, not of the run.
    for error in (PermissionError(errno.EACCES, "Permission denied", "/images/1.jpg"),
                  said_by_tensorflow("/images/1.jpg", errno.EACCES)):  # fmt: skip
        with pytest.raises(type(error)), watched(str(tmp_path), lambda: None):
            raise error
    inside = said_by_tensorflow(tmp_path / "checkpoints", errno.EACCES)
    with (
        pytest.raises(ConfigError, match="Permission denied"),
        watched(str(tmp_path), lambda: None),
    ):
        raise inside


@pytest.mark.slow
def test_a_disk_that_fills_up_ends_a_run_in_one_line(command, tmp_path, monkeypatch):
    def append(self, step, values):
        raise full()

    monkeypatch.setattr(MetricsTable, "append", append)
    run = tmp_path / "run"
    outcome = command("pretrain", *TINY, *FEW_STEPS, *DIGITS_VIEWS, f"--model_dir={run}")
    assert outcome.code == 1
    line = outcome.err.splitlines()[-1]
    assert line.startswith(f"error: --model_dir={run}: can't be written (No space left on device; ")
    assert "are needed; " in line
    assert line.endswith("stays whole, and the same command continues from there.")
    assert not (run / "run.lock").exists()


def test_little_space_is_warned_of(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(disk, "free_bytes", lambda path: 100)
    warn_of_little_space("/run", 100, "a checkpoint")
    assert caplog.messages == []
    warn_of_little_space("/run", 101, "a checkpoint")
    assert caplog.messages == ["/run: a checkpoint may need 101 bytes, but 100 bytes are free"]


def test_bytes_in_words():
    assert [shown_bytes(count) for count in (12, 1500, 2e6, 3.25e9, 4e12)] == [
        "12 bytes", "1.5 KB", "2.0 MB", "3.2 GB", "4.0 TB",
    ]  # fmt: skip
