"""The order of examples: an endless stream that is a function of the seed."""

import dataclasses
import os
from typing import Dict, List, Optional, Sequence

import numpy as np

from tf_simclrv2.config import DataConfig
from tf_simclrv2.data.decoding import Decoder
from tf_simclrv2.data.disk_cache import cached_on_disk
from tf_simclrv2.data.images import read
from tf_simclrv2.data.sources import SHUFFLE_BUFFER, Source
from tf_simclrv2.keras2 import tf


@dataclasses.dataclass(frozen=True)
class Part:
    """Which part of every batch a pipeline makes, so that several together make the whole batch.

    Attributes:
      index: which of the pipelines this is.
      pipelines: pipelines that share a batch, one for each host.
      replicas: replicas that share a batch; a pipeline's batches go to its own replicas in turn.
    """

    index: int = 0
    pipelines: int = 1
    replicas: int = 1


WHOLE = Part()


class Stream:
    """The undecoded examples that a run trains on, in their order, without end.

    In each epoch every example comes once, in an order that is a function of seed and epoch.

    Args:
      source: the data set.
      split: which split of it.
      seed: of the run.
      data: whether and where undecoded examples are cached.
      ids: the examples to use; None is all of the split.
      unlabelled: further images, mixed evenly with those of the source.

    Attributes:
      source, seed, unlabelled: as given.
    """

    def __init__(
        self,
        source: Source,
        split: str,
        seed: int,
        *,
        data: DataConfig,
        ids: Optional[Sequence[str]] = None,
        unlabelled: Optional[Source] = None,
    ):
        self.source, self.seed, self.unlabelled = source, seed, unlabelled
        self._split, self._data = split, data
        self._ids = None if ids is None else list(ids)

    @property
    def num_examples(self) -> int:
        """Examples in an epoch."""
        count = _count(self.source, self._split, self._ids)
        return count + (0 if self.unlabelled is None else _count(self.unlabelled, "train"))

    @property
    def decoder(self) -> Decoder:
        """What decodes the examples' images."""
        decoder = self.source.decoder(self._split)
        return decoder if self.unlabelled is None else decoder | self.unlabelled.decoder("train")

    def examples(self, start: int = 0) -> tf.data.Dataset:
        """Returns the examples from a position on, without reading the earlier ones.

        Args:
          start: position of the first example.

        Returns:
          Dicts of ``id``, ``label``, and ``image`` or ``path`` or both, as
          :func:`tf_simclrv2.data.images.read` takes them.

        Raises:
          ConfigError: the examples can't be cached in ``cache_path``.
        """
        pools = [_pool(self.source, self._split, self._data, self._ids)]
        if self.unlabelled is not None:
            pools.append(_pool(self.unlabelled, "train", self._data))
            pools = [
                dataclasses.replace(pool, examples=pool.examples.map(_of_one_kind))
                for pool in pools
            ]
        return _shuffled_forever(pools, self.seed, start)


@dataclasses.dataclass(frozen=True)
class _Pool:
    """Undecoded examples to shuffle.

    Attributes:
      examples: once each, in a fixed order.
      count: how many.
      buffer: how many may be held for shuffling; None is all.
    """

    examples: tf.data.Dataset
    count: int
    buffer: Optional[int]


def _pool(source: Source, split: str, data: DataConfig, ids: Optional[List[str]] = None) -> _Pool:
    examples = source.index(split)
    if ids is not None:
        examples = only(examples, ids)
    count, buffer = _count(source, split, ids), source.shuffle_buffer
    if data.cache_path and ids is None:
        examples = cached_on_disk(
            examples.map(read, tf.data.AUTOTUNE),
            data.cache_path,
            f"{source.name}_{split}_{count}",
            source.content_key(split),
        )
        buffer = SHUFFLE_BUFFER
    elif data.cache_dataset or ids is not None:
        # Labelled subsets are few, and finding them anew in each epoch would be slow.
        examples = examples.map(read, tf.data.AUTOTUNE).cache()
    return _Pool(examples, count, buffer)


def _count(source: Source, split: str, ids: Optional[List[str]] = None) -> int:
    return source.num_examples(split) if ids is None else len(ids)


def only(examples: tf.data.Dataset, ids: List[str]) -> tf.data.Dataset:
    """Keeps the examples of an index that have one of ``ids``."""
    # As bytes, since names of files need not be UTF-8.
    keys = tf.constant([os.fsencode(example_id) for example_id in ids])
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(keys, tf.ones([len(ids)], tf.int64)), 0
    )
    return examples.filter(lambda example: table.lookup(example["id"]) > 0)


def _of_one_kind(example: Dict[str, tf.Tensor]) -> Dict[str, tf.Tensor]:
    """Gives an example both an image and a path, one of them empty, so that kinds can be mixed."""
    return {
        "image": "",
        "path": "",
        **{name: example[name] for name in example if name != "file_name"},
    }


def _shuffled_forever(pools: Sequence[_Pool], seed: int, start: int) -> tf.data.Dataset:
    """Repeats undecoded examples, each epoch in an order that is a function of seed and epoch.

    Args:
      pools: whose examples are mixed evenly.
      seed: of the run.
      start: examples to leave out, without decoding them.

    Returns:
      The examples from position ``start`` on.
    """
    num_examples = sum(pool.count for pool in pools)

    def epoch_of(epoch):
        # Sets the seed of this function's graph only: shuffle would mix in the global seed.
        tf.random.set_seed(1)
        epoch_seed = tf.random.stateless_uniform(
            [], tf.stack([tf.constant(seed, tf.int64), epoch]), None, None, tf.int64
        )
        shuffled = [
            pool.examples.shuffle(min(pool.count, pool.buffer or pool.count), seed=epoch_seed)
            for pool in pools
        ]
        if len(shuffled) == 1:
            return shuffled[0]
        # Whose turn it is, in an order of all examples.
        turns = tf.data.Dataset.range(num_examples).shuffle(num_examples, seed=epoch_seed)
        ends = tf.constant(np.cumsum([pool.count for pool in pools]))
        turns = turns.map(lambda turn: tf.searchsorted(ends, [turn], "right", tf.int64)[0])
        return tf.data.Dataset.choose_from_datasets(shuffled, turns)

    first_epoch, skipped = divmod(start, num_examples)
    epochs = tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(epoch_of)
    return epochs.skip(skipped)
