"""Folders of images as data sets: their layouts, and corrupt files."""

import os

import numpy as np
import pytest
from PIL import Image

from tf_simclrv2.config import ConfigError, DataConfig
from tf_simclrv2.data.images import decode
from tf_simclrv2.data.sources import open_source, open_unlabelled
from tf_simclrv2.programs import logs


def _write(path, value=0, shape=(8, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*shape, 3), value, np.uint8)).save(path)


def _open(path, **settings):
    return open_source(DataConfig(dataset="folder", data_dir=str(path), **settings))


def _ids(source, split):
    return [example["id"].decode() for example in source.examples(split).as_numpy_iterator()]


def _refused(path, **settings):
    with pytest.raises(ConfigError) as error:
        source = _open(path, **settings)
        source.num_examples("train")
    assert "\n" not in str(error.value)
    return str(error.value)


class TestLayouts:
    def test_split_class_file(self, tmp_path):
        for index, (split, name) in enumerate(
            [("train", "dog"), ("train", "cat"), ("train", "cat"), ("test", "dog")]
        ):
            _write(tmp_path / split / name / f"{index}.png", 10 * index)
        (tmp_path / "train" / "cat" / "notes.txt").write_text("not an image")
        source = _open(tmp_path)
        assert source.class_names == ["cat", "dog"]
        assert {s: source.num_examples(s) for s in source.splits} == {"train": 3, "test": 1}
        assert source.evaluation_split(None) == "test"
        examples = list(source.examples("train").as_numpy_iterator())
        assert _ids(source, "train") == ["train/cat/1.png", "train/cat/2.png", "train/dog/0.png"]
        assert [example["label"] for example in examples] == [0, 0, 1]
        for example, value in zip(examples, (10, 20, 0)):
            image = decode(example["image"]).numpy()
            assert image.shape == (8, 10, 3)
            assert (image == value).all()

    def test_class_file_holds_out_a_seeded_part_of_each_class(self, tmp_path):
        for name, count in (("cat", 20), ("dog", 40)):
            for index in range(count):
                _write(tmp_path / name / f"{index}.png")
        source = _open(tmp_path, holdout_fraction=0.25)
        assert source.class_names == ["cat", "dog"]
        train, held_out = _ids(source, "train"), _ids(source, "validation")
        assert sum(file.startswith("cat/") for file in held_out) == 5
        assert sum(file.startswith("dog/") for file in held_out) == 10
        assert len(train) == 45 and not set(train) & set(held_out)
        assert source.evaluation_split(None) == "validation"
        assert _ids(_open(tmp_path, holdout_fraction=0.25), "validation") == held_out
        other = _open(tmp_path, holdout_fraction=0.25, holdout_seed=1)
        assert _ids(other, "validation") != held_out
        labels = [int(e["label"]) for e in source.examples("train")]
        assert labels == [int(file.startswith("dog/")) for file in train]

    def test_nothing_is_held_out_if_so_told(self, tmp_path):
        for name in ("cat", "dog"):
            _write(tmp_path / name / "1.png")
        source = _open(tmp_path, holdout_fraction=0)
        assert source.splits == ["train"] and source.num_examples("train") == 2

    @pytest.mark.parametrize("folder", [".", "train"])
    def test_files_without_labels(self, tmp_path, folder):
        for index in range(3):
            _write(tmp_path / folder / f"{index}.png")
        source = _open(tmp_path)
        assert source.class_names is None and source.num_classes is None
        assert source.splits == ["train"] and source.num_examples("train") == 3
        assert [int(example["label"]) for example in source.examples("train")] == [-1] * 3

    def test_a_folder_beside_a_data_set_is_searched_at_any_depth(self, tmp_path):
        for path in ("1.png", "a/2.png", "a/b/c/3.png", ".hidden/4.png"):
            _write(tmp_path / path)
        source = open_unlabelled(str(tmp_path), DataConfig())
        assert _ids(source, "train") == ["1.png", "a/2.png", "a/b/c/3.png"]
        with pytest.raises(
            ConfigError, match=r"--unlabeled_data_dir=.*missing: must be an existing"
        ):
            open_unlabelled(str(tmp_path / "missing"), DataConfig())
        os.makedirs(tmp_path / "nothing")
        with pytest.raises(ConfigError, match=r"--unlabeled_data_dir=.*nothing: must hold images"):
            open_unlabelled(str(tmp_path / "nothing"), DataConfig())

    def test_level_0_takes_images_at_any_depth_without_labels(self, tmp_path):
        for path in ("train/cat/1.png", "test/2.png", "3.png", "unlabelled/b/c/4.png"):
            _write(tmp_path / path)
        source = _open(tmp_path, class_level=0)
        assert source.splits == ["train"] and source.class_names is None
        assert _ids(source, "train") == [
            "3.png", "test/2.png", "train/cat/1.png", "unlabelled/b/c/4.png",
        ]  # fmt: skip

    def test_an_unknown_split_is_refused_with_those_there_are(self, tmp_path):
        for split in ("train", "test"):
            for name in ("cat", "dog"):
                _write(tmp_path / split / name / "1.png")
        with pytest.raises(ConfigError, match="--train_split=training: folder has the splits test"):
            _open(tmp_path).check_split("training", "train_split")

    @pytest.mark.parametrize(
        ("files", "words"),
        [
            ([], ["must hold images", "it holds none"]),
            (["cat/1.png"], ["a single class, cat", "two or more"]),
            (["train/cat/1.png", "test/cat/1.png"], ["a single class, cat"]),
            (["cat/1.png", "dog/"], ["classes without an image (dog)"]),
            (["train/cat/1.png", "train/dog/1.png", "train/cow/"], ["(train/cow)"]),
            (["cat/1.png", "2.png"], ["layouts", "2.png", "cat/1.png"]),
            (["a/b/c/1.png"], ["layouts", "a/b/c/1.png"]),
            (
                ["cat/1.png", "dog/1.png"],
                ["class cat has 1 image,", "--holdout_fraction=0 and --mode=train"],
            ),
        ],
    )
    def test_another_layout_is_refused(self, tmp_path, files, words):
        for file in files:
            if file.endswith("/"):
                os.makedirs(tmp_path / file)
            else:
                _write(tmp_path / file)
        sentence = _refused(tmp_path)
        assert all(word in sentence for word in ["--data_dir=", str(tmp_path), *words]), sentence

    @pytest.mark.parametrize(
        ("data_dir", "words"),
        [(None, ["--data_dir=None"]), ("missing", ["missing", "existing directory"])],
    )
    def test_a_missing_folder_is_refused(self, tmp_path, data_dir, words):
        data_dir = data_dir and str(tmp_path / data_dir)
        with pytest.raises(ConfigError) as error:
            open_source(DataConfig(dataset="folder", data_dir=data_dir))
        assert all(word in str(error.value) for word in words)


def test_images_of_every_kind_become_rgb(tmp_path):
    pixels = np.arange(80, dtype=np.uint8).reshape(8, 10)
    rgb = np.dstack([pixels] * 3)
    Image.fromarray(pixels, "L").save(tmp_path / "gray.png")
    Image.fromarray(np.dstack([pixels] * 4), "RGBA").save(tmp_path / "rgba.png")
    Image.fromarray(pixels, "L").convert("P").save(tmp_path / "palette.gif")
    frames = [Image.fromarray(p, "L").convert("P") for p in (pixels, 255 - pixels)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(rgb).save(tmp_path / "plain.BMP")
    Image.fromarray(rgb).save(tmp_path / "flat.jpg", quality=100)
    Image.fromarray(pixels, "L").save(tmp_path / "gray.jpeg", quality=100)
    Image.fromarray(rgb).save(tmp_path / "page.tif")
    Image.fromarray(rgb).save(tmp_path / "new.webp", lossless=True)
    source = _open(tmp_path)
    assert source.num_examples("train") == 9
    for example in source.examples("train"):
        image = decode(example["image"]).numpy().astype(int)
        name = example["id"].numpy()
        expected = rgb if name != b"rgba.png" else np.rint(255 - rgb / 255 * (255.0 - rgb))
        tolerance = 3 if b".jp" in name else 0
        assert np.abs(image - expected).max() <= tolerance, str(name)


class TestBadFiles:
    @pytest.fixture
    def folder(self, tmp_path):
        """A hundred good images, one of them cut short, and a text that claims to be one."""
        for index in range(100):
            path = tmp_path / ("cat" if index % 2 else "dog") / f"{index:02}.jpg"
            path.parent.mkdir(exist_ok=True)
            noise = np.random.RandomState(index).randint(0, 256, (16, 16, 3)).astype(np.uint8)
            Image.fromarray(noise).save(path)
        content = (tmp_path / "cat" / "17.jpg").read_bytes()
        (tmp_path / "cat" / "17.jpg").write_bytes(content[: len(content) // 2])
        (tmp_path / "dog" / "text.jpg").write_text("not an image")
        return tmp_path

    def test_they_are_left_out_counted_and_named(self, folder, capfd):
        source = _open(folder, holdout_fraction=0, max_bad_images=0.05)
        with logs.shown():
            assert source.num_examples("train") == 99
        ids = _ids(source, "train")
        assert len(ids) == 99 and not {"cat/17.jpg", "dog/text.jpg"} & set(ids)
        warnings = capfd.readouterr().err
        assert warnings.count("warning: corrupt, left out: cat/17.jpg") == 1
        assert warnings.count("warning: corrupt, left out: dog/text.jpg") == 1
        assert warnings.count("2 of the 101 files") == 1

    def test_more_than_allowed_are_refused(self, folder):
        sentence = _refused(folder, holdout_fraction=0)
        assert "--max_bad_images=0.01: 2 of the 101 files of train" in sentence
        assert "cat/17.jpg" in sentence

    def test_the_first_is_refused_if_so_told(self, folder):
        sentence = _refused(folder, holdout_fraction=0, max_bad_images=0.5, strict_images=True)
        assert "--strict_images=True" in sentence
        assert "cat/17.jpg is no whole image (corrupt)" in sentence

    def test_none_is_whole(self, tmp_path):
        (tmp_path / "1.jpg").write_text("not an image")
        assert "1 of the 1 files" in _refused(tmp_path, max_bad_images=0.99)

    def test_too_small_images_are_named_with_their_size(self, tmp_path):
        _write(tmp_path / "1.png")
        _write(tmp_path / "2.png", shape=(20, 7))
        sentence = _refused(tmp_path)
        assert "2.png has 20x7 pixels" in sentence and "at least 8" in sentence


def test_tfds_without_a_network_says_what_to_do(monkeypatch):
    import tensorflow_datasets as tfds

    def fails(*arguments, **keywords):
        raise ConnectionError("no route to host\nand more lines")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fails)
    with pytest.raises(ConfigError) as error:
        open_source(DataConfig(dataset="mnist"))
    sentence = str(error.value)
    assert "\n" not in sentence
    for word in ("--dataset=mnist", "no route to host", "tfds build mnist", "--data_dir"):
        assert word in sentence


@pytest.mark.parametrize("target", ["nowhere.png", "odd.png"])
def test_a_link_that_leads_nowhere_is_left_out_of_the_fingerprint_too(tmp_path, target):
    for name in ("cat", "dog"):
        for index in range(4):
            _write(tmp_path / name / f"{index}.png", index)
    before = _open(tmp_path, holdout_fraction=0.0).fingerprint("train")
    (tmp_path / "cat" / "odd.png").symlink_to(tmp_path / "cat" / target)
    source = _open(tmp_path, holdout_fraction=0.0, max_bad_images=0.5)
    assert source.num_examples("train") == 8
    assert source.fingerprint("train") == before
