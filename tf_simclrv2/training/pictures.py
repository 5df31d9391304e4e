"""Images of a source as people look at them, by their ids."""

import os
from typing import Iterator, List, Tuple

import numpy as np

from tf_simclrv2.data.images import read
from tf_simclrv2.data.sources import Source
from tf_simclrv2.data.sources.chosen import Chosen


def pictures(source: Source, split: str, ids: List[str]) -> Iterator[Tuple[str, np.ndarray]]:
    """Decodes some images of a split, one at a time.

    Args:
      source: the data set.
      split: whose images they are.
      ids: of the images.

    Yields:
      An image's id, and its pixels, uint8 [height, width, 3]; in the order of the source.
    """
    decode = source.decoder(split)
    examples = Chosen(source, ids).index(split).map(read)
    decoded = examples.map(lambda example: (example["id"], decode(example["image"])))
    for example_id, image in decoded.as_numpy_iterator():
        yield os.fsdecode(example_id), image
