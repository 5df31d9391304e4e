"""Whether a look at a data set's images tells that they are grey."""

import numpy as np
import pytest
from PIL import Image

from tests.data.samples import encoded
from tf_simclrv2.config import DataConfig
from tf_simclrv2.data.sources import open_source
from tf_simclrv2.data.suiting import are_grey

CLASSES, IN_CLASS = 4, 50


def _pixels(number):
    return np.random.RandomState(number).randint(0, 256, (20, 20), dtype=np.uint8)


def _written(path, kinds):
    """Images of four classes; those of each class are stored one after the other."""
    for place in range(CLASSES):
        (path / str(place)).mkdir(parents=True)
        for number in range(IN_CLASS):
            kind, make = kinds[place]
            content = encoded(make(Image.fromarray(_pixels(number))), kind)
            (path / str(place) / f"{number:02}.{kind.lower()}").write_bytes(content)
    return open_source(DataConfig(dataset="folder", data_dir=str(path), holdout_fraction=0.1))


def _same(image):
    return image


def _rgb(image):
    return image.convert("RGB")


def _tinted(image):
    return Image.merge("RGB", [image, image, image.point(lambda value: value * 9 // 10)])


def _indexed(image):
    return image.convert("P")


GREY = [("PNG", _same), ("JPEG", _rgb), ("PNG", _rgb), ("PNG", _indexed)]


def test_images_without_colours_are_grey_however_they_are_stored(tmp_path):
    assert are_grey(_written(tmp_path, GREY), "train")


@pytest.mark.parametrize("place", range(CLASSES))
def test_one_class_with_colours_is_enough(tmp_path, place):
    kinds = [*GREY]
    kinds[place] = ("PNG", _tinted)
    assert not are_grey(_written(tmp_path, kinds), "train")


def test_damaged_files_do_not_count(tmp_path):
    _written(tmp_path, GREY)
    for number in range(0, IN_CLASS, 2):
        (tmp_path / "0" / f"{number:02}.png").write_bytes(b"no image")
    data = DataConfig(
        dataset="folder", data_dir=str(tmp_path), check_images="no", max_bad_images=0.9
    )
    assert are_grey(open_source(data), "train")


def test_a_table_of_labels_over_a_folder(tmp_path):
    _written(tmp_path / "images", GREY)
    table = tmp_path / "labels.csv"
    table.write_text("image,label\n0/01.png,a\n1/01.jpeg,b\n0/02.png,a\n1/02.jpeg,b\n")
    data = DataConfig(dataset="folder", data_dir=str(tmp_path / "images"), labels=str(table))
    source = open_source(data)
    assert all(are_grey(source, split) for split in source.splits)


def test_data_sets_that_ship():
    assert are_grey(open_source(DataConfig(dataset="digits")), "train[:50%]")
    assert not are_grey(open_source(DataConfig(dataset="tiles")), "test")
