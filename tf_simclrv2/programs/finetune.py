"""``finetune``: step 2, fine-tuning on a few labels, or the supervised baseline."""

import dataclasses
import sys
from typing import Any, Dict

from tf_simclrv2.config import (
    FinetuneConfig,
    FineTuningConfig,
    NetworkConfig,
    ProjectionHeadConfig,
    refuse,
)
from tf_simclrv2.data.pipeline import WHOLE, Part, training_batches
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.learners.classifier import Classifier
from tf_simclrv2.programs import command_line, training
from tf_simclrv2.runtime.restoring import (
    build_network,
    check_memory,
    restore_pretrained,
    split_checkpoint,
)
from tf_simclrv2.runtime.run_directory import RunDirectory, open_run
from tf_simclrv2.runtime.strategy import is_chief

# How batch norm trains is no part of the architecture, so that it may differ from pretraining.
_FREE = ("global_bn", "batch_norm_decay")
# Of SimCLRv1's kernels google-research/simclr's README says that they are 16.8 times as large as
# SimCLRv2's; this, in sizes of untrained kernels, is about the root of it.
_LARGE_KERNELS = 4.0


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
        if start.use_ema_weights:
            check_memory(pretrained)
        values = inherit(values, pretrained.config, start.checkpoint)

    config = command_line.build(FinetuneConfig, values)
    strategy = training.begin_devices(config)
    source, config = training.prepare_data(config)
    if source.num_classes is None:
        raise refuse("dataset", source.name, "has no labels, which fine-tuning needs")
    chosen = training.labelled_ids(source, config.data.train_split, config.labels)
    directory = RunDirectory(config.run.model_dir, writable=is_chief(strategy))
    settings = directory.check("finetune", config, source.class_names)

    keras.utils.set_random_seed(config.run.seed)
    with strategy.scope():
        network = build_network(config, source.num_classes)
        if pretrained is not None:
            _warn_of_large_kernels(pretrained, config)
            restore_pretrained(network, pretrained, checkpoint, start.use_ema_weights)
        learner = Classifier(network, config.optimization)
    ids = None if chosen is None else list(chosen)

    def batches_from(step: int, part: Part = WHOLE) -> tf.data.Dataset:
        return training_batches(
            source,
            config.data,
            config.augmentation,
            config.optimization.train_batch_size,
            config.run.seed,
            step,
            ids,
            part=part,
            on_device=training.augments_on_device(config, strategy),
        )

    def begin() -> None:
        directory.begin(settings)
        training.write_labelled(directory, source, chosen)

    num_examples = source.num_examples(config.data.train_split) if ids is None else len(ids)
    training.train_and_evaluate(
        directory,
        config,
        strategy,
        learner,
        source,
        batches_from,
        num_examples,
        shown="supervised_loss",
        begin=begin,
    )


def _warn_of_large_kernels(pretrained: RunDirectory, config: FinetuneConfig) -> None:
    """Warns of momentum SGD on SimCLRv1's weights, whose kernels need steps of their own size."""
    converted = pretrained.converted
    all_frozen = config.fine_tuning.fine_tune_after_block == 4
    if converted is None or all_frozen or config.optimization.optimizer != "momentum":
        return
    # The published models of SimCLRv1 are those without a projection head; others of a lone
    # encoder, such as distilled ones, can't be told from them.
    if not config.projection_head.num_layers or converted["kernel_scale"] > _LARGE_KERNELS:
        print(
            f"warning: {converted['google_checkpoint']} may be of SimCLRv1, whose kernels are "
            "about 17 times as large as SimCLRv2's (here they are "
            f"{converted['kernel_scale']:.2g} times as large as before training), so that "
            "momentum SGD needs another learning rate and weight decay; LARS does not",
            file=sys.stderr,
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
            same = given == pretrained or (field.name, given) == ("stem", "auto")
            if not same and field.name not in _FREE:
                raise refuse(
                    field.name,
                    given,
                    f"the run in --checkpoint={checkpoint} was pretrained with {pretrained}, so "
                    "leave the flag out or give that",
                )
            inherited[field.name] = pretrained
    return {**inherited, **values, "stem": base.network.stem}
