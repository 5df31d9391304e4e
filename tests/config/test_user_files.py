"""Text files as editors on every system write them, and what is no file."""

import os

import pytest

from tf_simclrv2.config import ConfigError
from tf_simclrv2.config.user_files import printable, read_lines, spellings, why_unreadable


@pytest.mark.parametrize(
    "content",
    [
        b"caf\xc3\xa9\n\nb",
        b"\xef\xbb\xbfcaf\xc3\xa9\n\nb",
        b"caf\xc3\xa9\r\n\r\nb",
        b"caf\xc3\xa9\r\rb",
        "\ufeffcafé\r\n\r\nb".encode("utf-16-le"),
        "\ufeffcafé\n\nb".encode("utf-16-be"),
    ],
)
def test_text_is_read_as_any_editor_writes_it(tmp_path, content):
    (tmp_path / "list.txt").write_bytes(content)
    assert read_lines(str(tmp_path / "list.txt"), "x") == [(1, "café"), (2, ""), (3, "b")]


def test_bytes_that_are_no_utf8_are_kept_and_may_be_latin_1(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"a\ncaf\xe9\n")
    line = read_lines(str(tmp_path / "list.txt"), "x")[1]
    assert os.fsencode(line.text) == b"caf\xe9"
    assert spellings(line.text) == [line.text, "café"]
    assert spellings("café") == ["café"]


def test_what_is_no_text_is_refused_with_its_line(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"a\nb\n\x00\x01\n")
    with pytest.raises(ConfigError, match=r"--x=.*list\.txt: .*line 3 .*NUL byte"):
        read_lines(str(tmp_path / "list.txt"), "x")


def test_only_files_are_opened(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "fifo")
    os.symlink("gone", tmp_path / "link")
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(1 << 40)  # Takes no space.
    for name, reason in {
        "fifo": "a FIFO", "link": "a link that leads nowhere", "huge": "a file of 1024 GiB",
        ".": "a directory", "none": "not there",
    }.items():  # fmt: skip
        with pytest.raises(ConfigError, match=f"--x=.*must be a readable text file, but.*{reason}"):
            read_lines(str(tmp_path / name), "x")
    assert why_unreadable("/dev/zero") == "a device"
    (tmp_path / "list.txt").write_text("a")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_lines("~/list.txt", "x") == [(1, "a")]


def test_a_name_is_printed_in_one_line():
    odd = os.fsdecode(b"caf\xe9") + "\n\u2028\té"
    assert printable(odd) == r"caf\xe9\n\u2028\té"
