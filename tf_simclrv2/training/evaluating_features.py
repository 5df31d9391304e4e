"""Evaluators that learn from frozen features: what a run is worth, with or without classifier."""

import dataclasses
import logging
from typing import Dict, List, Tuple

import numpy as np

from tf_simclrv2.config import ConfigError, DataConfig, refuse
from tf_simclrv2.data.sources import Source
from tf_simclrv2.evaluation import EVALUATORS
from tf_simclrv2.evaluation.features import Features
from tf_simclrv2.evaluation.measures import Answers
from tf_simclrv2.evaluation.probe import KNN, MOST_PAIRS
from tf_simclrv2.progress import working
from tf_simclrv2.runtime.checkpoint import Checkpoint
from tf_simclrv2.training.baselines import Labels
from tf_simclrv2.training.evaluating import WORDS, Evaluation
from tf_simclrv2.training.evaluation_files import check_folder
from tf_simclrv2.training.frozen import Frozen, Stored
from tf_simclrv2.training.frozen_weights import RunWeights

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class FeatureEvaluation:
    """What evaluators learn from, and what they are evaluated on.

    Attributes:
      evaluation: of which images.
      weights: of the run, and which layer of it.
      labels: what is learnt.
    """

    evaluation: Evaluation
    weights: RunWeights
    labels: Labels

    @classmethod
    def open(
        cls, evaluation: Evaluation, checkpoint: Checkpoint, labels: Labels
    ) -> "FeatureEvaluation":
        """Opens the features of the layer that suits the run.

        Raises:
          ConfigError: the run's network doesn't fit into memory.
        """
        return cls(evaluation, RunWeights(checkpoint), labels)

    def answers(self, names: List[str]) -> Dict[str, Answers]:
        """What evaluators make of the images, by name.

        An image that is among those they learn from is left out in turn.

        Args:
          names: of evaluators.

        Raises:
          ConfigError: nothing can be learnt from the labels, or an image can't be read.
        """
        check_folder(self.evaluation.run)
        learnt, train = self._learnt()
        ids, test = self._evaluated()
        names = self._affordable(names, len(train.labels) * len(test.labels))
        logger.info(
            "%s: %s learn from %s labelled images, on layer %d of the projection head",
            self.evaluation.run.path, " and ".join(WORDS[name] for name in names),
            f"{len(train.labels):,}", self.weights.layer,
        )  # fmt: skip
        row_of = {each: row for row, each in enumerate(learnt)} if self._shares_images else {}
        rows = np.array([row_of.get(each, -1) for each in ids])
        answers = {}
        for name in names:
            with working(WORDS[name]):
                answers[name] = Answers(self._logits(name, train, test, rows), test.labels)
        return answers

    def _affordable(self, names: List[str], pairs: int) -> List[str]:
        """The evaluators without nearest neighbours where they would take too long."""
        if KNN not in names or pairs <= MOST_PAIRS:
            return names
        reason = f"knn would compare {pairs:,} pairs of images, and does so up to {MOST_PAIRS:,}"
        if names == [KNN]:
            raise refuse("evaluators", KNN, f"{reason}; ridge takes any number")
        logger.warning("%s: %s, so it is left out", self.evaluation.run.path, reason)
        return [name for name in names if name != KNN]

    def _logits(self, name: str, train: Features, test: Features, rows: np.ndarray) -> np.ndarray:
        """What an evaluator makes of images, of which ``rows`` of the training images, or -1."""
        classes, run = len(self.labels.source.class_names or ()), EVALUATORS[name].logits
        learnt = rows >= 0
        if not learnt.any():
            return run(train, test, classes)
        logits = np.empty([len(rows), classes])
        logits[learnt] = run(train, None, classes)[rows[learnt]]
        if not learnt.all():
            others = Features(test.values[~learnt], test.labels[~learnt])
            logits[~learnt] = run(train, others, classes)
        return logits

    @property
    def _shares_images(self) -> bool:
        """Whether the same ids are the same images, so that some of them may be learnt."""
        data, split = self.evaluation.data, self.evaluation.split
        learnt = self.labels.data
        if not data.has_images_of(learnt):
            return False
        of_table = self.evaluation.source.labelled(split) is not None
        return split == learnt.train_split or (of_table and data.train_split == learnt.train_split)

    def _learnt(self) -> Tuple[List[str], Features]:
        """The ids of the images that labels are learnt of, and their features."""
        labels, split = self.labels, self.labels.data.train_split
        stored = self._stored(labels.source, labels.data, split)
        class_of = labels.labelled if labels.labelled is not None else stored.classes
        train = stored.of(class_of)
        if len(np.unique(train.labels)) < 2:
            raise ConfigError(
                f"{labels.source.called}: {split} has labels of {len(np.unique(train.labels))} "
                "class, from which knn and ridge learn nothing; label images of two classes."
            )
        return [each for each in stored.ids if each in class_of], train

    def _evaluated(self) -> Tuple[List[str], Features]:
        """The ids of the images of the evaluation, and their features."""
        evaluation, ids = self.evaluation, self.evaluation.ids
        stored = self._stored(evaluation.source, evaluation.data, evaluation.split)
        class_of = stored.classes
        return ids, stored.of({each: class_of[each] for each in ids})

    def _stored(self, source: Source, data: DataConfig, split: str) -> Stored:
        data = dataclasses.replace(data, eval_steps=0)
        return Frozen(self.weights, source, data).features(split)
