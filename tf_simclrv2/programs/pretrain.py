"""``pretrain``: step 1, contrastive pretraining without labels."""

import dataclasses
import functools
import logging
from typing import Dict, Mapping, Optional, Tuple

from tf_simclrv2.config import PretrainConfig, StartConfig, place, refuse
from tf_simclrv2.config.following import until_known
from tf_simclrv2.config.inheriting import head_fits, inherit_start, not_inherited
from tf_simclrv2.data.batches import Views, batches
from tf_simclrv2.data.stream import Stream
from tf_simclrv2.keras2 import keras
from tf_simclrv2.learners.memory import PretrainerWithMemory
from tf_simclrv2.learners.pretrainer import Pretrainer
from tf_simclrv2.learners.steps import build_network
from tf_simclrv2.networks.network import Network
from tf_simclrv2.programs import command_line
from tf_simclrv2.runtime.checkpoint import Checkpoint
from tf_simclrv2.runtime.devices import Devices
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.runtime.settings import RunSettings
from tf_simclrv2.runtime.views_picture import DrawViews
from tf_simclrv2.training.inputs import (
    as_begun,
    continued_config,
    open_data,
    open_devices,
    open_further_images,
    settle,
)
from tf_simclrv2.training.job import Job, train
from tf_simclrv2.training.monitored import Monitored
from tf_simclrv2.training.monitoring import Monitor

logger = logging.getLogger(__name__)


def run(values: Mapping[str, object]) -> None:
    """Pretrains; continues the run if ``model_dir`` holds one.

    Args:
      values: the flags that were given.

    Raises:
      ConfigError: a setting that can't be used.
    """
    given, (start, values) = values, _open_start(as_begun(values, PretrainConfig))
    config = command_line.build(PretrainConfig, until_known(values))
    if config.unlabelled.unlabeled_data_dir and "dataset" not in given:
        raise refuse(
            "unlabeled_data_dir",
            config.unlabelled.unlabeled_data_dir,
            "is added to a data set, but no --dataset was given; give it, or, to train on these "
            "images only, --dataset=folder --data_dir instead",
        )
    devices = open_devices(config, values)
    source, config = open_data(config)
    further = open_further_images(config.unlabelled, config.data)
    stream = Stream(
        source, config.data.train_split, config.run.seed, data=config.data, unlabelled=further
    )
    config = settle(config, values, devices, stream, stream.num_examples)
    left_out = not_inherited(given, start.run.config) if start is not None else ""
    if left_out and devices.is_chief:
        logger.info(left_out)
    _check_negatives(config, stream)
    if source.num_classes is None:
        contrastive = dataclasses.replace(config.contrastive, lineareval_while_pretraining=False)
        config = dataclasses.replace(config, contrastive=contrastive)
    directory = RunDirectory(config.run.model_dir, writable=devices.is_chief)
    directory.claim(RunSettings("pretrain", config, source.class_names))

    keras.utils.set_random_seed(config.run.seed)
    with devices.scope():
        network = build_network(config, source.num_classes)
        if start is not None:
            _load(start, network, config, devices)
        learner = _learner(network, config, source.num_classes)
    size, on_device = config.data.resolved_image_size, devices.augments(config.augmentation)
    views = Views.two(size, config.augmentation, on_device)
    batches_from = functools.partial(batches, stream, views, config.optimization.train_batch_size)
    for_device = Views.two(size, config.augmentation, on_device=True)
    picture = DrawViews(
        directory, functools.partial(batches, stream, for_device), config.augmentation
    )
    job = Job(
        directory, devices, learner, source, batches_from, stream.num_examples,
        shown="contrast_loss", callbacks=[picture], damaged=[stream.damaged],
        labelled=source.labelled(config.data.train_split),
    )  # fmt: skip
    monitored = Monitored.of(config, source, devices)
    if monitored.count:
        monitor = Monitor(directory, devices, network, monitored, job.schedule)
        job = dataclasses.replace(job, monitor=monitor)
    train(job)


def _open_start(
    values: Mapping[str, object],
) -> Tuple[Optional[Checkpoint], Dict[str, object]]:
    """Opens the run to start from, and adds to the flags what is taken over from it.

    A run that continues has everything in its own checkpoint, so the other run may have gone.
    """
    start = command_line.build_section(StartConfig, values)
    if not start.checkpoint:
        return None, dict(values)
    if place(start.checkpoint) == place(str(values.get("model_dir", ""))):
        raise refuse(
            "checkpoint",
            start.checkpoint,
            "must be another run than --model_dir, which continues without it",
        )
    own = continued_config(values, "checkpoint")
    if (
        own is not None
        and RunDirectory(str(values["model_dir"]), writable=False).latest_checkpoint() is not None
    ):
        return None, inherit_start(values, own, start.checkpoint)
    opened = Checkpoint.open(start.checkpoint, "checkpoint")
    if start.use_ema_weights:
        opened.check_memory()
    return opened, inherit_start(values, opened.run.config, start.checkpoint)


def _load(start: Checkpoint, network: Network, config: PretrainConfig, devices: Devices) -> None:
    """Loads the weights to start from, and says so where the projection head can't be among them.

    A memory network is made from the network afterwards, so that it starts from them too.
    """
    with_head = head_fits(start.run.config, config.projection_head)
    start.restore_pretrained(network, config.start.use_ema_weights, with_head)
    what, head = "the encoder goes", "; the projection head begins anew"
    if with_head:
        what, head = "the network goes", ""
    if devices.is_chief:
        reason = f", since {start.run.path} holds none of this shape" if head else ""
        logger.info(f"{what} on from {start.path}{head}{reason}")


def _check_negatives(config: PretrainConfig, stream: Stream) -> None:
    batch_size, count = config.optimization.train_batch_size, stream.num_examples
    if count < 2:
        raise refuse(
            "train_split",
            config.data.train_split,
            f"has {count} image of {config.data.dataset}, but pretraining needs at least two",
        )
    if batch_size > count:
        raise refuse(
            "train_batch_size",
            batch_size,
            f"must be at most {count}, the images of {config.data.dataset} "
            f"{config.data.train_split}, or an image would be its own negative",
        )


def _learner(network: Network, config: PretrainConfig, num_classes: Optional[int]) -> Pretrainer:
    if not config.memory.use_memory:
        return Pretrainer(network, config.contrastive, config.optimization)
    average = build_network(config, num_classes)
    return PretrainerWithMemory(
        network, average, config.contrastive, config.memory, config.optimization
    )
