"""Whether a look at a data set's images tells that they are grey."""

import numpy as np
import pytest
from PIL import Image

from tests.data.samples import encoded
from tests.data.test_tiles import needs_photographs
from tf_simclrv2.config import ConfigError, DataConfig, PretrainConfig
from tf_simclrv2.data.sources import open_source, open_unlabelled
from tf_simclrv2.data.stream import Stream
from tf_simclrv2.programs import command_line
from tf_simclrv2.training.suiting import are_grey, suited

CLASSES, IN_CLASS = 4, 50


def _are_grey(data, split="train", **more):
    return are_grey(Stream(open_source(data), split, 0, data=data, **more))


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
    return DataConfig(dataset="folder", data_dir=str(path))


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
    assert _are_grey(_written(tmp_path, GREY))


@pytest.mark.parametrize("place", range(CLASSES))
def test_one_class_with_colours_is_enough(tmp_path, place):
    kinds = [*GREY]
    kinds[place] = ("PNG", _tinted)
    assert not _are_grey(_written(tmp_path, kinds))


def test_damaged_files_do_not_count(tmp_path):
    _written(tmp_path, GREY)
    for number in range(0, IN_CLASS, 2):
        (tmp_path / "0" / f"{number:02}.png").write_bytes(b"no image")
    data = DataConfig(
        dataset="folder", data_dir=str(tmp_path), check_images="no", max_bad_images=0.9
    )
    assert _are_grey(data)


def test_a_table_of_labels_over_a_folder(tmp_path):
    _written(tmp_path / "images", GREY)
    table = tmp_path / "labels.csv"
    table.write_text("image,label\n0/01.png,a\n1/01.jpeg,b\n0/02.png,a\n1/02.jpeg,b\n")
    data = DataConfig(dataset="folder", data_dir=str(tmp_path / "images"), labels=str(table))
    assert all(_are_grey(data, split) for split in open_source(data).splits)


def test_further_images_count_too(tmp_path):
    data = _written(tmp_path / "grey", GREY)
    _written(tmp_path / "coloured", [("PNG", _tinted)] * CLASSES)
    coloured = open_unlabelled(str(tmp_path / "coloured"), data)
    assert not _are_grey(data, unlabelled=coloured)
    assert _are_grey(data, unlabelled=open_unlabelled(str(tmp_path / "grey"), data))


def test_a_line_of_red_ink_is_a_colour(tmp_path):
    def marked(image):
        coloured = image.convert("RGB")
        coloured.paste((200, 30, 30), (3, 3, 9, 4))
        return coloured

    assert not _are_grey(_written(tmp_path, [*GREY[:3], ("PNG", marked)]))


@pytest.mark.parametrize("count", [1, 3, 63, 64, 65, 200])
def test_images_from_the_first_to_the_last_are_looked_at(tmp_path, count):
    for number in range(count):
        make = _tinted if number == count - 1 else _same
        content = encoded(make(Image.fromarray(_pixels(number))), "PNG")
        (tmp_path / f"{number:03}.png").write_bytes(content)
    assert not _are_grey(DataConfig(dataset="folder", data_dir=str(tmp_path)))


def test_a_file_that_goes_while_it_is_read_stops_the_run(tmp_path):
    data = _written(tmp_path, GREY)
    stream = Stream(open_source(data), "train", 0, data=data)
    assert stream.num_examples
    for path in tmp_path.glob("*/*"):
        path.unlink()
    with pytest.raises(ConfigError, match="an image can't be read any more"):
        are_grey(stream)


def test_the_digits_are_grey():
    assert _are_grey(DataConfig(dataset="digits"), "train[:50%]")


@needs_photographs
def test_the_tiles_are_not_grey():
    assert not _are_grey(DataConfig(dataset="tiles"), "test")


@pytest.mark.parametrize("found", [0, 1])
def test_all_workers_take_what_was_agreed(found):
    built = command_line.build(PretrainConfig, {"model_dir": "run"})
    data = DataConfig(dataset="digits")
    stream = Stream(open_source(data), "train", 0, data=data)
    settled, _ = suited(built, {"model_dir"}, 16, stream, lambda own: found)
    assert settled.augmentation.use_crop == (not found)
