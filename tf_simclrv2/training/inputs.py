"""What a training run starts from: devices, data, and the config that both settle."""

import dataclasses
import logging
import os
from typing import Collection, Dict, Mapping, Optional, Tuple, Type, TypeVar

from tf_simclrv2.config import (
    DEFAULT_IMAGE_SIZES,
    Config,
    DataConfig,
    DistillConfig,
    FinetuneConfig,
    PretrainConfig,
    TrainingConfig,
    UnlabelledConfig,
    place,
    refuse,
    sections_of,
)
from tf_simclrv2.config.following import follow, image_size
from tf_simclrv2.config.memory import check_images, check_training
from tf_simclrv2.data.sources import Source, open_source, open_unlabelled
from tf_simclrv2.data.stream import Stream
from tf_simclrv2.optimization.optimizers import check_optimizer
from tf_simclrv2.runtime.devices import Devices
from tf_simclrv2.runtime.files import check_run_places
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.training.suiting import suited

logger = logging.getLogger(__name__)

# Pixels of the shorter side from which on photographs are worth reducing, and to what.
_LARGE_SIDE, _USUAL_MAX_SIDE = 1000, 512

C = TypeVar("C", PretrainConfig, FinetuneConfig, DistillConfig)


def open_devices(config: TrainingConfig, given: Collection[str]) -> Devices:
    """Opens the devices of a training run.

    Must be called before anything is computed.

    Args:
      config: the run's config.
      given: names of the flags that were given; a batch is checked at once if it is among them.

    Raises:
      ConfigError: the devices don't exist, or can't share the batch, or what they compute can't fit
        into memory.
    """
    devices = Devices.open(config.devices)
    if "train_batch_size" in given:
        _check_batch(config, devices)
        # How large other images are, is not known yet.
        if config.data.image_size or config.data.dataset in DEFAULT_IMAGE_SIZES:
            _check_memory(config, devices)
    return devices


def _check_batch(config: TrainingConfig, devices: Devices) -> None:
    batch_size = config.optimization.train_batch_size
    devices.check_batch(batch_size, config.optimization.gradient_accumulation_steps)


def _check_memory(config: TrainingConfig, devices: Devices) -> None:
    check_training(config, devices.num_pipelines, on_cpu=not devices.has_accelerator)


def as_begun(values: Mapping[str, object], config_class: Type[Config]) -> Dict[str, object]:
    """Adds to the flags of a run that continues what was settled when it began.

    That is what follows its data, and what a run of an earlier version did in another way.

    Args:
      values: the flags that were given; they go first.
      config_class: the class of the command's config.

    Raises:
      ConfigError: what is in ``model_dir`` can't be read.
    """
    path = values.get("model_dir")
    if not path:
        return dict(values)
    run = RunDirectory(str(path))
    if not run.exists:
        return dict(values)
    check_run_places(run.path)
    if not run.has_trained or not isinstance(run.config, config_class):
        return dict(values)
    settled = {
        field.name: getattr(getattr(run.config, section), field.name)
        for section, kind in sections_of(config_class).items()
        for field in dataclasses.fields(kind)
        if field.metadata["follows_data"] or field.metadata["absent"] is not None
    }
    if "train_epochs" not in values:
        # Epochs and warmup were settled for that many.
        settled["train_steps"] = run.config.optimization.train_steps
    begun_with, given = run.config.data.file_format, values.get("file_format")
    if begun_with is not None and given not in (None, begun_with):
        raise refuse("file_format", given, f"the run in {path} began with {begun_with}")
    if values.get("mixed_precision") == "auto":
        # Decided when the run began, perhaps on another machine.
        values = {**values, "mixed_precision": run.config.devices.mixed_precision}
    return {**settled, **values}


def settle(config: C, given: Collection[str], devices: Devices, stream: Stream, count: int) -> C:
    """Settles what follows the data and was not given; logs what computes, on what.

    Args:
      config: the run's config.
      given: names of the flags that were given.
      devices: what computes.
      stream: the images.
      count: images to train on; for fine-tuning those with labels.

    Returns:
      The config with all settings.

    Raises:
      ConfigError: the devices can't share the batch, or what they compute can't fit into memory.
    """
    computing = dataclasses.replace(config.devices, mixed_precision=devices.mixed_precision)
    config, settings = follow(dataclasses.replace(config, devices=computing), given, count)
    _check_batch(config, devices)
    _check_memory(config, devices)
    size = config.data.resolved_image_size
    config, views = suited(config, given, size, stream, devices.agreed)
    if "image_size" not in given:
        settings = {"image_size": size, **settings}
    line = f"{devices.describe(config.optimization.train_batch_size)}; views: {views}"
    if settings:
        what = "labelled images" if isinstance(config, FinetuneConfig) else "images"
        shown = ", ".join(f"{name}={value:g}" for name, value in settings.items())
        steps = config.optimization.steps(count)
        line += f"; as follows from {count:,} {what}: {shown}, so {steps:,} steps"
    if devices.is_chief:
        logger.info(line)
    return config


def continued_config(values: Mapping[str, object], flag: str) -> Optional[TrainingConfig]:
    """The config of the run that a command continues, or None if it begins one.

    Args:
      values: the flags that were given.
      flag: the one that names the run to start from; a run that started from another, or that has
        saved nothing yet, is not continued.

    Raises:
      ConfigError: the config.json of ``model_dir`` can't be read.
    """
    run = RunDirectory(str(values.get("model_dir", "")))
    if not run.exists or not os.path.isdir(run.file("checkpoints")):
        return None
    config = run.config
    begun: Optional[str] = None
    if isinstance(config, PretrainConfig) and flag == "checkpoint":
        begun = config.start.checkpoint
    elif isinstance(config, FinetuneConfig) and flag == "checkpoint":
        begun = config.fine_tuning.checkpoint
    elif isinstance(config, DistillConfig) and flag == "teacher":
        begun = config.distillation.teacher
    return config if begun and place(begun) == place(str(values[flag])) else None


def open_data(config: C) -> Tuple[Source, C]:
    """Opens the data of a training run and settles what depends on it.

    Returns:
      The data, and the config with image size, stem and evaluation split decided.

    Raises:
      ConfigError: the optimizer, data set or split doesn't exist, images are too small for the
        network, or a batch to evaluate can't fit into memory.
    """
    check_optimizer(config.optimization, config.devices.mixed_precision)
    source = open_source(config.data)
    source.check_split(config.data.train_split, "train_split")
    eval_split = config.data.eval_split
    side = source.usual_side(config.data.train_split)
    size = image_size(config.data, side)
    if side is not None and config.run.mode != "eval":
        _advise_to_reduce(config, side, size)
    skips = config.run.mode != "eval" and source.holds_out_nothing(eval_split)
    report = getattr(config, "report", None)
    if skips and source.num_classes and report is not None:
        report.check_held_out(source.called, source.evaluation_advice)
    if config.run.mode != "train" and source.num_classes and not skips:
        eval_split = source.evaluation_split(eval_split)
        at_once = min(config.data.eval_batch_size, source.num_examples(eval_split))
        check_images("eval_batch_size", config.data.eval_batch_size, at_once, size)
    return source, dataclasses.replace(
        config,
        data=dataclasses.replace(
            config.data, image_size=size, eval_split=eval_split, file_format=source.file_format
        ),
        network=config.network.resolved(size),
    )


def _advise_to_reduce(config: TrainingConfig, side: int, size: int) -> None:
    """Tells a new run on photographs, half of which have such a shorter side, of a faster way."""
    begun = RunDirectory(config.run.model_dir).exists
    unreduced = config.data.cache_max_side is None and config.data.check_images == "full"
    if side >= _LARGE_SIDE and unreduced and not begun:
        logger.info(
            f"half of the images have {side:,} pixels and more on their shorter side, which each "
            "epoch decodes anew; --cache_path=PREFIX "
            f"--cache_max_side={max(_USUAL_MAX_SIDE, 2 * size)} reduces them once"
        )


def open_further_images(unlabelled: UnlabelledConfig, data: DataConfig) -> Optional[Source]:
    """Opens the folder of ``--unlabeled_data_dir``, if one is given.

    Raises:
      ConfigError: it holds no images.
    """
    directory = unlabelled.unlabeled_data_dir
    return open_unlabelled(directory, data) if directory else None
