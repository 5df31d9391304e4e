"""``distill``: step 3, a student learns a fine-tuned network's predictions."""

from typing import Callable, Dict, List, Mapping, Optional

from tf_simclrv2.config import DistillationConfig, DistillConfig, refuse
from tf_simclrv2.config.inheriting import inherit_taught
from tf_simclrv2.data.batches import Views, batches
from tf_simclrv2.data.labels import labelled_ids
from tf_simclrv2.data.sources import Source
from tf_simclrv2.data.stream import Part, Stream
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.learners.distiller import Distiller
from tf_simclrv2.learners.steps import build_network
from tf_simclrv2.programs import command_line
from tf_simclrv2.runtime.checkpoint import Checkpoint, open_classifier
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.runtime.settings import RunSettings
from tf_simclrv2.training.inputs import open_data, open_devices, open_further_images
from tf_simclrv2.training.job import Job, train

Batch = Dict[str, tf.Tensor]


def run(values: Mapping[str, object]) -> None:
    """Distills; continues the run if ``model_dir`` holds one.

    Args:
      values: the flags that were given.

    Raises:
      ConfigError: a setting that can't be used.
    """
    distillation = command_line.build_section(DistillationConfig, values)
    teacher = open_classifier(distillation.teacher, "teacher")
    values = inherit_taught(values, teacher.run.config)
    config = command_line.build(DistillConfig, values)
    devices = open_devices(config)
    source, config = open_data(config)
    _check_classes(config, source, teacher)
    needs_labels, labelled = config.distillation.distillation_alpha < 1, None
    if needs_labels:
        labelled = labelled_ids(source, config.data.train_split, config.labels)
    further = open_further_images(config.unlabelled, config.data)
    directory = RunDirectory(config.run.model_dir, writable=devices.is_chief)
    directory.claim(_settings(config, source, teacher))

    keras.utils.set_random_seed(config.run.seed)
    with devices.scope():
        network = build_network(config, len(teacher.run.class_names or ()))
        taught_by = teacher.restore_network()
        learner = Distiller(network, taught_by, config.distillation, config.optimization)
    split, seed = config.data.train_split, config.run.seed
    images = Stream(source, split, seed, data=config.data, unlabelled=further)
    with_labels = None
    if needs_labels:
        ids = None if labelled is None else list(labelled)
        with_labels = Stream(source, split, seed, data=config.data, ids=ids)
    batches_from = _batches_of(images, with_labels, config, devices.augments(config.augmentation))
    train(
        Job(
            directory, devices, learner, source, batches_from, images.num_examples,
            shown="distillation_loss", labelled=labelled,
        )
    )  # fmt: skip


def _check_classes(config: DistillConfig, source: Source, teacher: Checkpoint) -> None:
    known = teacher.run.class_names or []
    same = teacher.run.settings.knows_classes(source.class_names)
    if source.class_names is not None and not same:
        raise refuse(
            "teacher",
            config.distillation.teacher,
            f"knows {len(known)} classes ({_some(known)}), but "
            f"{source.name} has {source.num_classes} ({_some(source.class_names)}); they must be "
            "the same",
        )
    alpha = config.distillation.distillation_alpha
    if alpha < 1 and source.num_classes is None:
        raise refuse("distillation_alpha", alpha, f"must be 1, since {source.name} has no labels")


def _settings(config: DistillConfig, source: Source, teacher: Checkpoint) -> RunSettings:
    known = teacher.run.settings
    return RunSettings(
        "distill",
        config,
        source.class_names or known.class_names,
        class_names_known=source.class_names is not None or known.class_names_known,
    )


def _batches_of(
    images: Stream, labelled: Optional[Stream], config: DistillConfig, on_device: bool
) -> Callable[[int, Part], tf.data.Dataset]:
    """The batches of a learner: images without labels and, next to them, labelled ones."""
    size, batch_size = config.data.resolved_image_size, config.optimization.train_batch_size
    views = Views.one(size, config.augmentation, on_device)
    # Of the same image in the same step, the two streams show different views.
    others = Views.one(size, config.augmentation, on_device, draw=2)

    def batches_from(step: int, part: Part) -> tf.data.Dataset:
        unlabelled = batches(images, views, batch_size, step, part).map(_without_labels)
        if labelled is None:
            return unlabelled
        further = batches(labelled, others, batch_size, step, part).map(_named_labelled)
        return tf.data.Dataset.zip((unlabelled, further)).map(lambda one, other: {**one, **other})

    return batches_from


def _without_labels(batch: Batch) -> Batch:
    return {name: value for name, value in batch.items() if name != "label"}


def _named_labelled(batch: Batch) -> Batch:
    return {name.replace("image", "labelled_image"): value for name, value in batch.items()}


def _some(names: List[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
