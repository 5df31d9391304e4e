"""Files are whole or not there, and only files are replaced."""

import errno
import os
import socket
import stat
import tempfile
import threading

import pytest

from tf_simclrv2.config import ConfigError
from tf_simclrv2.runtime import files
from tf_simclrv2.runtime.files import (
    DIRECTORY,
    FILE,
    check_can_write,
    check_place,
    check_run_places,
    kind_of,
    whole_file,
    write_whole,
)


def _fifo(path):
    os.mkfifo(path)
    return "a FIFO"


def _socket(path):
    # A socket's path must be short.
    folder = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/proc/self/fd/{folder}/{path.name}")
    os.close(folder)
    return "a socket"


def _device(path):
    if os.getuid() != 0:
        pytest.skip("only root makes devices")
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("this container makes no devices")
    return "a device"


def _link(path):
    (path.parent / "precious").write_text("mine")
    path.symlink_to(path.parent / "precious")
    return "a link"


def _dangling(path):
    path.symlink_to(path.parent / "nowhere")
    return "a link"


def _directory(path):
    path.mkdir()
    return "a directory"


NO_FILES = [_fifo, _socket, _device, _link, _dangling, _directory]


@pytest.fixture(params=NO_FILES, ids=lambda make: make.__name__)
def no_file(request, tmp_path):
    """A path at which something else than a file is, and what that is."""
    path = tmp_path / "out"
    return path, request.param(path)


def identity(path):
    """What is at a path, but for the time at which a link was last followed."""
    status = os.lstat(path)
    return status.st_ino, status.st_mode, status.st_size, status.st_rdev


def test_what_is_no_file_is_refused_by_name_and_stays(no_file):
    path, kind = no_file
    before = identity(path)
    with pytest.raises(
        ConfigError, match=rf"^--output=x: {path} is {kind}.*, but must be .*a file"
    ):
        check_place(str(path), "output", FILE, "x")
    with pytest.raises(FileExistsError):
        write_whole(str(path), "text")
    assert identity(path) == before
    assert not os.path.lexists(f"{path}.tmp")


def test_nothing_is_written_into_what_is_no_file_under_the_temporary_name(no_file, tmp_path):
    path, _ = no_file
    os.rename(path, tmp_path / "new.tmp")
    before = identity(tmp_path / "new.tmp")
    with pytest.raises(FileExistsError):
        write_whole(str(tmp_path / "new"), "text")
    assert identity(tmp_path / "new.tmp") == before
    assert not (tmp_path / "new").exists()
    if (tmp_path / "precious").exists():
        assert (tmp_path / "precious").read_text() == "mine"


def test_a_directory_may_be_where_one_is_to_be(tmp_path):
    assert check_place(str(tmp_path), "export_dir", DIRECTORY) == DIRECTORY
    assert check_place(str(tmp_path / "new"), "export_dir", DIRECTORY) is None
    with pytest.raises(ConfigError, match=r"is a link to .*, but must be new or a directory"):
        (tmp_path / "link").symlink_to(tmp_path)
        check_place(str(tmp_path / "link"), "export_dir", DIRECTORY)


@pytest.mark.parametrize(
    ("path", "reason"),
    [("n" * 300, "File name too long"), ("/dev/new", "/dev belongs"), ("/proc/1/new", "/proc/1 ")],
)
def test_places_where_nothing_can_be_are_refused(path, reason):
    with pytest.raises(ConfigError, match=rf"can't be written \({reason}"):
        check_place(path, "output", FILE)
    assert check_place("/dev/shm/new", "output", FILE) is None


def test_what_a_kill_left_is_used_again(tmp_path):
    (tmp_path / "a.txt.tmp").write_text("a very long text that was cut off by a ki")
    write_whole(str(tmp_path / "a.txt"), "whole")
    assert (tmp_path / "a.txt").read_text() == "whole"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    write_whole(str(tmp_path / "a.txt"), "old")
    with pytest.raises(OSError, match="full"), whole_file(str(tmp_path / "a.txt")) as file:
        file.write(b"ne")
        raise OSError("full")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_writers_of_one_file_wait_for_each_other(tmp_path):
    path, text = str(tmp_path / "a.txt"), "x" * 100_000

    def write(letter):
        for _ in range(20):
            write_whole(path, letter * len(text))

    threads = [threading.Thread(target=write, args=[letter]) for letter in "abc"]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        content = (tmp_path / "a.txt").read_text() if os.path.exists(path) else ""
        assert len(set(content)) <= 1
        assert len(content) in (0, len(text))
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("name", ["metrics.csv", "result.json", "config.json"])
def test_a_run_directory_whose_files_are_something_else_is_refused(name, tmp_path):
    os.mkfifo(tmp_path / name)
    with pytest.raises(ConfigError, match=f"--model_dir={tmp_path}: {tmp_path}/{name} is a FIFO"):
        check_run_places(str(tmp_path))


def test_directories_of_a_run_may_be_on_another_disk(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "link").symlink_to(tmp_path / "run")
    check_run_places(str(tmp_path / "link"))
    (tmp_path / "run" / "events").write_text("")
    with pytest.raises(ConfigError, match="events is a file, but must be a directory"):
        check_run_places(str(tmp_path / "link"))


def test_kinds():
    assert kind_of("/dev/null") == "a device"
    assert kind_of(files.__file__) == FILE
    assert kind_of("/nowhere/at/all") is None


def test_a_directory_that_can_not_be_written_is_refused_by_the_nearest_that_is_there(
    tmp_path, monkeypatch
):
    check_can_write(str(tmp_path / "new" / "below"), "output_dir", "x")
    assert os.listdir(tmp_path) == []
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match=r"^--output_dir=x: can't be written \(Not a directory"):
        check_can_write(str(tmp_path / "file" / "new"), "output_dir", "x")
    seen = []

    def read_only(dir):
        seen.append(dir)
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
    with pytest.raises(ConfigError, match=r"^--output_dir=x: can't be written \(Read-only file"):
        check_can_write(str(tmp_path / "new" / "below"), "output_dir", "x")
    assert seen == [str(tmp_path)]
