"""``distill``: step 3, a student learns a fine-tuned network's predictions."""

import dataclasses
import logging
import os
from typing import Callable, Dict, List, Mapping, Optional, Tuple

from tf_simclrv2.config import (
    ConfigError,
    DataConfig,
    DistillationConfig,
    DistillConfig,
    LabelsConfig,
    PretrainConfig,
    TrainingConfig,
    refuse,
)
from tf_simclrv2.config.following import until_known
from tf_simclrv2.config.inheriting import inherit_taught, not_inherited
from tf_simclrv2.config.steps import LABEL_CHOICES
from tf_simclrv2.data.batches import Views, batches
from tf_simclrv2.data.labels import labelled_ids
from tf_simclrv2.data.sources import Source
from tf_simclrv2.data.stream import Part, Stream
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.learners.distiller import Distiller
from tf_simclrv2.learners.steps import build_network
from tf_simclrv2.programs import command_line
from tf_simclrv2.runtime.checkpoint import Checkpoint, open_classifier
from tf_simclrv2.runtime.labelled import check_same
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.runtime.settings import RunSettings
from tf_simclrv2.training.baselines import Labels
from tf_simclrv2.training.inputs import (
    as_begun,
    continued_config,
    open_data,
    open_devices,
    open_further_images,
    settle,
)
from tf_simclrv2.training.job import Job, train

logger = logging.getLogger(__name__)

Batch = Dict[str, tf.Tensor]


def run(values: Mapping[str, object]) -> None:
    """Distills; continues the run if ``model_dir`` holds one.

    Args:
      values: the flags that were given.

    Raises:
      ConfigError: a setting that can't be used.
    """
    values = as_begun(values, DistillConfig)
    distillation = command_line.build_section(DistillationConfig, values)
    teacher = open_classifier(distillation.teacher, "teacher")
    given, own = values, continued_config(values, "teacher")
    values = inherit_taught(given, teacher.run.config, own)
    config = command_line.build(DistillConfig, until_known(values))
    devices = open_devices(config, values)
    source, config = open_data(config)
    _check_classes(config, source, teacher)
    further = open_further_images(config.unlabelled, config.data)
    split, seed = config.data.train_split, config.run.seed
    images = Stream(source, split, seed, data=config.data, unlabelled=further)
    config = settle(config, values, devices, images, images.num_examples)
    left_out = not_inherited(given, teacher.run.config)
    if left_out and devices.is_chief:
        logger.info(left_out)
    needs_labels, labelled = config.distillation.distillation_alpha < 1, None
    if needs_labels:
        config, labelled, whose = _labelled(given, own, config, source, teacher.run)
        if devices.is_chief:
            count = source.num_examples(split) if labelled is None else len(labelled)
            logger.info(f"labels of {count:,} examples of {source.name} {split} are used, {whose}")
    baselines = None
    if config.report.baselines:
        known = labelled if needs_labels else labelled_of(teacher.run, source, config.data)
        baselines = Labels(source, config.data, known)
    directory = RunDirectory(config.run.model_dir, writable=devices.is_chief)
    directory.claim(_settings(config, source, teacher))

    keras.utils.set_random_seed(config.run.seed)
    with devices.scope():
        network = build_network(config, len(teacher.run.class_names or ()))
        taught_by = teacher.restore_network()
        learner = Distiller(network, taught_by, config.distillation, config.optimization)
    with_labels = None
    if needs_labels:
        ids = None if labelled is None else list(labelled)
        with_labels = Stream(source, split, seed, data=config.data, ids=ids)
    batches_from = _batches_of(images, with_labels, config, devices.augments(config.augmentation))
    train(
        Job(
            directory, devices, learner, source, batches_from, images.num_examples,
            shown="distillation_loss", labelled=labelled, baselines=baselines,
            damaged=[each.damaged for each in (images, with_labels) if each is not None],
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
        raise source.without_labels("--distillation_alpha below 1")


# What to do where a flag needs labels that can't be had.
_ADVICE = {
    "distillation_alpha": "say which labels to use with --label_fraction (1 is all), "
    "--labels_per_class or --label_subset_file",
    "baselines": "leave the flag out",
    "evaluators": "--evaluators=classifier needs none",
}


def _labelled(
    given: Mapping[str, object],
    own: Optional[TrainingConfig],
    config: DistillConfig,
    source: Source,
    teacher: RunDirectory,
) -> Tuple[DistillConfig, Optional[Dict[str, int]], str]:
    """Chooses the labelled examples: those that flags ask for, else those of the teacher.

    Args:
      given: the flags that were given.
      own: the config of this run if it continues, whose choice stays.
      config: the run's config.
      source: its data.
      teacher: the teacher's run.

    Returns:
      The config with the choice, the classes of the chosen examples by id (None if all are
      labelled), and whose choice it is, in words.

    Raises:
      ConfigError: no labels were asked for, and the teacher's are not examples of this data set.
    """
    split, alpha = config.data.train_split, config.distillation.distillation_alpha
    if any(name in given for name in LABEL_CHOICES):
        return config, labelled_ids(source, split, config.labels), "as the flags say"
    if "label_seed" in given:
        raise refuse(
            "label_seed",
            given["label_seed"],
            "needs --label_fraction or --labels_per_class; without these the teacher's labelled "
            "examples are used",
        )
    if isinstance(own, DistillConfig):
        labels, whose = own.labels, "as when this run began"
    else:
        learner = _learner_of(teacher, "distillation_alpha", alpha)
        labels = _labels_of(learner, config.data, "distillation_alpha", alpha)
        whose = "all, as for the teacher" if labels.is_everything else "those of the teacher"
        whose = f"of --labels={config.data.labels}" if config.data.labels else whose
    labelled = _chosen(source, split, labels, "distillation_alpha", alpha)
    return dataclasses.replace(config, labels=labels), labelled, whose


def labelled_of(
    run: RunDirectory,
    source: Source,
    data: DataConfig,
    flag: str = "baselines",
    value: object = True,
) -> Optional[Dict[str, int]]:
    """Finds the labels that a run has learnt from, for what is measured beside it.

    Args:
      run: the run.
      source: its data set.
      data: which split of it.
      flag: the one that needs them, ``baselines`` or ``evaluators``.
      value: its value.

    Returns:
      The classes of the labelled examples by id; None if all are labelled.

    Raises:
      ConfigError: they are not known, or there are none.
    """
    if source.num_classes is None:
        raise source.without_labels(f"--{flag}")
    learner = _learner_of(run, flag, value)
    labels = _labels_of(learner, data, flag, value)
    labelled = _chosen(source, data.train_split, labels, flag, value)
    if data.labels and labelled is not None and learner.config.data.is_same(data):
        names = source.class_names or []
        check_same(
            learner.file("labelled_examples.txt"),
            {example: names[label] for example, label in labelled.items()},
            data.labels,
            f"{flag} on the same labels can't be measured; {_ADVICE[flag]}",
        )
    return labelled


def _chosen(
    source: Source, split: str, labels: LabelsConfig, flag: str, value: object
) -> Optional[Dict[str, int]]:
    """The labelled examples of a choice, of which a run's list may be of other data."""
    try:
        return labelled_ids(source, split, labels)
    except ConfigError as error:
        if not labels.label_subset_file:
            raise
        reason = str(error).partition(f"{labels.label_subset_file}: ")[2].rstrip(".")
        raise refuse(
            flag,
            value,
            f"needs labels, and those of {labels.label_subset_file} can't be used: {reason}; "
            f"{_ADVICE[flag]}",
        ) from error


def _learner_of(run: RunDirectory, flag: str, value: object) -> RunDirectory:
    """The run that learnt the labels that a run knows: itself, or a teacher.

    Args:
      run: the run, such as a teacher.
      flag: the flag that needs labels, for the error.
      value: its value.
    """
    of_run = run.config
    # A student that used no labels has those of its own teacher.
    while isinstance(of_run, DistillConfig) and of_run.distillation.distillation_alpha == 1:
        path = of_run.distillation.teacher
        try:
            run = Checkpoint.open(path, "teacher").run
        except ConfigError as error:
            raise refuse(
                flag,
                value,
                f"needs labels, and the teacher's own teacher, {path}, which knows them, can't be "
                f"read; {_ADVICE[flag]}",
            ) from error
        of_run = run.config
    return run


def _labels_of(run: RunDirectory, data: DataConfig, flag: str, value: object) -> LabelsConfig:
    """Which labels a run has learnt from, as a choice for a run on ``data``.

    Args:
      run: the run that has learnt them.
      data: the data set that the labels are to be of.
      flag: the flag that needs them, for the error.
      value: its value.
    """
    of_run = run.config
    own, listed = of_run.data, run.file("labelled_examples.txt")
    # Nobody has learnt from another table than the run's, which only trains and evaluates students.
    if data.labels and (flag != "baselines" or own.is_same(data)):
        # The same choice among the labels of the table, or all of them.
        if isinstance(of_run, PretrainConfig) or not own.is_same(data):
            return LabelsConfig()
        return of_run.labels
    everything = isinstance(of_run, PretrainConfig) or of_run.labels.is_everything
    # A student may use all labels of other data, but baselines are to use the run's own.
    if isinstance(of_run, PretrainConfig) and flag == "evaluators":
        return LabelsConfig()
    if everything and run.converted is None and (own.is_same(data) or flag == "distillation_alpha"):
        return LabelsConfig()
    if own.is_same(data) and os.path.isfile(listed):
        return LabelsConfig(label_subset_file=listed)
    reason = f"are of {own.described}, not of {data.described}"
    if own.has_images_of(data) and data.labels:
        reason = f"are not those of --labels={data.labels}"
    if run.converted is not None or own.is_same(data):
        reason = "are unknown"
    raise refuse(flag, value, f"needs labels, and those of {run.path} {reason}; {_ADVICE[flag]}")


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
    views = Views.one(size, config.augmentation, on_device, needs_labels=False)
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
