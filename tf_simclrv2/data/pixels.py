"""What is done to decoded pixels: turned upright, laid over white, scaled to 8 bits, reduced."""

from typing import Callable

from tf_simclrv2.keras2 import tf

# Above this many values work is done row by row, as it takes some bytes for each.
_MOST_AT_ONCE = 1 << 26
# Images of more pixels are reduced.
LARGEST = 1 << 25
# Images of more pixels are not copied in floating point.
MOST_IN_FLOATS = 1 << 24
# Bits that a camera or scanner may have.
DEPTHS = (8, 10, 12, 14, 16)


def by_rows(function: Callable[[tf.Tensor], tf.Tensor], image: tf.Tensor) -> tf.Tensor:
    """Applies a function to an image, row by row if it is large.

    Args:
      function: takes rows, and gives uint8 [rows, width, channels].
      image: [height, ...].
    """

    def one_by_one():
        return tf.map_fn(
            lambda row: function(row[tf.newaxis])[0], image,
            fn_output_signature=tf.TensorSpec([None, None], tf.uint8), parallel_iterations=1,
        )  # fmt: skip

    few = tf.size(image, tf.int64) <= _MOST_AT_ONCE
    return tf.cond(few, lambda: function(image), one_by_one)


def over_white(image: tf.Tensor) -> tf.Tensor:
    """Lays an image over white: uint8 [height, width, 4] to uint8 [height, width, 3]."""

    def laid(some):
        colours, alpha = tf.cast(some[..., :3], tf.uint16), tf.cast(some[..., 3:], tf.uint16)
        # At most 255 * 255 + 127, which 16 bits hold.
        return tf.cast((colours * alpha + 255 * (255 - alpha) + 127) // 255, tf.uint8)

    return by_rows(laid, image)


def scaled_to_8_bits(image: tf.Tensor, significant: tf.Tensor) -> tf.Tensor:
    """Scales colours of up to 16 bits to 8, rounded.

    Cameras and scanners store 10, 12 or 14 bits in 16. Where a file doesn't say how many of its
    bits are significant, and where that can't be right, the image's largest value tells.

    Args:
      image: uint16 [height, width, 4], alpha, of 16 bits, last.
      significant: bits that the file says are significant, int64 scalar, or 0.

    Returns:
      uint8 [height, width, 4].
    """
    largest = tf.cast(tf.reduce_max(image[..., :3]), tf.int64)
    ends = tf.constant([2**depth - 1 for depth in DEPTHS], tf.int64)
    end = ends[tf.searchsorted(ends, [largest])[0]]
    bits = tf.clip_by_value(significant, 0, 16)
    noted = tf.bitwise.left_shift(tf.constant(1, tf.int64), bits) - 1
    # By the standard, values are scaled to 16 bits however many are significant.
    noted = tf.where(largest > noted, ends[-1], noted)
    end = tf.cast(tf.where(significant > 0, noted, end), tf.float32)
    ends = tf.stack([end, end, end, 2.0**16 - 1])

    def scaled(some):
        return tf.cast(tf.floor(tf.cast(some, tf.float32) * 255.0 / ends + 0.5), tf.uint8)

    return by_rows(scaled, image)


def turned(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turns an image upright.

    Args:
      image: [height, width, 3] as stored.
      orientation: of Exif, 1 to 8, int64 scalar.
    """

    def upright():
        swapped = tf.cond(
            orientation >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: tf.identity(image)
        )
        dims = tf.concat([_mirrored(orientation), [False]], 0)
        return tf.raw_ops.Reverse(tensor=swapped, dims=dims)

    return tf.ensure_shape(tf.cond(orientation > 1, upright, lambda: image), [None, None, 3])


def as_stored(window: tf.Tensor, shape: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Finds a window of an upright image in the image as stored.

    Args:
      window: int32 [4], top, left, height and width.
      shape: int32 [2], height and width of the upright image.
      orientation: of Exif, 1 to 8, int64 scalar.

    Returns:
      int32 [4].
    """
    begin, size = window[:2], window[2:]
    begin = tf.where(_mirrored(orientation), shape - begin - size, begin)
    order = tf.where(orientation >= 5, [1, 0], [0, 1])
    return tf.concat([tf.gather(begin, order), tf.gather(size, order)], 0)


def _mirrored(orientation: tf.Tensor) -> tf.Tensor:
    """Whether rows and whether columns are mirrored, after rows and columns were swapped."""
    return tf.stack([tf.reduce_any(orientation == each) for each in ([3, 4, 7, 8], [2, 3, 6, 7])])


def reduction(pixels: tf.Tensor) -> tf.Tensor:
    """By how much an image of so many pixels is reduced: 0, or the power of two of it, to 3."""
    powers = [tf.cast(pixels > LARGEST * 4.0**power, tf.int32) for power in range(3)]
    return tf.add_n(powers)


def reduced(image: tf.Tensor, power: tf.Tensor) -> tf.Tensor:
    """Reduces an image, uint8 [height, width, 3], by the mean of squares of ``2**power`` pixels."""

    def smaller():
        factor = tf.bitwise.left_shift(1, power)
        size = (tf.shape(image)[:2] + factor - 1) // factor
        means = tf.raw_ops.ResizeArea(images=image[tf.newaxis], size=size)[0]
        return tf.cast(means + 0.5, tf.uint8)

    return tf.cond(power > 0, smaller, lambda: image)


def averaged(pixels: tf.Tensor, max_side: int) -> tf.Tensor:
    """An image whose shorter side has at most so many pixels: averages, if it has more.

    Args:
      pixels: uint8 [height, width, channels].
      max_side: pixels that the shorter side may have.

    Returns:
      uint8, of the same proportions.
    """
    sides = tf.shape(pixels)[:2]
    factor = max_side / tf.reduce_min(sides)

    def smaller() -> tf.Tensor:
        size = tf.cast(tf.round(tf.cast(sides, tf.float64) * factor), tf.int32)
        averages = tf.image.resize(pixels, size, tf.image.ResizeMethod.AREA)
        return tf.saturate_cast(tf.round(averages), tf.uint8)

    return tf.cond(factor < 1, smaller, lambda: tf.identity(pixels))
