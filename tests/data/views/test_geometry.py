"""Crops and resizing: figures of the authors' code, and the distribution of random windows."""

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from tests.data.views.helpers import DRAWS, draws_with
from tests.reference import deviation, figures
from tf_simclrv2.config import AugmentationConfig
from tf_simclrv2.data.views import (
    SMALLEST_PARTLY_DECODED,
    center_crop,
    crop_views,
    evaluation_view,
    random_window,
    resize,
)
from tf_simclrv2.keras2 import tf

FIGURES = figures("losses_optimizer_schedule_images")["image"]
MORE_FIGURES = figures("lars_views_blurs")
IMAGE = np.random.RandomState(3).uniform(0, 1, (48, 64, 3)).astype(np.float32)
SIZE_IDS = {"ids": lambda case: "x".join(map(str, case["image_shape"]))}


class TestFigures:
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


class TestRandomCrop:
    def _boxes(self, height, width, **settings):
        """Top, left, bottom and right of the windows drawn in an image."""

        def corners(seed):
            begin, size = random_window(tf.constant([height, width, 3]), seed, **settings)
            return tf.concat([begin[:2], (begin + size)[:2]], 0)

        return draws_with(corners, tf.int32)

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
        size = draws_with(sample, tf.int32)[:, :2]
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
