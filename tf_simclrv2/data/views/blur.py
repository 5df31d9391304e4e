"""Gaussian blur (SimCLR, appendix A), in one way for each kind of device."""

from tf_simclrv2.keras2 import tf


def blur_radius(image_size: int) -> int:
    """Pixels on each side of the kernel's middle; 0 where images are too small to be blurred."""
    # The paper's kernel is a tenth of the image wide, or a pixel more to be odd.
    return image_size // 10 // 2


def _gaussian(radius, sigma):
    """Weights of a truncated Gaussian, [..., 2 * radius + 1], of standard deviations [...]."""
    distances = tf.range(-radius, radius + 1, dtype=tf.float32)
    weights = tf.exp(-tf.square(distances) / (2 * tf.square(sigma[..., tf.newaxis])))
    return weights / tf.reduce_sum(weights, axis=-1, keepdims=True)


def blur_by_products(planes: tf.Tensor, radius: int, sigma: tf.Tensor) -> tf.Tensor:
    """Blurs images with a truncated Gaussian each, with zeros beyond the border.

    The Gaussian is separable, and a convolution along one axis is a product with a banded matrix,
    so that the blur is two matrix products, which suit GPUs and TPUs.

    Args:
      planes: float32 [batch, 3, height, width].
      radius: pixels on each side of the kernel's middle.
      sigma: float32 [batch], standard deviations in pixels.

    Returns:
      float32 [batch, 3, height, width].
    """
    weights = _gaussian(radius, sigma)

    def bands(size):
        distance = tf.range(size)[:, tf.newaxis] - tf.range(size)[tf.newaxis, :]
        inside = tf.gather(weights, tf.clip_by_value(distance + radius, 0, 2 * radius), axis=1)
        return tf.where(tf.abs(distance) <= radius, inside, 0.0)[:, tf.newaxis]

    rows = tf.matmul(bands(planes.shape[2]), planes)
    return tf.clip_by_value(tf.matmul(rows, bands(planes.shape[3]), transpose_b=True), 0.0, 1.0)


def blur_by_shifts(planes: tf.Tensor, radius: int, sigma: tf.Tensor) -> tf.Tensor:
    """The blur of :func:`blur_by_products` for one image, as sums of shifted images.

    A CPU for which XLA makes one loop of each sum needs half the time of the products.

    Args:
      planes: float32 [3, height, width].
      radius: pixels on each side of the kernel's middle.
      sigma: float32 scalar, standard deviation in pixels.

    Returns:
      float32 [3, height, width].
    """
    middle, *sides = tf.unstack(_gaussian(radius, sigma))[radius:]
    # Padded once, not for each axis, or XLA would check every pixel of every sum for the border.
    planes = tf.pad(planes, [[0, 0], [radius, radius], [radius, radius]])
    for axis in (1, 2):
        size = planes.shape[axis] - 2 * radius

        def shifted(by, planes=planes, axis=axis, size=size):
            first = radius + by
            return planes[(slice(None),) * axis + (slice(first, first + size),)]

        total = middle * shifted(0)
        for by, weight in enumerate(sides, start=1):
            total += weight * (shifted(-by) + shifted(by))
        planes = total
    return tf.clip_by_value(planes, 0.0, 1.0)
