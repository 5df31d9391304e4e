"""Undecoded examples that are reached by their number, in an order that is computed.

The order of an epoch is a permutation that a block cipher computes from seed and epoch, so that the
example at any position is found at once, without a list of what came before.
"""

import dataclasses
import os
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from tf_simclrv2.keras2 import tf

Example = Dict[str, tf.Tensor]
# Of the cipher. With its usual 4, places in one epoch and in the next correlate by up to 0.7.
_ROUNDS = 24


class Columns(NamedTuple):
    """What is known of image files without reading them; as arrays, since there may be millions.

    Attributes:
      root: the directory that holds them.
      ids: bytes [files], their paths in it.
      labels: int64 [files], -1 where there is none.
    """

    root: bytes
    ids: np.ndarray
    labels: np.ndarray

    def only(self, ids: List[bytes]) -> "Columns":
        """Those files that have one of ``ids``."""
        wanted = set(ids)
        rows = [row for row, each in enumerate(self.ids) if each in wanted]
        return self._replace(ids=self.ids[rows], labels=self.labels[rows])

    @property
    def paths(self) -> tf.Tensor:
        """Where the files are, strings [files]."""
        return tf.strings.join([os.path.join(self.root, b""), self.ids])


def number_at(position: tf.Tensor, count: int, seed: int) -> tf.Tensor:
    """Which examples stand at positions of a stream of repeated, shuffled examples.

    Args:
      position: int64, a scalar or a vector.
      count: how many examples there are.
      seed: of the run; each seed and each epoch have an order of their own.

    Returns:
      Numbers in [0, count), int64 like ``position``.
    """
    epoch = position // count
    seeds = tf.stack([tf.fill(tf.shape(epoch), tf.constant(seed, tf.int64)), epoch, 0 * epoch], -1)
    return tf.raw_ops.RandomIndexShuffle(
        index=position % count,
        seed=seeds,
        max_index=tf.constant(count - 1, tf.int64),
        rounds=_ROUNDS,
    )


@dataclasses.dataclass(frozen=True)
class Indexed:
    """Undecoded examples by their numbers.

    Attributes:
      columns: what is known of them without reading, ``path`` among it.
      image: returns the encoded image of a number, where images are kept; None reads files.
    """

    columns: Dict[str, tf.Tensor]
    image: Optional[Callable[[tf.Tensor], tf.Tensor]] = None

    @classmethod
    def of(cls, parts: Sequence[Columns]) -> "Indexed":
        """Examples of several sources, one after the other."""
        return cls(
            {
                "id": tf.concat([part.ids for part in parts], 0),
                "path": tf.concat([part.paths for part in parts], 0),
                "label": tf.concat([part.labels for part in parts], 0),
            }
        )

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.columns["id"].shape[0])

    def at(self, numbers: tf.Tensor) -> Example:
        """The examples of numbers, without their images."""
        columns = {name: tf.gather(column, numbers) for name, column in self.columns.items()}
        return {**columns, "number": numbers}

    def with_image(self, example: Example) -> Example:
        """Adds the image to an example if it is kept; its file is then not read."""
        if self.image is None:
            return example
        others = {name: value for name, value in example.items() if name != "path"}
        # A table doesn't know the shape of what is in it.
        return {**others, "image": tf.ensure_shape(self.image(example["number"]), [])}

    def kept_in_memory(
        self, change: Optional[Callable[[tf.Tensor], tf.Tensor]] = None
    ) -> "Indexed":
        """The same, with each image kept as it was when it was read first.

        Args:
          change: what becomes of an encoded image before it is kept; None leaves it.
        """
        # Anonymous, so that the images go with what refers to it.
        table = tf.lookup.experimental.MutableHashTable(
            tf.int64, tf.string, "", experimental_is_anonymous=True
        )
        paths = self.columns["path"]

        def read(number):
            content = tf.io.read_file(paths[number])
            content = content if change is None else change(content)
            with tf.control_dependencies([table.insert(number, content)]):
                return tf.identity(content)

        def image(number):
            kept = table.lookup(number)
            return tf.cond(tf.strings.length(kept) > 0, lambda: kept, lambda: read(number))

        return dataclasses.replace(self, image=image)
