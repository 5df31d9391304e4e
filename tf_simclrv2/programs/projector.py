"""Files for TensorBoard's projector, which shows representations as a cloud of their images."""

import logging
import math
import os
from typing import Sequence

import numpy as np
from PIL import Image

from tf_simclrv2.config.user_files import DIRECTORY, FILE, printable
from tf_simclrv2.data.images import decode
from tf_simclrv2.keras2 import tf
from tf_simclrv2.runtime.files import check_place, whole_file, write_whole

logger = logging.getLogger(__name__)

# The projector takes all thumbnails in one square picture of at most this side, in pixels.
_LARGEST_PICTURE = 8192
# Sides of a thumbnail. Below the smallest, little can be seen.
_LARGEST_THUMBNAIL = 64
_SMALLEST_THUMBNAIL = 16

_FILES = ("tensor.tsv", "metadata.tsv", "thumbnails.png", "projector_config.pbtxt")


def check(directory: str, output: str) -> None:
    """Refuses a directory of which something that is to be written is no directory or file.

    Args:
      directory: see :func:`write`.
      output: what the flag ``--output`` is.

    Raises:
      ConfigError: it can't be written.
    """
    if check_place(directory, "output", DIRECTORY, output) is not None:
        for name in _FILES:
            check_place(os.path.join(directory, name), "output", FILE, output)


def write(
    directory: str, embeddings: np.ndarray, paths: Sequence[str], classes: Sequence[str] = ()
) -> None:
    """Writes the tensor, its metadata, thumbnails of the images, and the configuration.

    More than 262,144 images have no thumbnails.

    Args:
      directory: the directory to write, for ``tensorboard --logdir``.
      embeddings: float [images, dim].
      paths: the images' files, which can all be decoded.
      classes: the images' classes, or nothing if they are not known.
    """
    # Imported only here, since it takes a while.
    from tensorboard.plugins import projector

    os.makedirs(directory, exist_ok=True)
    lines = ("\t".join(f"{value:.7g}" for value in row) for row in embeddings)
    write_whole(os.path.join(directory, "tensor.tsv"), "".join(f"{line}\n" for line in lines))
    # The projector expects a header only where there are several columns.
    names = list(map(printable, paths))
    rows = ["image\tclass", *map("\t".join, zip(names, classes))] if classes else names
    write_whole(os.path.join(directory, "metadata.tsv"), "".join(f"{row}\n" for row in rows))

    config = projector.ProjectorConfig()
    embedding = config.embeddings.add()
    embedding.tensor_name = "representation"
    embedding.tensor_path = "tensor.tsv"
    embedding.metadata_path = "metadata.tsv"
    size = min(_LARGEST_THUMBNAIL, _LARGEST_PICTURE // _columns(len(paths)))
    if size < _SMALLEST_THUMBNAIL:
        logger.warning("%s has no thumbnails: %d images are too many", directory, len(paths))
    else:
        with whole_file(os.path.join(directory, "thumbnails.png")) as file:
            Image.fromarray(_picture(paths, size)).save(file, format="PNG")
        embedding.sprite.image_path = "thumbnails.png"
        embedding.sprite.single_image_dim.extend([size, size])
    projector.visualize_embeddings(directory, config)


def _columns(count: int) -> int:
    return math.isqrt(count - 1) + 1


def _picture(paths: Sequence[str], size: int) -> np.ndarray:
    """Lays thumbnails out row by row in a square, uint8 [side, side, 3], white where it ends."""
    columns = _columns(len(paths))
    picture = np.full([columns * size, columns * size, 3], 255, np.uint8)

    def thumbnail(path: tf.Tensor) -> tf.Tensor:
        image = decode(tf.io.read_file(path))
        side = tf.reduce_min(tf.shape(image)[:2])
        centre = tf.image.resize_with_crop_or_pad(image, side, side)
        resized = tf.image.resize(centre, [size, size], antialias=True)
        return tf.saturate_cast(tf.round(resized), tf.uint8)

    files = tf.data.Dataset.from_tensor_slices([os.fsencode(path) for path in paths])
    thumbnails = files.map(thumbnail, num_parallel_calls=tf.data.AUTOTUNE)
    for number, pixels in enumerate(thumbnails.as_numpy_iterator()):
        top, left = number // columns * size, number % columns * size
        picture[top : top + size, left : left + size] = pixels
    return picture
