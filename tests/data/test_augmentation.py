"""Views against figures measured on the authors' code, and the distribution of random ones.

What is random can't be compared draw by draw. Probabilities are held to five standard deviations
of their binomial, and means to five standard errors; seeds are fixed, so no test is left to chance.
"""

import colorsys
import itertools
import types

import numpy as np
import pytest

from tests.reference import deviation, figures
from tf_simclrv2.config import AugmentationConfig, DataConfig
from tf_simclrv2.data import augmentation
from tf_simclrv2.data.augmentation import (
    center_crop,
    color_distortion,
    color_jitter,
    evaluation_view,
    gaussian_blur,
    jitter_factors,
    random_blur,
    random_crop,
    random_view,
    resize,
)
from tf_simclrv2.data.pipeline import contrastive_batches
from tf_simclrv2.keras2 import tf

FIGURES = figures("losses_optimizer_schedule_images")["image"]
MORE_FIGURES = figures("lars_views_blurs")
IMAGE = np.random.RandomState(3).uniform(0, 1, (48, 64, 3)).astype(np.float32)
SIZE_IDS = {"ids": lambda case: "x".join(map(str, case["image_shape"]))}
DRAWS = 2000


class TestFigures:
    def test_blur(self):
        expected = FIGURES["gaussian_blur(kernel_size=22,sigma=1.3)"]
        assert deviation(gaussian_blur(IMAGE, 22, 1.3).numpy(), expected, True) < 1e-5

    @pytest.mark.parametrize("case", MORE_FIGURES["gaussian_blurs"], **SIZE_IDS)
    def test_blur_of_other_kernels(self, case):
        image = np.random.RandomState(6).uniform(0, 1, (*case["image_shape"], 3))
        blurred = gaussian_blur(image.astype(np.float32), case["kernel_size"], case["sigma"])
        assert deviation(blurred.numpy(), case["blurred"], True) < 1e-5

    def test_evaluation_crop(self):
        expected = FIGURES["center_crop(32,32,crop_proportion=0.875, bicubic)"]
        assert deviation(resize(center_crop(IMAGE, 0.875), 32).numpy(), expected, True) < 1e-5

    @pytest.mark.parametrize("case", MORE_FIGURES["evaluation_views"], **SIZE_IDS)
    def test_evaluation_view_of_any_shape(self, case):
        image = np.random.RandomState(5).randint(0, 256, (*case["image_shape"], 3))
        view = evaluation_view(image.astype(np.uint8), case["image_size"])
        assert deviation(view.numpy(), case["view"], True) < 1e-5


@pytest.mark.parametrize("height, width", [(8, 8), (7, 12), (13, 5), (9, 10), (4, 31)])
def test_the_centre_crop_is_the_centre_square(height, width):
    pixels = np.arange(height * width).reshape(height, width, 1)
    side = int(np.rint(0.875 * min(height, width)))
    # An odd pixel too many is cut off at the top and at the left.
    top, left = -(-(height - side) // 2), -(-(width - side) // 2)
    expected = pixels[top : top + side, left : left + side]
    np.testing.assert_array_equal(center_crop(pixels, 0.875), expected)


def test_small_evaluation_images_are_not_cropped():
    image = np.random.RandomState(1).randint(0, 256, (32, 32, 3)).astype(np.uint8)
    np.testing.assert_allclose(evaluation_view(image, 32), image / 255, atol=1e-6)


def _draws(function, dtype, count=DRAWS, first=0):
    """Calls ``function`` with ``count`` seeds, int64 [2] each, in one graph."""
    seeds = tf.constant([[5, number] for number in range(first, first + count)], tf.int64)
    return tf.nest.map_structure(
        lambda values: values.numpy(),
        tf.function(lambda: tf.map_fn(function, seeds, fn_output_signature=dtype))(),
    )


def _assert_probability(hits, probability):
    bound = 5 * np.sqrt(probability * (1 - probability) / len(hits))
    assert abs(np.mean(hits) - probability) < bound


def _assert_uniform(values, low, high):
    assert low <= values.min() and values.max() <= high
    span, count = high - low, len(values)
    assert abs(values.mean() - (low + high) / 2) < 5 * span / np.sqrt(12 * count)
    # Kolmogorov and Smirnov's distance to the uniform distribution, at a level of 1e-5.
    steps = np.sort((values - low) / span)
    assert np.abs(steps - (np.arange(count) + 0.5) / count).max() < 2.5 / np.sqrt(count)


class TestRandomCrop:
    def _boxes(self, height, width, **settings):
        """Where crops of an image are, from pixels that hold their own coordinates."""
        rows, columns = np.meshgrid(range(height), range(width), indexing="ij")
        image = tf.constant(np.stack([rows, columns], -1).astype(np.int32))

        def corners(seed):
            crop = random_crop(image, seed, **settings)
            return tf.concat([crop[0, 0], crop[-1, -1] + 1], 0)

        return _draws(corners, tf.int32)

    @pytest.mark.parametrize("height, width", [(400, 400), (300, 500)])
    def test_area_and_aspect_ratio(self, height, width):
        top, left, bottom, right = self._boxes(height, width).T
        rows, columns = bottom - top, right - left
        area, aspect = rows * columns / (height * width), columns / rows
        # The area is to be 0.08 of the image and to cover 0.1 of it: the latter binds.
        largest = min(1, 4 / 3 * height / width)
        # Sides are whole pixels, hence the hundredths.
        assert 0.1 * 0.98 < area.min() < 0.12 and 0.9 * largest < area.max() <= largest
        assert 3 / 4 * 0.98 < aspect.min() < 0.78 and 1.28 < aspect.max() < 4 / 3 * 1.02
        assert max(top.min(), left.min(), height - bottom.max(), width - right.max()) <= 2

    def test_distribution_is_that_of_the_sampler_of_the_authors(self):
        """The authors draw with TensorFlow's stateful sampler, and its global seed."""
        top, left, bottom, right = self._boxes(400, 400).T
        area, aspect = (bottom - top) * (right - left) / 400**2, (right - left) / (bottom - top)

        def sample(seed):
            return tf.image.sample_distorted_bounding_box(
                [400, 400, 3],
                tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
                seed=1,
                min_object_covered=0.1,
                aspect_ratio_range=(3 / 4, 4 / 3),
                area_range=(0.08, 1.0),
                max_attempts=100,
            )[1]

        tf.random.set_seed(1)
        size = _draws(sample, tf.int32)[:, :2]
        for ours, theirs in (
            (area, size.prod(1) / 400**2),
            (np.log(aspect), np.log(size[:, 1] / size[:, 0])),
        ):
            error = np.sqrt((ours.var() + theirs.var()) / DRAWS)
            assert abs(ours.mean() - theirs.mean()) < 5 * error
            assert ours.std() == pytest.approx(theirs.std(), rel=0.1)

    def test_settings_bound_area_and_aspect_ratio(self):
        top, left, bottom, right = self._boxes(400, 400, area_min=0.5, aspect_max=1.1).T
        area, aspect = (bottom - top) * (right - left) / 400**2, (right - left) / (bottom - top)
        assert 0.49 < area.min() < 0.55
        assert aspect.min() > 1 / 1.12 and aspect.max() < 1.12


def _seeds(seed, *uses):
    """One seed for each use, as :func:`random_view` splits them."""
    return dict(zip(uses, tf.unstack(tf.random.experimental.stateless_split(seed, len(uses)))))


class TestColour:
    @pytest.mark.parametrize("strength", [1.0, 0.5])
    def test_factors_are_uniform_and_orders_all_alike(self, strength):
        factors, orders = _draws(
            lambda seed: jitter_factors(_seeds(seed, "factors", "order"), strength),
            (tf.float32, tf.int32),
        )
        for factor in factors.T[:3]:
            _assert_uniform(factor, 1 - 0.8 * strength, 1 + 0.8 * strength)
        _assert_uniform(factors[:, 3], -0.2 * strength, 0.2 * strength)
        assert np.abs(np.corrcoef(factors.T) - np.eye(4)).max() < 5 / np.sqrt(DRAWS)
        lowest = ((factors - [1, 1, 1, 0]) / [0.8, 0.8, 0.8, 0.2]).argmin(1)
        _assert_probability(orders[:, 0] == lowest, 1 / 4)
        _, counts = np.unique(orders, axis=0, return_counts=True)
        assert len(counts) == 24
        assert np.abs(counts - DRAWS / 24).max() < 5 * np.sqrt(DRAWS / 24)

    def test_jitter_is_the_changes_of_tf_image_in_the_order_drawn(self):
        image = IMAGE[:8, :8]
        jitter = tf.function(
            lambda seed: (
                color_jitter(image, _seeds(seed, "factors", "order"), 1.0),
                *jitter_factors(_seeds(seed, "factors", "order"), 1.0),
            )
        )
        changes = [
            lambda view, factor: view * factor,
            tf.image.adjust_contrast,
            tf.image.adjust_saturation,
            tf.image.adjust_hue,
        ]
        for number in range(8):
            actual, factors, order = jitter(tf.constant([0, number], tf.int64))
            expected = image
            for change in order.numpy():
                expected = np.clip(changes[change](expected, factors[change]), 0, 1)
            np.testing.assert_allclose(actual, expected, atol=1e-6)

    def test_hue_turns_by_the_factor(self, monkeypatch):
        factors = [1.0, 1.0, 1.0, 0.15]
        monkeypatch.setattr(augmentation, "jitter_factors", lambda *_: (factors, tf.range(4)))
        actual = color_jitter(tf.constant([[[0.8, 0.3, 0.2]]]), {}, 1.0)
        hue, saturation, value = colorsys.rgb_to_hsv(0.8, 0.3, 0.2)
        expected = colorsys.hsv_to_rgb((hue + 0.15) % 1, saturation, value)
        np.testing.assert_allclose(actual[0, 0], expected, atol=1e-5)

    def test_jitter_and_grayscale_are_as_frequent_as_in_the_paper(self):
        image = tf.constant(IMAGE[:2, :2])

        def distorted(seed):
            view = color_distortion(
                image, _seeds(seed, "jitter", "factors", "order", "grayscale"), 1.0
            )
            gray = tf.reduce_max(tf.abs(view - view[..., :1])) == 0
            plain = tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(image))
            untouched = tf.reduce_all(view == tf.where(gray, plain, image))
            return gray, untouched

        gray, untouched = _draws(distorted, (tf.bool, tf.bool))
        _assert_probability(gray, 0.2)
        _assert_probability(~untouched, 0.8)
        _assert_probability(gray & untouched, 0.2 * 0.2)


def test_blur_is_as_frequent_and_as_wide_as_in_the_paper():
    """The blur of one white pixel tells sigma: its neighbour has exp(-1 / (2 sigma^2)) of it."""
    point = np.zeros([20, 20, 3], np.float32)
    point[10, 10] = 1

    def neighbours(seed):
        view = random_blur(tf.constant(point), _seeds(seed, "blur", "sigma"))
        return view[10, 10:12, 0]

    centre, neighbour = _draws(neighbours, tf.float32).T
    # Below a sigma of about 0.17 the neighbour's share is lost in float32.
    blurred = neighbour > 1e-9
    narrow = (0.17 - 0.1) / 1.9
    _assert_probability(blurred, 0.5 * (1 - narrow))
    sigmas = np.sqrt(-0.5 / np.log(neighbour[blurred] / centre[blurred]))
    assert sigmas.min() > 0.1
    _assert_uniform(sigmas[sigmas > 0.2], 0.2, 2.0)


class TestRandomView:
    PLAIN = AugmentationConfig(
        color_jitter_strength=0, use_blur=False, use_flip=False, use_crop=False
    )
    PIXELS = np.random.RandomState(8).randint(0, 256, (12, 12, 3)).astype(np.uint8)

    def _views(self, config=None, count=200, first=0, size=8):
        config = config or AugmentationConfig()
        return _draws(
            lambda seed: random_view(self.PIXELS, size, seed, config), tf.float32, count, first
        )

    def test_half_of_the_views_are_flipped(self):
        config = AugmentationConfig(color_jitter_strength=0, use_blur=False, use_crop=False)
        views = self._views(config, DRAWS)
        plain = self._views(self.PLAIN, 1)[0]
        flipped = (views == plain[:, ::-1]).all((1, 2, 3))
        assert (flipped | (views == plain).all((1, 2, 3))).all()
        _assert_probability(flipped, 0.5)

    def test_without_distortions_a_view_is_the_image_resized(self):
        plain = self._views(self.PLAIN, 1)[0]
        expected = tf.image.resize(self.PIXELS / np.float32(255), [8, 8], "bicubic")
        np.testing.assert_allclose(plain, np.clip(expected, 0, 1), atol=1e-6)

    def test_values_and_shape(self):
        views = self._views(size=20)
        assert views.shape == (200, 20, 20, 3) and views.dtype == np.float32
        assert views.min() >= 0 and views.max() <= 1

    def test_a_seed_draws_the_same_view_whatever_was_drawn_before(self):
        views = self._views()
        tf.random.set_seed(1234)
        tf.random.uniform([3])
        np.testing.assert_array_equal(self._views(count=50, first=100), views[100:150])

    def test_seeds_draw_independent_views(self):
        """Neighbouring seeds, as of steps, and neighbouring streams, as of the two views."""
        views = self._views(count=500).reshape(500, -1)
        # Undistorted crops of so small an image may coincide.
        assert len(np.unique(views, axis=0)) > 490
        light = views.mean(1)
        for step in (1, 2, 7):
            correlation = np.corrcoef(light[:-step], light[step:])[0, 1]
            assert abs(correlation) < 5 / np.sqrt(500 - step)


def test_views_of_one_image_are_drawn_independently_in_a_step_and_between_steps():
    image = tf.io.encode_png(np.random.RandomState(8).randint(0, 256, (12, 12, 3)).astype(np.uint8))
    example = {"image": image, "label": 0, "id": "only"}
    source = types.SimpleNamespace(
        examples=lambda split: tf.data.Dataset.from_tensors(example), num_examples=lambda split: 1
    )
    data, steps = DataConfig(dataset="digits", image_size=8), 400

    def light(seed):
        batches = contrastive_batches(source, data, AugmentationConfig(), 1, seed).take(steps)
        views = [(batch["view_1"], batch["view_2"]) for batch in batches.as_numpy_iterator()]
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
        assert (one != another).mean() > 0.99
        assert abs(np.corrcoef(one, another)[0, 1]) < 5 / np.sqrt(steps)
    # Both views are drawn alike.
    assert abs(first.mean() - second.mean()) < 5 * np.sqrt((first.var() + second.var()) / steps)
