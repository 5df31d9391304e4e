"""From examples to batches: order, augmentation and batching, all functions of the seed."""

import contextlib
import os
import re
import tempfile
from typing import Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from tf_simclrv2.config import AugmentationConfig, DataConfig, refuse
from tf_simclrv2.data.augmentation import DRAWS, crop_views, distort_on_host, draw, evaluation_view
from tf_simclrv2.data.sources import SHUFFLE_BUFFER, UNLABELLED, Source, decode, read
from tf_simclrv2.keras2 import tf

# Views of a seed that may be drawn side by side.
_VIEWS_OF_SEED = 4
_DRAWN_AT_A_TIME = 1024
_BAD_LABEL = "the label of example "


class Part(NamedTuple):
    """Which part of every batch a pipeline makes, so that several together make the whole one.

    Attributes:
      index: which of the pipelines this is.
      pipelines: pipelines that share a batch, one for each host.
      replicas: replicas that share a batch; a pipeline's batches go to its own ones in turn.
    """

    index: int = 0
    pipelines: int = 1
    replicas: int = 1


WHOLE = Part()


def only_labelled(examples: tf.data.Dataset, ids: List[str]) -> tf.data.Dataset:
    """Keeps the examples of ``ids``."""
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(tf.constant(ids), tf.ones([len(ids)], tf.int64)), 0
    )
    return examples.filter(lambda example: table.lookup(example["id"]) > 0)


class Pool(NamedTuple):
    """Undecoded examples to draw from.

    Attributes:
      examples: once each, in a fixed order.
      count: how many.
      buffer: how many may be held for shuffling; None is all.
    """

    examples: tf.data.Dataset
    count: int
    buffer: Optional[int]


def shuffled_forever(pools: Sequence[Pool], seed: int, start: int) -> tf.data.Dataset:
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


def _pool(source: Source, split: str, data: DataConfig, ids: Optional[List[str]] = None) -> Pool:
    examples = source.index(split)
    if ids is not None:
        examples = only_labelled(examples, ids)
    buffer = source.shuffle_buffer
    # Labelled subsets are few, and finding them anew in each epoch would be slow.
    count = source.num_examples(split) if ids is None else len(ids)
    if data.cache_path and ids is None:
        name = re.sub(r"\W", "_", f"{source.name}_{split}_{count}")
        examples = _cached_in_file(examples.map(read, tf.data.AUTOTUNE), data.cache_path + name)
        buffer = SHUFFLE_BUFFER
    elif data.cache_dataset or ids is not None:
        examples = examples.map(read, tf.data.AUTOTUNE).cache()
    return Pool(examples, count, buffer)


def _cached_in_file(examples: tf.data.Dataset, path: str) -> tf.data.Dataset:
    """Examples as they were written to ``path``, where they are written first if need be.

    Unlike ``Dataset.cache`` with a file name it survives interruption, and several may write.
    """
    path = os.path.expanduser(path)
    if not os.path.isdir(path):
        folder = os.path.dirname(os.path.abspath(path))
        if not os.path.isdir(folder):
            raise refuse("cache_path", path, f"the directory {folder} must exist")
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            written = os.path.join(temporary, "examples")
            examples.save(written)
            # Where another process was faster, its files are there.
            with contextlib.suppress(OSError):
                os.rename(written, path)
    return tf.data.Dataset.load(path)


def _stream(
    source: Source,
    data: DataConfig,
    seed: int,
    start: int,
    ids: Optional[List[str]] = None,
    unlabelled: Optional[Source] = None,
) -> tf.data.Dataset:
    pools = [_pool(source, data.train_split, data, ids)]
    if unlabelled is not None:
        pools.append(_pool(unlabelled, "train", data))
        pools = [pool._replace(examples=pool.examples.map(_of_one_kind)) for pool in pools]
    return shuffled_forever(pools, seed, start)


def drawn_examples(source: Source, data: DataConfig, seed: int) -> tf.data.Dataset:
    """The examples whose views make the batches of a run with this seed, see :func:`read`."""
    return _stream(source, data, seed, 0).map(read)


def _of_one_kind(example):
    """Gives an example both an image and a path, one of them empty, so that kinds can be mixed."""
    return {
        "image": "",
        "path": "",
        **{name: example[name] for name in example if name != "file_name"},
    }


def _shared(stream: tf.data.Dataset, start: int, batch_size: int, part: Part) -> tf.data.Dataset:
    """Keeps what is this part's of each batch, of a stream from position ``start`` on."""
    if part.pipelines == 1:
        return stream
    own = batch_size // part.pipelines
    numbered = stream.enumerate(start)
    numbered = numbered.filter(lambda position, _: position % batch_size // own == part.index)
    return numbered.map(lambda _, kept: kept)


def _batched(
    stream: tf.data.Dataset, start: int, transform, batch_size: int, part: Part
) -> tf.data.Dataset:
    return (
        _shared(stream, start, batch_size, part)
        .map(transform, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(
            batch_size // part.replicas, num_parallel_calls=tf.data.AUTOTUNE, drop_remainder=True
        )
    )


def _checked_labels(batch, num_classes: Optional[int], least: int) -> tf.Tensor:
    """A batch's labels, if all are the data set's, see :func:`bad_label`."""
    labels = batch["label"]
    if num_classes is None:
        return labels
    known = (labels >= least) & (labels < num_classes)
    first = tf.argmin(tf.cast(known, tf.int32))
    message = tf.strings.join(
        [_BAD_LABEL, batch["id"][first], " is ", tf.as_string(labels[first]),
         f", not 0 to {num_classes - 1}"]
    )  # fmt: skip
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(known), [message])]):
        return tf.identity(labels)


def bad_label(error: tf.errors.InvalidArgumentError) -> Optional[str]:
    """What a pipeline's error says of a label outside of the data set's classes, if it is that."""
    found = re.search(f"{_BAD_LABEL}.* is -?[0-9]+, not 0 to [0-9]+", error.message)
    return found and found.group()


def _view_batches(
    stream: tf.data.Dataset,
    start: int,
    views: Dict[str, int],
    image_size: int,
    augmentation: AugmentationConfig,
    batch_size: int,
    seed: int,
    part: Part,
    on_device: bool,
    num_classes: Optional[int],
    least_label: int,
) -> tf.data.Dataset:
    """Batches of views of a stream from ``start`` on: ``views`` has their names and numbers."""

    def first_stage(example, drawn):
        seeds, draws = drawn
        return {
            "views": crop_views(read(example)["image"], image_size, seeds, augmentation),
            "draws": draws,
            **{name: example[name] for name in ("id", "label")},
        }

    def second_stage(batch):
        images = {name: batch["views"][:, index] for index, name in enumerate(views)}
        draws = {name: batch["draws"][:, index] for index, name in enumerate(views)}
        if augmentation.distorts and on_device:
            images.update({name + DRAWS: draws[name] for name in views})
        elif augmentation.distorts:
            images = {
                name: distort_on_host(images[name], draws[name], augmentation) for name in views
            }
        return {**images, "label": _checked_labels(batch, num_classes, least_label)}

    drawn = _drawn_for([seed * _VIEWS_OF_SEED + view for view in views.values()], start)
    stream = tf.data.Dataset.zip((stream, drawn))
    batches = _batched(stream, start, first_stage, batch_size, part)
    return batches.map(second_stage, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _drawn_for(seeds: Sequence[int], start: int) -> tf.data.Dataset:
    """What is drawn for the views of each position from ``start`` on, see :func:`draw`.

    Many positions are drawn at a time, since one by one each would cost more than its crop.

    Args:
      seeds: one for each view.
      start: the first position.

    Returns:
      Pairs of int64 [views, 2] and float32 [views, 13].
    """

    def of_block(block):
        of_views = [
            draw(tf.stack([tf.constant(seed, tf.int64), block]), _DRAWN_AT_A_TIME) for seed in seeds
        ]
        drawn = tuple(tf.stack(parts, axis=1) for parts in zip(*of_views))
        return tf.data.Dataset.from_tensor_slices(drawn)

    first_block, skipped = divmod(start, _DRAWN_AT_A_TIME)
    return tf.data.Dataset.range(first_block, tf.int64.max).flat_map(of_block).skip(skipped)


def contrastive_batches(
    source: Source,
    data: DataConfig,
    augmentation: AugmentationConfig,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    part: Part = WHOLE,
    unlabelled: Optional[Source] = None,
    on_device: bool = False,
) -> tf.data.Dataset:
    """Endless batches of two views of each image.

    Args:
      source: the data set.
      data: split and image size.
      augmentation: how views are drawn.
      batch_size: images in a batch.
      seed: of the run.
      start_step: steps that were already trained; their batches are left out.
      part: the part of each batch to make.
      unlabelled: further images, mixed evenly with those of the source.
      on_device: leave colour distortion and blur to :func:`ready_for_network`, which then needs the
        views' draws.

    Returns:
      Dicts of ``view_1`` and ``view_2``, uint8 [batch, size, size, 3], and ``label``, int64
      [batch], -1 for images without one; and, with ``on_device``, of the views' draws.
    """
    start = start_step * batch_size
    stream = _stream(source, data, seed, start, None, unlabelled)
    size, views = data.resolved_image_size, {"view_1": 1, "view_2": 2}
    return _view_batches(
        stream, start, views, size, augmentation, batch_size, seed, part, on_device,
        source.num_classes, UNLABELLED,
    )  # fmt: skip


def training_batches(
    source: Source,
    data: DataConfig,
    augmentation: AugmentationConfig,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    ids: Optional[List[str]] = None,
    draw: int = 1,
    part: Part = WHOLE,
    unlabelled: Optional[Source] = None,
    on_device: bool = False,
) -> tf.data.Dataset:
    """Endless batches of one view of each image.

    Args:
      source: the data set.
      data: split and image size.
      augmentation: how views are drawn.
      batch_size: images in a batch.
      seed: of the run.
      start_step: steps that were already trained; their batches are left out.
      ids: the examples to use; None is all.
      draw: 1 or 2; streams of one seed that are drawn side by side take different ones.
      part: the part of each batch to make.
      unlabelled: further images, mixed evenly with those of the source.
      on_device: as in :func:`contrastive_batches`.

    Returns:
      Dicts of ``image``, uint8 [batch, size, size, 3], and ``label``, int64 [batch], -1 for images
      without one; and, with ``on_device``, of the images' draws.
    """
    start = start_step * batch_size
    stream = _stream(source, data, seed, start, ids, unlabelled)
    size, views = data.resolved_image_size, {"image": draw}
    return _view_batches(
        stream, start, views, size, augmentation, batch_size, seed, part, on_device,
        source.num_classes, 0 if unlabelled is None else UNLABELLED,
    )  # fmt: skip


def evaluation_batches(
    source: Source, data: DataConfig, split: str, part: Part = WHOLE
) -> tf.data.Dataset:
    """A split's images once each, in a fixed order, in batches of one size.

    Args:
      source: the data set.
      data: image size, batch size (rounded up to a multiple of the replicas) and number of batches
        (of the size before rounding, so that any number of replicas sees the same images).
      split: which split.
      part: the part of each batch to make.

    Returns:
      Dicts of ``image``, float32 [batch, size, size, 3], ``label``, int64 [batch], and ``weight``,
      float32 [batch]: 1 for the split's images, 0 for those that only fill the last batch up.
    """
    size = data.resolved_image_size
    batch_size = -(-data.eval_batch_size // part.replicas) * part.replicas
    count = source.num_examples(split)
    if data.eval_steps:
        count = min(count, data.eval_steps * data.eval_batch_size)
    steps = -(-count // batch_size)

    def transform(example, weight):
        image = evaluation_view(decode(read(example)["image"]), size)
        return {"id": example["id"], "label": example["label"], "image": image, "weight": weight}

    def checked(batch):
        labels = _checked_labels(batch, source.num_classes, 0)
        return {"image": batch["image"], "label": labels, "weight": batch["weight"]}

    examples = source.index(split)
    filling = examples.take(1).repeat()
    counted = tf.data.Dataset.from_tensors(1.0).repeat(count)
    weighted = tf.data.Dataset.zip((examples, counted))
    weighted = weighted.concatenate(
        tf.data.Dataset.zip((filling, tf.data.Dataset.from_tensors(0.0).repeat()))
    )
    stream = weighted.take(steps * batch_size)
    batches = _batched(stream, 0, transform, batch_size, part)
    return batches.map(checked).prefetch(tf.data.AUTOTUNE)
