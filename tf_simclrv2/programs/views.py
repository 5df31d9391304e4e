"""``views``: draws a picture of images and their two views, to look at before training."""

import logging
import os
from typing import Mapping

import numpy as np
from PIL import Image

from tf_simclrv2.config import ViewsConfig
from tf_simclrv2.config.following import image_size
from tf_simclrv2.config.memory import check_images
from tf_simclrv2.data.batches import Views, batches
from tf_simclrv2.data.images import decode, read
from tf_simclrv2.data.sources import open_source
from tf_simclrv2.data.stream import Stream
from tf_simclrv2.data.views import resize
from tf_simclrv2.keras2 import tf
from tf_simclrv2.programs import command_line
from tf_simclrv2.programs.exported import check_output
from tf_simclrv2.progress import progress
from tf_simclrv2.runtime.disk import writing
from tf_simclrv2.runtime.files import whole_file
from tf_simclrv2.training.pictures import reading
from tf_simclrv2.training.suiting import suited

logger = logging.getLogger(__name__)

# Pixels between pictures, and the size up to which small ones are enlarged.
_GAP = 4
_SHOWN_SIZE = 96
_PAIRS_IN_A_ROW = 4


def run(values: Mapping[str, object]) -> None:
    """Draws the picture.

    Args:
      values: the flags that were given.

    Raises:
      ConfigError: a setting can't be used.
    """
    config = command_line.build(ViewsConfig, values)
    wanted = config.views
    output = os.path.expanduser(wanted.output)
    check_output(output)
    source = open_source(config.data)
    split = config.data.train_split
    source.check_split(split, "train_split")
    size = image_size(config.data, source.usual_side(split))
    # Each image has two views next to it, and they are copied into the picture.
    check_images("num_images", wanted.num_images, 6 * wanted.num_images, max(size, _SHOWN_SIZE), 1)
    stream = Stream(source, split, wanted.seed, data=config.data)
    config, words = suited(config, values, size, stream)
    # In batches of one, so that they are the images of a run's first batch of any size.
    pairs = batches(stream, Views.two(size, config.augmentation), batch_size=1)
    shown = tf.data.Dataset.zip((pairs, stream.examples().map(read)))
    cells = []
    count = min(wanted.num_images, stream.num_examples)
    drawn = shown.take(count)
    with reading(source):
        for batch, example in progress(drawn, "views", "image", count):
            image = _whole(example["image"], size, stream.is_checked)
            cells.append(np.stack([image, batch["view_1"][0], batch["view_2"][0]]))
    stream.damaged.report()
    with writing("output", output), whole_file(output) as file:
        Image.fromarray(grid(np.stack(cells))).save(file, format="PNG")
    logger.info(
        "%s: %d images of %s %s, each with its two views to the right: %s",
        output,
        len(cells),
        source.name,
        split,
        words,
    )


def _whole(content: tf.Tensor, size: int, is_checked: bool) -> tf.Tensor:
    """An image as it is; a damaged one, next to the views of another, is white."""
    try:
        image = decode(content)
    except tf.errors.InvalidArgumentError:
        if is_checked:
            raise
        return tf.fill([size, size, 3], tf.constant(255, tf.uint8))
    return tf.saturate_cast(tf.round(resize(image, size)), tf.uint8)


def grid(cells: np.ndarray) -> np.ndarray:
    """Lays images and their views out.

    Args:
      cells: uint8 [images, 3, size, size, 3]: image, first view, second view.

    Returns:
      uint8 [height, width, 3], small images enlarged.
    """
    times = max(1, _SHOWN_SIZE // cells.shape[2])
    cells = cells.repeat(times, axis=2).repeat(times, axis=3)
    size = cells.shape[2]
    columns = min(_PAIRS_IN_A_ROW, len(cells))
    rows = -(-len(cells) // columns)
    step, width = size + _GAP, 3 * (size + _GAP) + 2 * _GAP
    picture = np.full([rows * step + _GAP, columns * width, 3], 255, np.uint8)
    for number, cell in enumerate(cells):
        top, left = number // columns * step + _GAP, number % columns * width + _GAP
        for place, view in enumerate(cell):
            picture[top : top + size, left + place * step :][:, :size] = view
    return picture
