"""Colour distortion: the changes of tf.image, of strengths and in orders as in the paper."""

import colorsys
import dataclasses

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.data.views.helpers import (
    DRAWS,
    PATHS,
    ROUNDING,
    assert_probability,
    assert_uniform,
    photographs,
    some_draws,
)
from tf_simclrv2.config import AugmentationConfig
from tf_simclrv2.data.views import distortion_of
from tf_simclrv2.keras2 import tf

COLOUR = AugmentationConfig(use_flip=False, use_blur=False)


class TestColour:
    @pytest.mark.parametrize("strength", [1.0, 0.5])
    def test_factors_are_uniform_and_orders_all_alike(self, strength):
        drawn = distortion_of(some_draws(), AugmentationConfig(strength))
        factors, orders = drawn.factors.numpy(), drawn.order.numpy()
        for factor in factors.T[:3]:
            assert_uniform(factor, 1 - 0.8 * strength, 1 + 0.8 * strength)
        assert_uniform(factors[:, 3], -0.2 * strength, 0.2 * strength)
        assert np.abs(np.corrcoef(factors.T) - np.eye(4)).max() < 5 / np.sqrt(DRAWS)
        lowest = ((factors - [1, 1, 1, 0]) / [0.8, 0.8, 0.8, 0.2]).argmin(1)
        assert_probability(orders[:, 0] == lowest, 1 / 4)
        _, counts = np.unique(orders, axis=0, return_counts=True)
        assert len(counts) == 24
        assert np.abs(counts - DRAWS / 24).max() < 5 * np.sqrt(DRAWS / 24)

    @PATHS
    def test_it_is_the_changes_of_tf_image_in_the_order_drawn(self, path):
        views = photographs(32, 16)
        draws = some_draws(32)
        drawn = distortion_of(draws, COLOUR)
        changes = [
            lambda view, factor: view * factor,
            tf.image.adjust_contrast,
            tf.image.adjust_saturation,
            tf.image.adjust_hue,
        ]
        for index, actual in enumerate(path(views, draws, COLOUR)):
            expected = views[index].numpy() / np.float32(255)
            if drawn.jitter[index]:
                for change in drawn.order[index].numpy():
                    factor = drawn.factors[index, change]
                    expected = np.clip(changes[change](expected, factor), 0, 1)
            if drawn.grayscale[index]:
                expected = tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(expected))
            np.testing.assert_allclose(actual, expected, atol=ROUNDING[path])

    @PATHS
    def test_hue_turns_by_the_factor(self, path):
        # Draws by which nothing but hue changes, by 0.15 turns, of a jitter of strength 1.
        draws = np.zeros([1, 22], np.float32)
        draws[0, 2:12] = [0.5, 0.5, 0.5, 0.875, 0.1, 0.2, 0.3, 0.4, 1, 1]
        colours = np.random.RandomState(0).randint(0, 256, (1, 8, 8, 3)).astype(np.uint8)
        actual = path(tf.constant(colours), tf.constant(draws), COLOUR)
        for colour, turned in zip(colours.reshape(-1, 3), actual.reshape(-1, 3)):
            hue, saturation, value = colorsys.rgb_to_hsv(*(colour / 255))
            expected = colorsys.hsv_to_rgb((hue + 0.15) % 1, saturation, value)
            np.testing.assert_allclose(turned, expected, atol=ROUNDING[path] + 1e-5)

    @PATHS
    def test_jitter_and_grayscale_are_as_frequent_as_in_the_paper(self, path):
        image = np.random.RandomState(3).randint(20, 236, (2, 2, 3)).astype(np.uint8)
        draws = some_draws()
        views = path(tf.constant(np.stack([image] * DRAWS)), draws, COLOUR)
        gray = np.abs(views - views[..., :1]).max((1, 2, 3)) < 1e-6
        plain = image / np.float32(255)
        plain_gray = tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(plain))
        undistorted = np.where(gray[:, None, None, None], plain_gray, plain)
        untouched = np.abs(views - undistorted).max((1, 2, 3)) < ROUNDING[path]
        assert_probability(gray, 0.2)
        assert_probability(~untouched, 0.8)
        assert_probability(gray & untouched, 0.2 * 0.2)

    @PATHS
    def test_grayscale_is_as_frequent_as_asked_for(self, path):
        image = np.random.RandomState(3).randint(20, 236, (2, 2, 3)).astype(np.uint8)
        images, draws = tf.constant(np.stack([image] * DRAWS)), some_draws()
        # Strong colours may end in black and white.
        mild = dataclasses.replace(COLOUR, color_jitter_strength=0.1)
        for settings, probability in (
            ({"grayscale_probability": 0.7}, 0.7),
            ({"grayscale_probability": 0.7, "color_jitter_strength": 0}, 0.7),
            ({"grayscale_probability": 0.0}, 0),
            ({"color_jitter_strength": 0}, 0),
        ):
            views = path(images, draws, dataclasses.replace(mild, **settings))
            assert_probability(np.abs(views - views[..., :1]).max((1, 2, 3)) < 1e-6, probability)

    @PATHS
    def test_solarization_is_that_of_pillow_and_as_frequent_as_asked_for(self, path):
        image = np.random.RandomState(4).randint(0, 256, (4, 4, 3)).astype(np.uint8)
        config = dataclasses.replace(COLOUR, color_jitter_strength=0, solarize_probability=0.3)
        views = path(tf.constant(np.stack([image] * DRAWS)), some_draws(), config)
        inverted = np.asarray(ImageOps.solarize(Image.fromarray(image), 128)) / np.float32(255)
        solarized = np.abs(views - inverted).max((1, 2, 3)) < 1e-6
        assert (solarized | (np.abs(views - image / np.float32(255)).max((1, 2, 3)) < 1e-6)).all()
        assert_probability(solarized, 0.3)

    @PATHS
    def test_solarization_comes_last(self, path):
        views, draws = photographs(8, 40), some_draws(8)
        before = AugmentationConfig(grayscale_probability=0.5, blur_probability=1)
        after = dataclasses.replace(before, solarize_probability=1)
        values = path(views, draws, before)
        expected = np.where(values < 0.5, values, 1 - values)
        np.testing.assert_allclose(path(views, draws, after), expected, atol=2 * ROUNDING[path])

    @PATHS
    def test_without_colour_and_blur_nothing_changes(self, path):
        views = photographs(4, 40)
        config = AugmentationConfig(color_jitter_strength=0, use_blur=False, use_flip=False)
        draws = some_draws(4)
        np.testing.assert_allclose(path(views, draws, config), views / 255, atol=1e-6)

    @PATHS
    def test_yiq_is_the_map_of_tensorflow_addons(self, path):
        image = pytest.importorskip("tensorflow_addons.image")
        views = photographs(8, 16)
        # Neither brightness nor contrast, and all images are jittered.
        draws = some_draws(8).numpy()
        draws[:, 1], draws[:, 2:4], draws[:, 10] = 0, 0.5, 1
        drawn = distortion_of(draws, COLOUR)
        config = dataclasses.replace(COLOUR, color_space="yiq")
        actual = path(views, tf.constant(draws), config)
        for index in range(8):
            expected = image.adjust_hsv_in_yiq(
                tf.cast(views[index], tf.float32) / 255,
                delta_hue=2 * np.pi * drawn.factors[index, 3],
                scale_saturation=drawn.factors[index, 2],
            )
            tolerance = ROUNDING[path] + 1e-3
            np.testing.assert_allclose(actual[index], np.clip(expected, 0, 1), atol=tolerance)
