"""What the three training commands share: train a learner to its end, then evaluate it."""

import contextlib
import dataclasses
from typing import Any, Callable, Dict, Iterator, Optional, Tuple

from tf_simclrv2.config import ConfigError, DataConfig, LabelsConfig, refuse
from tf_simclrv2.data.labels import choose_labelled, find_listed, read_subset
from tf_simclrv2.data.pipeline import Part, bad_label, evaluation_batches
from tf_simclrv2.data.sources import Source, open_source, open_unlabelled
from tf_simclrv2.evaluation.metrics import evaluate_classifier
from tf_simclrv2.keras2 import tf
from tf_simclrv2.learners.learner import Learner
from tf_simclrv2.networks.network import Network
from tf_simclrv2.optimization.optimizers import build_optimizer, build_schedule, check_optimizer
from tf_simclrv2.runtime.callbacks import LogMetrics, Progress, SaveCheckpoints
from tf_simclrv2.runtime.restoring import reading
from tf_simclrv2.runtime.run_directory import RunDirectory, write_whole
from tf_simclrv2.runtime.strategy import (
    check_batch,
    describe,
    distribute,
    has_accelerator,
    has_workers,
    is_chief,
    jit_compile,
    open_strategy,
    steps_per_execution,
)


def prepare_data(config: Any) -> Tuple[Source, Any]:
    """Opens the data of a training run and settles what depends on it.

    Args:
      config: a config with sections ``data`` and ``network``.

    Returns:
      The data, and the config with image size, stem and evaluation split decided.

    Raises:
      ConfigError: an optimizer, data set or split that there is not, or images too small for the
        network.
    """
    check_optimizer(config.optimization, config.devices.mixed_precision)
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


def open_beside(config: Any) -> Optional[Source]:
    """Opens the images without labels that a config asks for beside its data set, if any.

    Raises:
      ConfigError: there are none.
    """
    directory = config.unlabelled.unlabeled_data_dir
    return open_unlabelled(directory, config.data) if directory else None


def num_examples(source: Source, config: Any, beside: Optional[Source] = None) -> int:
    """Images in an epoch: those of the training split and, if given, those beside them."""
    count = source.num_examples(config.data.train_split)
    return count + (beside.num_examples("train") if beside else 0)


def augments_on_device(config: Any, strategy: tf.distribute.Strategy) -> bool:
    """Whether the learner is to distort views, see ``augment_on``."""
    if config.augmentation.augment_on == "auto":
        return has_accelerator(strategy)
    return config.augmentation.augment_on == "device"


# What a later step of the method takes over from the run that it starts from.
_INHERITED_DATA = (
    "dataset",
    "data_dir",
    "image_size",
    "train_split",
    "eval_split",
    "holdout_fraction",
    "holdout_seed",
)


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
    columns = source.index(split).map(lambda each: (each["id"], each["label"], each["file_name"]))
    ids, classes, file_names = zip(*columns.as_numpy_iterator())
    ids, file_names = ([name.decode() for name in names] for names in (ids, file_names))
    if labels.label_subset_file:
        names = read_subset(labels.label_subset_file)
        chosen = find_listed(ids, file_names, classes, source.class_names, names, labels)
    else:
        chosen = choose_labelled(classes, source.class_names, labels)
    return {ids[index]: int(classes[index]) for index in chosen}


def write_labelled(run: RunDirectory, source: Source, chosen: Optional[Dict[str, int]]) -> None:
    """Writes the ids and classes of the labelled examples to the run directory."""
    if chosen is None or not run.writable:
        return
    lines = (f"{example_id}\t{source.class_names[label]}\n" for example_id, label in chosen.items())
    write_whole(run.file("labelled_examples.txt"), "".join(lines))


def begin_devices(config: Any) -> tf.distribute.Strategy:
    """Opens the strategy of a training run and tells what computes.

    Must be called before anything is computed.

    Args:
      config: a config with sections ``devices`` and ``optimization``.

    Raises:
      ConfigError: the devices are not there, or can't share the batch.
    """
    strategy = open_strategy(config.devices)
    batch_size = config.optimization.train_batch_size
    check_batch(strategy, batch_size, config.optimization.gradient_accumulation_steps)
    jit_compile(config.devices, strategy)
    if is_chief(strategy):
        print(describe(strategy, batch_size), flush=True)
    return strategy


def train_and_evaluate(
    run: RunDirectory,
    config: Any,
    strategy: tf.distribute.Strategy,
    learner: Learner,
    source: Source,
    batches_from: Callable[[int, Part], tf.data.Dataset],
    num_examples: int,
    shown: str,
    begin: Callable[[], None],
) -> None:
    """Trains a learner from the run's newest checkpoint on, and evaluates its classifier.

    Args:
      run: the run's directory.
      config: the run's config; its ``mode`` may leave out either part.
      strategy: what computes; the learner was made in its scope.
      learner: what to train.
      source: the data.
      batches_from: a part of the training batches from a step on.
      num_examples: images in an epoch.
      shown: the metric that stands beside the progress bar.
      begin: writes the run's settings; called when all that has to be read could be.

    Raises:
      ConfigError: there is nothing to evaluate, or the newest checkpoint can't be read.
    """
    schedule = build_schedule(config.optimization, num_examples)
    learner.network.encoder.rematerialize = config.devices.rematerialize
    learner.augmentation = config.augmentation
    with strategy.scope():
        learner.compile(
            optimizer=build_optimizer(config.optimization, schedule, learner.roles),
            jit_compile=jit_compile(config.devices, strategy),
            steps_per_execution=steps_per_execution(config.devices, strategy),
        )
        learner.optimizer.build(learner.network.trainable_variables)
        checkpoint = tf.train.Checkpoint(optimizer=learner.optimizer, **learner.saved_parts)
        latest = run.latest_checkpoint()
        if latest is None and config.run.mode == "eval":
            raise refuse("mode", "eval", f"{run.path} holds no checkpoint to evaluate yet")
        with reading(latest):
            checkpoint.restore(latest)
    begin()
    if config.run.mode != "eval":
        batch_size = config.optimization.train_batch_size
        steps_per_epoch = num_examples / batch_size
        log = LogMetrics(run, config.run.log_every_steps, schedule, batch_size, steps_per_epoch)
        checkpoint_steps = config.run.checkpoint_steps or max(
            1, round(config.run.checkpoint_epochs * steps_per_epoch)
        )
        manager = run.checkpoint_manager(checkpoint, config.run.keep_checkpoint_max)
        save = SaveCheckpoints(manager, checkpoint_steps, is_saved=latest is not None)
        with labels_checked(source):
            _fit(run, strategy, learner, batches_from, schedule.total_steps, shown, log, save)
    classifies = learner.network.supervised_head is not None
    if config.run.mode != "train" and classifies and source.num_classes:
        step = int(learner.optimizer.iterations.numpy())
        compiled = jit_compile(config.devices, strategy)
        evaluate(run, strategy, learner.network, source, config.data, step, compiled)


def _fit(run, strategy, learner, batches_from, total, shown, log, save) -> None:
    start = int(learner.optimizer.iterations.numpy())
    if start >= total:
        return
    bars = [Progress(run.step_of_method, start, total, shown)] if run.writable else []
    try:
        with workers_watched(run, strategy):
            learner.fit(
                distribute(strategy, lambda part: batches_from(start, part)),
                epochs=1,
                steps_per_epoch=total - start,
                verbose=0,
                callbacks=[log, save, *bars],
            )
    except KeyboardInterrupt:
        # Saving needs all workers, but perhaps only this one was interrupted.
        if not has_workers(strategy) and learner.optimizer.iterations > start:
            log.on_train_end()
            save.on_train_end()
        raise
    finally:
        for bar in bars:
            bar.close()


@contextlib.contextmanager
def workers_watched(run: RunDirectory, strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Within it the loss of another worker ends in a sentence.

    Raises:
      ConfigError: another worker was lost.
    """
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError,
            tf.errors.DeadlineExceededError, tf.errors.InternalError) as error:  # fmt: skip
        if not has_workers(strategy):
            raise
        raise ConfigError(
            f"{run.path}: another worker of the cluster died or can't be reached "
            f"({type(error).__name__}); the same command on all workers continues from the run's "
            "last checkpoint."
        ) from error


@contextlib.contextmanager
def labels_checked(source: Source) -> Iterator[None]:
    """Within it an example whose label is not one of the data set's classes ends in a sentence.

    Raises:
      ConfigError: there was such an example.
    """
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        said = bad_label(error)
        if said is None:
            raise
        raise ConfigError(f"--dataset={source.name}: {said}.") from error


def evaluate(
    run: RunDirectory,
    strategy: tf.distribute.Strategy,
    network: Network,
    source: Source,
    data: DataConfig,
    step: int,
    compiled: bool,
) -> None:
    """Evaluates a classifier on the evaluation split; prints and writes ``result.json``.

    Args:
      run: the run's directory.
      strategy: what computes; the network was made in its scope.
      network: the run's network.
      source: the data.
      data: split, image size and batch size.
      step: the training step that the weights are of.
      compiled: whether to compile the evaluation with XLA.
    """
    batches = distribute(
        strategy, lambda part: evaluation_batches(source, data, data.eval_split, part)
    )
    with workers_watched(run, strategy), labels_checked(source):
        metrics = evaluate_classifier(network, batches, strategy, compiled)
    result = {
        **metrics,
        "step": step,
        "dataset": source.name,
        "split": data.eval_split,
        "num_parameters": network.num_classifier_parameters,
    }
    run.write_result(result)
    if not run.writable:
        return
    print(
        f"{run.path}: top-1 {result['top_1_accuracy']:.1%}, top-5 {result['top_5_accuracy']:.1%}, "
        f"loss {result['loss']:.4f} on {result['num_examples']} images of {source.name} "
        f"{data.eval_split}, step {step}"
    )
