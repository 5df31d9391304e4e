"""What the three training commands share: train a learner to its end, then evaluate it."""

import dataclasses
from typing import Any, Callable, Dict, Optional, Tuple

from tf_simclrv2.config import DataConfig, LabelsConfig, refuse
from tf_simclrv2.data.labels import choose_labelled
from tf_simclrv2.data.pipeline import evaluation_batches
from tf_simclrv2.data.sources import Source, open_source
from tf_simclrv2.evaluation.metrics import evaluate_classifier
from tf_simclrv2.keras2 import tf
from tf_simclrv2.learners.learner import Learner
from tf_simclrv2.networks.network import Network
from tf_simclrv2.optimization.optimizers import build_optimizer, build_schedule
from tf_simclrv2.runtime.callbacks import LogMetrics, Progress, SaveCheckpoints
from tf_simclrv2.runtime.run_directory import RunDirectory


def prepare_data(config: Any) -> Tuple[Source, Any]:
    """Opens the data of a training run and settles what depends on it.

    Args:
      config: a config with sections ``data`` and ``network``.

    Returns:
      The data, and the config with image size, stem and evaluation split decided.

    Raises:
      ConfigError: a data set or split that there is not, or images too small for the network.
    """
    source = open_source(config.data)
    source.check_split(config.data.train_split, "train_split")
    eval_split = config.data.eval_split
    if config.run.mode != "train" and source.num_classes:
        eval_split = source.evaluation_split(eval_split)
    size = config.data.resolved_image_size
    return source, dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, image_size=size, eval_split=eval_split),
        network=config.network.resolved(size),
    )


# What a later step of the method takes over from the run that it starts from.
_INHERITED_DATA = ("dataset", "data_dir", "image_size", "train_split", "eval_split")


def inherited_data(values: Dict[str, Any], data: DataConfig) -> Dict[str, Any]:
    """The data settings that a run takes over from the run that it starts from.

    Args:
      values: the flags that were given.
      data: the earlier run's data.

    Returns:
      Values by flag name; only the image size if another data set was given, since directories
      and splits are a data set's own.
    """
    if values.get("dataset", data.dataset) != data.dataset:
        return {"image_size": data.image_size}
    return {name: getattr(data, name) for name in _INHERITED_DATA}


def labelled_ids(source: Source, split: str, labels: LabelsConfig) -> Optional[Dict[str, int]]:
    """Chooses the labelled examples of a split.

    Returns:
      Their classes by id; None if all examples of the split are labelled.

    Raises:
      ConfigError: a class would be left without an example.
    """
    if labels.is_everything:
        return None
    undecoded = source.examples(split).map(lambda example: (example["id"], example["label"]))
    examples = [(str(i.decode()), int(label)) for i, label in undecoded.as_numpy_iterator()]
    chosen = choose_labelled([label for _, label in examples], source.class_names, labels)
    return dict(examples[index] for index in chosen)


def write_labelled(run: RunDirectory, source: Source, chosen: Optional[Dict[str, int]]) -> None:
    """Writes the ids and classes of the labelled examples to the run directory."""
    if chosen is not None:
        with open(run.file("labelled_examples.txt"), "w", encoding="utf-8") as file:
            for example_id, label in chosen.items():
                file.write(f"{example_id}\t{source.class_names[label]}\n")


def train_and_evaluate(
    run: RunDirectory,
    config: Any,
    learner: Learner,
    source: Source,
    batches_from: Callable[[int], tf.data.Dataset],
    num_examples: int,
    shown: str,
) -> None:
    """Trains a learner from the run's newest checkpoint on, and evaluates its classifier.

    Args:
      run: the run's directory.
      config: the run's config; its ``mode`` may leave out either part.
      learner: what to train.
      source: the data.
      batches_from: the training batches from a step on.
      num_examples: images in an epoch.
      shown: the metric that stands beside the progress bar.

    Raises:
      ConfigError: there is nothing to evaluate.
    """
    schedule = build_schedule(config.optimization, num_examples)
    learner.compile(optimizer=build_optimizer(config.optimization, schedule, learner.roles))
    learner.optimizer.build(learner.network.trainable_variables)
    manager = run.checkpoint_manager(
        tf.train.Checkpoint(network=learner.network, optimizer=learner.optimizer),
        config.run.keep_checkpoint_max,
    )
    if manager.restore_or_initialize() is None and config.run.mode == "eval":
        raise refuse("mode", "eval", f"{run.path} holds no checkpoint to evaluate yet")
    if config.run.mode != "eval":
        steps_per_epoch = num_examples / config.optimization.train_batch_size
        log = LogMetrics(
            run,
            config.run.log_every_steps,
            schedule,
            config.optimization.train_batch_size,
            steps_per_epoch,
        )
        checkpoint_steps = config.run.checkpoint_steps or max(
            1, round(config.run.checkpoint_epochs * steps_per_epoch)
        )
        save = SaveCheckpoints(manager, checkpoint_steps)
        _fit(run, learner, batches_from, schedule.total_steps, shown, log, save)
    if config.run.mode != "train" and learner.network.supervised_head is not None:
        step = int(learner.optimizer.iterations)
        evaluate(run, learner.network, source, config.data, step)


def _fit(run, learner, batches_from, total, shown, log, save) -> None:
    start = int(learner.optimizer.iterations)
    if start >= total:
        return
    progress = Progress(run.step_of_method, start, total, shown)
    try:
        learner.fit(
            batches_from(start),
            epochs=1,
            steps_per_epoch=total - start,
            verbose=0,
            callbacks=[progress, log, save],
        )
    except KeyboardInterrupt:
        save.on_train_end()
        raise


def evaluate(
    run: RunDirectory, network: Network, source: Source, data: DataConfig, step: int
) -> None:
    """Evaluates a classifier on the evaluation split; prints and writes ``result.json``.

    Args:
      run: the run's directory.
      network: the run's network.
      source: the data.
      data: split, image size and batch size.
      step: the training step that the weights are of.
    """
    metrics = evaluate_classifier(network, evaluation_batches(source, data, data.eval_split))
    result = {
        **metrics,
        "step": step,
        "dataset": source.name,
        "split": data.eval_split,
        "num_parameters": network.num_classifier_parameters,
    }
    run.write_result(result)
    print(
        f"{run.path}: top-1 {result['top_1_accuracy']:.1%}, top-5 {result['top_5_accuracy']:.1%}, "
        f"loss {result['loss']:.4f} on {result['num_examples']} images of {source.name} "
        f"{data.eval_split}, step {step}"
    )
