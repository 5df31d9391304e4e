"""``evaluate``: accuracy and loss of a run."""

import dataclasses
import logging
from typing import Mapping

from tf_simclrv2.config import EvaluateConfig, refuse
from tf_simclrv2.data.sources import open_source
from tf_simclrv2.programs import command_line
from tf_simclrv2.runtime.checkpoint import open_classifier
from tf_simclrv2.runtime.devices import Devices
from tf_simclrv2.training.job import evaluate

logger = logging.getLogger(__name__)


def run(values: Mapping[str, object]) -> None:
    """Evaluates a run's newest, or the named, checkpoint and writes the run's ``result.json``.

    Args:
      values: the flags that were given.

    Raises:
      ConfigError: a setting that can't be used.
    """
    config = command_line.build(EvaluateConfig, values)
    wanted, devices = config.evaluation, Devices.open(config.devices)
    if devices.is_chief:
        logger.info(devices.describe(wanted.eval_batch_size))
    checkpoint = open_classifier(wanted.model_dir, "model_dir", writable=devices.is_chief)
    directory = checkpoint.run
    data = wanted.applied_to(directory.config.data)
    source = open_source(data)
    if not directory.settings.knows_classes(source.class_names):
        raise refuse(
            "dataset",
            data.dataset,
            f"must have the {len(directory.class_names or ())} classes of the run in "
            f"{wanted.model_dir}",
        )
    data = dataclasses.replace(data, eval_split=source.evaluation_split(data.eval_split))
    with devices.scope():
        network = checkpoint.restore_network()
    evaluate(directory, devices, network, source, data, checkpoint.step)
