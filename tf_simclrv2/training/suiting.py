"""Which views suit a run's images, as far as a look at a few of them tells."""

from typing import Callable, Collection, Iterator, Tuple, TypeVar

import numpy as np

from tf_simclrv2.config import (
    DistillConfig,
    FinetuneConfig,
    PretrainConfig,
    ViewsConfig,
    following,
)
from tf_simclrv2.data.by_index import Indexed
from tf_simclrv2.data.images import read
from tf_simclrv2.data.sources import Source
from tf_simclrv2.data.stream import Stream
from tf_simclrv2.keras2 import tf
from tf_simclrv2.training.pictures import reading

C = TypeVar("C", PretrainConfig, FinetuneConfig, DistillConfig, ViewsConfig)

# Images of a source that are looked at.
_COUNT = 64
# A grey image has hardly a pixel whose channels differ by more; compressing makes them differ by a
# little.
_DIFFERENCE, _SHARE = 16, 0.001


def suited(
    config: C,
    given: Collection[str],
    size: int,
    stream: Stream,
    agreed: Callable[[int], int] = int,
) -> Tuple[C, str]:
    """Settles the views that follow the images, see :func:`tf_simclrv2.config.following.views`.

    Args:
      config: of a command that draws views.
      given: names of the flags that were given.
      size: of the network's input in pixels.
      stream: the images.
      agreed: makes one number of what each worker found.

    Returns:
      The config, and the views in words.

    Raises:
      ConfigError: an image can't be read any more.
    """
    return following.views(config, given, size, lambda: bool(agreed(int(are_grey(stream)))))


def are_grey(stream: Stream) -> bool:
    """Whether no image shows a colour, of a few from each of a stream's sources.

    Args:
      stream: the images. Those that are reached by index are taken from all over, records that are
        read one after the other from the beginning; damaged images do not count.

    Raises:
      ConfigError: an image can't be read any more.
    """
    seen = False
    for source, split in stream.sources:
        with reading(source):
            for is_grey in _looks(source, split):
                if not is_grey:
                    return False
                seen = True
    return seen


def _looks(source: Source, split: str) -> Iterator[bool]:
    """Whether each of a few images is grey."""
    columns, decode = source.columns(split), source.decoder(split)
    if columns is None:
        examples = source.index(split).take(_COUNT)
    else:
        indexed = Indexed.of([columns])
        rows = np.unique(np.linspace(0, indexed.count - 1, _COUNT).astype(np.int64))
        examples = tf.data.Dataset.from_tensor_slices(indexed.at(tf.constant(rows)))
        examples = examples.map(indexed.with_image)

    @tf.autograph.experimental.do_not_convert
    def look(example):
        image = decode(read(example)["image"])
        differences = tf.reduce_max(image, axis=-1) - tf.reduce_min(image, axis=-1)
        coloured = tf.cast(differences > _DIFFERENCE, tf.float32)
        return tf.reduce_mean(coloured) <= _SHARE

    looks = iter(examples.map(look, tf.data.AUTOTUNE).as_numpy_iterator())
    while True:
        try:
            yield bool(next(looks))
        except StopIteration:
            return
        except tf.errors.InvalidArgumentError:
            continue
