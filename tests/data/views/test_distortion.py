"""Draws, and the second stage as a whole: flips, and the same views on host and device."""

import dataclasses
import itertools
import re
import types

import numpy as np
import pytest

from tests.data.views.helpers import (
    DRAWS,
    PATHS,
    assert_probability,
    assert_uniform,
    on_device,
    on_host,
    photographs,
    some_draws,
)
from tf_simclrv2.config import AugmentationConfig, DataConfig
from tf_simclrv2.data.batches import Views, batches
from tf_simclrv2.data.decoding import PLAIN
from tf_simclrv2.data.stream import Stream
from tf_simclrv2.data.views import distort, draw, ready_for_network
from tf_simclrv2.keras2 import tf


def test_draws_are_independent_of_each_other_and_of_those_of_neighbouring_seeds():
    """Neighbouring seeds are those of views, runs and blocks of steps."""
    everything = []
    for seed in ([5, 0], [6, 0], [5, 1], [4, 0]):
        crops, draws = draw(tf.constant(seed, tf.int64), DRAWS)
        assert len(np.unique(crops)) == 2 * DRAWS
        everything += [crops.numpy() / 2.0**63, draws.numpy()]
    for column in np.concatenate(everything, axis=1).T:
        assert_uniform(column, *((-1, 1) if column.min() < 0 else (0, 1)))
    correlations = np.corrcoef(np.concatenate(everything, axis=1).T)
    # Some 1800 of them: six standard deviations.
    assert np.abs(correlations - np.eye(len(correlations))).max() < 6 / np.sqrt(DRAWS)


@PATHS
def test_half_of_the_views_are_flipped(path):
    pixels = np.random.RandomState(8).randint(0, 256, (4, 4, 3)).astype(np.uint8)
    config = AugmentationConfig(color_jitter_strength=0, use_blur=False)
    views = path(tf.constant(np.stack([pixels] * DRAWS)), some_draws(), config)
    plain = pixels / np.float32(255)
    flipped = np.abs(views - plain[:, ::-1]).max((1, 2, 3)) < 1e-6
    assert (flipped | (np.abs(views - plain).max((1, 2, 3)) < 1e-6)).all()
    assert_probability(flipped, 0.5)


UNDISTORTED = AugmentationConfig(color_jitter_strength=0, use_blur=False, use_flip=False)


@PATHS
@pytest.mark.parametrize(
    ("settings", "outcomes"),
    [
        ({"use_vertical_flip": True}, [lambda image: image, np.flipud]),
        ({"rotate_90": True}, [lambda image, k=k: np.rot90(image, k) for k in range(4)]),
        (
            {"use_flip": True, "use_vertical_flip": True, "rotate_90": True},
            [
                lambda image, k=k, way=way: np.rot90(image[:, ::way], k)
                for k in range(4)
                for way in (1, -1)
            ],
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_all_flips_and_turns_are_as_frequent(path, settings, outcomes):
    pixels = np.random.RandomState(8).randint(0, 256, (4, 4, 3)).astype(np.uint8)
    config = dataclasses.replace(UNDISTORTED, **settings)
    views = path(tf.constant(np.stack([pixels] * DRAWS)), some_draws(), config)
    seen = [
        np.abs(views - outcome(pixels / np.float32(255))).max((1, 2, 3)) < 1e-6
        for outcome in outcomes
    ]
    assert np.sum(seen, axis=0).max() == np.sum(seen, axis=0).min() == 1
    for each in seen:
        assert_probability(each, 1 / len(outcomes))


def test_draws_that_were_added_later_leave_the_first_ones_as_they_were():
    """Or runs that go on would be continued with other views than they began with."""
    seed = tf.constant([11, 4], tf.int64)
    crops, draws = draw(seed, 8)
    np.testing.assert_array_equal(draws[:, :13], tf.random.stateless_uniform([8, 13], seed))
    of_crops = tf.constant([11 + 2**60, 4], tf.int64)
    expected = tf.random.stateless_uniform([8, 2], of_crops, None, None, tf.int64)
    np.testing.assert_array_equal(crops, expected)


@pytest.mark.parametrize("color_space", ["hsv", "yiq"])
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_host_and_device_agree_on_the_same_draws(color_space, strength):
    config = AugmentationConfig(
        color_jitter_strength=strength,
        color_space=color_space,
        # With one of them, all that the second stage can do.
        use_vertical_flip=strength == 1,
        rotate_90=strength == 1,
        solarize_probability=0.4 * (strength == 1),
    )
    views = photographs(64, 48)
    draws = some_draws(64)
    device = on_device(views, draws, config)
    assert np.abs(on_host(views, draws, config) - device).max() <= 1 / 255
    # Not because nothing happened: most views are changed.
    assert (np.abs(device - views / 255).max((1, 2, 3)) > 0.1).mean() > 0.7
    compiled = tf.function(lambda: distort(views, draws, config), jit_compile=True)()
    np.testing.assert_allclose(compiled, device, atol=1e-4)


def test_all_changes_of_colours_are_made_in_one_loop_over_a_batch():
    """Unrolled, XLA computes the changes before contrast's mean once more for each of its readers,
    which took 17 of the 24 ms of 512 views on a GPU."""

    @tf.function(jit_compile=True)
    def compiled(views, draws):
        return distort(views, draws, AugmentationConfig(use_blur=False))

    program = compiled.experimental_get_compiler_ir(photographs(3, 24), some_draws(3))(stage="hlo")
    assert len(re.findall(r"= .* while\(", program)) == 1
    # Contrast's mean over rows and columns, of all images and channels.
    assert len(re.findall(r"f32\[3,3\]\S* reduce\(", program)) == 1


def test_a_batch_is_made_ready_for_the_network():
    views = photographs(4, 24)
    draws = some_draws(4)
    batch = {"view_1": views, "view_1_draws": draws, "image": views, "label": tf.range(4)}
    config = AugmentationConfig()
    ready = ready_for_network({**batch, "weight": tf.ones(4)}, config)
    assert sorted(ready) == ["image", "label", "view_1", "weight"]
    np.testing.assert_array_equal(ready["view_1"], distort(views, draws, config))
    np.testing.assert_allclose(ready["image"], views / 255, atol=1e-7)
    np.testing.assert_array_equal(ready["label"], range(4))


@pytest.mark.parametrize("on_device", [False, True])
def test_views_of_one_image_are_drawn_independently_in_a_step_and_between_steps(on_device):
    image = tf.io.encode_png(np.random.RandomState(8).randint(0, 256, (12, 12, 3)).astype(np.uint8))
    example = {"image": image, "label": 0, "id": "only"}
    source = types.SimpleNamespace(
        index=lambda split: tf.data.Dataset.from_tensors(example),
        num_examples=lambda split: 1,
        num_classes=None,
        shuffle_buffer=None,
        decoder=lambda split: PLAIN,
        columns=lambda split: None,
        is_checked=lambda split: True,
    )
    data, steps, config = DataConfig(dataset="digits", image_size=8), 400, AugmentationConfig()

    def light(seed):
        stream = Stream(source, "train", seed, data=data)
        made = batches(stream, Views.two(8, config, on_device), 1)
        made = made.map(lambda batch: ready_for_network(batch, config)).take(steps)
        views = [(batch["view_1"], batch["view_2"]) for batch in made.as_numpy_iterator()]
        return np.mean(views, axis=(2, 3, 4, 5)).T

    first, second = light(seed=3)
    other_run = light(seed=4)
    np.testing.assert_array_equal(light(seed=3), [first, second])
    pairs = [
        (first, second),
        (first[:-1], first[1:]),
        (second[:-1], second[1:]),
        (first[:-1], second[1:]),
        *itertools.product([first, second], other_run),
    ]
    for one, another in pairs:
        assert (one != another).mean() > 0.98
        assert abs(np.corrcoef(one, another)[0, 1]) < 5 / np.sqrt(steps)
    # Both views are drawn alike.
    assert abs(first.mean() - second.mean()) < 5 * np.sqrt((first.var() + second.var()) / steps)
