"""Image files: which there are, how they are read, and which are corrupt."""

import functools
import os
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from tf_simclrv2 import progress
from tf_simclrv2.config.data import MAX_IMAGE_PIXELS
from tf_simclrv2.data.decoding import (
    ANY,
    ORDINARY,
    PLAIN,
    Decoder,
    certainly_ordinary,
    needs_of,
)
from tf_simclrv2.keras2 import tf

IMAGE_SUFFIXES: Tuple[str, ...] = (
    ".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp",
)  # fmt: skip
# Results of checked files that reach Python together.
_AT_ONCE = 256


def decode(image: tf.Tensor) -> tf.Tensor:
    """Decodes an encoded image of any kind, string scalar, to RGB, uint8 [height, width, 3]."""
    return ANY(image)


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


class Shape(NamedTuple):
    """What is known of an image file that was decoded.

    Attributes:
      height, width: in pixels, upright.
      needs: what decoding takes, see :func:`tf_simclrv2.data.decoding.needs_of`.
    """

    height: int
    width: int
    needs: int


def shapes_of(
    root: str, files: List[str], max_pixels: int = MAX_IMAGE_PIXELS
) -> Tuple[Dict[str, Shape], Dict[str, str]]:
    """Decodes files to find those that are not corrupt.

    Args:
      root: the directory that holds the files.
      files: their paths, relative to ``root``.
      max_pixels: more than these are not decoded.

    Returns:
      What is known of each file that decodes, by path; and why others can't be used, as far as that
      is known.
    """
    shapes: Dict[str, Shape] = {}
    reasons: Dict[str, str] = {}
    with progress.bar(len(files), "checking images", "image") as bar:
        for facts in _facts(root, files, functools.partial(_ordinary_shape, max_pixels)):
            shapes[facts.file] = Shape(*facts.shape, ORDINARY)
            bar.update()
        others = [file for file in files if file not in shapes]
        for facts in (
            _facts(root, others, functools.partial(_any_shape, max_pixels)) if others else ()
        ):
            reason = why_too_large(facts.pixels, max_pixels)
            if reason is not None:
                reasons[facts.file] = reason
            else:
                shapes[facts.file] = Shape(*facts.shape, facts.needs)
            bar.update()
    return shapes, reasons


class _Facts(NamedTuple):
    file: str
    shape: Tuple[int, int]
    needs: int
    pixels: float


def _facts(root: str, files: List[str], look: Callable[[tf.Tensor], Tuple]) -> Iterator[_Facts]:
    """What a function finds of those files for which it does not fail."""
    if not files:
        return
    directory = os.fsencode(root)

    @tf.autograph.experimental.do_not_convert  # Converting takes longer than a hundred images.
    def facts_of(file):
        path = tf.strings.join([directory, file], separator=os.sep)
        return (file, *look(tf.io.read_file(path)))

    # As bytes, since names of files need not be UTF-8.
    names = [os.fsencode(file) for file in files]
    found = tf.data.Dataset.from_tensor_slices(names).map(facts_of, tf.data.AUTOTUNE)
    # Each element by itself would take Python longer than decoding a small image.
    for columns in found.ignore_errors().batch(_AT_ONCE).as_numpy_iterator():
        for name, shape, needs, pixels in zip(*(column.tolist() for column in columns)):
            yield _Facts(os.fsdecode(name), tuple(shape), needs, pixels)


def _ordinary_shape(max_pixels: int, content: tf.Tensor) -> Tuple:
    """Decodes a file if it is ordinary, and fails if not."""
    ordinary, pixels = certainly_ordinary(content)
    checked = tf.debugging.Assert(ordinary & (pixels <= max_pixels), ["not ordinary"])
    with tf.control_dependencies([checked]):
        content = tf.identity(content)
    return tf.shape(PLAIN(content))[:2], ORDINARY, pixels


def _any_shape(max_pixels: int, content: tf.Tensor) -> Tuple:
    """Decodes a file of any kind, unless it has too many pixels."""
    decoder = Decoder(max_pixels=max_pixels)
    header = decoder.header(content)
    shape = tf.cond(
        header.pixels > max_pixels,
        lambda: tf.zeros([2], tf.int32),
        lambda: tf.shape(decoder(content, header))[:2],
    )
    return shape, needs_of(header), header.pixels


def why_too_large(pixels: float, max_pixels: int) -> Optional[str]:
    """Says why an image of so many pixels is not decoded; None if it is."""
    if pixels <= max_pixels:
        return None
    return f"it has {pixels:.0f} pixels, more than --max_image_pixels={max_pixels}"
