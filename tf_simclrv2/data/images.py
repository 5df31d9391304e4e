"""Image files: how they are decoded, and which are corrupt."""

import os
from typing import Dict, List, Tuple

from tqdm import tqdm

from tf_simclrv2.keras2 import tf

# The image formats that every supported TensorFlow decodes.
IMAGE_SUFFIXES: Tuple[str, ...] = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
if hasattr(tf.io, "decode_webp"):  # since TensorFlow 2.21
    IMAGE_SUFFIXES += (".webp",)


def decode(image: tf.Tensor) -> tf.Tensor:
    """Decodes an encoded image, string scalar, to RGB, uint8 [height, width, 3]."""
    return tf.io.decode_image(image, channels=3, expand_animations=False)


def read(example: Dict[str, tf.Tensor]) -> Dict[str, tf.Tensor]:
    """Reads an example's file, unless the example holds the encoded image already.

    Args:
      example: an example of :meth:`Source.index`.

    Returns:
      ``id``, ``image`` (encoded) and ``label`` of the example.
    """
    image = example.get("image")
    if "path" in example:
        of_file = lambda: tf.io.read_file(example["path"])  # noqa: E731
        is_file = tf.strings.length(example["path"]) > 0
        image = of_file() if image is None else tf.cond(is_file, of_file, lambda: image)
    return {"id": example["id"], "image": image, "label": example["label"]}


def shapes_of(root: str, files: List[str]) -> Dict[str, Tuple[int, int]]:
    """Decodes files to find those that are not corrupt.

    Args:
      root: the directory that holds the files.
      files: their paths, relative to ``root``.

    Returns:
      Height and width in pixels of each file that decodes, by path.
    """
    directory = os.fsencode(root)

    def shape_of(file):
        image = decode(tf.io.read_file(tf.strings.join([directory, file], separator=os.sep)))
        return file, tf.shape(image)[:2]

    # As bytes, since names of files need not be UTF-8.
    names = [os.fsencode(file) for file in files]
    shapes = tf.data.Dataset.from_tensor_slices(names).map(shape_of, tf.data.AUTOTUNE)
    shapes = shapes.ignore_errors().as_numpy_iterator()
    shown = tqdm(shapes, "checking images", len(files), leave=False, delay=5, unit="image")
    return {os.fsdecode(file): tuple(shape) for file, shape in shown}
