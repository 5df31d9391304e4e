"""Pictures by their ids, and images that are gone by the time they are read."""

import errno
import os
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tf_simclrv2.config import ConfigError, DataConfig
from tf_simclrv2.data.sources import open_source
from tf_simclrv2.keras2 import tf
from tf_simclrv2.training import frozen
from tf_simclrv2.training.pictures import pictures, reading

NAMES = ["1.png", "2 of 3.png", "3.png"]


@pytest.fixture
def data(tmp_path):
    for number, name in enumerate(NAMES):
        Image.new("RGB", (10, 9), (60 * number, 7, 9)).save(tmp_path / name)
    return DataConfig(
        dataset="folder", data_dir=str(tmp_path), class_level=0, image_size=8, eval_batch_size=2
    )


def test_pictures_are_those_of_the_ids(data):
    found = dict(pictures(open_source(data), "train", NAMES[1:]))
    assert list(found) == NAMES[1:]
    np.testing.assert_array_equal(found["3.png"], np.full([9, 10, 3], (120, 7, 9)))


def _pictures(data, source):
    return list(pictures(source, "train", NAMES))


def _index(data, source):
    return frozen._indexed(source, "train")


def _features(data, source):
    weights = SimpleNamespace(features=iter)
    opened = frozen.Frozen(weights, source, data)
    return list(opened._compute("train", len(NAMES), NAMES))


@pytest.mark.parametrize("read", [_pictures, _index, _features])
def test_an_image_that_has_vanished_is_named(data, tmp_path, read):
    source = open_source(data)
    assert read(data, source)
    os.remove(tmp_path / NAMES[1])
    with pytest.raises(ConfigError) as refused:
        read(data, source)
    assert str(refused.value) == (
        f"{source.called}: an image can't be read any more ({tmp_path / NAMES[1]}; "
        "No such file or directory)."
    )


DENIED = "{{function_node x}} /a b.png; Permission denied\n\t [[{{node ReadFile}}]]"


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/a b.png"),
        tf.errors.PermissionDeniedError(None, None, DENIED),
    ],
    ids=["python", "tensorflow"],
)
def test_an_image_that_may_not_be_read_is_named(error):
    source = SimpleNamespace(called="--dataset=folder")
    said = r"=folder: .* \(/a b.png; Permission denied\)\.$"
    with pytest.raises(ConfigError, match=said), reading(source):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/a b.png"),
        tf.errors.NotFoundError(None, None, "No registered operation"),
    ],
    ids=["python", "tensorflow"],
)
def test_other_errors_stay_what_they_are(error):
    source = SimpleNamespace(called="--dataset=folder")
    with pytest.raises(type(error)), reading(source):
        raise error
