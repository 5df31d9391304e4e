"""A folder of images as a data set."""

import numpy as np
import pytest
from PIL import Image

from tf_simclrv2.config import ConfigError, DataConfig
from tf_simclrv2.data.sources import decode, open_source


def _write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 6, 3), value, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    for index, (split, name) in enumerate(
        [("train", "dog"), ("train", "cat"), ("train", "cat"), ("test", "dog")]
    ):
        _write(tmp_path / split / name / f"{index}.png", 10 * index)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("not an image")
    return tmp_path


def test_splits_classes_and_examples_are_those_of_the_files(folder):
    source = open_source(DataConfig(dataset="folder", data_dir=str(folder)))
    assert source.class_names == ["cat", "dog"]
    assert {split: source.num_examples(split) for split in source.splits} == {"train": 3, "test": 1}
    assert source.evaluation_split(None) == "test"
    examples = list(source.examples("train").as_numpy_iterator())
    assert [example["id"].decode() for example in examples] == [
        "train/cat/1.png",
        "train/cat/2.png",
        "train/dog/0.png",
    ]
    assert [example["label"] for example in examples] == [0, 0, 1]
    for example, value in zip(examples, (10, 20, 0)):
        image = decode(example["image"]).numpy()
        assert image.shape == (4, 6, 3)
        assert (image == value).all()


def test_grayscale_transparent_and_palette_images_become_rgb(tmp_path):
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6)
    folder = tmp_path / "train" / "a"
    folder.mkdir(parents=True)
    Image.fromarray(pixels, "L").save(folder / "gray.png")
    Image.fromarray(np.dstack([pixels] * 4), "RGBA").save(folder / "rgba.png")
    Image.fromarray(pixels, "L").convert("P").save(folder / "palette.gif")
    source = open_source(DataConfig(dataset="folder", data_dir=str(tmp_path)))
    for example in source.examples("train"):
        image = decode(example["image"]).numpy()
        np.testing.assert_array_equal(image, np.dstack([pixels] * 3), str(example["id"].numpy()))


@pytest.mark.parametrize(
    ("data_dir", "words"),
    [(None, ["--data_dir=None"]), ("missing", ["missing", "existing directory"])],
)
def test_a_missing_folder_is_refused(tmp_path, data_dir, words):
    data_dir = data_dir and str(tmp_path / data_dir)
    with pytest.raises(ConfigError) as error:
        open_source(DataConfig(dataset="folder", data_dir=data_dir))
    assert all(word in str(error.value) for word in words)


def test_a_folder_laid_out_otherwise_is_refused(tmp_path):
    _write(tmp_path / "cat" / "1.png", 0)
    with pytest.raises(ConfigError, match="split/class/file"):
        open_source(DataConfig(dataset="folder", data_dir=str(tmp_path)))


def test_an_unknown_split_is_refused_with_those_there_are(folder):
    source = open_source(DataConfig(dataset="folder", data_dir=str(folder)))
    with pytest.raises(ConfigError, match="--train_split=training: folder has the splits test, tr"):
        source.check_split("training", "train_split")
