"""Contact sheets: where pictures and captions are."""

import io

import numpy as np
import pytest
from PIL import Image

from tf_simclrv2.labelling.contact_sheet import SIDE, encoded, thumbnail, write_contact_sheet


def _colour(number, height=20, width=20):
    return np.full([height, width, 3], (number * 20, 10, 200), np.uint8)


def _written(images, captions):
    file = io.BytesIO()
    write_contact_sheet(file, images, captions)
    return np.asarray(Image.open(file))


def test_pictures_stand_in_rows_of_eight_in_their_order():
    sheet = _written([_colour(number) for number in range(10)], [f"{n}" for n in range(10)])
    height, width = 8 + SIDE + 15, 8 + SIDE
    assert sheet.shape == (2 * height + 8, 8 * width + 8, 3)
    for number in range(10):
        top, left = number // 8 * height + 8, number % 8 * width + 8
        assert sheet[top + SIDE // 2, left + SIDE // 2].tolist() == [number * 20, 10, 200]
    assert (sheet[height + 8 : height + 8 + SIDE, 3 * width :] == 255).all()


def test_a_caption_is_below_its_picture_within_its_width():
    blank = _written([_colour(1)] * 2, ["", "\n"])
    sheet = _written([_colour(1)] * 2, ["", "first\n" + "a long name of an image" * 9])
    drawn = np.argwhere((sheet != blank).any(axis=2))
    assert drawn[:, 0].min() >= 8 + SIDE
    assert drawn[:, 1].min() >= 8 + SIDE + 8
    assert drawn[:, 1].max() <= 8 + 2 * SIDE + 8


@pytest.mark.parametrize(
    "height, width, size",
    [(16, 16, (128, 128)), (50, 20, (40, 100)), (1000, 10, (1, 128)), (300, 600, (128, 64))],
)
def test_a_picture_keeps_its_shape(height, width, size):
    assert thumbnail(_colour(3, height, width)).size == size


def test_small_pictures_keep_their_pixels():
    image = np.random.RandomState(0).randint(0, 256, [16, 12, 3], np.uint8)
    np.testing.assert_array_equal(np.asarray(thumbnail(image))[::8, ::8], image)
    decoded = Image.open(io.BytesIO(encoded(image, 320)))
    np.testing.assert_array_equal(np.asarray(decoded), image)


def test_large_pictures_become_small_files():
    image = np.random.RandomState(0).randint(0, 256, [900, 1200, 3], np.uint8)
    decoded = Image.open(io.BytesIO(encoded(image, 320)))
    assert (decoded.format, decoded.size) == ("JPEG", (320, 240))


def test_each_picture_has_one_caption():
    with pytest.raises(ValueError, match="0 images"):
        write_contact_sheet(io.BytesIO(), [], [])
    with pytest.raises(ValueError, match="1 images and 2 captions"):
        write_contact_sheet(io.BytesIO(), [_colour(1)], ["a", "b"])
