"""The evaluation of a run on a split: measured, logged, and kept in ``result.json``."""

import contextlib
import dataclasses
import functools
import logging
import os
from typing import Any, Dict, Iterator, List, Mapping

from tf_simclrv2.config import ConfigError, DataConfig, DistillConfig, place
from tf_simclrv2.config.user_files import printable
from tf_simclrv2.data.batches import bad_label, evaluation_batches
from tf_simclrv2.data.damaged import why_refused
from tf_simclrv2.data.sources import Source
from tf_simclrv2.data.sources.chosen import Chosen
from tf_simclrv2.evaluation import CLASSIFIER, classifier, measures
from tf_simclrv2.evaluation.measures import TOP, Answers
from tf_simclrv2.keras2 import tf
from tf_simclrv2.networks.network import Network
from tf_simclrv2.progress import progress
from tf_simclrv2.runtime import calibration_file
from tf_simclrv2.runtime.calibration_file import Calibration
from tf_simclrv2.runtime.devices import Devices
from tf_simclrv2.runtime.health import check_finite_result
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.runtime.tensorboard import write_evaluation
from tf_simclrv2.training import evaluation_files, learnt
from tf_simclrv2.training.baselines import Evaluated
from tf_simclrv2.training.evaluation_files import Answered, check_folder
from tf_simclrv2.training.pictures import reading

logger = logging.getLogger(__name__)

# The evaluators in words, and what each number is called.
WORDS = {CLASSIFIER: "top-1", "knn": "nearest neighbours", "ridge": "ridge regression"}


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
    """Turns the pipeline's error about a label, or too many damaged images, into a ConfigError.

    Args:
      source: the data set.
      flag: the flag of the split that is read, which a run may have inherited.
      split: its value.

    Raises:
      ConfigError: an example's label is not one of the data set's classes, or training has met
        more damaged images than it may.
    """
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        said = bad_label(error)
        refused = why_refused(error)
        if refused is not None:
            raise ConfigError(refused) from error
        if said is None:
            raise
        raise ConfigError(f"--dataset={source.name} --{flag}={split}: {said}.") from error


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Weights of a run, and the images to evaluate them on.

    Attributes:
      run: the run's directory.
      source: the data.
      data: its settings: image size, batch size, number of batches.
      split: whose images they are.
      step: the training step of the weights.
    """

    run: RunDirectory
    source: Source
    data: DataConfig
    split: str
    step: int

    @functools.cached_property
    def labelled(self) -> Source:
        """The examples of the split that have a label."""
        of_table = self.source.labelled(self.split)
        if of_table is None or len(of_table) == self.source.num_examples(self.split):
            return self.source
        return Chosen(self.source, list(of_table))

    @functools.cached_property
    def ids(self) -> List[str]:
        """The ids of the images, in their order."""
        count = self.labelled.num_examples(self.split)
        if self.data.eval_steps:
            count = min(count, self.data.eval_steps * self.data.eval_batch_size)
        ids = self.labelled.index(self.split).map(lambda example: example["id"]).take(count)
        return list(map(os.fsdecode, ids.as_numpy_iterator()))

    @functools.cached_property
    def identity(self) -> Dict[str, Any]:
        """What the evaluation is of."""
        labels = {"labels": place(self.data.labels)} if self.data.labels else {}
        return {
            "step": self.step,
            "checkpoint": f"ckpt-{self.step}",
            "dataset": self.source.name,
            "data_dir": self.source.directory,
            "split": self.split,
            **labels,
            "fingerprint": self.source.fingerprint(self.split),
            "eval_steps": self.data.eval_steps,
        }

    @functools.cached_property
    def is_own(self) -> bool:
        """Whether it is the run's own, see :func:`_is_own`."""
        fingerprint = self.identity["fingerprint"]
        return _is_own(self.run, self.source, self.data, self.split, fingerprint)

    @functools.cached_property
    def learnt(self) -> List[str]:
        """Images of a table's split whose labels the run knows from its training."""
        of_table = self.source.labelled(self.split)
        known = set() if of_table is None else learnt.listed(self.run, self.data)
        return [each for each in map(printable, of_table or ()) if each in known]

    @property
    def folder(self) -> str:
        """The path within the run of the files behind the numbers, in a folder by evaluator."""
        some = [f"{self.data.eval_steps}-steps"] if self.data.eval_steps else []
        told = [self.split, self.identity["fingerprint"][:8], f"ckpt-{self.step}", *some]
        return evaluation_files.folder_of(told)

    @property
    def _calibrates(self) -> bool:
        """Whether the images' labels can say by how much the run is too sure."""
        own = self.run.config.data
        if self.learnt or self.split == own.train_split:
            return False
        if self.is_own or not self.data.has_images_of(own):
            return self.is_own
        if self.source.labelled(self.split) is not None:
            # Without a list of what was learnt, it may be any of the table's images.
            return bool(learnt.listed(self.run, self.data))
        # Such as train and train[:50], where nobody has said that they are apart.
        names = [split.partition("[")[0] for split in (self.split, own.train_split)]
        return names[0] != names[1]

    def record(self, answers: Mapping[str, Answers], **more: object) -> Evaluated:
        """Measures answers, keeps what was found in the run, and logs it.

        Args:
          answers: by evaluator.
          **more: to keep besides.

        Raises:
          ConfigError: it can't be written.
        """
        found = {name: self._measured(name, given) for name, given in answers.items()}
        result = {
            **(classifier.totals(answers[CLASSIFIER]) if CLASSIFIER in answers else {}),
            "num_examples": len(self.ids),
            **found,
            **self.identity,
            **more,
        }
        if len(self.source.class_names or ()) <= TOP:
            result.pop("top_5_accuracy", None)
        self.run.write_result(result, self.is_own)
        if self.is_own and self.run.writable:
            write_evaluation(self.run, result)
        if self.run.writable:
            for name, measured in found.items():
                logger.info(self._sentence(name, measured))
            if not self.is_own:
                path = self.run.path
                logger.info(f"kept in result.json next to {path}'s evaluation on its own data")
        return Evaluated(self.source, self.data, result, self.is_own)

    def _measured(self, name: str, answers: Answers) -> Dict[str, Any]:
        """The numbers of an evaluator, behind which it writes files."""
        measured = measures.measures(answers)
        if not self.run.writable:
            return measured
        temperature = measured.get("temperature")
        answered = Answered(self.ids, self.source.class_names or [], answers, temperature)
        folder = os.path.join(self.folder, name)
        evaluation_files.write(self.run, folder, answered)
        if name == CLASSIFIER and temperature is not None and self._calibrates:
            on = f"{len(self.ids):,} images of {self.data.described} {self.split}"
            kept = Calibration.measured(answers, measured, on, self.is_own)
            calibration_file.write(self.run.path, self.step, kept)
        return {**measured, "files": folder}

    def _sentence(self, name: str, measured: Dict[str, Any]) -> str:
        return (
            f"{self.run.path}: {WORDS[name]} {measures.sentence(measured)} on "
            f"{measured['images']:,} images of {self.data.described} {self.split}, "
            f"{measures.details(measured)}, step {self.step}"
        )


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
    evaluation = Evaluation(run, source, data, split, step)
    answers = classifier_answers(evaluation, devices, network)
    parameters = network.num_classifier_parameters
    return evaluation.record({CLASSIFIER: answers}, num_parameters=parameters)


def classifier_answers(evaluation: Evaluation, devices: Devices, network: Network) -> Answers:
    """What a run's classifier makes of the images of an evaluation.

    Args:
      evaluation: of the run.
      devices: what computes; the network was made in their scope.
      network: the run's network.

    Raises:
      ConfigError: a label is not one of the data set's classes, or the weights are of no use.
    """
    run, data, split = evaluation.run, evaluation.data, evaluation.split
    check_folder(run)
    if run.writable:
        _warn_of_learnt_labels(evaluation)
    source = evaluation.labelled
    batches = devices.distribute(lambda part: evaluation_batches(source, data, split, part))
    at_once = max(1, min(data.eval_batch_size, len(evaluation.ids)))
    shown = progress(batches, "evaluating", "batch", -(-len(evaluation.ids) // at_once))
    labels = labels_checked(source, "eval_split", split)
    with workers_watched(run, devices), labels, reading(source):
        answers = classifier.answers(network, shown, devices.strategy, devices.compiles)
    check_finite_result(run, {"loss": answers.loss}, source.num_classes)
    return answers


def _warn_of_learnt_labels(evaluation: Evaluation) -> None:
    """Says how many images of a table's split the run knows the labels of from its training."""
    run, split, known = evaluation.run, evaluation.split, evaluation.learnt
    if known:
        logger.warning(
            "%s: %d of the %d images of %s are among those whose labels it%s was trained on (such "
            "as %s), so its accuracy is too high", run.path, len(known),
            len(evaluation.source.labelled(split) or ()), split,
            " or its teacher" * isinstance(run.config, DistillConfig), known[0],
        )  # fmt: skip


def _is_own(
    run: RunDirectory, source: Source, data: DataConfig, split: str, fingerprint: str
) -> bool:
    """Whether an evaluation is the run's own: on its data, its split, and not on less of it."""
    own = run.config.data
    # Where the authors' data are on this machine, a converted run doesn't know.
    by_name = run.converted is not None and own.data_dir is None and data.dataset == own.dataset
    if not (by_name or data.has_images_of(own)) or data.eval_steps not in (0, own.eval_steps):
        return False
    if data.labels or own.labels:
        # A table may be copied, and change under the same name.
        with contextlib.suppress(ConfigError):
            before = (run.result() or {}).get("fingerprint")
            if before is not None:
                return before == fingerprint
        if not data.is_same(own):
            return False
    usual = own.eval_split or source.usual_evaluation_split
    if usual is None:
        # The run was not evaluated in its training, so the first split that is counts.
        with contextlib.suppress(ConfigError):
            usual = (run.result() or {}).get("split")
        if usual is None and split == own.train_split:
            # What it was trained on must not stand for what it can do.
            return False
    return usual in (None, split)
