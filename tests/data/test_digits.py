"""The digits: real images, whole and in their own order, through TensorFlow Datasets."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tf_simclrv2.config import ConfigError, DataConfig
from tf_simclrv2.data.images import decode
from tf_simclrv2.data.sources import open_source


def test_digits_are_those_of_scikit_learn():
    source = open_source(DataConfig(dataset="digits"))
    assert source.class_names == [str(digit) for digit in range(10)]
    assert {split: source.num_examples(split) for split in source.splits} == {
        "train": 1437,
        "test": 360,
    }
    read = {}
    for split in ("train", "test"):
        for example in source.examples(split):
            image = decode(example["image"]).numpy()
            assert image.shape == (8, 8, 3)
            assert (image == image[..., :1]).all()
            read[example["id"].numpy()] = (split, image[..., 0], int(example["label"]))
    assert len(read) == 1797

    digits = load_digits()
    expected = np.round(digits.images * 255 / 16)
    for split, truth in (("train", slice(0, 1437)), ("test", slice(1437, 1797))):
        mine = sorted((label, image.tobytes()) for at, image, label in read.values() if at == split)
        theirs = sorted(
            (int(label), image.astype(np.uint8).tobytes())
            for image, label in zip(expected[truth], digits.target[truth])
        )
        assert mine == theirs


def test_a_data_set_that_can_not_be_prepared_tells_what_to_do(monkeypatch, tmp_path):
    def no_network(*args, **kwargs):
        raise ConnectionError("Failed to resolve host\ndetails")

    source = open_source(DataConfig(dataset="digits"))
    monkeypatch.setattr(type(source._builder), "download_and_prepare", no_network)
    with pytest.raises(ConfigError) as error:
        open_source(DataConfig(dataset="digits", data_dir=str(tmp_path)))
    assert "tfds build digits" in str(error.value)
    assert "--data_dir" in str(error.value)
    assert "Failed to resolve host" in str(error.value)
    assert "\n" not in str(error.value)


def test_evaluation_split_is_validation_else_test():
    source = open_source(DataConfig(dataset="digits"))
    assert source.evaluation_split(None) == "test"
    assert source.evaluation_split("train[:10]") == "train[:10]"
    assert source.num_examples("train[:10]") == 10


def test_images_of_one_size_are_known_to_have_it():
    assert open_source(DataConfig()).usual_side("train") == 8
