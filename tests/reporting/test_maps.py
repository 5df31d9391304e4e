"""Maps, neighbours and pictures are of the images that they say they are of."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image
from sklearn.neighbors import NearestNeighbors

from tf_simclrv2.reporting import album, galleries, maps
from tf_simclrv2.reporting.answers import Answer
from tf_simclrv2.reporting.maps import Shown


def groups(images, dim=16, seed=0):
    """Representations in three groups far apart, and which image is in which."""
    random = np.random.RandomState(seed)
    of = np.arange(images) % 3
    return (10 * np.eye(dim)[of] + random.randn(images, dim)).astype(np.float32), of


def test_neighbours_are_those_of_scikit_learn():
    values, _ = groups(50)
    found = maps.map_of(values, [3, 20], 6).neighbours
    nearest = NearestNeighbors(n_neighbors=7, metric="cosine").fit(values)
    wanted = nearest.kneighbors(values[[3, 20]], return_distance=False)[:, 1:]
    np.testing.assert_array_equal(found, wanted)


def test_groups_stay_apart_on_the_map():
    values, of = groups(90)
    found = maps.map_of(values, [0], 3)
    places = found.places
    assert "t-SNE" in found.by
    centres = np.stack([places[of == group].mean(axis=0) for group in range(3)])
    nearest = np.linalg.norm(places[:, None] - centres, axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest, of)
    np.testing.assert_array_equal(maps.map_of(values, [0], 3).places, places)


@pytest.mark.parametrize("images", [1, 2, 3, 9, 10, 11])
@pytest.mark.parametrize("dim", [1, 2, 16])
def test_few_images_have_places(images, dim):
    values = np.random.RandomState(1).randn(images, dim)
    found = maps.map_of(values, [0], 6)
    assert found.places.shape == (images, 2) and np.isfinite(found.places).all()
    assert found.neighbours.shape == (1, min(6, images - 1))


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_a_collapse_is_no_map(value):
    found = maps.map_of(np.full([20, 4], value), [0, 1], 2)
    assert not found.by and not found.places.any()


def test_samples_are_of_all_classes():
    labels = np.array([0] * 50 + [1] * 5 + [2])
    shown = Shown("test", [str(n) for n in range(56)], labels, 56)
    found = maps.samples_of(shown, 8)
    assert sorted(labels[found].tolist()) == [0, 0, 0, 0, 1, 1, 1, 2]
    assert len(set(found)) == 8
    assert len(maps.samples_of(shown._replace(ids=["0"], labels=labels[:1]), 8)) == 1


def test_points_say_which_image_they_are():
    found = maps.points(np.array([[1.0, 2.0], [3.0, 4.00049]]), ["a", ""], [True, False])
    assert found == [
        {"x": 1.0, "y": 2.0, "name": "a", "wrong": True, "image": 0},
        {"x": 3.0, "y": 4.0, "name": "", "wrong": False, "image": 1},
    ]


def decoded(address):
    content = base64.b64decode(re.fullmatch(r"data:image/(?:png|jpeg);base64,(.*)", address)[1])
    return np.asarray(Image.open(io.BytesIO(content)))


def test_an_album_has_each_picture_in_its_place(monkeypatch):
    ids = [str(n) for n in range(7)]
    pixels = {each: np.full([8, 8, 3], 30 * n, np.uint8) for n, each in enumerate(ids)}

    def backwards(source, split, wanted):
        # In the order of the source.
        return [(each, pixels[each]) for each in reversed(wanted)]

    monkeypatch.setattr(album, "pictures", backwards)
    found = album.album(None, "test", ids)
    assert (found.columns, found.rows) == (3, 3)
    sheet = decoded(found.source)
    for number in range(7):
        row, column = divmod(number, 3)
        tile = sheet[row * 48 : row * 48 + 48, column * 48 : column * 48 + 48]
        assert np.abs(tile.astype(int) - 30 * number).max() <= 3


def test_pictures_keep_their_form():
    assert decoded(album.picture(np.zeros([20, 10, 3], np.uint8))).shape == (20, 10, 3)
    assert decoded(album.picture(np.zeros([1000, 500, 3], np.uint8))).shape == (144, 72, 3)


def test_galleries_begin_with_the_worst():
    given = [Answer(str(n), "a", "b" if n % 2 else "a", n / 100) for n in range(40)]
    mistakes = galleries.most_confident_mistakes([*given, Answer("x", "", "b", 1.0)])
    assert [each.image for each in mistakes[:3]] == ["39", "37", "35"] and len(mistakes) == 12
    assert [each.image for each in galleries.least_sure(given)[:3]] == ["0", "1", "2"]
    item = galleries.item_of(mistakes[0], {"39": "data:image/png;base64,"})
    assert (item.title, item.lines, item.is_small) == ("b (39%)", ["in truth a"], True)
