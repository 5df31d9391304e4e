"""Decodes image files to RGB, upright and over white, each kind with exactly the same pixels
wherever it is decoded: in training, in evaluation and in an export.
"""

import dataclasses
import functools
from typing import Callable, Optional, Tuple

import numpy as np

from tf_simclrv2.config.data import MAX_IMAGE_PIXELS
from tf_simclrv2.data import host
from tf_simclrv2.data.bmp import decode_bmp
from tf_simclrv2.data.headers import (
    BMP,
    GIF,
    JPEG,
    OTHER,
    PNG,
    STARTS,
    Header,
    begins_with_tables,
    gif_palette,
    numbers,
    part,
    read_header,
    size_in_bytes,
)
from tf_simclrv2.data.pixels import (
    MOST_IN_FLOATS,
    over_white,
    reduced,
    reduction,
    scaled_to_8_bits,
    turned,
)
from tf_simclrv2.keras2 import tf

# What a file needs to be decoded: TensorFlow's decoder, the operations of this module, or Pillow.
ORDINARY, UNUSUAL, ONLY_ON_HOST = range(3)


@dataclasses.dataclass(frozen=True)
class Decoder:
    """How image files are decoded: with no more operations than their kinds need.

    Attributes:
      unusual: whether files may need more than TensorFlow's decoder, see :func:`needs_of`.
      on_host: whether Pillow may decode some of them, in this process.
      max_pixels: what unusual files may have. Ordinary ones are not looked at.
    """

    unusual: bool = True
    on_host: bool = True
    max_pixels: int = MAX_IMAGE_PIXELS

    def __or__(self, other: "Decoder") -> "Decoder":
        """A decoder for the files of both."""
        return Decoder(
            self.unusual or other.unusual,
            self.on_host or other.on_host,
            max(self.max_pixels, other.max_pixels),
        )

    def __call__(self, content: tf.Tensor, header: Optional[Header] = None) -> tf.Tensor:
        """Decodes an image file to RGB, uint8 [height, width, 3].

        Args:
          content: of the file, string scalar.
          header: what :meth:`header` says of it, if that was asked before.

        Raises:
          tf.errors.InvalidArgumentError: it can't be decoded, or has too many pixels.
        """
        if not self.unusual:
            return _by_tensorflow(content)
        if header is not None:
            return _decode(self)(content, header)
        return tf.cond(
            self.is_ordinary(content),
            lambda: _by_tensorflow(content),
            lambda: _decode(self)(content, self.header(content)),
        )

    def is_ordinary(self, content: tf.Tensor) -> tf.Tensor:
        """Whether TensorFlow's decoder is known to do, bool scalar."""
        ordinary, pixels = certainly_ordinary(content)
        return ordinary & (pixels <= self.max_pixels)

    def header(self, content: tf.Tensor) -> Header:
        """Reads the header of an image file, also of kinds that only Pillow knows."""
        return _read(self)(content)


# For files that were found to need no more.
PLAIN = Decoder(unusual=False, on_host=False)
# For files that nobody has looked at.
ANY = Decoder()


def needs_of(header: Header) -> tf.Tensor:
    """What a file needs to be decoded: ORDINARY, UNUSUAL or ONLY_ON_HOST, int32 scalar."""
    unusual = (header.orientation > 1) | (header.transparent > 0)
    unusual |= header.pixels > MOST_IN_FLOATS
    unusual |= (header.kind == PNG) & (header.depth > 8)
    unusual |= (header.kind == BMP) & ((header.depth < 24) | (header.exact == 0))
    return tf.where(header.kind == OTHER, ONLY_ON_HOST, tf.cast(unusual, tf.int32))


def certainly_ordinary(content: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
    """Looks for what most files are, with few operations: an ordinary JPEG or PNG.

    Args:
      content: of the file, string scalar.

    Returns:
      Whether it is one, so that :func:`needs_of` would be ORDINARY; and its pixels, float64 scalar.
    """

    def has(notes):
        # Found in the pixels, these letters only cost time.
        return tf.strings.regex_full_match(content, rf"(?s)\C*(?:{notes})\C*")

    def of_jpeg():
        plain = tf.cond(begins_with_tables(content), lambda: True, lambda: ~has("Exif"))
        return plain, tf.cast(tf.io.extract_jpeg_shape(content)[:2], tf.float64)

    def of_png():
        numbers_of = tf.cast(numbers(content, 16, 10), tf.float64)
        depth, colours = numbers_of[8], tf.cast(numbers_of[9], tf.int32)
        sides = tf.reduce_sum(tf.reshape(numbers_of[:8], [2, 4]) * [2.0**24, 2.0**16, 2.0**8, 1], 1)
        plain = (part(content, 0, 8) == STARTS[PNG]) & (depth <= 8) & (colours & 4 == 0)
        return plain & ~has("eXIf|tRNS"), sides

    plain, sides = tf.cond(tf.io.is_jpeg(content), of_jpeg, of_png)
    pixels = tf.reduce_prod(sides)
    return plain & (pixels <= MOST_IN_FLOATS), pixels


# Graphs are built once for each decoder, as that takes a second or two. They stay functions: within
# another graph, their operations would take time even where they are not executed.
_APART = {"_noinline": True}


@functools.lru_cache(None)
def _read(decoder: Decoder) -> Callable[[tf.Tensor], Header]:
    def size_of(content):
        size = tf.numpy_function(_size, [content], tf.int64, stateful=False)
        return tf.ensure_shape(size, [2])

    @tf.function(autograph=False, experimental_attributes=_APART)
    def read(content):
        header = read_header(content)
        if not decoder.on_host:
            return header
        stored = tf.stack([header.height, header.width])
        stored = tf.cond(header.kind == OTHER, lambda: size_of(content), lambda: stored)
        return header._replace(height=stored[0], width=stored[1])

    return read


@functools.lru_cache(None)
def _decode(decoder: Decoder) -> Callable[[tf.Tensor, Header], tf.Tensor]:
    def of_other(content):
        image = tf.zeros([0, 0, 3], tf.uint8)
        if decoder.on_host:
            image = tf.numpy_function(_pixels, [content], tf.uint8, stateful=False)
        decoded = tf.debugging.Assert(
            tf.size(image) > 0, ["no image, or of a kind that is not decoded here"]
        )
        with tf.control_dependencies([decoded]):
            return tf.identity(image)

    @tf.function(autograph=False, experimental_attributes=_APART)
    def decode(content, header):
        few = tf.debugging.Assert(
            header.pixels <= decoder.max_pixels, ["an image of too many pixels:", header.pixels]
        )
        with tf.control_dependencies([few]):
            content = tf.identity(content)
        image = tf.switch_case(
            tf.cast(header.kind, tf.int32),
            {
                JPEG: lambda: _jpeg(content, header),
                PNG: lambda: _png(content, header),
                GIF: lambda: _gif(content, header),
                BMP: lambda: decode_bmp(content),
                OTHER: lambda: of_other(content),
            },
        )
        image = tf.ensure_shape(image, [None, None, None])
        image = tf.cond(tf.shape(image)[2] == 4, lambda: over_white(image), lambda: image)
        power = tf.where(header.kind == JPEG, 0, reduction(header.pixels))
        return turned(reduced(image, power), header.orientation)

    return decode


def _by_tensorflow(content: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_image(content, channels=3, expand_animations=False)


def _jpeg(content: tf.Tensor, header: Header) -> tf.Tensor:
    ratios = [
        lambda ratio=ratio: tf.io.decode_jpeg(content, channels=3, ratio=ratio)
        for ratio in (1, 2, 4, 8)
    ]
    return tf.switch_case(reduction(header.pixels), ratios)


def _png(content: tf.Tensor, header: Header) -> tf.Tensor:
    def of_16_bits():
        return scaled_to_8_bits(tf.io.decode_png(content, 4, tf.uint16), header.significant)

    return tf.case(
        [
            (header.depth == 16, of_16_bits),
            (header.transparent > 0, lambda: tf.io.decode_png(content, 4)),
        ],
        lambda: tf.io.decode_png(content, 3),
    )


def _gif(content: tf.Tensor, header: Header) -> tf.Tensor:
    """Decodes a GIF's first frame; the colour that stands for transparency is made white.

    TensorFlow would show it in black.
    """

    def opaque():
        control = numbers(content, header.control + 3, 4)
        colour = gif_palette(content, header.frame)[0] + 3 * control[3]
        flags = tf.gather([bytes([flags]) for flags in range(256)], control[0] & 0xFE)
        changed = _replaced(content, header.control + 3, flags)
        return _replaced(changed, colour, tf.constant(b"\xff\xff\xff"))

    return _by_tensorflow(tf.cond(header.transparent > 0, opaque, lambda: content))


def _replaced(content: tf.Tensor, start: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
    """A string with other bytes from ``start`` on."""
    length = size_in_bytes(content)
    end = start + size_in_bytes(new)
    return tf.strings.join([part(content, 0, start), new, part(content, end, length)])


# An error here would be logged with a traceback, so what can't be decoded is an empty image.


def _size(content) -> np.ndarray:
    try:
        return np.array(host.size_of(_bytes(content)), np.int64)
    except host.Unreadable:
        return np.zeros(2, np.int64)


def _pixels(content) -> np.ndarray:
    try:
        return host.decode(_bytes(content))
    except host.Unreadable:
        return np.zeros((0, 0, 3), np.uint8)


def _bytes(content) -> bytes:
    """What a function of NumPy is given: eagerly it is an array."""
    return content if isinstance(content, bytes) else content.item()
