"""From examples to batches: order, augmentation and batching, all functions of the seed."""

from typing import List, NamedTuple, Optional

from tf_simclrv2.config import AugmentationConfig, DataConfig
from tf_simclrv2.data.augmentation import evaluation_view, random_view
from tf_simclrv2.data.sources import Source, decode
from tf_simclrv2.keras2 import tf

# Encoded examples held for shuffling; a data set that is not larger is shuffled wholly.
SHUFFLE_BUFFER = 10_000


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


def only_labelled(examples: tf.data.Dataset, ids: Optional[List[str]]) -> tf.data.Dataset:
    """Keeps the examples of ``ids`` (all, if None), in memory, since they are few."""
    if ids is None:
        return examples
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(tf.constant(ids), tf.ones([len(ids)], tf.int64)), 0
    )
    return examples.filter(lambda example: table.lookup(example["id"]) > 0).cache()


def shuffled_forever(
    examples: tf.data.Dataset, num_examples: int, seed: int, start: int
) -> tf.data.Dataset:
    """Repeats undecoded examples, each epoch in an order that is a function of seed and epoch.

    Args:
      examples: one epoch, in a fixed order.
      num_examples: its length.
      seed: of the run.
      start: examples to leave out, without decoding them.

    Returns:
      Dicts with a further ``position``, int64 scalar, that counts from ``start``.
    """

    def epoch_of(epoch):
        # Sets the seed of this function's graph only: shuffle would mix in the global seed.
        tf.random.set_seed(1)
        epoch_seed = tf.random.stateless_uniform(
            [], tf.stack([tf.constant(seed, tf.int64), epoch]), None, None, tf.int64
        )
        return examples.shuffle(min(num_examples, SHUFFLE_BUFFER), seed=epoch_seed)

    first_epoch, skipped = divmod(start, num_examples)
    epochs = tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(epoch_of)
    return (
        epochs.skip(skipped)
        .enumerate(start)
        .map(lambda position, example: {**example, "position": position})
    )


def _training_stream(
    source: Source,
    data: DataConfig,
    seed: int,
    start: int,
    ids: Optional[List[str]],
) -> tf.data.Dataset:
    examples = only_labelled(source.examples(data.train_split), ids)
    if data.cache_dataset and ids is None:
        examples = examples.cache()
    num_examples = source.num_examples(data.train_split) if ids is None else len(ids)
    return shuffled_forever(examples, num_examples, seed, start)


def _batched(stream: tf.data.Dataset, transform, batch_size: int, part: Part) -> tf.data.Dataset:
    if part.pipelines > 1:
        own = batch_size // part.pipelines
        stream = stream.filter(
            lambda example: example["position"] % batch_size // own == part.index
        )
    return (
        stream.map(transform, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size // part.replicas, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
    )


def _view_seed(seed: int, view: int, position: tf.Tensor) -> tf.Tensor:
    # Views are numbered apart from seeds, so that no two (seed, view) share their draws.
    return tf.stack([tf.constant(seed * 4 + view, tf.int64), position])


def contrastive_batches(
    source: Source,
    data: DataConfig,
    augmentation: AugmentationConfig,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    part: Part = WHOLE,
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

    Returns:
      Dicts of ``view_1`` and ``view_2``, float32 [batch, size, size, 3], and ``label`` [batch].
    """
    size = data.resolved_image_size

    def transform(example):
        image = decode(example["image"])
        views = {
            f"view_{view}": random_view(
                image, size, _view_seed(seed, view, example["position"]), augmentation
            )
            for view in (1, 2)
        }
        return {**views, "label": example["label"]}

    stream = _training_stream(source, data, seed, start_step * batch_size, None)
    return _batched(stream, transform, batch_size, part)


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

    Returns:
      Dicts of ``image``, float32 [batch, size, size, 3], and ``label``, int64 [batch].
    """
    size = data.resolved_image_size

    def transform(example):
        view_seed = _view_seed(seed, draw, example["position"])
        image = random_view(decode(example["image"]), size, view_seed, augmentation)
        return {"image": image, "label": example["label"]}

    stream = _training_stream(source, data, seed, start_step * batch_size, ids)
    return _batched(stream, transform, batch_size, part)


def evaluation_batches(
    source: Source, data: DataConfig, split: str, part: Part = WHOLE
) -> tf.data.Dataset:
    """A split's images once each, in a fixed order, in batches of one size.

    Args:
      source: the data set.
      data: image size, batch size (rounded up to a multiple of the replicas) and number of batches.
      split: which split.
      part: the part of each batch to make.

    Returns:
      Dicts of ``image``, float32 [batch, size, size, 3], ``label``, int64 [batch], and ``weight``,
      float32 [batch]: 1 for the split's images, 0 for those that only fill the last batch up.
    """
    size = data.resolved_image_size
    batch_size = -(-data.eval_batch_size // part.replicas) * part.replicas
    steps = -(-source.num_examples(split) // batch_size)
    if data.eval_steps:
        steps = min(steps, data.eval_steps)

    def numbered(position, example, weight):
        return {**example, "position": position, "weight": weight}

    def transform(example):
        image = evaluation_view(decode(example["image"]), size)
        return {"image": image, "label": example["label"], "weight": example["weight"]}

    examples = source.examples(split)
    filling = examples.take(1).repeat()
    weighted = tf.data.Dataset.zip((examples, tf.data.Dataset.from_tensors(1.0).repeat()))
    weighted = weighted.concatenate(
        tf.data.Dataset.zip((filling, tf.data.Dataset.from_tensors(0.0).repeat()))
    )
    stream = weighted.take(steps * batch_size).enumerate()
    stream = stream.map(lambda position, pair: numbered(position, *pair))
    return _batched(stream, transform, batch_size, part)
