"""The command line keeps TensorFlow quiet while it works; the library leaves its logging alone."""

import logging
import os
import pathlib
import subprocess
import sys

import pytest

from tf_simclrv2.programs.main import report_errors
from tf_simclrv2.quiet import quiet, silent

ROOT = pathlib.Path(__file__).parents[1]
LOGGER = logging.getLogger("tensorflow")


@pytest.fixture(autouse=True)
def _as_in_a_fresh_process(monkeypatch):
    """Without what conftest.py has entered for all tests."""
    monkeypatch.setattr(LOGGER, "filters", [])
    monkeypatch.setattr("tf_simclrv2.quiet._mutes_stderr", False)
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)


def _is_shown(level):
    return bool(LOGGER.filter(logging.LogRecord("tensorflow", level, "", 0, "", (), None)))


def _is_muted(capfd):
    with silent():
        os.write(2, b"a notice")
    return "a notice" not in capfd.readouterr().err


def test_it_hides_what_is_below_errors_and_no_longer_than_it_should(capfd):
    level = LOGGER.level
    assert _is_shown(logging.WARNING) and not _is_muted(capfd)
    with quiet():
        assert not _is_shown(logging.WARNING) and _is_shown(logging.ERROR)
        assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3"
        assert _is_muted(capfd)
        with quiet():
            assert _is_muted(capfd)
        assert not _is_shown(logging.WARNING) and _is_muted(capfd)
    assert _is_shown(logging.WARNING) and not _is_muted(capfd)
    assert "TF_CPP_MIN_LOG_LEVEL" not in os.environ
    assert LOGGER.level == level


def test_a_users_own_level_stays(monkeypatch, capfd):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    with quiet():
        assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"
        assert not _is_muted(capfd)
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"


def test_a_command_is_quiet_while_it_works():
    shown = []
    report_errors(lambda: shown.append(_is_shown(logging.WARNING)))
    assert shown == [False] and _is_shown(logging.WARNING)


def test_importing_the_library_leaves_the_logging_alone():
    code = (
        "import logging, os, tensorflow as tf; before = tf.get_logger().level\n"
        "import tf_simclrv2.keras2\n"
        "assert tf.get_logger().level == before and not tf.get_logger().filters\n"
        "assert 'TF_CPP_MIN_LOG_LEVEL' not in os.environ"
    )
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": str(int(sys.version_info >= (3, 12)))}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
