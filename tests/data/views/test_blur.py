"""The blur: figures of the authors' code, and how often and how widely views are blurred."""

import numpy as np
import pytest

from tests.data.views.helpers import (
    DRAWS,
    PATHS,
    assert_probability,
    assert_uniform,
    on_device,
    photographs,
    some_draws,
)
from tests.reference import deviation, figures
from tf_simclrv2.config import AugmentationConfig
from tf_simclrv2.data.views import blur_by_products, blur_by_shifts
from tf_simclrv2.keras2 import tf

FIGURES = figures("losses_optimizer_schedule_images")["image"]
MORE_FIGURES = figures("lars_views_blurs")
IMAGE = np.random.RandomState(3).uniform(0, 1, (48, 64, 3)).astype(np.float32)
SIZE_IDS = {"ids": lambda case: "x".join(map(str, case["image_shape"]))}


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


class TestBlur:
    def test_it_is_as_frequent_and_as_wide_as_in_the_paper(self):
        """Of one white pixel: its neighbour gets exp(-1 / (2 sigma^2)) of what it keeps."""
        point = np.zeros([20, 20, 3], np.uint8)
        point[10, 10] = 255
        config = AugmentationConfig(color_jitter_strength=0, use_flip=False)
        draws = some_draws()
        views = on_device(tf.constant(np.stack([point] * DRAWS)), draws, config)
        centre, neighbour = views[:, 10, 10, 0], views[:, 10, 11, 0]
        # Below a sigma of about 0.17 the neighbour's share is lost in float32.
        blurred = neighbour > 1e-9
        narrow = (0.17 - 0.1) / 1.9
        assert_probability(blurred, 0.5 * (1 - narrow))
        sigmas = np.sqrt(-0.5 / np.log(neighbour[blurred] / centre[blurred]))
        assert sigmas.min() > 0.1
        assert_uniform(sigmas[sigmas > 0.2], 0.2, 2.0)

    @PATHS
    @pytest.mark.parametrize("probability", [0, 0.3, 1])
    def test_it_is_as_frequent_as_asked_for(self, path, probability):
        views = np.random.RandomState(1).randint(0, 256, (DRAWS, 20, 20, 3)).astype(np.uint8)
        config = AugmentationConfig(
            color_jitter_strength=0, use_flip=False, blur_probability=probability
        )
        draws = some_draws().numpy()
        # The largest sigma, since the smallest change nothing.
        draws[:, 12] = 0.99
        blurred = np.abs(path(tf.constant(views), draws, config) - views / 255).max((1, 2, 3)) > 0.1
        assert_probability(blurred, probability)

    def test_small_views_are_not_blurred(self):
        views = photographs(16, 19)
        config = AugmentationConfig(color_jitter_strength=0, use_flip=False)
        draws = some_draws(16)
        np.testing.assert_allclose(on_device(views, draws, config), views / 255, atol=1e-6)
