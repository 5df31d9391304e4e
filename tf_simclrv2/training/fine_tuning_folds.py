"""``finetune --folds_of=finetune``: the whole fine-tuning again for each fold of the labels.

Each fold's network trains as a run of its own in ``folds/`` within the run, so that an interrupted
one goes on from its checkpoint. What it answers is kept in one file, and the rest is removed.
"""

import contextlib
import dataclasses
import gc
import json
import logging
import os
import re
import shutil
import zipfile
from typing import Callable, Collection, Dict, List, Mapping, Optional, Tuple

import numpy as np

from tf_simclrv2.config import ConfigError, FinetuneConfig, place, refuse
from tf_simclrv2.config.user_files import DIRECTORY
from tf_simclrv2.data.batches import evaluation_batches
from tf_simclrv2.data.labels import columns_of
from tf_simclrv2.data.sources import digest
from tf_simclrv2.data.sources.chosen import Chosen
from tf_simclrv2.evaluation import classifier, cross_validation
from tf_simclrv2.evaluation.measures import Answers
from tf_simclrv2.optimization.optimizers import build_schedule
from tf_simclrv2.runtime import calibration_file
from tf_simclrv2.runtime.calibration_file import Calibration
from tf_simclrv2.runtime.devices import Devices
from tf_simclrv2.runtime.disk import writing
from tf_simclrv2.runtime.files import TEMPORARY, check_place, whole_file
from tf_simclrv2.runtime.health import check_finite_result
from tf_simclrv2.runtime.lock import sole_writer
from tf_simclrv2.runtime.results import CROSS_FINE_TUNING
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.runtime.settings import RunSettings
from tf_simclrv2.training.baselines import Labels
from tf_simclrv2.training.cross_validating import CrossValidated
from tf_simclrv2.training.evaluating import labels_checked
from tf_simclrv2.training.job import Job, train
from tf_simclrv2.training.pictures import reading

logger = logging.getLogger(__name__)

_FOLDER = "folds"
# What this file writes: a fold's run, and its answers.
_MINE = re.compile(rf"[0-9a-f]{{16}}(\.npz({re.escape(TEMPORARY)})?)?")
# Makes the job that trains in a directory on labelled images by id.
JobOf = Callable[[RunDirectory, Mapping[str, int]], Job]


@dataclasses.dataclass(frozen=True)
class _Fold:
    """One of the fine-tunings.

    Attributes:
      number: from 1 on.
      config: of its run.
      learnt: classes of the images that it learns from, by id.
      rows: of the images that it answers.
      name: tells it from all others, also of other settings.
    """

    number: int
    config: FinetuneConfig
    learnt: Dict[str, int]
    rows: np.ndarray
    name: str


@dataclasses.dataclass(frozen=True)
class FineTuningFolds:
    """The fine-tunings that cross-validate a run's.

    Attributes:
      directory: of the run.
      devices: what computes.
      labels: that the run learns from.
      asked: folds that were asked for.
      ids: of the labelled images, in the order of the data.
      classes: of these, int64 [images].
      folds: the fine-tunings.
    """

    directory: RunDirectory
    devices: Devices
    labels: Labels
    asked: int
    ids: List[str]
    classes: np.ndarray
    folds: List[_Fold]

    @classmethod
    def planned(
        cls,
        directory: RunDirectory,
        devices: Devices,
        labels: Labels,
        asked: int,
        of_weights: str,
    ) -> Optional["FineTuningFolds"]:
        """Divides the labels, and says what is to be done; writes nothing.

        Args:
          directory: of the run, claimed.
          devices: what computes.
          labels: that the run learns from.
          asked: folds that were asked for.
          of_weights: tells the weights to start from apart from other weights of the same run.

        Returns:
          None if the run knows the result already.

        Raises:
          ConfigError: they can't be divided, or not here.
        """
        if devices.has_workers:
            raise refuse(
                "folds_of",
                "finetune",
                "trains in one process, so leave --strategy=multi_worker out",
            )
        check_place(os.path.realpath(directory.file(_FOLDER)), "model_dir", DIRECTORY,
                    directory.path)  # fmt: skip
        ids, classes = _labelled(labels)
        divided = cross_validation.divided(classes, asked)
        if divided is None:
            raise refuse(
                "folds_of",
                "finetune",
                "needs two labelled images of a class to learn from, and one to answer; there are "
                f"{len(ids)} labelled images",
            )
        config = directory.config
        assert isinstance(config, FinetuneConfig)
        folds = []
        for number, (learnt, rows) in enumerate(divided, 1):
            chosen = {ids[row]: int(classes[row]) for row in learnt}
            own = _config_of(config, len(ids), len(chosen))
            told = [of_weights, labels.source.fingerprint(labels.data.train_split)]
            name = _name(own, chosen, [ids[row] for row in rows], told)
            own = dataclasses.replace(
                own, run=dataclasses.replace(own.run, model_dir=directory.file(_FOLDER, name))
            )
            folds.append(_Fold(number, own, chosen, rows, name))
        planned = cls(directory, devices, labels, asked, ids, classes, folds)
        with contextlib.suppress(ConfigError):
            before = directory.of_run(CROSS_FINE_TUNING)
            if before is not None and before.get("fine_tunings") == planned._name:
                return None
        planned._announce()
        return planned

    @property
    def _name(self) -> str:
        """Tells all of them from other ones."""
        return digest(fold.name for fold in self.folds)

    def _announce(self) -> None:
        steps = self.folds[0].config.optimization.train_steps
        done = sum(os.path.exists(self._answers_of(fold)) for fold in self.folds)
        left = f" ({done} of them are done already)" * bool(done)
        logger.info(
            f"{self.directory.path}: --folds_of=finetune adds {len(self.folds)} fine-tunings of "
            f"{steps:,} steps to this one{left}, so it takes {len(self.folds) + 1} times as long; "
            "interrupted, the same command continues it"
        )

    def _answers_of(self, fold: _Fold) -> str:
        return self.directory.file(_FOLDER, f"{fold.name}.npz")

    def run(self, job_of: JobOf) -> None:
        """Trains what is not done yet, and keeps in the run what the networks answer together.

        Args:
          job_of: makes the job that trains in a directory on labelled images by id.

        Raises:
          ConfigError: something can't be written, or another process does the same.
        """
        folder = self.directory.file(_FOLDER)
        with sole_writer(self.directory.path, self.directory.claimed):
            with writing("model_dir", self.directory.path):
                os.makedirs(folder, exist_ok=True)
                kept = {name for fold in self.folds for name in (fold.name, f"{fold.name}.npz")}
                _remove(folder, kept)
            logits = np.empty([len(self.ids), self.labels.source.num_classes or 0])
            for fold in self.folds:
                logits[fold.rows] = self._answered(fold, job_of)
                # What Keras keeps of a network refers to itself, so it doesn't go by itself.
                gc.collect()
            self._record(Answers(logits, self.classes))
            _remove(folder, ())
            with contextlib.suppress(OSError):
                os.rmdir(folder)

    def _answered(self, fold: _Fold, job_of: JobOf) -> np.ndarray:
        """What the network of a fold makes of its images, float [images, classes]."""
        path, shape = self._answers_of(fold), (len(fold.rows), self.labels.source.num_classes)
        found = _read(path, shape)
        if found is not None:
            return found
        logger.info(
            f"{self.directory.path}: fold {fold.number} of {len(self.folds)} learns from "
            f"{len(fold.learnt):,} labelled images and answers {len(fold.rows):,}"
        )
        run = RunDirectory(fold.config.run.model_dir)
        run.claim(RunSettings("finetune", fold.config, self.labels.source.class_names))
        job = job_of(run, fold.learnt)
        train(job)
        answers = self._ask(job, [self.ids[row] for row in fold.rows])
        with writing("model_dir", self.directory.path):
            with whole_file(path) as file:
                np.savez(file, logits=answers.logits)
            shutil.rmtree(run.path)
        return answers.logits

    def _ask(self, job: Job, ids: List[str]) -> Answers:
        data, source = dataclasses.replace(self.labels.data, eval_steps=0), self.labels.source
        chosen, network, split = Chosen(source, ids), job.learner.network, data.train_split
        batches = self.devices.distribute(
            lambda part: evaluation_batches(chosen, data, split, part)
        )
        with labels_checked(source, "train_split", split), reading(source):
            answers = classifier.answers(
                network, batches, self.devices.strategy, self.devices.compiles
            )
        check_finite_result(job.run, {"loss": answers.loss}, source.num_classes)
        return answers

    def _record(self, answers: Answers) -> None:
        described = {
            "folds": len(self.folds),
            "folds_asked": self.asked,
            "steps": self.folds[0].config.optimization.train_steps,
            "fine_tunings": self._name,
        }
        validated = CrossValidated(CROSS_FINE_TUNING, self.ids, answers, described)
        measured = validated.record(self.directory, self.labels.source.class_names or [])
        if "temperature" in measured:
            # The run's network has seen these labels, but those that answered are like it.
            on = f"{len(self.ids):,} labelled images, each answered by a fine-tuning without it"
            kept = Calibration.measured(answers, measured, on, is_own=False)
            steps = self.folds[0].config.optimization.train_steps
            calibration_file.write(self.directory.path, steps, kept)


def _labelled(labels: Labels) -> Tuple[List[str], np.ndarray]:
    """The labelled images and their classes, in the order of the data."""
    source, split, known = labels.source, labels.data.train_split, labels.labelled
    chosen = source if known is None else Chosen(source, list(known))
    encoded_ids, classes = columns_of(chosen, split, "id", "label")
    ids = list(map(os.fsdecode, encoded_ids))
    if known is not None:
        classes = np.array([known[each] for each in ids])
    return ids, classes.astype(np.int64)


def _config_of(config: FinetuneConfig, count: int, learnt: int) -> FinetuneConfig:
    """The config of a fold's run: as many steps as the run itself, of fewer images."""
    optimization, schedule = config.optimization, build_schedule(config.optimization, count)
    # Epochs of fewer images have fewer steps; these are rounded down.
    warmup = schedule.warmup_steps and schedule.warmup_steps + 0.5
    shorter = dataclasses.replace(
        optimization,
        train_steps=schedule.total_steps,
        warmup_epochs=warmup * optimization.train_batch_size / learnt,
    )
    run = dataclasses.replace(config.run, mode="train", keep_checkpoint_max=1)
    report = dataclasses.replace(config.report, folds=0, folds_of="head", baselines=False)
    return dataclasses.replace(config, run=run, optimization=shorter, report=report)


def _name(config: FinetuneConfig, learnt: Dict[str, int], ids: List[str], told: List[str]) -> str:
    """Another text for a run with other settings, other images, or other weights to start from."""
    settings = {
        f"{section.name}.{field.name}": place(value) if field.metadata["is_path"] else value
        for section in dataclasses.fields(config)
        for field in dataclasses.fields(getattr(config, section.name))
        for value in [getattr(getattr(config, section.name), field.name)]
        if not field.metadata["may_change"]
    }
    lines = [f"{each}\t{label}" for each, label in learnt.items()]
    return digest([json.dumps(settings, sort_keys=True), *told, *lines, "", *ids])


def _read(path: str, shape: Tuple[int, Optional[int]]) -> Optional[np.ndarray]:
    """The answers in a file; None if there are none that can be used."""
    with contextlib.suppress(OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile):
        logits = np.load(path, allow_pickle=False)["logits"]
        if logits.shape == shape and np.isfinite(logits).all():
            return logits
    return None


def _remove(folder: str, kept: Collection[str]) -> None:
    """Removes what folds have left, but for some; what others have put there stays."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if name in kept or not _MINE.fullmatch(name):
            continue
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
