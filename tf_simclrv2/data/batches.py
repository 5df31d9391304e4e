"""Batches of views to train on, a function of seed and step, and batches to evaluate on."""

import dataclasses
import re
from typing import Dict, Mapping, Optional, Tuple

from tf_simclrv2.config import AugmentationConfig, DataConfig
from tf_simclrv2.config.memory import check_images
from tf_simclrv2.data.decoding import ANY, Decoder
from tf_simclrv2.data.images import read
from tf_simclrv2.data.sources import UNLABELLED, Source, open_source
from tf_simclrv2.data.stream import WHOLE, Part, Stream
from tf_simclrv2.data.views import (
    DRAWS,
    crop_views,
    distort_on_host,
    draws_at,
    draws_from,
    evaluation_view,
    warp_views,
)
from tf_simclrv2.keras2 import tf

_BAD_LABEL = "the label of example "


@dataclasses.dataclass(frozen=True)
class Views:
    """Which views a batch has of each image, and how they are made.

    Attributes:
      names: the views' names in a batch, each with the number of its draw, 0 to 3. Views of one
        seed and position are the same if they have the same number, otherwise independent.
      image_size: height and width of the views in pixels.
      augmentation: how views are drawn.
      on_device: whether to leave flips, colour distortion and blur to :func:`ready_for_network`,
        which takes the views' draws from the batch.
      needs_labels: whether an image without a label is an error.
      with_whole: whether a batch also has ``image``, each image as it is evaluated.
    """

    names: Mapping[str, int]
    image_size: int
    augmentation: AugmentationConfig
    on_device: bool = False
    needs_labels: bool = False
    with_whole: bool = False

    @classmethod
    def two(
        cls, image_size: int, augmentation: AugmentationConfig, on_device: bool = False
    ) -> "Views":
        """``view_1`` and ``view_2``, for contrastive learning."""
        return cls({"view_1": 1, "view_2": 2}, image_size, augmentation, on_device)

    @classmethod
    def one(
        cls,
        image_size: int,
        augmentation: AugmentationConfig,
        on_device: bool = False,
        draw: int = 1,
        needs_labels: bool = True,
    ) -> "Views":
        """``image``; streams of one seed that are used next to each other need different draws."""
        return cls({"image": draw}, image_size, augmentation, on_device, needs_labels)

    def draws(self, seed: int, start: int = 0) -> tf.data.Dataset:
        """Draws for the views of each position from ``start`` on, see :func:`draws_from`."""
        return draws_from(seed, list(self.names.values()), start)

    def draws_at(self, seed: int, position: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        """The same for one position."""
        return draws_at(seed, list(self.names.values()), position)

    def crops(
        self, image: tf.Tensor, seeds: tf.Tensor, draws: tf.Tensor, decoder: Decoder = ANY
    ) -> tf.Tensor:
        """Makes the first stage of an image's views, in the order of ``names``."""
        size, augmentation = self.image_size, self.augmentation
        if augmentation.warps:
            return warp_views(image, size, seeds, draws, augmentation, decoder)
        return crop_views(image, size, seeds, augmentation, decoder)

    def whole(self, image: tf.Tensor, decoder: Decoder = ANY) -> Dict[str, tf.Tensor]:
        """The image as it is evaluated, uint8 and by its name, if it is asked for."""
        if not self.with_whole:
            return {}
        view = evaluation_view(decoder(image), self.image_size, may_be_large=decoder.unusual)
        return {"image": tf.image.convert_image_dtype(view, tf.uint8, saturate=True)}


def batches(
    stream: Stream, views: Views, batch_size: int, start_step: int = 0, part: Part = WHOLE
) -> tf.data.Dataset:
    """Endless batches of views of a stream's images.

    Args:
      stream: the examples in their order.
      views: which views of each, and how they are made.
      batch_size: images in a batch, all parts together.
      start_step: steps that were already trained; their batches are left out.
      part: the part of each batch to make.

    Returns:
      Dicts of the views by name, uint8 [batch, size, size, 3]; of ``label``, int64 [batch], -1 for
      images without one; and, with ``on_device``, of the views' draws, float32 [batch, 22], under
      the view's name and ``DRAWS``.
    """
    num_classes, decoder = stream.source.num_classes, stream.decoder
    least = 0 if views.needs_labels else UNLABELLED

    # Converting them takes longer than the first batch.
    @tf.autograph.experimental.do_not_convert
    def first_stage(example, drawn):
        seeds, draws = drawn
        image = read(example)["image"]
        return {
            "views": views.crops(image, seeds, draws, decoder),
            "draws": draws,
            **views.whole(image, decoder),
            **{name: example[name] for name in ("id", "label")},
        }

    def again(turn):
        position = int(part.position(tf.constant(turn, tf.int64), start, batch_size))
        drawn = views.draws_at(stream.seed, tf.constant(position, tf.int64))
        return stream.made_at(position, lambda example: compiled(example, drawn))

    @tf.autograph.experimental.do_not_convert
    def second_stage(batch):
        made, draws = batch["views"], batch["draws"]
        others = {}
        if views.augmentation.distorts and views.on_device:
            others = {name + DRAWS: draws[:, index] for index, name in enumerate(views.names)}
        elif views.augmentation.distorts:
            # All views at once, since each call is a program for XLA to compile.
            flat, drawn = (tf.reshape(each, [-1, *each.shape[2:]]) for each in (made, draws))
            made = tf.reshape(distort_on_host(flat, drawn, views.augmentation), made.shape)
        images = {name: made[:, index] for index, name in enumerate(views.names)}
        others.update({"image": batch["image"]} if views.with_whole else {})
        return {**images, **others, "label": _checked_labels(batch, num_classes, least)}

    start = start_step * batch_size
    draws = part.shared(views.draws(stream.seed, start), start, batch_size)
    drawn = tf.data.Dataset.zip((stream.examples(start, batch_size, part), draws))
    if stream.is_checked:
        made = drawn.map(first_stage, tf.data.AUTOTUNE)
    else:
        compiled = tf.function(first_stage, autograph=False)
        made = stream.damaged.filled(drawn, first_stage, again)
    made = _batched(made, batch_size, part)
    return made.map(second_stage, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def contrastive_batches(
    data: DataConfig,
    batch_size: int,
    augmentation: Optional[AugmentationConfig] = None,
    seed: int = 0,
    start_step: int = 0,
) -> tf.data.Dataset:
    """Endless batches of two views of each image of a data set, as pretraining takes them.

    Args:
      data: the data set, its split and the image size.
      batch_size: images in a batch.
      augmentation: how views are drawn; by default as in the paper.
      seed: the same seed gives the same batches.
      start_step: batches to leave out.

    Returns:
      As :func:`batches`, with ``view_1`` and ``view_2``.

    Raises:
      ConfigError: the data set can't be used.
    """
    stream = Stream(open_source(data), data.train_split, seed, data=data)
    views = Views.two(data.resolved_image_size, augmentation or AugmentationConfig())
    return batches(stream, views, batch_size, start_step)


def evaluation_batches(
    source: Source, data: DataConfig, split: str, part: Part = WHOLE
) -> tf.data.Dataset:
    """A split's images once each, in a fixed order, in batches of one size.

    Args:
      source: the data set.
      data: image size, to what larger images are reduced before, batch size (at most the split's
        images, rounded up to a multiple of the replicas) and number of batches (of the size before
        rounding, so that any number of replicas sees the same images).
      split: which split.
      part: the part of each batch to make.

    Returns:
      Dicts of ``image``, float32 [batch, size, size, 3], ``label``, int64 [batch], ``weight``,
      float32 [batch]: 1 for the split's images, 0 for those that only fill the last batch up, and
      ``number``, int64 [batch], the image's place in the split.
    """
    size = data.resolved_image_size
    count = source.num_examples(split)
    if data.eval_steps:
        count = min(count, data.eval_steps * data.eval_batch_size)
    # A larger batch would only be filled up.
    wanted = max(1, min(count, data.eval_batch_size))
    batch_size = -(-wanted // part.replicas) * part.replicas
    check_images("eval_batch_size", data.eval_batch_size, batch_size // part.pipelines, size)
    steps = -(-count // batch_size)
    decoder = source.decoder(split)

    def transform(number, drawn):
        example, weight = drawn
        image = decoder(read(example)["image"])
        image = evaluation_view(image, size, decoder.unusual, data.cache_max_side)
        told = {"id": example["id"], "label": example["label"], "number": number}
        return {**told, "image": image, "weight": weight}

    def checked(batch):
        labels = _checked_labels(batch, source.num_classes, 0)
        return {name: part for name, part in {**batch, "label": labels}.items() if name != "id"}

    examples = source.index(split)
    filling = examples.take(1).repeat()
    counted = tf.data.Dataset.from_tensors(1.0).repeat(count)
    weighted = tf.data.Dataset.zip((examples, counted))
    weighted = weighted.concatenate(
        tf.data.Dataset.zip((filling, tf.data.Dataset.from_tensors(0.0).repeat()))
    )
    stream = weighted.take(steps * batch_size).enumerate()
    made = part.shared(stream, 0, batch_size).map(transform, tf.data.AUTOTUNE)
    made = _batched(made, batch_size, part)
    return made.map(checked).prefetch(tf.data.AUTOTUNE)


def bad_label(error: tf.errors.InvalidArgumentError) -> Optional[str]:
    """What a pipeline's error says of a label outside of the data set's classes, if it is that."""
    found = re.search(f"{_BAD_LABEL}.* is -?[0-9]+, not 0 to [0-9]+", error.message)
    return found and found.group()


def _checked_labels(
    batch: Dict[str, tf.Tensor], num_classes: Optional[int], least: int
) -> tf.Tensor:
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


def _batched(own: tf.data.Dataset, batch_size: int, part: Part) -> tf.data.Dataset:
    """Batches of a part's own elements."""
    own_size = batch_size // part.replicas
    return own.batch(own_size, num_parallel_calls=tf.data.AUTOTUNE, drop_remainder=True)
