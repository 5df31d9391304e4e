"""Progress: a bar on a terminal, few lines elsewhere, nothing where it is hidden."""

import io
import sys
import threading
import time

import pytest
from PIL import Image

from tf_simclrv2 import progress
from tf_simclrv2.config import DataConfig
from tf_simclrv2.data.listing import find_images, list_images
from tf_simclrv2.data.sources import open_source


class _Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def now(monkeypatch):
    """The clock that bars look at."""
    now = [1000.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    return now


def _go(items, now, seconds):
    for item in items:
        now[0] += seconds
        yield item


def test_a_log_file_has_a_line_every_ten_seconds_that_says_what_is_left(now, capsys):
    for _ in progress.progress(_go(range(60), now, 1.0), "features", "image", total=60):
        pass
    lines = capsys.readouterr().err.split("\n")
    assert lines.pop() == "" and 4 <= len(lines) <= 7
    assert all(line.startswith("features: ") and "\r" not in line for line in lines)
    assert "/60 [" in lines[0] and "<" in lines[0] and "image/s" in lines[0]
    assert " 60/60 [" in lines[-1]


def test_what_takes_less_says_nothing_in_a_log_file(now, capsys):
    for _ in progress.progress(_go(range(9), now, 1.0), "features", total=9):
        pass
    assert capsys.readouterr().err == ""


def test_a_training_begins_with_a_line_and_ends_with_one(now, capsys):
    with progress.bar(3, "pretrain", "step", at_once=True) as bar:
        for _ in _go(range(3), now, 1.0):
            bar.update()
    first, last, rest = capsys.readouterr().err.split("\n")
    assert " 0/3 [" in first and " 3/3 [" in last and rest == ""


@pytest.mark.parametrize("stderr", [io.StringIO, _Terminal])
def test_nothing_is_shown_where_it_is_hidden(stderr, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(progress, "_SECONDS_UNSEEN", 0.0)
    written = stderr()
    monkeypatch.setattr(sys, "stderr", written)
    with progress.hidden():
        assert list(progress.progress([1, 2], "features")) == [1, 2]
        with progress.working("k-means"), progress.bar(3, at_once=True) as bar:
            bar.update(3)
        with progress.hidden(False):
            list(progress.progress([1], "features"))
    assert written.getvalue() == ""
    list(progress.progress([1], "features"))
    assert "features" in written.getvalue()


def test_a_terminal_has_a_bar_that_goes_when_it_is_done(monkeypatch):
    monkeypatch.setattr(progress, "_SECONDS_UNSEEN", 0.0)
    written = _Terminal()
    monkeypatch.setattr(sys, "stderr", written)
    list(progress.progress(range(5), "features"))
    assert "features:   0%" in written.getvalue() and "\n" not in written.getvalue()
    assert written.getvalue().endswith("\r")


def test_a_bar_of_less_than_a_second_is_not_seen(monkeypatch):
    written = _Terminal()
    monkeypatch.setattr(sys, "stderr", written)
    list(progress.progress(range(5), "features"))
    with progress.working("k-means"):
        pass
    assert "features" not in written.getvalue() and "k-means" not in written.getvalue()


def test_what_can_not_be_counted_shows_how_long_it_takes(monkeypatch):
    monkeypatch.setattr(progress, "_SECONDS_UNSEEN", 0.05)
    written = _Terminal()
    monkeypatch.setattr(sys, "stderr", written)
    with progress.working("k-means"):
        time.sleep(0.3)
    assert "k-means: 00:00" in written.getvalue()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_slow_first_item_is_seen_before_it_is_done(is_terminal, monkeypatch):
    shown = threading.Event()

    class Watched(io.StringIO):
        def isatty(self):
            return is_terminal

        def write(self, text):
            super().write(text)
            if " 0/2 [" in self.getvalue():
                shown.set()

    for name in "SECONDS_BETWEEN_LINES", "_SECONDS_UNSEEN", "_SECONDS_BETWEEN_REFRESHES":
        monkeypatch.setattr(progress, name, 0.02)
    written = Watched()
    monkeypatch.setattr(sys, "stderr", written)
    for item in progress.progress(range(2), "exporting", "format"):
        assert item or shown.wait(10)
    text = written.getvalue()
    assert text.startswith("\rexporting: " if is_terminal else "exporting: ")
    # A line that is not cleared would stay on the terminal, above what is printed next.
    assert text.endswith("\r") if is_terminal else " 2/2 [" in text.splitlines()[-1]


def test_lines_that_time_has_drawn_are_as_far_apart_as_others(now, monkeypatch, capsys):
    with progress.bar(9, "features") as bar:
        now[0] += 10
        bar.refresh()  # As the thread does.
        now[0] += 3
        bar.update()
        bar.refresh()
        now[0] += 7
        bar.update()
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition("[")[0].split()[-1] for line in lines] == ["0/9", "2/9"]


def test_an_error_ends_the_bar(monkeypatch):
    monkeypatch.setattr(progress, "_SECONDS_UNSEEN", 0.0)
    written = _Terminal()
    monkeypatch.setattr(sys, "stderr", written)
    with pytest.raises(KeyError), progress.working("k-means"):
        raise KeyError
    assert written.getvalue().endswith("\r") or written.getvalue() == ""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of six images in two classes, where no bar waits before it is shown."""
    for number in range(6):
        path = tmp_path / "images" / f"class_{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    return str(tmp_path / "images")


def _last(text, what):
    return [line for line in text.splitlines() if line.startswith(f"{what}: ")][-1]


def test_listing_a_folder_counts_its_files(folder, capsys):
    found = list_images(folder)
    assert len(found.files) == 6
    # Two directories and six files.
    assert "listing images: 8file [" in _last(capsys.readouterr().err, "listing images")
    assert len(find_images(f"{folder}/*/*.png")) == 6
    assert "listing images: 6file [" in _last(capsys.readouterr().err, "listing images")
    with progress.hidden():
        assert progress.is_hidden() and list_images(folder) == found
    assert capsys.readouterr().err == "" and not progress.is_hidden()


def test_fingerprints_of_folders_show_how_many_are_left(folder, capsys):
    source = open_source(DataConfig(dataset="folder", data_dir=folder, holdout_fraction=0.34))
    train = source.num_examples("train")
    before = source.fingerprint("train")
    assert f" {train}/{train} [" in _last(capsys.readouterr().err, "sizes of images")
    source.content_key("train")
    assert f" {train}/{train} [" in _last(capsys.readouterr().err, "times of images")
    assert source.fingerprint("train") == before
