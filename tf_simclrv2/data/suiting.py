"""Which views suit a data set's images, as far as a look at a few of them tells."""

import math
from typing import Collection, Tuple

from tf_simclrv2.config import AugmentationConfig, following
from tf_simclrv2.data.images import read
from tf_simclrv2.data.sources import Source
from tf_simclrv2.keras2 import tf

# Images looked at, and the difference of their channels that compressing leaves of a grey one.
_COUNT = 64
_TOLERANCE = 2.0


def suited_views(
    augmentation: AugmentationConfig, given: Collection[str], size: int, source: Source, split: str
) -> Tuple[AugmentationConfig, str]:
    """Settles the views that follow the images, see :func:`tf_simclrv2.config.following.views`.

    Args:
      augmentation: the settings of the views.
      given: names of the flags that were given.
      size: of the network's input in pixels.
      source: the data set.
      split: the one of its splits to look at.

    Returns:
      The settings, and what they suit in words, empty if they are the paper's or the user's.
    """
    return following.views(augmentation, given, size, lambda: are_grey(source, split))


def are_grey(source: Source, split: str) -> bool:
    """Whether none of a few images shows a colour.

    Args:
      source: the data set.
      split: one of its splits. Files are taken from all over it, records from its beginning.
    """
    columns, decode = source.columns(split), source.decoder(split)
    examples = source.index(split)
    of_files = columns is not None and columns.records is None
    if of_files:
        # Files of a class stand together.
        examples = examples.shard(-(-source.num_examples(split) // _COUNT), 0)

    @tf.autograph.experimental.do_not_convert
    def spread(example):
        image = tf.cast(decode(read(example)["image"]), tf.float32)
        return tf.reduce_mean(tf.reduce_max(image, axis=-1) - tf.reduce_min(image, axis=-1))

    found = examples.take(_COUNT).map(spread, tf.data.AUTOTUNE)
    if of_files:
        # Damaged ones, which were perhaps not looked for.
        found = found.ignore_errors()
    try:
        return max(found.as_numpy_iterator(), default=math.inf) <= _TOLERANCE
    except tf.errors.OpError:
        # Training meets the same record, and says which.
        return False
