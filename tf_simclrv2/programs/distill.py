"""``distill``: step 3, a student learns a fine-tuned network's predictions."""

import dataclasses
from typing import Any, Dict

from tf_simclrv2.config import DistillationConfig, DistillConfig, refuse
from tf_simclrv2.data.pipeline import WHOLE, Part, training_batches
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.learners.distiller import Distiller
from tf_simclrv2.programs import command_line, training
from tf_simclrv2.runtime.restoring import build_network, open_classifier, restore_network
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.runtime.strategy import is_chief


def run(values: Dict[str, Any]) -> None:
    """Distills; continues the run if ``model_dir`` holds one.

    Args:
      values: the flags that were given.

    Raises:
      ConfigError: a setting that can't be used.
    """
    names = {field.name for field in dataclasses.fields(DistillationConfig)}
    distillation = DistillationConfig(**{name: values[name] for name in names & set(values)})
    teacher_run, checkpoint = open_classifier(distillation.teacher, "teacher")
    base = teacher_run.config
    inherited = {
        **training.inherited_data(values, base.data),
        **dataclasses.asdict(base.network),
    }

    config = command_line.build(DistillConfig, {**inherited, **values})
    strategy = training.begin_devices(config)
    source, config = training.prepare_data(config)
    teacher_classes = teacher_run.class_names
    names_known = source.num_classes is not None or teacher_run.class_names_known
    if source.num_classes is not None and not teacher_run.knows_classes(source.class_names):
        raise refuse(
            "teacher",
            distillation.teacher,
            f"knows {len(teacher_classes)} classes ({_some(teacher_classes)}), but {source.name} "
            f"has {source.num_classes} ({_some(source.class_names)}); they must be the same",
        )
    needs_labels = distillation.distillation_alpha < 1
    if needs_labels and source.num_classes is None:
        raise refuse(
            "distillation_alpha",
            distillation.distillation_alpha,
            f"must be 1, since {source.name} has no labels",
        )
    chosen = None
    if needs_labels:
        chosen = training.labelled_ids(source, config.data.train_split, config.labels)
    beside = training.open_beside(config)
    directory = RunDirectory(config.run.model_dir, writable=is_chief(strategy))
    class_names = source.class_names or teacher_classes
    settings = directory.check("distill", config, class_names, names_known)

    keras.utils.set_random_seed(config.run.seed)
    with strategy.scope():
        network = build_network(config, len(teacher_classes))
        teacher = restore_network(teacher_run, checkpoint)
        learner = Distiller(network, teacher, config.distillation, config.optimization)
    arguments = (
        source,
        config.data,
        config.augmentation,
        config.optimization.train_batch_size,
        config.run.seed,
    )

    on_device = training.augments_on_device(config, strategy)

    def batches_from(step: int, part: Part = WHOLE) -> tf.data.Dataset:
        how = {"start_step": step, "part": part, "on_device": on_device}
        images = training_batches(*arguments, unlabelled=beside, **how).map(_without_labels)
        if not needs_labels:
            return images
        ids = None if chosen is None else list(chosen)
        labelled = training_batches(*arguments, ids=ids, draw=2, **how).map(_named_labelled)
        return tf.data.Dataset.zip((images, labelled)).map(lambda one, other: {**one, **other})

    def begin() -> None:
        directory.begin(settings)
        training.write_labelled(directory, source, chosen)

    num_examples = training.num_examples(source, config, beside)
    training.train_and_evaluate(
        directory,
        config,
        strategy,
        learner,
        source,
        batches_from,
        num_examples,
        shown="distillation_loss",
        begin=begin,
    )


def _without_labels(batch):
    return {name: value for name, value in batch.items() if name != "label"}


def _named_labelled(batch):
    return {name.replace("image", "labelled_image"): value for name, value in batch.items()}


def _some(names) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
