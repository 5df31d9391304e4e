"""An image of which a view needs all or a part: encoded, or as pixels."""

from typing import Callable

from tf_simclrv2.data.decoding import PLAIN, Decoder
from tf_simclrv2.data.headers import JPEG
from tf_simclrv2.data.pixels import LARGEST, as_stored, turned
from tf_simclrv2.keras2 import tf

# Below this many pixels telling JPEGs from other files costs more than their whole decoding.
SMALLEST_PARTLY_DECODED = 64


class ImageParts:
    """Gives all of an image, or, of an encoded JPEG, a rectangle without decoding the rest.

    Args:
      image: string scalar, the content of an image file, or uint8 [height, width, 3].
      decoder: what decodes the file; heights, widths and rectangles are of the upright image.
    """

    def __init__(self, image: tf.Tensor, decoder: Decoder):
        self._image, self._decoder = image, decoder
        self._encoded = image.dtype == tf.string
        self._header = decoder.header(image) if self._encoded and decoder.unusual else None

    def whole(self) -> tf.Tensor:
        """All pixels: uint8 [height, width, 3]."""
        return self._decoder(self._image, self._header) if self._encoded else self._image

    def jpeg_shape(self) -> tf.Tensor:
        """Height, width and channels of a JPEG: int32 [3]."""
        shape = tf.io.extract_jpeg_shape(self._image)
        if self._header is None:
            return shape
        return tf.gather(shape, tf.where(self._header.orientation >= 5, [1, 0, 2], [0, 1, 2]))

    def jpeg_part(self, around: tf.Tensor) -> tf.Tensor:
        """Decodes a rectangle of a JPEG: uint8 [height, width, 3].

        Args:
          around: int32 [4], top, left, height and width.
        """
        if self._header is None:
            return tf.io.decode_and_crop_jpeg(self._image, around, channels=3)
        orientation = self._header.orientation
        stored = as_stored(around, self.jpeg_shape()[:2], orientation)
        part = tf.io.decode_and_crop_jpeg(self._image, stored, channels=3)
        return turned(part, orientation)

    def views(
        self,
        image_size: int,
        of_jpeg: Callable[[], tf.Tensor],
        of_others: Callable[[], tf.Tensor],
    ) -> tf.Tensor:
        """Makes views in the way that suits the image.

        Args:
          image_size: side of the views in pixels.
          of_jpeg: makes them of parts of a JPEG.
          of_others: makes them of the whole image.
        """
        if not self._encoded or image_size < SMALLEST_PARTLY_DECODED:
            return of_others()
        if self._header is None:
            return tf.cond(tf.io.is_jpeg(self._image), of_jpeg, of_others)
        # Large ones are reduced as a whole.
        few = self._header.pixels <= min(LARGEST, self._decoder.max_pixels)
        return tf.cond((self._header.kind == JPEG) & few, of_jpeg, of_others)


def of_parts(
    image: tf.Tensor, decoder: Decoder, make: Callable[[ImageParts], tf.Tensor]
) -> tf.Tensor:
    """Makes something of an image, by the shorter way if its file is an ordinary one.

    Args:
      image: string scalar, the content of an image file, or uint8 [height, width, 3].
      decoder: what decodes the file.
      make: makes it of the image's parts.
    """
    plain = lambda: make(ImageParts(image, PLAIN))  # noqa: E731
    if image.dtype != tf.string or not decoder.unusual:
        return plain()
    unusual = lambda: make(ImageParts(image, decoder))  # noqa: E731
    return tf.cond(decoder.is_ordinary(image), plain, unusual)
