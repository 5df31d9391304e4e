"""Examples on disk: made anew if they are damaged, and never another source's."""

import glob
import os
import tempfile

import numpy as np
import pytest
from PIL import Image

from tf_simclrv2.config import ConfigError, DataConfig
from tf_simclrv2.data import disk_cache
from tf_simclrv2.data.sources import Source, open_source, open_unlabelled
from tf_simclrv2.data.stream import Stream
from tf_simclrv2.keras2 import tf


@pytest.fixture(autouse=True)
def _checks_as_a_new_process_does(monkeypatch):
    monkeypatch.setattr(disk_cache, "_CHECKED", set())


def _write(folder, value, count=4):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(folder / f"{number}.png")


def _seen(data, unlabelled=None):
    disk_cache._CHECKED.clear()
    stream = Stream(open_source(data), "train", 0, data=data, unlabelled=unlabelled)
    examples = stream.examples().take(stream.num_examples).as_numpy_iterator()
    return sorted(
        (int(tf.io.decode_png(each["image"])[0, 0, 0]), int(each["label"])) for each in examples
    )


@pytest.fixture
def folder(tmp_path):
    for name, value in (("cat", 10), ("dog", 200)):
        _write(tmp_path / "one" / name, value)
    return tmp_path


def _data(folder, name="one", **more):
    settings = {"holdout_fraction": 0, "cache_path": f"{folder}/cache_", **more}
    return DataConfig(dataset="folder", data_dir=f"{folder}/{name}", **settings)


def test_changed_files_other_labels_and_other_folders_are_other_caches(folder):
    one = [(10, 0)] * 4 + [(200, 1)] * 4
    assert _seen(_data(folder)) == one == _seen(_data(folder))
    assert len(glob.glob(f"{folder}/cache_*")) == 1
    for name, value in (("cat", 11), ("dog", 99)):
        _write(folder / "two" / name, value)
    assert _seen(_data(folder, "two")) == [(11, 0)] * 4 + [(99, 1)] * 4
    _write(folder / "loose", 150, 8)
    loose = open_unlabelled(f"{folder}/loose", _data(folder))
    assert _seen(_data(folder), loose) == sorted([*one, *[(150, -1)] * 8])
    os.rename(folder / "one" / "cat", folder / "one" / "x")
    os.rename(folder / "one" / "dog", folder / "one" / "cat")
    os.rename(folder / "one" / "x", folder / "one" / "dog")
    assert _seen(_data(folder)) == [(10, 1)] * 4 + [(200, 0)] * 4
    _write(folder / "one" / "cat", 50)
    assert _seen(_data(folder)) == [(10, 1)] * 4 + [(50, 0)] * 4


def test_held_out_images_are_never_in_the_cache(folder):
    for seed in (0, 1):
        data = _data(folder, holdout_fraction=0.5, holdout_seed=seed)
        source = open_source(data)
        stream = Stream(source, "train", 0, data=data).examples().take(4)
        trained = {each["id"] for each in stream.as_numpy_iterator()}
        held_out = {each["id"] for each in source.index("validation").as_numpy_iterator()}
        assert len(trained | held_out) == 8


def _flip(path):
    with open(path, "r+b") as file:
        file.seek(os.path.getsize(path) // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def _empty(path):
    os.truncate(path, 0)


@pytest.mark.parametrize(
    ("which", "damage"),
    [("*.snapshot", _empty), ("*.snapshot", _flip), ("images", _empty), ("images", _flip),
     ("ends.npy", _empty), ("manifest.json", _empty), ("manifest.json", os.remove)],
)  # fmt: skip
def test_a_damaged_cache_is_made_anew(folder, damage, which, caplog):
    def opened(folder):
        return _data(folder, order="buffer" if which == "*.snapshot" else "index")

    expected = _seen(opened(folder))
    (cache,) = glob.glob(f"{folder}/cache_*")
    (damaged,) = glob.glob(f"{cache}/**/{which}", recursive=True)
    damage(damaged)
    assert _seen(opened(folder)) == expected
    assert f"{cache} was damaged and is made anew" in caplog.text
    assert glob.glob(f"{folder}/cache_*") == [cache]


def test_a_place_that_can_not_be_written_is_refused(folder):
    with pytest.raises(ConfigError, match=r"--cache_path=.*the directory .*none must exist"):
        _seen(_data(folder, cache_path=f"{folder}/none/cache_"))


def test_a_source_of_its_own_is_told_apart_by_its_examples():
    class Table(Source):
        splits = ("train",)

        def __init__(self, labels):
            self.name, self.class_names, self.labels = "table", ["a", "b"], labels

        def num_examples(self, split):
            return 2

        def index(self, split):
            columns = {"id": ["x", "y"], "image": [b"1", b"2"], "label": self.labels}
            return tf.data.Dataset.from_tensor_slices(columns)

    assert Table([0, 1]).content_key("train") == Table([0, 1]).content_key("train")
    assert Table([0, 1]).content_key("train") != Table([1, 0]).content_key("train")


def test_images_are_the_bytes_that_were_written():
    contents = [b"\0one\0\0", b"", b"two\0"]
    with tempfile.TemporaryDirectory() as directory:
        images = tf.data.Dataset.from_tensor_slices(contents)
        caches = [
            disk_cache.images_on_disk(part, f"{directory}/cache_", "x", name)
            for part, name in ((images.take(2), "a"), (images.skip(2), "b"))
        ]
        image = disk_cache.kept_images(caches)
        seen = tf.data.Dataset.range(3).map(image).as_numpy_iterator()
        assert list(seen) == contents
