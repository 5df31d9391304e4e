"""Copies of a picture are told from other pictures by their pixels."""

import io

import numpy as np
import pytest
from PIL import Image

from tf_simclrv2.labelling.same_picture import is_same, reduced


def _picture(seed=0, size=(48, 40)):
    """A smooth picture of random colours."""
    random = np.random.RandomState(seed)
    small = Image.fromarray(random.randint(40, 215, (5, 6, 3)).astype(np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def _saved(image):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=75)
    return Image.open(file).convert("RGB")


def _same(first, second):
    return is_same(*(reduced(np.asarray(image)) for image in (first, second)))


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image,
        _saved,
        lambda image: image.resize((96, 80)),
        lambda image: image.resize((24, 20), Image.Resampling.BOX),
        lambda image: image.resize((8, 8), Image.Resampling.BOX),
        lambda image: image.point(lambda value: value + 10),
    ],
    ids=["the same", "saved", "larger", "smaller", "tiny", "brighter"],
)
def test_a_changed_copy_is_the_same_picture(change):
    picture = _picture()
    assert _same(picture, change(picture)) and _same(change(picture), picture)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: _picture(1),
        lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        lambda image: image.point(lambda value: value + 40),
        lambda image: image.point(lambda value: 255 - value),
        lambda image: Image.new("RGB", image.size, (128, 128, 128)),
        lambda image: Image.blend(image, _picture(1), 0.2),
    ],
    ids=["other", "mirrored", "much brighter", "inverted", "plain", "mixed"],
)
def test_another_picture_is_not_the_same(change):
    picture = _picture()
    assert not _same(picture, change(picture)) and not _same(change(picture), picture)


def test_plain_pictures_of_other_colours_differ():
    plain = [Image.new("RGB", (20, 20), (value, value, value)) for value in (0, 2, 255)]
    assert _same(plain[0], plain[1]) and not _same(plain[0], plain[2])


def test_a_picture_of_one_pixel_is_compared():
    assert _same(Image.new("RGB", (1, 1)), Image.new("RGB", (1, 1)))
