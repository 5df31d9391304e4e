"""One process trains a run at a time, and no kill leaves it locked."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tf_simclrv2.config import ConfigError
from tf_simclrv2.runtime import lock
from tf_simclrv2.runtime.lock import RUN_LOCK, Lock, owner_of, sole_writer, state_of


@pytest.fixture
def run(tmp_path):
    return str(tmp_path / "run")


def take(run):
    """Takes the lock of a run and gives it back."""
    with sole_writer(run, state_of(run)):
        assert owner_of(f"{run}/{RUN_LOCK}")["pid"] == os.getpid()


# Takes the lock in a process of its own, says so, and holds it until its stdin closes.
HOLD = """
import sys
from tf_simclrv2.runtime.lock import sole_writer, state_of
with sole_writer(sys.argv[1], state_of(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(run):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, run], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_refused_while_the_first_lives(run, holder):
    with pytest.raises(ConfigError) as error:
        take(run)
    assert str(error.value).startswith(
        f"--model_dir={run}: another process trains this run (process {holder.pid} on "
    )
    holder.communicate("")
    assert not os.path.exists(run)  # Nothing came into it.
    take(run)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_killed_process_leaves_no_lock_but_a_stopped_one_keeps_it(run, holder, number):
    holder.send_signal(number)
    if number == signal.SIGKILL:
        holder.wait()
        assert os.path.exists(f"{run}/{RUN_LOCK}")
        take(run)
        assert os.listdir(run) == []
    else:
        with pytest.raises(ConfigError, match="another process trains this run"):
            take(run)


@pytest.fixture
def elsewhere(run, monkeypatch):
    """The lock of a process on another machine, on a file system that doesn't share locks."""
    monkeypatch.setattr(lock, "_SILENT_SECONDS", 1.0)
    monkeypatch.setattr(lock, "_SECONDS_BETWEEN_BEATS", 0.1)
    os.mkdir(run)
    path = f"{run}/{RUN_LOCK}"
    with open(path, "w") as file:
        json.dump({"host": "other", "pid": 7, "started": "today", "machine": "another"}, file)
    return path


def test_a_silent_process_on_another_machine_is_gone(run, elsewhere):
    start = time.monotonic()
    take(run)
    assert 0.5 < time.monotonic() - start < 20
    with open(elsewhere, "w") as file:
        json.dump({"host": "other", "pid": 7, "machine": "another"}, file)
    os.utime(elsewhere, (0, 0))
    assert Lock(elsewhere).take(watch=False) is None


def test_a_living_process_on_another_machine_is_heard(run, elsewhere):
    ended = threading.Event()

    def beat():
        while not ended.wait(0.05):
            os.utime(elsewhere)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(ConfigError, match=r"\(process 7 on other, since today\)"):
            take(run)
    finally:
        ended.set()
        thread.join()
    assert owner_of(elsewhere)["pid"] == 7


def test_a_holder_is_heard(run, monkeypatch):
    monkeypatch.setattr(lock, "_SECONDS_BETWEEN_BEATS", 0.05)
    with sole_writer(run, ()):
        os.utime(f"{run}/{RUN_LOCK}", (0, 0))
        deadline = time.monotonic() + 20
        while os.stat(f"{run}/{RUN_LOCK}").st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_without_locks_of_the_system_the_heartbeat_decides(run, elsewhere, monkeypatch):
    monkeypatch.setattr(lock, "_lock", lambda file: None)
    with sole_writer(run, state_of(run)), pytest.raises(ConfigError, match="another process"):
        take(run)
    take(run)


def test_a_torn_lock_is_no_lock(run):
    os.mkdir(run)
    for content in (b"", b'{"host": "x', b"[]", b"\xff\xfe"):
        with open(f"{run}/{RUN_LOCK}", "wb") as file:
            file.write(content)
        take(run)


def test_a_run_that_another_process_has_trained_meanwhile_is_refused(run):
    claimed = state_of(run)
    os.mkdir(run)
    with open(f"{run}/config.json", "w") as file:
        file.write("{}")
    with (
        pytest.raises(ConfigError, match="has trained this run meanwhile"),
        sole_writer(run, claimed),
    ):
        raise AssertionError("trained")
    assert os.listdir(run) == ["config.json"]


def test_a_lock_that_is_no_file_is_refused(run):
    os.mkdir(run)
    os.mkfifo(f"{run}/{RUN_LOCK}")
    with pytest.raises(ConfigError, match=r"can't be written \(it must be a file\)"):
        take(run)
