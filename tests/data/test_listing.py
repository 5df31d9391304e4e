"""Which image files are found: hidden ones, links, odd names, and what is no file."""

import os

import pytest

from tf_simclrv2.config import ConfigError
from tf_simclrv2.data.listing import find_images, list_images


def _touch(root, *names):
    for name in names:
        path = os.path.join(os.fsencode(root), name if isinstance(name, bytes) else name.encode())
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb"):
            pass


def test_hidden_and_other_files_are_left_out_and_counted(tmp_path, caplog):
    _touch(tmp_path, "a/1.jpg", "a/2.PNG", "a/._1.jpg", ".ipynb_checkpoints/3.jpg", "a/4.xcf",
           "5.xcf", "notes.txt", "README")  # fmt: skip
    listing = list_images(str(tmp_path))
    assert listing.files == ["a/1.jpg", "a/2.PNG"]
    assert listing.left_out == {
        ".xcf": 2, ".txt": 1, "without a suffix": 1, "hidden files": 1, "hidden directories": 1,
    }  # fmt: skip
    listing.warn_of_left_out()
    assert "6 of the files" in caplog.text and "2 .xcf" in caplog.text


def test_a_directory_is_listed_once_under_its_own_path(tmp_path):
    _touch(tmp_path, "scans/b/1.jpg", "scans/z/2.jpg", "other/3.jpg")
    os.symlink("..", tmp_path / "scans/b/above")
    os.symlink("z", tmp_path / "scans/a_link_to_z")
    os.symlink("itself", tmp_path / "scans/itself")
    os.symlink("../other", tmp_path / "scans/outside")
    listing = list_images(str(tmp_path / "scans"))
    assert listing.files == ["b/1.jpg", "outside/3.jpg", "z/2.jpg"]
    assert listing.left_out["links to directories that are listed already"] == 2
    assert not listing.empty


def test_what_is_no_file_is_named_and_not_opened(tmp_path):
    _touch(tmp_path, "1.jpg")
    os.mkfifo(tmp_path / "2.jpg")
    os.symlink("gone", tmp_path / "3.jpg")
    os.symlink("/dev/zero", tmp_path / "4.jpg")
    os.mkdir(tmp_path / "5.jpg")
    listing = list_images(str(tmp_path))
    assert listing.files == ["1.jpg", "2.jpg", "3.jpg", "4.jpg"]
    assert listing.unreadable == {
        "2.jpg": "a FIFO", "3.jpg": "a link that leads nowhere", "4.jpg": "a device",
    }  # fmt: skip
    assert listing.empty == ["5.jpg"]


def test_names_may_hold_any_bytes_commas_and_brackets(tmp_path, monkeypatch):
    names = [b"o,d.png", b"[1]*?.png", b"o\nd.png", b"o\xff.png"]
    _touch(tmp_path, *names)
    assert list(map(os.fsencode, list_images(str(tmp_path)).files)) == sorted(names)
    for name in names:
        path = os.path.join(str(tmp_path), os.fsdecode(name))
        assert find_images(f"{path},{tmp_path}/none.jpg") == [path, f"{tmp_path}/none.jpg"]
    _touch(tmp_path / "[2024],a", "1.jpg", "2.jpg", ".3.jpg")
    in_brackets = [f"{tmp_path}/[2024],a/{number}.jpg" for number in (1, 2)]
    assert find_images(f"{tmp_path}/[2024],a/*.jpg") == in_brackets
    assert find_images(f"{tmp_path}/[2024],a") == in_brackets
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_images("~/[2024],a/1.jpg") == in_brackets[:1]


def test_a_list_is_read_with_its_mark_line_breaks_and_home(tmp_path, monkeypatch):
    _touch(tmp_path, "é.jpg", "2.jpg")
    monkeypatch.setenv("HOME", str(tmp_path))
    listed = tmp_path / "list.txt"
    listed.write_bytes(b"\xef\xbb\xbf~/2.jpg\r\n\r\n" + b"~/\xe9.jpg\r\n")
    assert find_images(str(listed)) == [f"{tmp_path}/2.jpg", f"{tmp_path}/é.jpg"]
    listed.write_bytes(b"a.jpg\n\0\0")
    with pytest.raises(ConfigError, match=r"--images=.*list\.txt.*line 2"):
        find_images(str(listed))
