"""Stored features: computed once; none that is damaged, half written or of others is used."""

import errno
import json
import os
import threading

import numpy as np
import pytest

from tf_simclrv2.config import ConfigError
from tf_simclrv2.runtime import disk, feature_store
from tf_simclrv2.runtime.feature_store import FeatureStore, Images

DIM = 3


class Network:
    """Stands for a network: the features of image "7" are 7, 7.5 and 8."""

    def __init__(self, batch=4):
        self.batch, self.computed = batch, []

    def __call__(self, ids):
        for start in range(0, len(ids), self.batch):
            part = ids[start : start + self.batch]
            self.computed += part
            yield values_of(part)


def values_of(ids):
    return np.float32([[int(i), int(i) + 0.5, int(i) + 1] for i in ids])


def images(*numbers, changed=()):
    return Images([str(n) for n in numbers], ["new" if n in changed else "old" for n in numbers])


@pytest.fixture(autouse=True)
def _short_blocks(monkeypatch):
    monkeypatch.setattr(feature_store, "_ROWS", 5)


@pytest.fixture
def store(tmp_path):
    return FeatureStore(str(tmp_path), "weights", DIM, "float32")


def stored_names(store):
    return [n for n in os.listdir(os.path.join(store.run, "features")) if not n.startswith(".")]


def test_features_are_computed_once_and_mapped(store):
    network, wanted = Network(), images(*range(13))
    first = store.features(["train"], wanted, network)
    second = store.features(["train"], wanted, network)
    assert network.computed == wanted.ids
    for found in (first, second):
        assert isinstance(found, np.memmap)
        np.testing.assert_array_equal(np.load(found.filename), found)
        np.testing.assert_array_equal(found, values_of(wanted.ids))


def test_only_images_that_are_new_or_have_changed_are_computed(store):
    store.features(["train"], images(0, 1, 2, 3, 4, 5, 6), Network())
    store.features(["test"], images(20, 21), Network())
    network = Network(batch=2)
    # One has gone, one came from the other split, one has changed, some are new, in another order.
    wanted = images(30, 6, 5, 21, 4, 31, 3, 2, 32, 33, 1, changed=(4,))
    found = store.features(["train"], wanted, network)
    assert network.computed == ["30", "4", "31", "32", "33"]
    np.testing.assert_array_equal(found, values_of(wanted.ids))
    # The newest of each name are kept, and those before.
    assert len(stored_names(store)) == 3
    for number in range(3):
        store.features(["train"], images(number), Network())
    assert len(stored_names(store)) == 3


def test_images_of_another_data_set_are_never_taken_for_these(store):
    """They may have the same names, sizes and times, as in archives that are reproducible."""
    wanted, network = images(1, 2), Network()
    store.features(["train", "folder", "/a"], wanted, Network())
    store.features(["train", "folder", "/b"], wanted, network)
    assert network.computed == ["1", "2"]
    store.features(["validation", "folder", "/a"], images(2, 3), network)
    assert network.computed == ["1", "2", "3"]


def test_other_weights_and_formats_have_features_of_their_own(store, tmp_path):
    wanted, network = images(1, 2), Network()
    store.features(["train"], wanted, Network())
    for other in (("others", "float32"), ("weights", "float16")):
        found = FeatureStore(str(tmp_path), other[0], DIM, other[1])
        assert found.features(["train"], wanted, network).dtype == other[1]
    assert network.computed == ["1", "2"] * 2


def _cut(path):
    os.truncate(path / "values.npy", os.path.getsize(path / "values.npy") - 4)


def _flip(path):
    content = bytearray((path / "values.npy").read_bytes())
    content[-1] ^= 1
    (path / "values.npy").write_bytes(content)


def _other_ids(path):
    content = json.loads((path / "images.json").read_text())
    content["ids"][0] = "99"
    (path / "images.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    "damage",
    [
        _cut,
        _flip,
        _other_ids,
        lambda path: (path / "values.npy").write_bytes(b""),
        lambda path: (path / "values.npy").write_bytes(
            b"\x93NUMPY\x01\x00v\x00{'descr': (((((" * 9
        ),
        lambda path: (path / "values.npy").unlink(),
        lambda path: (path / "images.json").unlink(),
        lambda path: (path / "images.json").write_text("[" * 100_000),
        lambda path: (path / "images.json").write_text("3"),
        lambda path: ((path / "images.json").unlink(), os.mkfifo(path / "images.json")),
    ],
)
def test_damaged_ones_are_computed_anew_with_a_line(store, tmp_path, caplog, damage):
    wanted = images(*range(7))
    store.features(["train"], wanted, Network())
    damage(tmp_path / "features" / stored_names(store)[0])
    network = Network()
    found = store.features(["train"], wanted, network)
    assert network.computed == wanted.ids
    np.testing.assert_array_equal(found, values_of(wanted.ids))
    assert "is damaged" in caplog.text
    store.features(["train"], wanted, network)
    assert network.computed == wanted.ids


def test_nothing_is_left_of_what_failed(store, tmp_path):
    def fails(ids):
        yield values_of(ids[:6])
        raise KeyboardInterrupt

    wanted = images(*range(20))
    with pytest.raises(KeyboardInterrupt):
        store.features(["train"], wanted, fails)
    assert os.listdir(tmp_path / "features") == [".features.lock"]
    # And what a kill leaves is removed the next time.
    left = tmp_path / "features" / ".new-abcdefgh"
    (left / "new").mkdir(parents=True)
    (left / "new" / "values.npy").write_bytes(b"half")
    os.utime(left, (0, 0))
    np.testing.assert_array_equal(
        store.features(["train"], wanted, Network()), values_of(wanted.ids)
    )
    assert not left.exists()


def test_a_disk_with_too_little_space_is_refused_before_anything_is_computed(store, monkeypatch):
    monkeypatch.setattr(feature_store, "free_bytes", lambda path: 1000)
    network = Network()
    with pytest.raises(ConfigError, match=r"about 22\.4 KB are needed"):
        store.features(["train"], images(*range(200)), network)
    assert network.computed == []


def test_a_disk_that_fills_up_is_named_and_leaves_nothing(store, monkeypatch):
    def full(ids):
        yield values_of(ids[:6])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(disk, "free_bytes", lambda path: 17)
    with pytest.raises(ConfigError, match=r"No space left on device; 17 bytes are free"):
        store.features(["train"], images(*range(20)), full)
    assert stored_names(store) == []


def test_a_run_that_can_not_be_written_gives_features_all_the_same(store, monkeypatch, caplog):
    def read_only(folder, name):
        raise PermissionError(errno.EROFS, os.strerror(errno.EROFS), folder)

    monkeypatch.setattr(feature_store, "only_one", read_only)
    wanted = images(*range(20))
    found = store.features(["train"], wanted, Network())
    np.testing.assert_array_equal(found, values_of(wanted.ids))
    assert "Read-only file system" in caplog.text
    assert not os.path.exists(os.path.join(store.run, "features"))


def test_features_that_the_format_can_not_hold_are_refused(tmp_path):
    half = FeatureStore(str(tmp_path), "weights", DIM, "float16")
    with pytest.raises(ConfigError, match=r"--feature_type=float16: .* up to 1e\+05; float32 may"):
        half.features(["train"], images(1, 99999), Network())
    assert stored_names(half) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_features_that_are_not_finite_are_refused_whatever_the_format(tmp_path, dtype, bad):
    store = FeatureStore(str(tmp_path), "weights", DIM, dtype)
    broken = lambda ids: iter([np.full([len(ids), DIM], bad, np.float32)])  # noqa: E731
    with pytest.raises(ConfigError, match=r"--model_dir=.* are not finite numbers") as refused:
        store.features(["train"], images(1, 2), broken)
    assert "float32" not in str(refused.value)
    assert stored_names(store) == []


def test_something_else_in_its_place_is_not_replaced(store, tmp_path):
    (tmp_path / "features").write_text("mine")
    with pytest.raises(ConfigError, match="features is a file, but must be a directory"):
        store.features(["train"], images(1), Network())
    assert (tmp_path / "features").read_text() == "mine"


def test_of_several_at_once_one_computes(store):
    network, wanted, found = Network(batch=1), images(*range(40)), []
    threads = [
        threading.Thread(target=lambda: found.append(store.features(["train"], wanted, network)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert network.computed == wanted.ids
    for values in found:
        np.testing.assert_array_equal(values, values_of(wanted.ids))
