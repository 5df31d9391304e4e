"""A training job: fit a learner from the run's newest checkpoint on, save it, evaluate it."""

import contextlib
import dataclasses
import logging
from typing import Callable, Dict, Iterator, List, Optional, Sequence

from tf_simclrv2.config import ConfigError, DataConfig, place, refuse
from tf_simclrv2.data.batches import bad_label, evaluation_batches
from tf_simclrv2.data.sources import Source
from tf_simclrv2.data.stream import Part
from tf_simclrv2.evaluation import EVALUATORS
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.learners.learner import Learner
from tf_simclrv2.networks.network import Network
from tf_simclrv2.optimization.optimizers import build_optimizer, build_schedule
from tf_simclrv2.optimization.schedules import WarmupCosine
from tf_simclrv2.runtime import signals
from tf_simclrv2.runtime.callbacks import LogMetrics, Progress, SaveCheckpoints
from tf_simclrv2.runtime.checkpoint import newest_checkpoint, reading
from tf_simclrv2.runtime.devices import Devices
from tf_simclrv2.runtime.health import (
    NotFiniteError,
    Watch,
    check_finite_result,
    check_restored,
    trained_variables,
)
from tf_simclrv2.runtime.means import KeepMeans
from tf_simclrv2.runtime.results import Result
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.runtime.stopping import StopAtSignal
from tf_simclrv2.training.alone import alone, warn_of_little_space
from tf_simclrv2.training.baselines import Evaluated, Labels, add_baselines
from tf_simclrv2.training.length import check_length
from tf_simclrv2.training.skipping import SkippedBatches

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Job:
    """Everything that one training run needs.

    Attributes:
      run: the run's directory, claimed for the run's settings.
      devices: what computes; the learner was made in their scope.
      learner: what to train.
      source: the data set, for evaluation and for the names of its classes.
      batches: makes a part of the training batches from a step on.
      num_examples: images in an epoch.
      shown: the metric behind the progress bar.
      labelled: classes of the labelled examples by id; None if all or none are labelled.
      callbacks: further callbacks of ``fit``.
      baselines: the labels for the baselines beside the evaluation; None if nobody asked for them.
    """

    run: RunDirectory
    devices: Devices
    learner: Learner
    source: Source
    batches: Callable[[int, Part], tf.data.Dataset]
    num_examples: int
    shown: str
    labelled: Optional[Dict[str, int]] = None
    callbacks: Sequence[keras.callbacks.Callback] = ()
    baselines: Optional[Labels] = None

    @property
    def schedule(self) -> WarmupCosine:
        """The learning rate of the whole run."""
        return build_schedule(self.run.config.optimization, self.num_examples)

    @property
    def steps_per_epoch(self) -> float:
        """Training steps in an epoch."""
        return self.num_examples / self.run.config.optimization.train_batch_size

    @property
    def step(self) -> int:
        """Training steps done so far."""
        return int(self.learner.optimizer.iterations.numpy())

    @property
    def data(self) -> Result:
        """What is trained on, for ``data.json``: names, places and numbers of images."""
        data = self.run.config.data
        count = self.source.num_examples(data.train_split)
        unlabelled = getattr(self.run.config, "unlabelled", None)
        further = None if unlabelled is None else unlabelled.unlabeled_data_dir
        return {
            "dataset": self.source.name,
            "data_dir": self.source.directory,
            "split": data.train_split,
            "fingerprint": self.source.fingerprint(data.train_split),
            "num_examples": count,
            "num_labelled": None if self.labelled is None else len(self.labelled),
            "unlabeled_data_dir": place(further),
            "num_unlabelled": self.num_examples - count if further else 0,
        }

    @property
    def checkpoint_steps(self) -> int:
        """Steps between checkpoints."""
        settings = self.run.config.run
        by_epochs = round(settings.checkpoint_epochs * self.steps_per_epoch)
        return settings.checkpoint_steps or max(by_epochs, settings.checkpoint_min_steps)


@alone
def train(job: Job) -> None:
    """Trains a learner from its run's newest checkpoint on, and evaluates its classifier.

    The run's ``mode`` may leave out either part. Nothing is written before everything that has to
    be read was read.

    Raises:
      ConfigError: there is nothing to evaluate, or the newest checkpoint can't be read.
    """
    config, learner = job.run.config, job.learner
    learner.network.encoder.rematerialize = config.devices.rematerialize
    learner.augmentation = config.augmentation
    with job.devices.scope():
        learner.compile(
            optimizer=build_optimizer(config.optimization, job.schedule, learner.roles),
            jit_compile=job.devices.compiles,
            steps_per_execution=job.devices.steps_per_execution,
        )
        # No part of a learner can have this name, which is that of an attribute of all of them.
        means = {"_means": {mean.name: mean for mean in learner.metrics}}
        checkpoint = tf.train.Checkpoint(
            optimizer=learner.optimizer, **learner.saved_parts, **means
        )
        latest = newest_checkpoint(job.run, job.devices, repair=config.run.mode != "eval")
        if latest is None and config.run.mode == "eval":
            raise refuse("mode", "eval", f"{job.run.path} holds no checkpoint to evaluate yet")
        with reading(latest):
            checkpoint.restore(latest)
        if latest is not None:
            check_restored(trained_variables(learner), latest)
    check_length(job.run, job.schedule, job.num_examples, job.step)
    job.run.begin()
    if job.labelled is not None and job.source.class_names is not None:
        names = job.source.class_names
        job.run.write_labelled({name: names[label] for name, label in job.labelled.items()})
    if config.run.mode != "eval" and job.step < job.schedule.total_steps:
        warn_of_little_space(job.run, learner)
        manager = job.run.checkpoint_manager(checkpoint, config.run.keep_checkpoint_max)
        skipped = SkippedBatches(job.run)
        watch = Watch(job.run, config.run.log_every_steps, job.schedule, skipped.advice)

        def save_checked(step: int) -> None:
            watch.check_weights()
            manager.save(step)

        if latest is None and skipped.restores:
            latest = manager.save(checkpoint_number=job.step)
        while True:
            save = SaveCheckpoints(save_checked, job.checkpoint_steps, is_saved=latest is not None)
            try:
                with labels_checked(job.source, "train_split", config.data.train_split):
                    _fit(job, save, watch, skipped)
                break
            except NotFiniteError as error:
                if signals.received():
                    raise
                # Raises the error again if the run is to stop.
                latest = skipped.add(error)
                checkpoint.restore(latest)
    if config.run.mode != "eval":
        job.run.write_data(job.data)
    classifies = learner.network.supervised_head is not None
    if config.run.mode != "train" and classifies and job.source.num_classes:
        done = evaluate(job.run, job.devices, learner.network, job.source, config.data, job.step)
        if job.baselines is not None:
            add_baselines(job.run, job.devices, job.baselines, done)


def _fit(job: Job, save: SaveCheckpoints, watch: Watch, skipped: SkippedBatches) -> None:
    config, start, schedule = job.run.config, job.step, job.schedule
    batch_size = config.optimization.train_batch_size
    log = LogMetrics(job.run, config.run.log_every_steps, schedule, batch_size, job.steps_per_epoch)
    job.run.drop_after(start)
    stop = StopAtSignal(job.devices, config.run.log_every_steps)
    bars: List[Progress] = []
    if job.run.writable:
        bars = [Progress(job.run.step_of_method, start, schedule.total_steps, job.shown)]
    try:
        with workers_watched(job.run, job.devices), signals.waiting_ends():
            job.learner.fit(
                job.devices.distribute(lambda part: skipped.batches(job.batches, start, part)),
                epochs=1,
                steps_per_epoch=schedule.total_steps - start,
                verbose=0,
                callbacks=[stop, *job.callbacks, KeepMeans(), watch, log, save, *bars],
            )
    except KeyboardInterrupt:
        # Saving needs all workers, but perhaps only this one was interrupted.
        if not job.devices.has_workers and job.step > start:
            log.on_train_end()
            save.on_train_end()
        raise
    finally:
        for bar in bars:
            bar.close()


@contextlib.contextmanager
def workers_watched(run: RunDirectory, devices: Devices) -> Iterator[None]:
    """Turns TensorFlow's errors about a lost worker into a ConfigError.

    Raises:
      ConfigError: another worker was lost.
    """
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError,
            tf.errors.DeadlineExceededError, tf.errors.InternalError) as error:  # fmt: skip
        if not devices.has_workers:
            raise
        raise ConfigError(
            f"{run.path}: another worker of the cluster died or can't be reached "
            f"({type(error).__name__}); the same command on all workers continues from the run's "
            "last checkpoint."
        ) from error


@contextlib.contextmanager
def labels_checked(source: Source, flag: str, split: str) -> Iterator[None]:
    """Turns the pipeline's error about an out-of-range label into a ConfigError.

    Args:
      source: the data set.
      flag: the flag of the split that is read, which a run may have inherited.
      split: its value.

    Raises:
      ConfigError: an example's label is not one of the data set's classes.
    """
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        said = bad_label(error)
        if said is None:
            raise
        raise ConfigError(f"--dataset={source.name} --{flag}={split}: {said}.") from error


def evaluate(
    run: RunDirectory,
    devices: Devices,
    network: Network,
    source: Source,
    data: DataConfig,
    step: int,
) -> Evaluated:
    """Evaluates a classifier on the evaluation split; logs and adds to ``result.json``.

    Args:
      run: the run's directory.
      devices: what computes; the network was made in their scope.
      network: the run's network.
      source: the data.
      data: split, image size and batch size.
      step: the training step of the weights.

    Returns:
      What was evaluated, and the result.

    Raises:
      ConfigError: an example's label is not one of the data set's classes.
    """
    split = data.eval_split or source.evaluation_split(None)
    batches = devices.distribute(lambda part: evaluation_batches(source, data, split, part))
    labels = labels_checked(source, "eval_split", split)
    with workers_watched(run, devices), labels:
        evaluator = EVALUATORS["classifier"]
        metrics = evaluator.run(network, batches, devices.strategy, devices.compiles)
    check_finite_result(run, metrics, source.num_classes)
    result = {
        **metrics,
        "step": step,
        "checkpoint": f"ckpt-{step}",
        "dataset": source.name,
        "data_dir": source.directory,
        "split": split,
        "fingerprint": source.fingerprint(split),
        "eval_steps": data.eval_steps,
        "num_parameters": network.num_classifier_parameters,
    }
    is_own = _is_own(run, source, data, split)
    run.write_result(result, is_own)
    if run.writable:
        logger.info(
            f"{run.path}: top-1 {metrics['top_1_accuracy']:.1%}, top-5 "
            f"{metrics['top_5_accuracy']:.1%}, loss {metrics['loss']:.4f} on "
            f"{metrics['num_examples']} images of {data.described} {split}, step {step}"
        )
        if not is_own:
            logger.info(f"kept in result.json next to {run.path}'s evaluation on its own data")
    return Evaluated(source, data, result, is_own)


def _is_own(run: RunDirectory, source: Source, data: DataConfig, split: str) -> bool:
    """Whether an evaluation is the run's own: on its data, its split, and not on less of it."""
    own = run.config.data
    # Where the authors' data are on this machine, a converted run doesn't know.
    by_name = run.converted is not None and own.data_dir is None and data.dataset == own.dataset
    if not (by_name or data.is_same(own)) or data.eval_steps not in (0, own.eval_steps):
        return False
    usual = own.eval_split or source.usual_evaluation_split
    if usual is None:
        # The run was not evaluated in its training, so the first split that is counts.
        with contextlib.suppress(ConfigError):
            usual = (run.result() or {}).get("split")
    return usual in (None, split)
