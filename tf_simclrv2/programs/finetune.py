"""``finetune``: step 2, fine-tuning on a few labels, or the supervised baseline."""

import dataclasses
import functools
import logging
from typing import Mapping, NamedTuple, Optional

from tf_simclrv2.config import FinetuneConfig, FineTuningConfig
from tf_simclrv2.config.following import until_known
from tf_simclrv2.config.inheriting import inherit_pretrained, not_inherited
from tf_simclrv2.data.batches import Views, batches
from tf_simclrv2.data.labels import labelled_ids
from tf_simclrv2.data.sources import Source
from tf_simclrv2.data.stream import Stream
from tf_simclrv2.keras2 import keras
from tf_simclrv2.learners.classifier import Classifier
from tf_simclrv2.learners.steps import build_network
from tf_simclrv2.programs import command_line
from tf_simclrv2.runtime.checkpoint import Checkpoint
from tf_simclrv2.runtime.devices import Devices
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.runtime.settings import RunSettings
from tf_simclrv2.training.baselines import Labels
from tf_simclrv2.training.cross_validating import cross_validate, num_folds
from tf_simclrv2.training.fine_tuning_folds import FineTuningFolds
from tf_simclrv2.training.head_start import check_head_start, start_from_ridge
from tf_simclrv2.training.inputs import (
    as_begun,
    continued_config,
    open_data,
    open_devices,
    settle,
)
from tf_simclrv2.training.job import Job, train

logger = logging.getLogger(__name__)

# google-research/simclr's README says that SimCLRv1's kernels are 16.8 times as large as
# SimCLRv2's; this, in sizes of untrained kernels, is about the root of it.
_LARGE_KERNELS = 4.0


def run(values: Mapping[str, object]) -> None:
    """Fine-tunes; continues the run if ``model_dir`` holds one.

    Args:
      values: the flags that were given.

    Raises:
      ConfigError: a setting that can't be used.
    """
    values = as_begun(values, FinetuneConfig)
    start = command_line.build_section(FineTuningConfig, values)
    pretrained, left_out = _open_pretrained(start), ""
    if pretrained is not None and start.checkpoint is not None:
        own, base, given = continued_config(values, "checkpoint"), pretrained.run.config, values
        values = inherit_pretrained(given, base, start.checkpoint, own)
        left_out = not_inherited(given, base)
    config = command_line.build(FinetuneConfig, until_known(values))
    devices = open_devices(config, values)
    source, config = open_data(config)
    if source.num_classes is None:
        raise source.without_labels("fine-tuning")
    split = config.data.train_split
    labelled = labelled_ids(source, split, config.labels)
    if labelled is not None and len(set(labelled.values())) < 2:
        raise source.without_labels("fine-tuning")
    count = source.num_examples(split) if labelled is None else len(labelled)
    check_head_start(start.head_start, count)
    images = Stream(source, split, config.run.seed, data=config.data)
    config = settle(config, values, devices, images, count)
    if left_out and devices.is_chief:
        logger.info(left_out)
    labels = Labels(source, config.data, labelled)
    folds = num_folds(config, labels)
    directory = RunDirectory(config.run.model_dir, writable=devices.is_chief)
    directory.claim(RunSettings("finetune", config, source.class_names))
    if pretrained is not None:
        _warn_of_large_kernels(pretrained.run, config)
    fine_tuning, repeated = _FineTuning(source, devices, pretrained), None
    if config.report.folds_of == "finetune":
        of_weights = "" if pretrained is None else f"ckpt-{pretrained.step}"
        repeated = FineTuningFolds.planned(directory, devices, labels, folds, of_weights)
        folds = 0
    _train(fine_tuning, directory, labels, folds)
    if repeated is not None:
        repeated.run(fine_tuning.job)


class _FineTuning(NamedTuple):
    """What the fine-tuning of a run shares with its repetitions on other labels.

    Attributes:
      source: the data set.
      devices: what computes.
      pretrained: the weights to start from; None if they are random.
    """

    source: Source
    devices: Devices
    pretrained: Optional[Checkpoint]

    def job(self, directory: RunDirectory, labelled: Optional[Mapping[str, int]]) -> Job:
        """The job that trains in a directory, which is claimed, on labelled images by id."""
        config, source = _config_of(directory), self.source
        keras.utils.set_random_seed(config.run.seed)
        with self.devices.scope():
            network = build_network(config, source.num_classes)
            if self.pretrained is not None:
                use_ema_weights = config.fine_tuning.use_ema_weights
                self.pretrained.restore_pretrained(network, use_ema_weights)
            learner = Classifier(network, config.optimization)
        # Every replica of every worker would compute the same.
        if config.fine_tuning.head_start == "ridge" and directory.latest_checkpoint() is None:
            start_from_ridge(network, source, config.data, labelled)
        known = None if labelled is None else dict(labelled)
        ids = None if known is None else list(known)
        stream = Stream(source, config.data.train_split, config.run.seed, data=config.data, ids=ids)
        size, on_device = (
            config.data.resolved_image_size,
            self.devices.augments(config.augmentation),
        )
        views = Views.one(size, config.augmentation, on_device)
        return Job(
            directory, self.devices, learner, source,
            functools.partial(batches, stream, views, config.optimization.train_batch_size),
            stream.num_examples, shown="supervised_loss", labelled=known,
            damaged=[stream.damaged],
        )  # fmt: skip


def _train(fine_tuning: _FineTuning, directory: RunDirectory, labels: Labels, folds: int) -> None:
    """Trains the run, after which its learner needs no memory any more."""
    job = fine_tuning.job(directory, labels.labelled)
    validated = cross_validate(directory, job.learner.network, labels, folds) if folds else None
    baselines = labels if _config_of(directory).report.baselines else None
    train(dataclasses.replace(job, baselines=baselines))
    if validated is not None:
        validated.record(directory, labels.source.class_names or [])


def _config_of(directory: RunDirectory) -> FinetuneConfig:
    assert isinstance(directory.config, FinetuneConfig)  # Nothing else was claimed.
    return directory.config


def _open_pretrained(start: FineTuningConfig) -> Optional[Checkpoint]:
    if not start.checkpoint:
        return None
    pretrained = Checkpoint.open(start.checkpoint, "checkpoint", ("pretrain",))
    if start.use_ema_weights:
        pretrained.check_memory()
    return pretrained


def _warn_of_large_kernels(pretrained: RunDirectory, config: FinetuneConfig) -> None:
    """Warns of momentum SGD on SimCLRv1's weights, whose kernels need steps of another size."""
    converted = pretrained.converted
    all_frozen = config.fine_tuning.fine_tune_after_block == 4
    if converted is None or all_frozen or config.optimization.optimizer != "momentum":
        return
    scale = float(converted["kernel_scale"])
    # The published models of SimCLRv1 are those without a projection head; other encoders without
    # one, such as distilled ones, look the same.
    if not config.projection_head.num_layers or scale > _LARGE_KERNELS:
        logger.warning(
            f"{converted['google_checkpoint']} may be of SimCLRv1, whose kernels are about 17 "
            f"times as large as SimCLRv2's (here they are {scale:.2g} times as large as before "
            "training), so that momentum SGD needs another learning rate and weight decay; LARS "
            "does not"
        )
