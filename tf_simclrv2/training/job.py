"""A training job: fit a learner from the run's newest checkpoint on, save it, evaluate it."""

import dataclasses
import logging
from typing import Callable, Dict, List, Optional, Sequence

from tf_simclrv2.config import place, refuse
from tf_simclrv2.data.damaged import Damaged
from tf_simclrv2.data.sources import Source, digest
from tf_simclrv2.data.stream import Part
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.learners.learner import Learner
from tf_simclrv2.optimization.optimizers import build_optimizer, build_schedule
from tf_simclrv2.optimization.schedules import WarmupCosine
from tf_simclrv2.runtime import labelled, signals
from tf_simclrv2.runtime.callbacks import LogMetrics, Progress, Readings, SaveCheckpoints
from tf_simclrv2.runtime.checkpoint import newest_checkpoint, reading
from tf_simclrv2.runtime.devices import Devices
from tf_simclrv2.runtime.health import (
    NotFiniteError,
    Watch,
    check_restored,
    trained_variables,
)
from tf_simclrv2.runtime.means import KeepMeans
from tf_simclrv2.runtime.results import Result
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.runtime.stopping import StopAtSignal
from tf_simclrv2.runtime.tensorboard import write_settings
from tf_simclrv2.training.alone import alone, warn_of_little_space
from tf_simclrv2.training.baselines import Labels, add_baselines
from tf_simclrv2.training.evaluating import evaluate, labels_checked, workers_watched
from tf_simclrv2.training.length import check_length
from tf_simclrv2.training.monitoring import Monitor
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
      monitor: what measures the network on held-out images meanwhile; None is nothing.
      damaged: what the streams of images note of those that don't decode.
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
    monitor: Optional[Monitor] = None
    damaged: Sequence[Damaged] = ()

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
    def class_of(self) -> Optional[Dict[str, str]]:
        """Names of the labelled examples' classes by id; None if all or none are labelled."""
        names = self.source.class_names
        if self.labelled is None or names is None:
            return None
        return {example: names[label] for example, label in self.labelled.items()}

    @property
    def labels_fingerprint(self) -> Optional[str]:
        """Another text if a table labels other images to train on, or others; None without one."""
        of_table = self.source.labelled(self.run.config.data.train_split)
        if of_table is None:
            return None
        names = self.source.class_names or []
        return digest(sorted(labelled.lines({each: names[n] for each, n in of_table.items()})))

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
            "labels": place(data.labels),
            "fingerprint": self.source.fingerprint(data.train_split),
            "labels_fingerprint": self.labels_fingerprint,
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
    class_of = job.class_of
    if job.run.before is not None and config.data.labels:
        _check_table(job, config.data.labels)
    job.run.begin()
    if class_of is not None:
        job.run.write_labelled(class_of)
    if config.data.labels and config.run.mode != "eval":
        # What a continued run is compared with, however this one ends.
        job.run.write_data(job.data)
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
    if job.monitor is not None:
        job.monitor.finish(job.step, measure=config.run.mode != "train")
    classifies = learner.network.supervised_head is not None
    if config.run.mode == "train" or not classifies or not job.source.num_classes:
        return
    if job.source.holds_out_nothing(config.data.eval_split):
        if job.run.writable:
            logger.info(
                f"{job.run.path}: not evaluated, since {job.source.called} holds out nothing; "
                "evaluate --labels does it with other labels"
            )
    else:
        done = evaluate(job.run, job.devices, learner.network, job.source, config.data, job.step)
        if job.baselines is not None:
            add_baselines(job.run, job.devices, job.baselines, done)


def _check_table(job: Job, table: str) -> None:
    """Refuses to continue on a table of labels that has changed since the run began."""
    advice = "put the table back as it was, or train in another directory"
    if job.class_of is not None:
        labelled.check_same(job.run.file("labelled_examples.txt"), job.class_of, table, advice)
    before = job.run.data().get("labels_fingerprint")
    # A student may learn from no label, yet the table says what it is trained and evaluated on.
    if before is not None and before != job.labels_fingerprint:
        raise refuse(
            "labels", table, f"has changed since the run in {job.run.path} began, so {advice}"
        )


def _fit(job: Job, save: SaveCheckpoints, watch: Watch, skipped: SkippedBatches) -> None:
    config, start, schedule = job.run.config, job.step, job.schedule
    batch_size = config.optimization.train_batch_size
    readings = Readings() if job.monitor is None else job.monitor.readings
    log = LogMetrics(
        job.run, config.run.log_every_steps, schedule, batch_size, job.steps_per_epoch, readings
    )
    job.run.drop_after(start)
    if not start and job.run.writable:
        write_settings(job.run)
    stop = StopAtSignal(job.devices, config.run.log_every_steps)
    monitors = [] if job.monitor is None else [job.monitor]
    first = [stop, *job.callbacks, KeepMeans(), watch]
    keep = [] if job.monitor is None else job.monitor.keepers(save)
    bars: List[Progress] = []
    if job.run.writable:
        name = job.run.step_of_method
        bars = [Progress(name, start, schedule.total_steps, job.shown, readings)]
    try:
        with workers_watched(job.run, job.devices), signals.waiting_ends():
            job.learner.fit(
                job.devices.distribute(lambda part: skipped.batches(job.batches, start, part)),
                epochs=1,
                steps_per_epoch=schedule.total_steps - start,
                verbose=0,
                callbacks=[*first, *monitors, log, save, *keep, *bars],
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
        for damaged in job.damaged:
            damaged.report()
