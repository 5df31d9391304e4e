"""Decodes BMP files that are not compressed, of any number of bits, by TensorFlow's operations.

TensorFlow's own decoder takes a palette's indices for grey, and other masks than its own for them.
"""

from tf_simclrv2.data.headers import BmpHeader, bmp_header, bmp_masks, numbers, part, size_in_bytes
from tf_simclrv2.data.pixels import by_rows
from tf_simclrv2.keras2 import tf

_MOST_COLOURS = 256


def decode_bmp(content: tf.Tensor) -> tf.Tensor:
    """Decodes a BMP that is not compressed, to uint8 [height, width, 3 or 4].

    Args:
      content: of the file, string scalar.

    Raises:
      tf.errors.InvalidArgumentError: pixels are missing.
    """
    header = bmp_header(content)
    size = header.row * header.rows
    enough = header.offset + size <= size_in_bytes(content)
    complete = tf.debugging.Assert(
        enough & (header.width > 0) & (header.rows > 0), ["a BMP whose pixels are missing"]
    )
    with tf.control_dependencies([complete] if complete is not None else []):
        data = tf.io.decode_raw(part(content, header.offset, size), tf.uint8)
    rows = tf.reshape(data, [header.rows, header.row])
    rows = tf.cond(header.falls, lambda: rows, lambda: rows[::-1])
    return tf.case(
        [
            (header.bits <= 8, lambda: _of_palette(content, header, rows)),
            (header.bits == 24, lambda: _of_bytes(header, rows)),
        ],
        lambda: _of_masks(content, header, rows),
        exclusive=True,
    )


def _of_palette(content: tf.Tensor, header: BmpHeader, rows: tf.Tensor) -> tf.Tensor:
    most = tf.bitwise.left_shift(tf.constant(1, tf.int64), header.bits)
    count = tf.where(header.colours > 0, tf.minimum(header.colours, most), most)
    entries = numbers(content, 14 + header.size, 4 * _MOST_COLOURS)
    palette = tf.cast(tf.reshape(entries, [_MOST_COLOURS, 4])[:, 2::-1], tf.uint8)
    # Behind the palette are pixels, which are no colours.
    palette *= tf.cast(tf.range(_MOST_COLOURS, dtype=tf.int64) < count, tf.uint8)[:, tf.newaxis]
    shifts = tf.cast(tf.range(8 - header.bits, -1, -header.bits), tf.uint8)
    mask = tf.cast(most - 1, tf.uint8)
    indices = tf.bitwise.right_shift(rows[..., tf.newaxis], shifts) & mask
    indices = tf.reshape(indices, [header.rows, -1])[:, : header.width]
    return tf.gather(palette, tf.cast(indices, tf.int32))


def _of_bytes(header: BmpHeader, rows: tf.Tensor) -> tf.Tensor:
    pixels = tf.reshape(rows[:, : 3 * header.width], [header.rows, header.width, 3])
    return pixels[..., ::-1]


def _of_masks(content: tf.Tensor, header: BmpHeader, rows: tf.Tensor) -> tf.Tensor:
    masks = bmp_masks(content, header)
    lowest = tf.maximum(masks & -masks, 1)
    largest = tf.maximum(masks // lowest, 1)
    size = header.bits // 8
    places = tf.range(size)
    weights = tf.bitwise.left_shift(tf.ones_like(places), 8 * places)

    def colours(some):
        pixels = tf.reshape(some[:, : size * header.width], [tf.shape(some, tf.int64)[0], -1, size])
        values = tf.reduce_sum(tf.cast(pixels, tf.int64) * weights, -1, keepdims=True)
        channels = (values & masks) // lowest
        scaled = (channels * 255 + largest // 2) // largest
        opaque = tf.constant([0, 0, 0, 255], tf.int64) * tf.cast(masks == 0, tf.int64)
        return tf.cast(scaled + opaque, tf.uint8)

    return by_rows(colours, rows)
