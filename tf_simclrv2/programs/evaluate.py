"""``evaluate``: accuracy and loss of a run."""

import dataclasses
import logging
from typing import Mapping

from tf_simclrv2.config import ConfigError, EvaluateConfig, EvaluationConfig, refuse
from tf_simclrv2.data.sources import Source, open_other, open_source
from tf_simclrv2.programs import command_line
from tf_simclrv2.programs.distill import labelled_of
from tf_simclrv2.runtime.checkpoint import open_classifier
from tf_simclrv2.runtime.devices import Devices
from tf_simclrv2.runtime.settings import RunSettings
from tf_simclrv2.training.baselines import Labels, add_baselines
from tf_simclrv2.training.evaluating import evaluate

logger = logging.getLogger(__name__)


def run(values: Mapping[str, object]) -> None:
    """Evaluates a run's newest, or the named, checkpoint and adds to the run's ``result.json``.

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
    own, settings = directory.config.data, directory.settings
    data = wanted.applied_to(own)
    known = settings.class_names if settings.class_names_known else None
    source = (open_source if data.is_same(own) else open_other)(data, known)
    if not settings.knows_classes(source.class_names):
        raise _other_classes(wanted, settings, source)
    data = dataclasses.replace(data, eval_split=source.evaluation_split(data.eval_split))
    labels = None
    if config.report.baselines:
        learnt_from = source if data.is_same(own) else open_source(own, known)
        labels = Labels(learnt_from, own, labelled_of(directory, learnt_from, own))
    with devices.scope():
        network = checkpoint.restore_network()
    done = evaluate(directory, devices, network, source, data, checkpoint.step)
    if labels is not None:
        add_baselines(directory, devices, labels, done)


def _other_classes(wanted: EvaluationConfig, settings: RunSettings, source: Source) -> ConfigError:
    """The refusal of data whose classes are not the run's, which names the first that differ."""
    known, found = settings.class_names or [], source.class_names
    reason = "but it has no labels" if found is None else f"but it has {len(found)}"
    unknown = sorted(set(found or ()) - set(known))
    if unknown and settings.class_names_known:
        reason = f"but it has {', '.join(unknown[:3])}{', ...' * (len(unknown) > 3)}"
    return refuse(
        "dataset" if wanted.data_dir is None else "data_dir",
        source.name if wanted.data_dir is None else wanted.data_dir,
        f"must have the {len(known)} classes of the run in {wanted.model_dir}, {reason}",
    )
