"""What ``evaluate`` tells of several runs on the same images."""

import itertools
import logging
import os
from typing import List, Mapping, NamedTuple, Sequence, Tuple

from sklearn.metrics import accuracy_score

from tf_simclrv2.evaluation import measures
from tf_simclrv2.evaluation.comparing import Difference, holm, paired
from tf_simclrv2.evaluation.measures import Answers
from tf_simclrv2.runtime.disk import writing
from tf_simclrv2.runtime.files import write_table
from tf_simclrv2.training.evaluating import Evaluation

logger = logging.getLogger(__name__)

_TABLE, _PAIRS = "comparison.csv", "pairs.csv"
_COLUMNS = (
    "run", "evaluator", "images", "accuracy", "low", "high", *Difference._fields[:1],
    "difference_low", "difference_high", "only_this", "only_first", "mcnemar_p",
)  # fmt: skip
_OF_PAIRS = (
    "run", "evaluator", "other_run", "other_evaluator", "images", "difference", "difference_low",
    "difference_high", "only_this", "only_other", "mcnemar_p", "mcnemar_p_holm",
)  # fmt: skip
# Of more runs, nobody reads all pairs on a screen.
_MOST_SHOWN = 5


class _Row(NamedTuple):
    """A run and an evaluator, compared with those of the first row."""

    run: str
    evaluator: str
    answers: Answers
    difference: Difference

    @property
    def _measured(self) -> Tuple[float, float, float]:
        given = self.answers
        accuracy = float(accuracy_score(given.labels, given.predicted))
        return (accuracy, *measures.interval(int(given.right.sum()), len(given.labels)))

    def cells(self, is_first: bool) -> List[object]:
        """The row of the table."""
        of_all = [f"{number:.6f}" for number in self._measured]
        compared = _cells(self.difference)
        compared = [""] * len(compared) if is_first else compared
        return [self.run, self.evaluator, len(self.answers.labels), *of_all, *compared]

    def sentence(self, is_first: bool, width: int) -> str:
        """The row for people."""
        accuracy, low, high = self._measured
        name = f"{self.run} {self.evaluator}"
        told = f"  {name:<{width}}  {accuracy:6.1%}  ({low:.1%} to {high:.1%})"
        if is_first:
            return told
        words = _words(self.difference, "the first")
        return f"{told}  {words}; McNemar p = {self.difference.p_value:.2g}"


class _Pair(NamedTuple):
    """Two rows, compared; ``p_value`` is that of the test among all pairs, by Holm."""

    one: _Row
    other: _Row
    difference: Difference
    p_value: float

    def cells(self) -> List[object]:
        """The row of the table of pairs."""
        one, other = self.one, self.other
        names = [one.run, one.evaluator, other.run, other.evaluator]
        cells = _cells(self.difference)
        return [*names, len(one.answers.labels), *cells, f"{self.p_value:.6g}"]

    def sentence(self, pairs: int) -> str:
        """The pair for people, one of so many."""
        words = _words(self.difference, "the other")
        return (
            f"  {self.one.run} against {self.other.run}, {self.one.evaluator}: {words}; McNemar p "
            f"= {self.difference.p_value:.2g}, as one of {pairs} pairs {self.p_value:.2g}"
        )


def _cells(found: Difference) -> List[object]:
    numbers = [f"{number:.6f}" for number in found[:3]]
    return [*numbers, found.only_one, found.only_other, f"{found.p_value:.6g}"]


def _words(found: Difference, other: str) -> str:
    points, low, high = (f"{100 * number:+.1f}" for number in found[:3])
    counts = f"{found.only_one}, only {other} {found.only_other}"
    return f"{points} points ({low} to {high}); only this one right {counts}"


def compare(evaluations: Sequence[Evaluation], answered: Sequence[Mapping[str, Answers]]) -> None:
    """Logs runs with their differences to the first and to each other; writes it to the first.

    Args:
      evaluations: of the same images.
      answered: the answers of each by evaluator.

    Raises:
      ConfigError: it can't be written.
    """
    answers = [
        (evaluation.run.path, name, each)
        for evaluation, found in zip(evaluations, answered)
        for name, each in found.items()
    ]
    first_right = answers[0][2].right
    rows = [_Row(*each, paired(each[2].right, first_right)) for each in answers]
    first = evaluations[0]
    width = max(len(f"{row.run} {row.evaluator}") for row in rows)
    logger.info(
        f"compared on the same {len(first_right):,} images of {first.data.described} "
        f"{first.split}, with 95% intervals; differences are to the first row:"
    )
    for number, row in enumerate(rows):
        logger.info(row.sentence(number == 0, width))
    cells = [row.cells(number == 0) for number, row in enumerate(rows)]
    pairs = _pairs(rows)
    if 2 < len(evaluations) <= _MOST_SHOWN:
        logger.info("the other pairs of runs, the later against the earlier:")
        for pair in pairs:
            if pair.other is not rows[0] and pair.one.evaluator == pair.other.evaluator:
                logger.info(pair.sentence(len(pairs)))
    tables = {_TABLE: [_COLUMNS, *cells], _PAIRS: [_OF_PAIRS, *(pair.cells() for pair in pairs)]}
    with writing("model_dir", first.run.path):
        os.makedirs(first.run.file(first.folder), exist_ok=True)
        for name, table in tables.items():
            write_table(first.run.file(first.folder, name), table)
    logger.info("%s: the table", first.run.file(first.folder, _TABLE))
    logger.info("%s: all %d pairs", first.run.file(first.folder, _PAIRS), len(pairs))


def _pairs(rows: Sequence[_Row]) -> List[_Pair]:
    """All pairs of rows, the later against the earlier."""
    both = [(one, other) for other, one in itertools.combinations(rows, 2)]
    differences = [paired(one.answers.right, other.answers.right) for one, other in both]
    p_values = holm([found.p_value for found in differences])
    return [_Pair(*of, found, p) for of, found, p in zip(both, differences, p_values)]
