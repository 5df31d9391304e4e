"""Views against figures measured on the authors' code, and the distribution of random ones.

What is random can't be compared draw by draw. Probabilities are held to five standard deviations
of their binomial, and means to five standard errors; seeds are fixed, so no test is left to chance.
"""

import colorsys
import dataclasses
import io
import itertools
import types

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from tests.reference import deviation, figures
from tf_simclrv2.config import AugmentationConfig, DataConfig
from tf_simclrv2.data.augmentation import (
    SMALLEST_PARTLY_DECODED,
    blur_by_products,
    blur_by_shifts,
    center_crop,
    crop_views,
    distort,
    distort_on_host,
    distortion_of,
    draw,
    evaluation_view,
    random_window,
    ready_for_network,
    resize,
)
from tf_simclrv2.data.pipeline import contrastive_batches
from tf_simclrv2.keras2 import tf

FIGURES = figures("losses_optimizer_schedule_images")["image"]
MORE_FIGURES = figures("lars_views_blurs")
IMAGE = np.random.RandomState(3).uniform(0, 1, (48, 64, 3)).astype(np.float32)
SIZE_IDS = {"ids": lambda case: "x".join(map(str, case["image_shape"]))}
DRAWS = 2000


def _blurred(blur, image, kernel_size, sigma):
    """Blurs [height, width, 3] in one of the two ways; an even kernel is a pixel wider."""
    planes, sigma = tf.transpose(tf.constant(image), [2, 0, 1]), tf.constant(sigma)
    if blur is blur_by_products:
        # Beside an image of another width of the Gaussian.
        both = tf.stack([planes, planes]), kernel_size // 2, tf.stack([2 * sigma, sigma])
        return tf.transpose(blur(*both)[1], [1, 2, 0]).numpy()
    return tf.transpose(blur(planes, kernel_size // 2, sigma), [1, 2, 0]).numpy()


class TestFigures:
    @pytest.mark.parametrize("blur", [blur_by_products, blur_by_shifts])
    def test_blur(self, blur):
        expected = FIGURES["gaussian_blur(kernel_size=22,sigma=1.3)"]
        assert deviation(_blurred(blur, IMAGE, 22, 1.3), expected, True) < 1e-5

    @pytest.mark.parametrize("blur", [blur_by_products, blur_by_shifts])
    @pytest.mark.parametrize("case", MORE_FIGURES["gaussian_blurs"], **SIZE_IDS)
    def test_blur_of_other_kernels(self, case, blur):
        image = np.random.RandomState(6).uniform(0, 1, (*case["image_shape"], 3))
        image = image.astype(np.float32)
        blurred = _blurred(blur, image, case["kernel_size"], case["sigma"])
        assert deviation(blurred, case["blurred"], True) < 1e-5

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
        """Top, left, bottom and right of the windows drawn in an image."""

        def corners(seed):
            begin, size = random_window(tf.constant([height, width, 3]), seed, **settings)
            return tf.concat([begin[:2], (begin + size)[:2]], 0)

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


def _encoded(kind, **arguments):
    """A real photograph as an image file's content, and its pixels."""
    image = Image.fromarray(load_sample_image("flower.jpg")).resize((91, 67))
    file = io.BytesIO()
    image.save(file, kind, **arguments)
    content = tf.constant(file.getvalue())
    return content, tf.io.decode_image(content, channels=3, expand_animations=False)


class TestCropViews:
    SEEDS = tf.constant([[3, 7], [3, 8], [4, 7]], tf.int64)

    @pytest.mark.parametrize("size", [24, SMALLEST_PARTLY_DECODED])
    @pytest.mark.parametrize(
        ("kind", "tolerance"), [("PNG", 0), ("BMP", 0), ("GIF", 0), ("JPEG", 2)]
    )
    def test_views_are_windows_of_the_image_resized(self, kind, tolerance, size):
        """Of a large JPEG only a part is decoded, so that its border may differ a little."""
        content, image = _encoded(kind)
        views = crop_views(content, size, self.SEEDS, AugmentationConfig())
        assert views.dtype == tf.uint8 and views.shape == (3, size, size, 3)
        for view, seed in zip(views, self.SEEDS):
            (top, left, _), (height, width, _) = random_window(tf.shape(image), seed)
            window = tf.cast(image[top : top + height, left : left + width], tf.float32)
            expected = np.clip(tf.image.resize(window, [size, size], "bicubic"), 0, 255)
            difference = np.abs(view.numpy() - expected)
            assert difference.max() <= 0.5 + 1e-3 + tolerance
            assert difference.mean() < 0.3

    def test_without_a_crop_the_whole_image_is_resized(self):
        content, image = _encoded("PNG")
        views = crop_views(content, 20, self.SEEDS, AugmentationConfig(use_crop=False))
        expected = tf.image.resize(image, [20, 20], "bicubic")
        assert len(views) == 3
        for view in views:
            np.testing.assert_allclose(view, np.clip(expected, 0, 255), atol=0.501)

    def test_a_seed_makes_the_same_crop_whatever_was_drawn_before(self):
        content, _ = _encoded("PNG")
        before = crop_views(content, 8, self.SEEDS, AugmentationConfig())
        tf.random.set_seed(1234)
        tf.random.uniform([3])
        after = crop_views(content, 8, self.SEEDS[1:], AugmentationConfig())
        np.testing.assert_array_equal(before[1:], after)


def _drawn(count=DRAWS, seed=5):
    """Draws for ``count`` views, float32 [count, 13]."""
    return draw(tf.constant([seed, 0], tf.int64), count)[1]


def test_draws_are_independent_of_each_other_and_of_those_of_neighbouring_seeds():
    """Neighbouring seeds are those of views, runs and blocks of steps."""
    everything = []
    for seed in ([5, 0], [6, 0], [5, 1], [4, 0]):
        crops, draws = draw(tf.constant(seed, tf.int64), DRAWS)
        assert len(np.unique(crops)) == 2 * DRAWS
        everything += [crops.numpy() / 2.0**63, draws.numpy()]
    for column in np.concatenate(everything, axis=1).T:
        _assert_uniform(column, *((-1, 1) if column.min() < 0 else (0, 1)))
    correlations = np.corrcoef(np.concatenate(everything, axis=1).T)
    # Some 1800 of them: six standard deviations.
    assert np.abs(correlations - np.eye(len(correlations))).max() < 6 / np.sqrt(DRAWS)


def _on_host(views, draws, config):
    return tf.image.convert_image_dtype(distort_on_host(views, draws, config), tf.float32).numpy()


def _on_device(views, draws, config):
    return distort(views, draws, config).numpy()


PATHS = pytest.mark.parametrize("path", [_on_host, _on_device])
# The host's result is rounded to a whole 255th.
ROUNDING = {_on_host: 0.5 / 255 + 1e-5, _on_device: 1e-5}


def _photographs(count, size):
    image = Image.fromarray(load_sample_image("flower.jpg"))
    parts = [image.crop((9 * n, 5 * n, 9 * n + 200, 5 * n + 200)) for n in range(count)]
    return tf.constant(np.stack([part.resize((size, size)) for part in parts]))


COLOUR = AugmentationConfig(use_flip=False, use_blur=False)


@PATHS
def test_half_of_the_views_are_flipped(path):
    pixels = np.random.RandomState(8).randint(0, 256, (4, 4, 3)).astype(np.uint8)
    config = AugmentationConfig(color_jitter_strength=0, use_blur=False)
    views = path(tf.constant(np.stack([pixels] * DRAWS)), _drawn(), config)
    plain = pixels / np.float32(255)
    flipped = np.abs(views - plain[:, ::-1]).max((1, 2, 3)) < 1e-6
    assert (flipped | (np.abs(views - plain).max((1, 2, 3)) < 1e-6)).all()
    _assert_probability(flipped, 0.5)


class TestColour:
    @pytest.mark.parametrize("strength", [1.0, 0.5])
    def test_factors_are_uniform_and_orders_all_alike(self, strength):
        drawn = distortion_of(_drawn(), strength)
        factors, orders = drawn.factors.numpy(), drawn.order.numpy()
        for factor in factors.T[:3]:
            _assert_uniform(factor, 1 - 0.8 * strength, 1 + 0.8 * strength)
        _assert_uniform(factors[:, 3], -0.2 * strength, 0.2 * strength)
        assert np.abs(np.corrcoef(factors.T) - np.eye(4)).max() < 5 / np.sqrt(DRAWS)
        lowest = ((factors - [1, 1, 1, 0]) / [0.8, 0.8, 0.8, 0.2]).argmin(1)
        _assert_probability(orders[:, 0] == lowest, 1 / 4)
        _, counts = np.unique(orders, axis=0, return_counts=True)
        assert len(counts) == 24
        assert np.abs(counts - DRAWS / 24).max() < 5 * np.sqrt(DRAWS / 24)

    @PATHS
    def test_it_is_the_changes_of_tf_image_in_the_order_drawn(self, path):
        views = _photographs(32, 16)
        draws = _drawn(32)
        drawn = distortion_of(draws, 1.0)
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
        draws = np.array([[0, 0, 0.5, 0.5, 0.5, 0.875, 0.1, 0.2, 0.3, 0.4, 1, 1, 0]], np.float32)
        colours = np.random.RandomState(0).randint(0, 256, (1, 8, 8, 3)).astype(np.uint8)
        actual = path(tf.constant(colours), tf.constant(draws), COLOUR)
        for colour, turned in zip(colours.reshape(-1, 3), actual.reshape(-1, 3)):
            hue, saturation, value = colorsys.rgb_to_hsv(*(colour / 255))
            expected = colorsys.hsv_to_rgb((hue + 0.15) % 1, saturation, value)
            np.testing.assert_allclose(turned, expected, atol=ROUNDING[path] + 1e-5)

    @PATHS
    def test_jitter_and_grayscale_are_as_frequent_as_in_the_paper(self, path):
        image = np.random.RandomState(3).randint(20, 236, (2, 2, 3)).astype(np.uint8)
        draws = _drawn()
        views = path(tf.constant(np.stack([image] * DRAWS)), draws, COLOUR)
        gray = np.abs(views - views[..., :1]).max((1, 2, 3)) < 1e-6
        plain = image / np.float32(255)
        plain_gray = tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(plain))
        undistorted = np.where(gray[:, None, None, None], plain_gray, plain)
        untouched = np.abs(views - undistorted).max((1, 2, 3)) < ROUNDING[path]
        _assert_probability(gray, 0.2)
        _assert_probability(~untouched, 0.8)
        _assert_probability(gray & untouched, 0.2 * 0.2)

    @PATHS
    def test_without_colour_and_blur_nothing_changes(self, path):
        views = _photographs(4, 40)
        config = AugmentationConfig(color_jitter_strength=0, use_blur=False, use_flip=False)
        draws = _drawn(4)
        np.testing.assert_allclose(path(views, draws, config), views / 255, atol=1e-6)

    @PATHS
    def test_yiq_is_the_map_of_tensorflow_addons(self, path):
        image = pytest.importorskip("tensorflow_addons.image")
        views = _photographs(8, 16)
        # Neither brightness nor contrast, and all images are jittered.
        draws = _drawn(8).numpy()
        draws[:, 1], draws[:, 2:4], draws[:, 10] = 0, 0.5, 1
        drawn = distortion_of(draws, 1.0)
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


class TestBlur:
    def test_it_is_as_frequent_and_as_wide_as_in_the_paper(self):
        """Of one white pixel: its neighbour gets exp(-1 / (2 sigma^2)) of what it keeps."""
        point = np.zeros([20, 20, 3], np.uint8)
        point[10, 10] = 255
        config = AugmentationConfig(color_jitter_strength=0, use_flip=False)
        draws = _drawn()
        views = _on_device(tf.constant(np.stack([point] * DRAWS)), draws, config)
        centre, neighbour = views[:, 10, 10, 0], views[:, 10, 11, 0]
        # Below a sigma of about 0.17 the neighbour's share is lost in float32.
        blurred = neighbour > 1e-9
        narrow = (0.17 - 0.1) / 1.9
        _assert_probability(blurred, 0.5 * (1 - narrow))
        sigmas = np.sqrt(-0.5 / np.log(neighbour[blurred] / centre[blurred]))
        assert sigmas.min() > 0.1
        _assert_uniform(sigmas[sigmas > 0.2], 0.2, 2.0)

    def test_small_views_are_not_blurred(self):
        views = _photographs(16, 19)
        config = AugmentationConfig(color_jitter_strength=0, use_flip=False)
        draws = _drawn(16)
        np.testing.assert_allclose(_on_device(views, draws, config), views / 255, atol=1e-6)


@pytest.mark.parametrize("color_space", ["hsv", "yiq"])
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_host_and_device_agree_on_the_same_draws(color_space, strength):
    config = AugmentationConfig(color_jitter_strength=strength, color_space=color_space)
    views = _photographs(64, 48)
    draws = _drawn(64)
    device = _on_device(views, draws, config)
    assert np.abs(_on_host(views, draws, config) - device).max() <= 1 / 255
    # Not because nothing happened: most views are changed.
    assert (np.abs(device - views / 255).max((1, 2, 3)) > 0.1).mean() > 0.7
    compiled = tf.function(lambda: distort(views, draws, config), jit_compile=True)()
    np.testing.assert_allclose(compiled, device, atol=1e-4)


def test_a_batch_is_made_ready_for_the_network():
    views = _photographs(4, 24)
    draws = _drawn(4)
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
    )
    data, steps, config = DataConfig(dataset="digits", image_size=8), 400, AugmentationConfig()

    def light(seed):
        batches = contrastive_batches(source, data, config, 1, seed, on_device=on_device)
        batches = batches.map(lambda batch: ready_for_network(batch, config)).take(steps)
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
        assert (one != another).mean() > 0.98
        assert abs(np.corrcoef(one, another)[0, 1]) < 5 / np.sqrt(steps)
    # Both views are drawn alike.
    assert abs(first.mean() - second.mean()) < 5 * np.sqrt((first.var() + second.var()) / steps)
