"""What the tests of views share.

What is random can't be compared draw by draw. Probabilities are held to five standard deviations
of their binomial, and means to five standard errors; seeds are fixed, so no test is left to chance.
"""

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from tf_simclrv2.data.views import distort, distort_on_host, draw
from tf_simclrv2.keras2 import tf

DRAWS = 2000


def draws_with(function, dtype, count=DRAWS, first=0):
    """Calls ``function`` with ``count`` seeds, int64 [2] each, in one graph."""
    seeds = tf.constant([[5, number] for number in range(first, first + count)], tf.int64)
    return tf.nest.map_structure(
        lambda values: values.numpy(),
        tf.function(lambda: tf.map_fn(function, seeds, fn_output_signature=dtype))(),
    )


def assert_probability(hits, probability):
    bound = 5 * np.sqrt(probability * (1 - probability) / len(hits))
    assert abs(np.mean(hits) - probability) <= bound


def assert_uniform(values, low, high):
    assert low <= values.min() and values.max() <= high
    span, count = high - low, len(values)
    assert abs(values.mean() - (low + high) / 2) < 5 * span / np.sqrt(12 * count)
    # Kolmogorov and Smirnov's distance to the uniform distribution, at a level of 1e-5.
    steps = np.sort((values - low) / span)
    assert np.abs(steps - (np.arange(count) + 0.5) / count).max() < 2.5 / np.sqrt(count)


def some_draws(count=DRAWS, seed=5):
    """Draws for ``count`` views, float32 [count, 22]."""
    return draw(tf.constant([seed, 0], tf.int64), count)[1]


def on_host(views, draws, config):
    return tf.image.convert_image_dtype(distort_on_host(views, draws, config), tf.float32).numpy()


def on_device(views, draws, config):
    return distort(views, draws, config).numpy()


PATHS = pytest.mark.parametrize("path", [on_host, on_device])
# The host's result is rounded to a whole 255th.
ROUNDING = {on_host: 0.5 / 255 + 1e-5, on_device: 1e-5}


def photographs(count, size):
    image = Image.fromarray(load_sample_image("flower.jpg"))
    parts = [image.crop((9 * n, 5 * n, 9 * n + 200, 5 * n + 200)) for n in range(count)]
    return tf.constant(np.stack([part.resize((size, size)) for part in parts]))
