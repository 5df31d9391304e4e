"""Files for TensorBoard's projector, which shows representations as a cloud of their images."""

import logging
import math
import os
from typing import Dict, List, Optional, Sequence

import numpy as np
from PIL import Image

from tf_simclrv2.config.user_files import DIRECTORY, FILE, printable
from tf_simclrv2.data.images import decode
from tf_simclrv2.data.label_join import joined
from tf_simclrv2.data.label_table import LabelTable
from tf_simclrv2.data.names import Names
from tf_simclrv2.data.sources.folder import SPLIT_NAMES
from tf_simclrv2.keras2 import tf
from tf_simclrv2.progress import progress
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


def labels_of(paths: Sequence[str], class_names: Optional[Sequence[str]]) -> Dict[str, str]:
    """The classes of images in a layout of class/file, by path.

    Args:
      paths: the images' files.
      class_names: the classes that are known; None takes the names of the folders, if there are
        several and they are no splits.
    """
    folder_of = {path: os.path.basename(os.path.dirname(os.path.abspath(path))) for path in paths}
    folders = set(folder_of.values())
    if class_names is None:
        known = folders if len(folders) > 1 else set()
        if {folder.lower() for folder in folders} <= SPLIT_NAMES:
            known = set()
    else:
        known = folders & set(class_names)
    return {path: folder for path, folder in folder_of.items() if folder in known}


def labels_of_table(paths: Sequence[str], images: str, table: LabelTable) -> Dict[str, str]:
    """The labels that a table gives images, by path.

    Args:
      paths: the images' files.
      images: the flag that named them.
      table: names images by their paths, from the folder that was given or from here, or by their
        files' names.

    Raises:
      ConfigError: a row names none of the images, or several, or rows contradict each other.
    """
    found = joined(table, _Files(paths, images), f"--images={images}")
    return {path: row.label for path, row in found.items() if row.label}


class _Files(Names):
    """Image files, which a table may name from their folder as well."""

    def __init__(self, paths: Sequence[str], images: str):
        files = list(map(os.path.basename, paths))
        super().__init__(paths, files, [os.curdir])
        places = list(map(os.path.abspath, paths))
        given = os.path.expanduser(images)
        root = given if os.path.isdir(given) else os.path.commonpath(map(os.path.dirname, places))
        below = [os.path.relpath(place, root) for place in places]
        self._from_folder = Names(below, files, [root])

    def find(self, text: str) -> List[int]:
        return self._from_folder.find(text) or super().find(text)


def write(
    directory: str,
    embeddings: np.ndarray,
    paths: Sequence[str],
    classes: Sequence[str] = (),
    labels: Sequence[str] = (),
) -> None:
    """Writes the tensor, its metadata, thumbnails of the images, and the configuration.

    More than 262,144 images have no thumbnails.

    Args:
      directory: the directory to write, for ``tensorboard --logdir``.
      embeddings: float [images, dim].
      paths: the images' files, which can all be decoded.
      classes: the images' predicted classes, or nothing if there are none.
      labels: their true classes, empty where one is not known, or nothing if none is.
    """
    # Imported only here, since it takes a while.
    from tensorboard.plugins import projector

    os.makedirs(directory, exist_ok=True)
    lines = ("\t".join(f"{value:.7g}" for value in row) for row in embeddings)
    write_whole(os.path.join(directory, "tensor.tsv"), "".join(f"{line}\n" for line in lines))
    # The projector expects a header only where there are several columns.
    names = list(map(printable, paths))
    shown = [printable(each) or "unknown" for each in labels]
    columns = {"image": names, "class": classes, "label": shown}
    there = {name: column for name, column in columns.items() if column}
    rows = [*map("\t".join, zip(*there.values()))]
    if len(there) > 1:
        rows = ["\t".join(there), *rows]
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
    decoded = progress(thumbnails.as_numpy_iterator(), "thumbnails", "image", len(paths))
    for number, pixels in enumerate(decoded):
        top, left = number // columns * size, number % columns * size
        picture[top : top + size, left : left + size] = pixels
    return picture
