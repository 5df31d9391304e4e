"""Two views of one's own images: those that a run draws, whatever the images come as."""

import itertools

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from tf_simclrv2.config import AugmentationConfig, DataConfig
from tf_simclrv2.data.batches import Views, batches
from tf_simclrv2.data.images import decode, read
from tf_simclrv2.data.sources import open_source
from tf_simclrv2.data.stream import Stream
from tf_simclrv2.data.two_views import two_views
from tf_simclrv2.data.views import ready_for_network
from tf_simclrv2.keras2 import tf

NAMES = ("view_1", "view_2")
CONFIG = AugmentationConfig(color_jitter_strength=0.5)


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    """The stream of a run on PNGs of varying size, and its images, decoded, in their order."""
    folder = tmp_path_factory.mktemp("images")
    photograph = load_sample_image("flower.jpg")
    for number in range(12):
        part = photograph[7 * number :, 11 * number :][: 40 + number, : 60 - 2 * number]
        Image.fromarray(part).save(folder / f"{number}.png")
    data = DataConfig(dataset="folder", data_dir=str(folder))
    return Stream(open_source(data), "train", 3, data=data)


def _images(stream):
    return stream.examples().map(lambda example: decode(read(example)["image"]))


def _take(dataset, count):
    return list(itertools.islice(dataset.as_numpy_iterator(), count))


def _assert_equal(made, expected):
    assert len(made) == len(expected) > 0
    for one, other in zip(made, expected):
        for name in NAMES:
            np.testing.assert_array_equal(one[name], other[name], name)


@pytest.mark.slow
@pytest.mark.parametrize("size", [24, 64])
def test_they_are_the_views_of_a_run_with_the_same_images_and_seed(stream, size):
    expected = _take(batches(stream, Views.two(size, CONFIG), 5), 4)
    made = two_views(_images(stream), size, CONFIG, seed=3)
    assert {name: spec.shape for name, spec in made.element_spec.items()} == {
        name: (size, size, 3) for name in NAMES
    }
    batched = _take(made.batch(5), 4)
    assert batched[0]["view_1"].dtype == np.uint8
    _assert_equal(batched, expected)


def test_images_may_be_encoded_or_uint8_or_float(stream):
    expected = _take(two_views(_images(stream), 24, CONFIG), 8)
    for kind in (
        stream.examples().map(lambda example: read(example)["image"]),
        _images(stream).map(lambda image: tf.cast(image, tf.float32) / 255),
        _images(stream).map(lambda image: tf.cast(image, tf.float64) / 255),
    ):
        _assert_equal(_take(two_views(kind, 24, CONFIG), 8), expected)


def test_grayscale_images_become_rgb(stream):
    gray = _images(stream).map(lambda image: image[..., :1])
    expected = two_views(gray.map(lambda image: tf.repeat(image, 3, axis=-1)), 24)
    _assert_equal(_take(two_views(gray, 24), 4), _take(expected, 4))


def test_what_else_an_element_holds_is_kept(stream):
    labelled = _images(stream).enumerate()
    labelled = labelled.map(lambda number, image: {"image": image, "label": number, "a": "b"})
    made = _take(two_views(labelled, 24, CONFIG), 3)
    assert [sorted(each) for each in made] == [["a", "label", *NAMES]] * 3
    assert [each["label"] for each in made] == [0, 1, 2]
    _assert_equal(made, _take(two_views(_images(stream), 24, CONFIG), 3))


def test_an_element_s_views_are_a_function_of_seed_and_position(stream):
    image = next(iter(_images(stream)))
    same = tf.data.Dataset.from_tensors(image).repeat(20)
    made = two_views(same, 24)
    tf.random.set_seed(1)
    first = _take(made, 20)
    assert len(first) == 20
    tf.random.set_seed(2)
    _assert_equal(_take(made, 20), first)
    everything = [each[name] for each in first for name in NAMES]
    everything += [each[name] for each in _take(two_views(same, 24, seed=1), 20) for name in NAMES]
    assert len({view.tobytes() for view in everything}) == 80


def test_the_second_stage_is_left_to_the_device_if_so_told(stream):
    host = _take(two_views(_images(stream), 24, CONFIG).batch(6), 2)
    config = AugmentationConfig(color_jitter_strength=0.5, augment_on="device")
    for one, other in zip(host, two_views(_images(stream), 24, config).batch(6)):
        assert sorted(other) == ["view_1", "view_1_draws", "view_2", "view_2_draws"]
        ready = ready_for_network(other, config)
        for name in NAMES:
            assert np.abs(one[name] / 255 - ready[name]).max() <= 1 / 255


def test_without_a_distortion_views_are_only_resized(stream):
    plain = AugmentationConfig(
        color_jitter_strength=0, use_blur=False, use_flip=False, use_crop=False
    )
    for augment_on in ("host", "device"):
        config = AugmentationConfig(**{**vars(plain), "augment_on": augment_on})
        made = _take(two_views(_images(stream), 24, config), 3)
        assert [sorted(each) for each in made] == [list(NAMES)] * 3
        for each, image in zip(made, _images(stream)):
            expected = np.clip(tf.image.resize(image, [24, 24], "bicubic"), 0, 255)
            for name in NAMES:
                np.testing.assert_allclose(each[name], expected, atol=0.501)


@pytest.mark.parametrize(
    ("element", "words"),
    [
        (np.zeros([2, 8, 8, 3], np.uint8), "one by one.*unbatch"),
        (np.zeros([8, 8, 4], np.uint8), r"shape \[height, width, 3\]"),
        (np.zeros([8, 8, 3], np.int32), "uint8, float in.*but are int32"),
        (["a.png", "b.png"], "one by one"),
        ((np.zeros([8, 8, 3], np.uint8), 1), "an image, or a dict"),
        ({"picture": np.zeros([8, 8, 3], np.uint8)}, "under the name image"),
    ],
)
def test_elements_that_are_no_images_are_refused(element, words):
    with pytest.raises(ValueError, match=words):
        two_views(tf.data.Dataset.from_tensors(element), 8)


def test_float_images_up_to_255_are_refused():
    images = tf.data.Dataset.from_tensors(np.full([8, 8, 3], 200.0, np.float32))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"divide those in .* by 255"):
        _take(two_views(images, 8), 1)
