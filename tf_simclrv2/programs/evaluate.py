"""``evaluate``: accuracy and loss of a run."""

import dataclasses
from typing import Any, Dict

from tf_simclrv2.config import EvaluateConfig, refuse
from tf_simclrv2.data.sources import open_source
from tf_simclrv2.programs import command_line, training
from tf_simclrv2.runtime.restoring import open_classifier, restore_network, trained_steps
from tf_simclrv2.runtime.strategy import describe, is_chief, jit_compile, open_strategy


def run(values: Dict[str, Any]) -> None:
    """Evaluates a run's newest, or the named, checkpoint and writes the run's ``result.json``.

    Args:
      values: the flags that were given.

    Raises:
      ConfigError: a setting that can't be used.
    """
    config = command_line.build(EvaluateConfig, values)
    wanted, strategy = config.evaluation, open_strategy(config.devices)
    compiled = jit_compile(config.devices, strategy)
    if is_chief(strategy):
        print(describe(strategy, wanted.eval_batch_size), flush=True)
    directory, checkpoint = open_classifier(wanted.model_dir, "model_dir")
    directory.writable = is_chief(strategy)
    data = dataclasses.replace(
        directory.config.data,
        eval_batch_size=wanted.eval_batch_size,
        eval_steps=wanted.eval_steps,
        **{name: values[name] for name in ("dataset", "data_dir") if name in values},
    )
    source = open_source(data)
    if not directory.knows_classes(source.class_names):
        raise refuse(
            "dataset",
            data.dataset,
            f"must have the {len(directory.class_names)} classes of the run in {wanted.model_dir}",
        )
    same_dataset = data.dataset == directory.config.data.dataset
    split = wanted.eval_split or (directory.config.data.eval_split if same_dataset else None)
    data = dataclasses.replace(data, eval_split=source.evaluation_split(split))
    with strategy.scope():
        network = restore_network(directory, checkpoint)
    step = trained_steps(checkpoint or directory.latest_checkpoint())
    training.evaluate(directory, strategy, network, source, data, step, compiled)
