"""``finetune``: step 2, fine-tuning on a few labels, or the supervised baseline."""

import dataclasses
from typing import Any, Dict

from tf_simclrv2.config import (
    FinetuneConfig,
    FineTuningConfig,
    NetworkConfig,
    ProjectionHeadConfig,
    refuse,
)
from tf_simclrv2.data.pipeline import training_batches
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.learners.classifier import Classifier
from tf_simclrv2.programs import command_line, training
from tf_simclrv2.runtime.restoring import build_network, restore_pretrained, split_checkpoint
from tf_simclrv2.runtime.run_directory import RunDirectory, open_run


def run(values: Dict[str, Any]) -> None:
    """Fine-tunes; continues the run if ``model_dir`` holds one.

    Args:
      values: the flags that were given.

    Raises:
      ConfigError: a setting that can't be used.
    """
    names = {field.name for field in dataclasses.fields(FineTuningConfig)}
    start = FineTuningConfig(**{name: values[name] for name in names & set(values)})
    pretrained = None
    if start.checkpoint:
        path, checkpoint = split_checkpoint(start.checkpoint)
        pretrained = open_run(path, "checkpoint", ("pretrain",))
        values = inherit(values, pretrained.config, start.checkpoint)

    config = command_line.build(FinetuneConfig, values)
    source, config = training.prepare_data(config)
    if source.num_classes is None:
        raise refuse("dataset", source.name, "has no labels, which fine-tuning needs")
    chosen = training.labelled_ids(source, config.data.train_split, config.labels)
    directory = RunDirectory(config.run.model_dir)
    directory.begin("finetune", config, source.class_names)
    training.write_labelled(directory, source, chosen)

    keras.utils.set_random_seed(config.run.seed)
    network = build_network(config, source.num_classes)
    if pretrained is not None:
        restore_pretrained(network, pretrained, checkpoint)
    learner = Classifier(network, config.optimization)
    ids = None if chosen is None else list(chosen)

    def batches_from(step: int) -> tf.data.Dataset:
        return training_batches(
            source,
            config.data,
            config.augmentation,
            config.optimization.train_batch_size,
            config.run.seed,
            step,
            ids,
        )

    num_examples = source.num_examples(config.data.train_split) if ids is None else len(ids)
    training.train_and_evaluate(
        directory, config, learner, source, batches_from, num_examples, shown="supervised_loss"
    )


def inherit(values: Dict[str, Any], base: Any, checkpoint: str) -> Dict[str, Any]:
    """Adds a pretraining run's architecture and data to the flags that were given.

    Args:
      values: the flags that were given.
      base: the pretraining run's config.
      checkpoint: its path, for the error.

    Returns:
      The flags with the inherited ones.

    Raises:
      ConfigError: a flag asks for another architecture.
    """
    inherited = training.inherited_data(values, base.data)
    for kind, section in (
        (NetworkConfig, base.network),
        (ProjectionHeadConfig, base.projection_head),
    ):
        for field in dataclasses.fields(kind):
            pretrained = getattr(section, field.name)
            given = values.get(field.name, pretrained)
            if given != pretrained and (field.name, given) != ("stem", "auto"):
                raise refuse(
                    field.name,
                    given,
                    f"the run in --checkpoint={checkpoint} was pretrained with {pretrained}, so "
                    "leave the flag out or give that",
                )
            inherited[field.name] = pretrained
    return {**inherited, **values, "stem": base.network.stem}
