"""The evaluation of a run on a split: measured, logged, and kept in ``result.json``."""

import contextlib
import logging
from typing import Iterator, Set

from tf_simclrv2.config import ConfigError, DataConfig, DistillConfig, place
from tf_simclrv2.config.user_files import printable
from tf_simclrv2.data.batches import bad_label, evaluation_batches
from tf_simclrv2.data.sources import Source
from tf_simclrv2.data.sources.chosen import Chosen
from tf_simclrv2.evaluation import EVALUATORS
from tf_simclrv2.keras2 import tf
from tf_simclrv2.networks.network import Network
from tf_simclrv2.runtime import labelled
from tf_simclrv2.runtime.checkpoint import Checkpoint
from tf_simclrv2.runtime.devices import Devices
from tf_simclrv2.runtime.health import check_finite_result
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.training.baselines import Evaluated

logger = logging.getLogger(__name__)


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
    fingerprint, directory = source.fingerprint(split), source.directory
    if run.writable:
        _warn_of_learnt_labels(run, source, data, split)
    source = _with_labels(source, split)
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
        "data_dir": directory,
        "split": split,
        **({"labels": place(data.labels)} if data.labels else {}),
        "fingerprint": fingerprint,
        "eval_steps": data.eval_steps,
        "num_parameters": network.num_classifier_parameters,
    }
    is_own = _is_own(run, source, data, split, fingerprint)
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


def _warn_of_learnt_labels(run: RunDirectory, source: Source, data: DataConfig, split: str) -> None:
    """Says how many images of a table's split the run knows the labels of from its training."""
    of_table = source.labelled(split)
    learnt = set() if of_table is None else _learnt(run, data)
    known = [each for each in map(printable, of_table or ()) if each in learnt]
    if known:
        logger.warning(
            "%s: %d of the %d images of %s are among those whose labels it%s was trained on (such "
            "as %s), so its accuracy is too high", run.path, len(known), len(of_table or ()), split,
            " or its teacher" * isinstance(run.config, DistillConfig), known[0],
        )  # fmt: skip


def _learnt(run: RunDirectory, data: DataConfig) -> Set[str]:
    """Ids of the images of ``data`` whose labels a run, or its teacher, was trained on."""
    config = run.config
    ids: Set[str] = set()
    # The images of other data, and of other splits, may have the same ids.
    if config.data.has_images_of(data) and config.data.train_split == data.train_split:
        ids = labelled.read_ids(run.file("labelled_examples.txt"))
    if isinstance(config, DistillConfig):
        # Of a teacher that has gone, nothing is known.
        with contextlib.suppress(ConfigError):
            teacher = Checkpoint.open(config.distillation.teacher, "teacher", writable=False)
            ids |= _learnt(teacher.run, data)
    return ids


def _with_labels(source: Source, split: str) -> Source:
    """The examples of a split that have a label."""
    of_table = source.labelled(split)
    if of_table is None or len(of_table) == source.num_examples(split):
        return source
    return Chosen(source, list(of_table))


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
