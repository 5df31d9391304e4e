"""Photographs reduced once, so that not each epoch decodes all of their pixels."""

from typing import Callable, Optional

from tf_simclrv2.data.decoding import Decoder
from tf_simclrv2.data.images import read
from tf_simclrv2.data.pixels import averaged
from tf_simclrv2.keras2 import tf

# So high that a view of a reduced image differs from that of the image less than from the next one.
QUALITY = 95
# A JPEG file has no more.
_MOST_PIXELS_OF_SIDE = 65_500


def reduced(image: tf.Tensor, max_side: int, decoder: Decoder) -> tf.Tensor:
    """Reduces an image whose shorter side has more than ``max_side`` pixels, by averaging them.

    Args:
      image: encoded, string scalar.
      max_side: pixels that the shorter side then has.
      decoder: what decodes it.

    Returns:
      The same image, encoded: an image that is small enough byte by byte as it was, others as JPEG.
    """
    image = tf.convert_to_tensor(image)
    pixels = decoder(image)
    small = averaged(pixels, max_side)
    is_reduced = tf.reduce_any(tf.shape(small) < tf.shape(pixels))
    is_reduced = tf.logical_and(is_reduced, tf.reduce_max(tf.shape(small)) <= _MOST_PIXELS_OF_SIDE)
    encode = lambda: tf.io.encode_jpeg(small, quality=QUALITY, chroma_downsampling=False)  # noqa: E731
    return tf.cond(is_reduced, encode, lambda: image)


def reducer(
    max_side: Optional[int], decoder: Decoder
) -> Optional[Callable[[tf.Tensor], tf.Tensor]]:
    """What becomes of an encoded image before it is kept: see :func:`reduced`; None is nothing."""
    return None if max_side is None else lambda image: reduced(image, max_side, decoder)


def read_reduced(
    examples: tf.data.Dataset, decoder: Decoder, max_side: Optional[int]
) -> tf.data.Dataset:
    """Examples of an index, read, and reduced if ``max_side`` is given."""
    examples = examples.map(read, tf.data.AUTOTUNE)
    change = reducer(max_side, decoder)
    if change is None:
        return examples
    return examples.map(
        lambda example: {**example, "image": change(example["image"])}, tf.data.AUTOTUNE
    )
