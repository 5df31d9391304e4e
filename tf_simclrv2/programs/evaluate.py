"""``evaluate``: accuracy and loss of a run."""

import dataclasses
from typing import Any, Dict

from tf_simclrv2.config import EvaluateConfig, refuse
from tf_simclrv2.data.sources import open_source
from tf_simclrv2.keras2 import tf
from tf_simclrv2.programs import command_line, training
from tf_simclrv2.runtime.restoring import open_classifier, restore_network


def run(values: Dict[str, Any]) -> None:
    """Evaluates a run's newest, or the named, checkpoint and writes the run's ``result.json``.

    Args:
      values: the flags that were given.

    Raises:
      ConfigError: a setting that can't be used.
    """
    wanted = command_line.build(EvaluateConfig, values).evaluation
    directory, checkpoint = open_classifier(wanted.model_dir, "model_dir")
    data = dataclasses.replace(
        directory.config.data,
        eval_batch_size=wanted.eval_batch_size,
        eval_steps=wanted.eval_steps,
        **{name: values[name] for name in ("dataset", "data_dir") if name in values},
    )
    source = open_source(data)
    if source.class_names != directory.class_names:
        raise refuse(
            "dataset",
            data.dataset,
            f"must have the {len(directory.class_names)} classes of the run in {wanted.model_dir}",
        )
    same_dataset = data.dataset == directory.config.data.dataset
    split = wanted.eval_split or (directory.config.data.eval_split if same_dataset else None)
    data = dataclasses.replace(data, eval_split=source.evaluation_split(split))
    network = restore_network(directory, checkpoint)
    path = checkpoint or directory.latest_checkpoint()
    step = int(tf.train.load_variable(path, "optimizer/_iterations/.ATTRIBUTES/VARIABLE_VALUE"))
    training.evaluate(directory, network, source, data, step)
