"""``pretrain``: step 1, contrastive pretraining without labels."""

import dataclasses
from typing import Any, Dict

from tf_simclrv2.config import PretrainConfig, refuse
from tf_simclrv2.data.augmentation import ready_for_network
from tf_simclrv2.data.pipeline import WHOLE, Part, contrastive_batches
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.learners.memory import PretrainerWithMemory
from tf_simclrv2.learners.pretrainer import Pretrainer
from tf_simclrv2.programs import command_line, training
from tf_simclrv2.runtime.restoring import build_network
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.runtime.strategy import is_chief

_PAIRS_SHOWN = 16


def run(values: Dict[str, Any]) -> None:
    """Pretrains; continues the run if ``model_dir`` holds one.

    Args:
      values: the flags that were given.

    Raises:
      ConfigError: a setting that can't be used.
    """
    config = command_line.build(PretrainConfig, values)
    strategy = training.begin_devices(config)
    source, config = training.prepare_data(config)
    unlabelled = training.open_beside(config)
    num_examples = training.num_examples(source, config, unlabelled)
    batch_size = config.optimization.train_batch_size
    if batch_size > num_examples:
        raise refuse(
            "train_batch_size",
            batch_size,
            f"must be at most {num_examples}, the images of {source.name} "
            f"{config.data.train_split}, or an image would be its own negative",
        )
    if source.num_classes is None:
        contrastive = dataclasses.replace(config.contrastive, lineareval_while_pretraining=False)
        config = dataclasses.replace(config, contrastive=contrastive)
    directory = RunDirectory(config.run.model_dir, writable=is_chief(strategy))
    settings = directory.check("pretrain", config, source.class_names)

    keras.utils.set_random_seed(config.run.seed)
    with strategy.scope():
        network = build_network(config, source.num_classes)
        if config.memory.use_memory:
            learner = PretrainerWithMemory(
                network,
                build_network(config, source.num_classes),
                config.contrastive,
                config.memory,
                config.optimization,
            )
        else:
            learner = Pretrainer(network, config.contrastive, config.optimization)

    def batches_from(step: int, part: Part = WHOLE) -> tf.data.Dataset:
        return contrastive_batches(
            source,
            config.data,
            config.augmentation,
            batch_size,
            config.run.seed,
            step,
            part,
            unlabelled,
            training.augments_on_device(config, strategy),
        )

    def begin() -> None:
        directory.begin(settings)
        if directory.writable and config.run.mode != "eval":
            with training.labels_checked(source):
                batch = next(iter(batches_from(0)))
            _draw_views(directory, ready_for_network(batch, config.augmentation))

    training.train_and_evaluate(
        directory,
        config,
        strategy,
        learner,
        source,
        batches_from,
        num_examples,
        shown="contrast_loss",
        begin=begin,
    )


def _draw_views(directory: RunDirectory, batch: Dict[str, tf.Tensor]) -> None:
    """Writes pairs of views to TensorBoard, so that people look at what they train on."""
    pairs = tf.concat([batch["view_1"], batch["view_2"]], axis=2)
    with tf.summary.create_file_writer(directory.file("events")).as_default():
        tf.summary.image("views", pairs, step=0, max_outputs=_PAIRS_SHOWN)
