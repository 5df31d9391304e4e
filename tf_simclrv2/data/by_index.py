"""Undecoded examples that are reached by their number, in an order that is computed.

The order of an epoch is a permutation that a block cipher computes from seed and epoch, so that the
example at any position is found at once, without a list of what came before.
"""

import dataclasses
import os
from typing import Callable, Dict, List, NamedTuple, Optional, Protocol, Sequence

import numpy as np

from tf_simclrv2.data.images import read
from tf_simclrv2.keras2 import tf

Example = Dict[str, tf.Tensor]
# Of the cipher. With its usual 4, places in one epoch and in the next correlate by up to 0.7.
_ROUNDS = 24


class Records(Protocol):
    """Examples that are stored one after the other, and reached by their number there."""

    def example(self, number: tf.Tensor) -> Example:
        """Reads an example in a graph: its encoded ``image`` and its ``label``."""

    def labels(self, numbers: np.ndarray) -> np.ndarray:
        """Reads the labels of some, int64 [numbers]."""


class Columns(NamedTuple):
    """What is known of examples without reading them; as arrays, since there may be millions.

    Attributes:
      root: the directory that holds them, if they are image files.
      ids: bytes [examples], their paths in it, if they are image files.
      labels: int64 [examples], -1 where there is none; None leaves them to be read.
      records: what holds them; None if they are image files.
      places: int64 [examples], their numbers in ``records``.
    """

    root: bytes
    ids: np.ndarray
    labels: Optional[np.ndarray]
    records: Optional[Records] = None
    places: Optional[np.ndarray] = None

    def only(self, ids: List[bytes]) -> "Columns":
        """Those examples that have one of ``ids``."""
        wanted = set(ids)
        rows = [row for row, each in enumerate(self.ids) if each in wanted]
        return self._replace(
            ids=self.ids[rows],
            labels=None if self.labels is None else self.labels[rows],
            places=None if self.places is None else self.places[rows],
        )

    def with_labels(self) -> "Columns":
        """The same, with labels read where they were not known."""
        if self.labels is not None:
            return self
        assert self.records is not None and self.places is not None
        return self._replace(labels=self.records.labels(self.places))

    @property
    def paths(self) -> tf.Tensor:
        """Where the files are, strings [examples]; empty if they are none."""
        if self.records is not None:
            return tf.fill([len(self.ids)], "")
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
      columns: what is known of them without reading: ``path``, empty of records, among it, and
        where there are records ``place``, which is -1 of files.
      records: what holds those that are no files; None if all are files.
      reads_labels: whether labels are read with the records.
      image: returns the encoded image of a number, where images are kept; None reads them.
    """

    columns: Dict[str, tf.Tensor]
    records: Optional[Records] = None
    reads_labels: bool = False
    image: Optional[Callable[[tf.Tensor], tf.Tensor]] = None

    @classmethod
    def of(cls, parts: Sequence[Columns]) -> "Indexed":
        """Examples of several sources, of which one may have records, one after the other."""
        columns = {
            "id": [part.ids for part in parts],
            "path": [part.paths for part in parts],
            "label": [_or_none(part.labels, part) for part in parts],
        }
        stored = [part for part in parts if part.records is not None]
        if stored:
            columns["place"] = [_or_none(part.places, part) for part in parts]
        return cls(
            {name: tf.concat(values, 0) for name, values in columns.items()},
            records=stored[0].records if stored else None,
            reads_labels=any(part.labels is None for part in parts),
        )

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.columns["id"].shape[0])

    @property
    def are_files(self) -> bool:
        """Whether every image is a file that is read by its path."""
        return self.image is None and self.records is None

    def at(self, numbers: tf.Tensor) -> Example:
        """The examples of numbers, without their images."""
        columns = {name: tf.gather(column, numbers) for name, column in self.columns.items()}
        return {**columns, "number": numbers}

    def with_image(self, example: Example) -> Example:
        """Adds the image to an example, unless it is a file that is still to be read."""
        if self.are_files:
            return example
        others = {name: example[name] for name in example if name not in ("path", "place")}
        if self.image is not None:
            # A table doesn't know the shape of what is in it.
            return {**others, "image": tf.ensure_shape(self.image(example["number"]), [])}
        assert self.records is not None
        place, path, records = example["place"], example["path"], self.records

        def of_record():
            found = records.example(place)
            return found["image"], found["label"] if self.reads_labels else example["label"]

        def of_file():
            return tf.io.read_file(path), example["label"]

        image, label = tf.cond(place >= 0, of_record, of_file)
        return {**others, "image": tf.ensure_shape(image, []), "label": label}

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

        def read_first(number):
            content = read(self.with_image(self.at(number)))["image"]
            content = content if change is None else change(content)
            with tf.control_dependencies([table.insert(number, content)]):
                return tf.identity(content)

        def image(number):
            kept = table.lookup(number)
            return tf.cond(tf.strings.length(kept) > 0, lambda: kept, lambda: read_first(number))

        return dataclasses.replace(self, image=image)


def _or_none(values: Optional[np.ndarray], part: Columns) -> np.ndarray:
    """A column, or -1 of each example where there is none."""
    return np.full(len(part.ids), -1, np.int64) if values is None else values
