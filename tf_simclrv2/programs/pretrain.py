"""``pretrain``: step 1, contrastive pretraining without labels."""

import dataclasses
import functools
from typing import Mapping, Optional

from tf_simclrv2.config import PretrainConfig, refuse
from tf_simclrv2.data.batches import Views, batches
from tf_simclrv2.data.stream import Stream
from tf_simclrv2.keras2 import keras
from tf_simclrv2.learners.memory import PretrainerWithMemory
from tf_simclrv2.learners.pretrainer import Pretrainer
from tf_simclrv2.learners.steps import build_network
from tf_simclrv2.programs import command_line
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.runtime.settings import RunSettings
from tf_simclrv2.runtime.views_picture import DrawViews
from tf_simclrv2.training.inputs import open_data, open_devices, open_further_images
from tf_simclrv2.training.job import Job, train


def run(values: Mapping[str, object]) -> None:
    """Pretrains; continues the run if ``model_dir`` holds one.

    Args:
      values: the flags that were given.

    Raises:
      ConfigError: a setting that can't be used.
    """
    config = command_line.build(PretrainConfig, values)
    if config.unlabelled.unlabeled_data_dir and "dataset" not in values:
        raise refuse(
            "unlabeled_data_dir",
            config.unlabelled.unlabeled_data_dir,
            "is added to a data set, but no --dataset was given; give it, or, to train on these "
            "images only, --dataset=folder --data_dir instead",
        )
    devices = open_devices(config)
    source, config = open_data(config)
    further = open_further_images(config.unlabelled, config.data)
    stream = Stream(
        source, config.data.train_split, config.run.seed, data=config.data, unlabelled=further
    )
    _check_negatives(config, stream)
    if source.num_classes is None:
        contrastive = dataclasses.replace(config.contrastive, lineareval_while_pretraining=False)
        config = dataclasses.replace(config, contrastive=contrastive)
    directory = RunDirectory(config.run.model_dir, writable=devices.is_chief)
    directory.claim(RunSettings("pretrain", config, source.class_names))

    keras.utils.set_random_seed(config.run.seed)
    with devices.scope():
        learner = _learner(config, source.num_classes)
    size, on_device = config.data.resolved_image_size, devices.augments(config.augmentation)
    views = Views.two(size, config.augmentation, on_device)
    batches_from = functools.partial(batches, stream, views, config.optimization.train_batch_size)
    picture = DrawViews(directory, lambda: batches_from(0), config.augmentation)
    train(
        Job(
            directory, devices, learner, source, batches_from, stream.num_examples,
            shown="contrast_loss", callbacks=[picture],
        )
    )  # fmt: skip


def _check_negatives(config: PretrainConfig, stream: Stream) -> None:
    batch_size, count = config.optimization.train_batch_size, stream.num_examples
    if batch_size > count:
        raise refuse(
            "train_batch_size",
            batch_size,
            f"must be at most {count}, the images of {config.data.dataset} "
            f"{config.data.train_split}, or an image would be its own negative",
        )


def _learner(config: PretrainConfig, num_classes: Optional[int]) -> Pretrainer:
    network = build_network(config, num_classes)
    if not config.memory.use_memory:
        return Pretrainer(network, config.contrastive, config.optimization)
    average = build_network(config, num_classes)
    return PretrainerWithMemory(
        network, average, config.contrastive, config.memory, config.optimization
    )
