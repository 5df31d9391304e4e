"""What labels are worth where few images are held out: cross-validation.

An accuracy on four images says nothing. Here each labelled image is classified once, by what has
learnt from the other folds: a ridge regression on the pretrained features, or, in
``fine_tuning_folds.py``, the whole fine-tuning.
"""

import contextlib
import dataclasses
import logging
import os
from typing import Any, Dict, List, NamedTuple, Optional

from tf_simclrv2.config import ConfigError, FinetuneConfig, refuse
from tf_simclrv2.data.batches import evaluation_batches
from tf_simclrv2.data.sources import Source
from tf_simclrv2.data.sources.chosen import Chosen
from tf_simclrv2.evaluation import CLASSIFIER, cross_validation, measures
from tf_simclrv2.evaluation.features import features
from tf_simclrv2.evaluation.measures import Answers
from tf_simclrv2.networks.network import Network
from tf_simclrv2.progress import progress
from tf_simclrv2.runtime.results import CROSS_FINE_TUNING, CROSS_VALIDATION
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.training import evaluation_files
from tf_simclrv2.training.baselines import Labels
from tf_simclrv2.training.evaluating import labels_checked
from tf_simclrv2.training.evaluation_files import Answered
from tf_simclrv2.training.pictures import reading

logger = logging.getLogger(__name__)

_FOLDS = 5
# As many images held out say enough by themselves.
FEWEST_HELD_OUT = 50
# Of more labels it would take minutes that nobody has asked for, and memory that may not be there.
_MOST_BY_DEFAULT, _MOST = 5_000, 50_000


class _Of(NamedTuple):
    """What is cross-validated: its name in files, and in words."""

    file: str
    words: str


_OF = {
    CROSS_VALIDATION: _Of(
        "ridge",
        "of ridge regression on the pretrained features, which is about what such labels are "
        "worth, and not the fine-tuned network itself",
    ),
    CROSS_FINE_TUNING: _Of(
        CLASSIFIER,
        "of the same fine-tuning on the labels of the other folds, so of networks that have seen "
        "fewer labels than this one",
    ),
}


class CrossValidated(NamedTuple):
    """Labelled images, each answered by what was learnt from the other folds.

    Attributes:
      of: what is validated, a key of ``result.json``.
      ids: of the images.
      answers: to them.
      described: what else to keep: ``folds``, and what tells it from another validation.
    """

    of: str
    ids: List[str]
    answers: Answers
    described: Dict[str, Any]

    def record(self, run: RunDirectory, class_names: List[str]) -> Dict[str, Any]:
        """Keeps it in the run, and logs it.

        Args:
          run: the run that has learnt the labels.
          class_names: names of the classes.

        Returns:
          What was measured.

        Raises:
          ConfigError: it can't be written.
        """
        measured = measures.measures(self.answers)
        if not run.writable:
            return measured
        of, folds = _OF[self.of], self.described["folds"]
        folder = os.path.join(evaluation_files.folder_of([CROSS_VALIDATION]), of.file)
        content = Answered(self.ids, class_names, self.answers, measured.get("temperature"))
        evaluation_files.write(run, folder, content)
        run.write_of_run(self.of, {**measured, **self.described, "files": folder})
        logger.info(
            f"{run.path}: cross-validation {measures.sentence(measured)} on {len(self.ids):,} "
            f"labelled images in {folds} folds, {measures.details(measured)}; {of.words}"
        )
        return measured


def num_folds(config: FinetuneConfig, labels: Labels) -> int:
    """In how many folds to cross-validate; 0 is not at all.

    Args:
      config: of the run.
      labels: that it learns from.

    Raises:
      ConfigError: so many folds can't be made of the labels.
    """
    count, folds = _count(labels), config.report.folds
    of_features = config.report.folds_of == "head"
    if folds is None and not of_features:
        return min(_FOLDS, count)
    if folds is None:
        if config.fine_tuning.from_scratch or config.run.mode == "train":
            return 0
        few = _num_held_out(labels.source, config.data.eval_split) < FEWEST_HELD_OUT
        return min(_FOLDS, count) if few and count <= _MOST_BY_DEFAULT else 0
    if folds > count:
        raise refuse("folds", folds, f"must be at most {count}, the number of labelled images")
    if folds and of_features and count > _MOST:
        raise refuse(
            "folds",
            folds,
            f"is for up to {_MOST:,} labels, since it holds their features in memory; there are "
            f"{count:,}",
        )
    return folds


def cross_validate(
    run: RunDirectory, network: Network, labels: Labels, folds: int
) -> Optional[CrossValidated]:
    """Cross-validates labels, unless the run knows the result; writes nothing.

    Args:
      run: the run that learns from the labels.
      network: with pretrained weights, before it is trained.
      labels: to validate.
      folds: parts of the labelled images.

    Returns:
      The answers; None if there is nothing new to record.

    Raises:
      ConfigError: an image can't be read, or has a label that is none.
    """
    with contextlib.suppress(ConfigError):
        before = run.of_run(CROSS_VALIDATION)
        if before is not None and before.get("folds_asked") == folds:
            return None
    split, source = labels.data.train_split, labels.source
    chosen = source if labels.labelled is None else Chosen(source, list(labels.labelled))
    data = dataclasses.replace(labels.data, eval_steps=0)
    with labels_checked(source, "train_split", split), reading(source):
        count = -(-chosen.num_examples(split) // data.eval_batch_size)
        batches = progress(evaluation_batches(chosen, data, split), "features", "batch", count)
        found = features(network, batches, network.classifier_input)
        ids = [os.fsdecode(each["id"]) for each in chosen.index(split).as_numpy_iterator()]
    divided = cross_validation.divided(found.labels, folds)
    if divided is None:
        logger.info("%s: not cross-validated, as its labelled images are too few", run.path)
        return None
    shown = progress(divided, "cross-validation", "fold")
    answers = cross_validation.answers(found, source.num_classes or 0, shown)
    described = {"folds": len(divided), "folds_asked": folds, "layer": network.classifier_input}
    return CrossValidated(CROSS_VALIDATION, ids, answers, described)


def _count(labels: Labels) -> int:
    if labels.labelled is not None:
        return len(labels.labelled)
    return labels.source.num_examples(labels.data.train_split)


def num_labelled(source: Source, split: str) -> int:
    """How many images of a split have a label.

    Args:
      source: data with classes.
      split: one of its splits.
    """
    labelled = source.labelled(split)
    return source.num_examples(split) if labelled is None else len(labelled)


def _num_held_out(source: Source, eval_split: Optional[str]) -> int:
    """Images that the run is evaluated on."""
    if source.holds_out_nothing(eval_split):
        return 0
    return num_labelled(source, source.evaluation_split(eval_split))
