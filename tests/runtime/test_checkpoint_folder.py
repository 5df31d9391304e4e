"""A damaged checkpoint is noticed, put aside and never deleted; saving survives a power cut."""

import contextlib
import errno
import os
import pathlib
import shutil

import pytest

from tf_simclrv2.config import ConfigError
from tf_simclrv2.keras2 import tf
from tf_simclrv2.runtime.checkpoint import newest_checkpoint
from tf_simclrv2.runtime.checkpoint_folder import damage_of, whole_checkpoint
from tf_simclrv2.runtime.checkpoint_saver import CheckpointSaver, remove_unfinished
from tf_simclrv2.runtime.devices import Devices
from tf_simclrv2.runtime.files import sync
from tf_simclrv2.runtime.run_directory import RunDirectory


def _flip(content, place):
    at = int(place * len(content))
    return content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :]


def _replace_by_directory(path):
    path.unlink()
    path.mkdir()


CHANGES = {
    "cut by a byte": lambda content: content[:-1],
    "cut to half": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
    "noise": lambda content: bytes(range(256)) * (len(content) // 256 + 1),
    "a bit at 10%": lambda content: _flip(content, 0.1),
    "a bit at 50%": lambda content: _flip(content, 0.5),
    "a bit at 99.9%": lambda content: _flip(content, 0.999),
}
DAMAGES = {
    **{
        f"{file}: {name}": (file, lambda path, change=change: path.write_bytes(
            change(path.read_bytes())))
        for file in ("data-00000-of-00001", "index")
        for name, change in CHANGES.items()
        # The end of an index is padding, in which a bit means nothing.
        if (file, name) != ("index", "a bit at 99.9%")
    },
    "data missing": ("data-00000-of-00001", pathlib.Path.unlink),
    "index missing": ("index", pathlib.Path.unlink),
    "data is a directory": ("data-00000-of-00001", _replace_by_directory),
}  # fmt: skip
STATES = {
    "empty": "",
    "noise": "\x00\x01garbage{{{",
    "torn": 'model_checkpoint_path: "ckpt-',
    "of a checkpoint that is gone": 'model_checkpoint_path: "ckpt-99"\n',
    "of another place": 'model_checkpoint_path: "/gone/ckpt-4"\n',
}


def _files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two") / "checkpoints"
    weights = tf.Variable(tf.random.normal([40]))
    saver = CheckpointSaver(str(folder), tf.train.Checkpoint(weights=weights), keep=5)
    for step in (2, 4):
        saver.save(step)
    return folder


@pytest.fixture
def folder(two, tmp_path):
    return pathlib.Path(shutil.copytree(two, tmp_path / "checkpoints"))


def test_a_whole_checkpoint_is_taken_without_a_word(folder, caplog):
    before = _files(folder)
    assert whole_checkpoint(str(folder), repair=True) == str(folder / "ckpt-4")
    assert (_files(folder), caplog.messages) == (before, [])
    assert tf.train.latest_checkpoint(str(folder)) == str(folder / "ckpt-4")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_checkpoint_is_put_aside_and_the_one_before_taken(damage, folder, caplog):
    suffix, change = DAMAGES[damage]
    change(folder / f"ckpt-4.{suffix}")
    damaged = _files(folder)
    # Who only reads changes nothing.
    assert whole_checkpoint(str(folder)) == str(folder / "ckpt-2")
    assert _files(folder) == damaged
    assert whole_checkpoint(str(folder), repair=True) == str(folder / "ckpt-2")
    after = _files(folder)
    for name, content in damaged.items():
        if name.startswith("ckpt-4"):
            assert after[os.path.join("damaged", name)] == content
    assert tf.train.latest_checkpoint(str(folder)) == str(folder / "ckpt-2")
    first, second = caplog.messages
    assert first.startswith(f"{folder}: damaged: ckpt-4 (")
    assert first.endswith("); ckpt-2 is taken")
    assert second == f"{first}; the damaged files are now in {folder}/damaged"


def test_a_second_damaged_checkpoint_does_not_replace_the_first(folder):
    for content in (b"first", b"second"):
        shutil.copy(folder / "ckpt-2.index", folder / "ckpt-4.index")
        (folder / "ckpt-4.data-00000-of-00001").write_bytes(content)
        (folder / "checkpoint").unlink(missing_ok=True)
        whole_checkpoint(str(folder), repair=True)
    for name, content in (("damaged", b"first"), ("damaged-2", b"second")):
        assert (folder / name / "ckpt-4.data-00000-of-00001").read_bytes() == content


@pytest.mark.parametrize("damage", ["index: empty", "data-00000-of-00001: a bit at 50%"])
def test_if_all_are_damaged_nothing_is_changed(damage, folder):
    suffix, change = DAMAGES[damage]
    for step in (2, 4):
        change(folder / f"ckpt-{step}.{suffix}")
    before = _files(folder)
    with pytest.raises(ConfigError, match="none of its checkpoints can be read") as error:
        whole_checkpoint(str(folder), repair=True)
    assert "\n" not in str(error.value)
    assert _files(folder) == before


@pytest.mark.parametrize("state", STATES)
def test_a_state_file_that_is_damaged_costs_nothing(state, folder):
    (folder / "checkpoint").write_text(STATES[state])
    assert whole_checkpoint(str(folder), repair=True) == str(folder / "ckpt-4")
    weights = tf.train.Checkpoint(weights=tf.Variable(tf.zeros([40])))
    CheckpointSaver(str(folder), weights, keep=2).save(6)
    assert tf.train.latest_checkpoint(str(folder)) == str(folder / "ckpt-6")
    assert sorted(path.name for path in folder.glob("*.index")) == ["ckpt-4.index", "ckpt-6.index"]


def test_a_checkpoint_is_on_disk_before_it_is_named_and_older_ones_go_last(folder, monkeypatch):
    calls, opened = [], {}
    real_open, real_fsync = os.open, os.fsync
    real_replace, real_remove = os.replace, os.remove

    def open_(path, *rest):
        number = real_open(path, *rest)
        opened[number] = os.path.basename(path)
        return number

    def fsync(number):
        calls.append(("sync", opened.pop(number)))
        real_fsync(number)

    def replace(path, target):
        calls.append(("name", os.path.basename(target)))
        real_replace(path, target)

    def remove(path):
        calls.append(("remove", os.path.basename(path)))
        real_remove(path)

    monkeypatch.setattr(os, "open", open_)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(os, "remove", remove)
    logged = folder.parent / "metrics.csv"
    logged.write_text("step\n")
    weights = tf.train.Checkpoint(weights=tf.Variable(1.0))
    CheckpointSaver(str(folder), weights, 1, lambda: [str(logged)]).save(6)
    data = "data-00000-of-00001"
    assert calls == [
        ("sync", "ckpt-6.index"), ("sync", f"ckpt-6.{data}"), ("sync", "metrics.csv"),
        ("sync", "checkpoints"), ("sync", folder.parent.name),
        ("sync", "checkpoint.tmp"), ("name", "checkpoint"), ("sync", "checkpoints"),
        ("remove", "ckpt-4.index"), ("remove", f"ckpt-4.{data}"),
        ("remove", "ckpt-2.index"), ("remove", f"ckpt-2.{data}"),
    ]  # fmt: skip


@pytest.mark.parametrize(("number", "raises"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_file_system_that_cannot_sync_is_no_error_but_a_bad_disk_is(number, raises, monkeypatch):
    def fail(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError) if raises else contextlib.nullcontext():
        sync(os.curdir)


def test_what_a_killed_save_leaves_is_removed(folder):
    before = _files(folder)
    (folder / "ckpt-6_temp").mkdir()
    (folder / "ckpt-6_temp" / "part-00000-of-00001.index").write_text("")
    (folder / "ckpt-6.index.tempstate12").write_text("")
    remove_unfinished(str(folder))
    assert _files(folder) == before


class _Worker(Devices):
    """One of two workers, without the other; ``told`` is what the chief says."""

    def __init__(self, is_chief, told=None):
        super().__init__()
        self.has_workers, self.is_chief, self.told = True, is_chief, told

    def agreed(self, number):
        self.told = number if self.is_chief else self.told
        return self.told


def test_the_chief_decides_for_all_workers(folder):
    run = RunDirectory(str(folder.parent))
    (folder / "ckpt-4.index").write_text("")
    chief = _Worker(is_chief=True)
    assert newest_checkpoint(run, chief, repair=True) == str(folder / "ckpt-2")
    # The other one doesn't look: it takes what it is told.
    assert newest_checkpoint(run, _Worker(False, 4), repair=False) == str(folder / "ckpt-4")
    (folder / "ckpt-2.index").write_text("")
    with pytest.raises(ConfigError, match="none of its checkpoints"):
        newest_checkpoint(run, chief, repair=True)
    with pytest.raises(ConfigError, match="the chief of the workers"):
        newest_checkpoint(run, _Worker(False, chief.told), repair=False)
    shutil.rmtree(folder)
    assert newest_checkpoint(run, chief, repair=True) is None
    assert newest_checkpoint(run, _Worker(False, chief.told), repair=False) is None


def test_damage_is_said_in_words(folder):
    path = folder / "ckpt-4.data-00000-of-00001"
    path.write_bytes(_flip(path.read_bytes(), 0.5))
    assert damage_of(str(folder / "ckpt-4")) == "a checksum does not match"
    assert damage_of(str(folder / "ckpt-9")) == "files are missing"
