"""The order of examples: an endless stream that is a function of the seed."""

import dataclasses
import functools
import hashlib
import itertools
import os
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from tf_simclrv2.config import DataConfig, refuse
from tf_simclrv2.data.by_index import Columns, Example, Indexed, number_at
from tf_simclrv2.data.damaged import Damaged
from tf_simclrv2.data.decoding import Decoder
from tf_simclrv2.data.disk_cache import cached_on_disk, images_on_disk, kept_images
from tf_simclrv2.data.images import read
from tf_simclrv2.data.reducing import QUALITY, read_reduced, reducer
from tf_simclrv2.data.sources import SHUFFLE_BUFFER, Source
from tf_simclrv2.keras2 import tf

_FOUND_AT_ONCE = 256
# Seeds that a position has, for images that are tried in the place of a damaged one.
_ATTEMPTS = 1000


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

    def positions(self, start: int, batch_size: int) -> tf.data.Dataset:
        """The positions from ``start`` on that are this part's, without end."""
        if self.pipelines == 1:
            return tf.data.Dataset.range(start, tf.int64.max)
        turns = tf.data.Dataset.range(tf.int64.max)
        return turns.map(lambda turn: self.position(turn, start, batch_size))

    def position(self, turn: tf.Tensor, start: int, batch_size: int) -> tf.Tensor:
        """The position of an element of :meth:`positions`, by its number."""
        own = batch_size // self.pipelines
        return start + self.index * own + turn // own * batch_size + turn % own

    def shared(self, stream: tf.data.Dataset, start: int, batch_size: int) -> tf.data.Dataset:
        """Keeps what is this part's of each batch, of a stream from position ``start`` on."""
        if self.pipelines == 1:
            return stream
        own = batch_size // self.pipelines
        numbered = stream.enumerate(start)
        numbered = numbered.filter(lambda position, _: position % batch_size // own == self.index)
        return numbered.map(lambda _, kept: kept)


WHOLE = Part()
_Chosen = Tuple[Source, str, Optional[List[str]]]


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

    Raises:
      ConfigError: images that nobody has checked are not reached by index.
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
        if not self.is_checked and self._parts() is None:
            raise refuse(
                "check_images",
                data.check_images,
                f"finds another image for a damaged one by its index, but {source.name} is read "
                "one image after the other; leave it out, so that the folder is checked before",
            )

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

    @property
    def _pools(self) -> List[_Chosen]:
        """What is mixed: sources with their splits, and perhaps the ids to use."""
        own: _Chosen = (self.source, self._split, self._ids)
        return [own] if self.unlabelled is None else [own, (self.unlabelled, "train", None)]

    @property
    def sources(self) -> List[Tuple[Source, str]]:
        """The sources that are mixed, with the split of each."""
        return [(source, split) for source, split, _ in self._pools]

    @property
    def is_checked(self) -> bool:
        """Whether all examples are known to decode."""
        return all(source.is_checked(split) for source, split, _ in self._pools)

    @functools.cached_property
    def damaged(self) -> Damaged:
        """The examples that were found not to decode, of those that are not checked."""
        return Damaged(self._data, self.num_examples)

    def made_at(self, position: int, make: Callable[[Example], Example]) -> Example:
        """Makes something of the example at a position, or of another if its image is damaged.

        Only for images that are reached by index, and eagerly. Which other one is drawn is a
        function of the seed and the position.

        Args:
          position: of the example.
          make: takes the example, read; if it fails, the image counts as damaged. Reading stays
            outside, so that a disk that fails for a moment stops a run and changes nothing in it.
        """
        indexed = self.by_index
        assert indexed is not None, "images are reached one after the other"
        number = own = number_at(tf.constant(position, tf.int64), indexed.count, self.seed)
        for attempt in itertools.count(1):
            example = read(indexed.with_image(indexed.at(number)))
            try:
                return make(example)
            except tf.errors.InvalidArgumentError:
                self.damaged.note(indexed.columns["id"][own].numpy())
            if self.damaged.refusal:
                break
            seed = [self.seed, position * _ATTEMPTS + attempt]
            number = tf.random.stateless_uniform([], seed, 0, indexed.count, tf.int64)
        return {}

    def _parts(self) -> Optional[List[Columns]]:
        """What is known of the examples of each source, if all are reached by index."""
        if self._data.order != "index":
            return None
        parts = [_columns(*pool) for pool in self._pools]
        found = [part for part in parts if part is not None]
        return found if len(found) == len(parts) else None

    @functools.cached_property
    def by_index(self) -> Optional[Indexed]:
        """The examples by their numbers, where all sources and the run's order allow it."""
        parts = self._parts()
        if parts is None:
            return None
        keeps = self._data.cache_dataset or self._data.cache_path or self._ids is not None
        # What keeps images keeps no labels.
        indexed = Indexed.of([part.with_labels() for part in parts] if keeps else parts)
        if self._data.cache_path and self._ids is None:
            caches = [
                images_on_disk(
                    read_reduced(
                        source.index(split), source.decoder(split), self._data.cache_max_side
                    ).map(lambda example: example["image"]),
                    self._data.cache_path,
                    *_called(source, split, self._data),
                )
                for source, split, _ in self._pools
            ]
            return dataclasses.replace(indexed, image=kept_images(caches))
        # Labelled subsets are few, and others may be on slow disks.
        return (
            indexed.kept_in_memory(reducer(self._data.cache_max_side, self.decoder))
            if keeps
            else indexed
        )

    def examples(self, start: int = 0, batch_size: int = 1, part: Part = WHOLE) -> tf.data.Dataset:
        """Returns the examples from a position on, without reading the earlier ones.

        Args:
          start: position of the first example, a multiple of the batch size.
          batch_size: images in a batch, all parts together.
          part: the part of each batch whose examples are wanted.

        Returns:
          Dicts of ``id``, ``label``, and ``image`` or ``path`` or both, as
          :func:`tf_simclrv2.data.images.read` takes them.

        Raises:
          ConfigError: the examples can't be cached in ``cache_path``.
        """
        indexed = self.by_index
        if indexed is None:
            return part.shared(self._shuffled(start), start, batch_size)

        def of_block(positions):
            found = indexed.at(number_at(positions, indexed.count, self.seed))
            return tf.data.Dataset.from_tensor_slices(found)

        # Many at a time, since one by one each would cost more than a small image.
        positions = part.positions(start, batch_size).batch(_FOUND_AT_ONCE)
        found = positions.flat_map(of_block)
        return found if indexed.are_files else found.map(indexed.with_image, tf.data.AUTOTUNE)

    def _shuffled(self, start: int) -> tf.data.Dataset:
        """The examples from a position on, of sources that are read one after the other."""
        pools = [_pool(source, split, self._data, ids) for source, split, ids in self._pools]
        if len(pools) > 1:
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
            read_reduced(examples, source.decoder(split), data.cache_max_side),
            data.cache_path,
            *_called(source, split, data),
        )
        buffer = SHUFFLE_BUFFER
    elif data.cache_dataset or ids is not None:
        # Labelled subsets are few, and finding them anew in each epoch would be slow.
        examples = read_reduced(examples, source.decoder(split), data.cache_max_side).cache()
    return _Pool(examples, count, buffer)


def _called(source: Source, split: str, data: DataConfig) -> Tuple[str, str]:
    """How a cache is called for people, and what identifies its content."""
    reduced_to = f"_{data.cache_max_side}" if data.cache_max_side else ""
    name = f"{source.name}_{split}_{source.num_examples(split)}{reduced_to}"
    key = source.content_key(split)
    made = f"{key}{reduced_to} {QUALITY}"
    return name, hashlib.sha256(made.encode()).hexdigest() if reduced_to else key


def _columns(source: Source, split: str, ids: Optional[List[str]]) -> Optional[Columns]:
    columns = source.columns(split)
    if columns is None or ids is None:
        return columns
    return columns.only([os.fsencode(each) for each in ids])


def _count(source: Source, split: str, ids: Optional[List[str]] = None) -> int:
    return source.num_examples(split) if ids is None else len(ids)


def only(examples: tf.data.Dataset, ids: List[str]) -> tf.data.Dataset:
    """Keeps the examples of an index that have one of ``ids``."""
    if not ids:  # Tables can't be empty.
        return examples.take(0)
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
