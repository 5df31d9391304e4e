"""Audits a data set: labels that look wrong, near-duplicates within and across splits, outliers."""

import itertools
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from tf_simclrv2 import progress
from tf_simclrv2.config import LabelsConfig
from tf_simclrv2.data.sources.source import EVALUATION_SPLITS
from tf_simclrv2.labelling.audit import distances, judge
from tf_simclrv2.labelling.duplicates import near_duplicates
from tf_simclrv2.labelling.same_picture import is_same, reduced
from tf_simclrv2.training.frozen import Frozen, Stored
from tf_simclrv2.training.pictures import pictures

# Pairs whose features are as similar are compared by their pixels, and of each image so many: the
# most similar one need not be the copy.
CANDIDATES = 0.99
CANDIDATES_OF_IMAGE = 10
_Key = Tuple[str, int]


class Image(NamedTuple):
    """An image of the data set.

    Attributes:
      id: its name.
      split: that it is in.
      label: the name of its class; empty if it has none.
    """

    id: str
    split: str
    label: str


class Doubt(NamedTuple):
    """A label that is not what the other images suggest.

    Attributes:
      image: whose label it is.
      suggested: the class that the others suggest.
      margin: see :class:`tf_simclrv2.labelling.audit.Verdicts`.
      looks_wrong: whether the margin is too low for a right label.
    """

    image: Image
    suggested: str
    margin: float
    looks_wrong: bool


class Pair(NamedTuple):
    """Two images that are the same picture.

    Attributes:
      first, second: the images; of two splits the second is the one that is not for training.
      similarity: cosine similarity of their centred features.
      leaks: whether one is for training and the other is not.
    """

    first: Image
    second: Image
    similarity: float
    leaks: bool

    @property
    def conflicts(self) -> bool:
        """Whether both have labels, and these differ."""
        return bool(self.first.label and self.second.label) and (
            self.first.label != self.second.label
        )


class Outlier(NamedTuple):
    """An image that is unlike all others of its split.

    Attributes:
      image: which one.
      distance: mean cosine distance to its nearest neighbours.
      threshold: the distance that it exceeds.
    """

    image: Image
    distance: float
    threshold: float


class Audit(NamedTuple):
    """What was found.

    Attributes:
      counts: images by split; the first split is the one for training.
      judged: labels that the other images could judge.
      labelled: labels.
      unjudged_because: why no label was judged; None if some were.
      doubts: the most doubtful first.
      pairs: the most similar first.
      outliers: the most unlike first.
      thresholds: by split, the distance from which on an image is unlike all others.
    """

    counts: Dict[str, int]
    judged: int
    labelled: int
    unjudged_because: Optional[str]
    doubts: List[Doubt]
    pairs: List[Pair]
    outliers: List[Outlier]
    thresholds: Dict[str, float]


def audited_splits(frozen: Frozen, asked: Optional[str] = None) -> List[str]:
    """The splits to audit: the one for training first, then those to evaluate on.

    Args:
      frozen: the run and the data.
      asked: the split to evaluate on that was asked for; None takes the run's, and all that have a
        name for that.
    """
    train, of_run = frozen.data.train_split, frozen.data.eval_split
    found = [split for split in frozen.source.splits if split.lower() in EVALUATION_SPLITS]
    if of_run is not None and of_run not in found:
        found.append(of_run)
    if asked is not None:
        found = [asked]
    return [train, *(split for split in found if split != train and _num(frozen, split))]


def _num(frozen: Frozen, split: str) -> int:
    try:
        return frozen.source.num_examples(split)
    except KeyError:  # Of the run's data, which were divided in another way.
        return 0


def unjudged_because(frozen: Frozen) -> Optional[str]:
    """Says why labels can't be judged; None if they can. This computes no features.

    Args:
      frozen: the run and the data.
    """
    split, names = frozen.data.train_split, frozen.source.class_names
    if names is None:
        return str(frozen.source.without_labels("an audit of labels")).rstrip(".")
    labels = list(frozen.labelled(LabelsConfig()).values())
    classes, counts = np.unique(np.array(labels, np.int64), return_counts=True)
    if not labels:
        return f"no image of {split} has a label"
    if len(classes) == 1:
        return f"all {counts[0]:,} labelled images of {split} are of the class {names[classes[0]]}"
    if counts.max() < 2:
        return f"each class has only one labelled image in {split}"
    return None


class Auditor:
    """Works through the features of some splits.

    Args:
      frozen: the run and the data.
      splits: the one for training first.

    Raises:
      ConfigError: features can't be computed or stored.
    """

    def __init__(self, frozen: Frozen, splits: Sequence[str]):
        self._frozen = frozen
        self._stored: Dict[str, Stored] = {split: frozen.features(split) for split in splits}
        self._train = splits[0]

    def audit(self) -> Audit:
        """Does all that the labels allow."""
        because = unjudged_because(self._frozen)
        doubts: List[Doubt] = []
        judged = 0
        if because is None:
            with progress.working("judging labels"):
                doubts, judged = self._doubts()
        with progress.working("looking for outliers"):
            outliers, thresholds = self._outliers()
        return Audit(
            counts={split: len(stored.ids) for split, stored in self._stored.items()},
            judged=judged,
            labelled=sum(int((each.labels >= 0).sum()) for each in self._stored.values()),
            unjudged_because=because,
            doubts=doubts,
            pairs=self._pairs(),
            outliers=outliers,
            thresholds=thresholds,
        )

    @property
    def _names(self) -> List[str]:
        return self._frozen.source.class_names or []

    def _image(self, split: str, row: int) -> Image:
        label = int(self._stored[split].labels[row])
        return Image(self._stored[split].ids[row], split, self._names[label] if label >= 0 else "")

    def _doubts(self) -> Tuple[List[Doubt], int]:
        rows = {split: np.flatnonzero(each.labels >= 0) for split, each in self._stored.items()}
        train, *others = (each.labelled() for each in self._stored.values())
        found, judged = [], 0
        for split, verdicts in zip(rows, judge(train, others)):
            judged += int(np.isfinite(verdicts.margins).sum())
            for each in verdicts.doubtful:
                suggested = self._names[verdicts.suggested[each]]
                image = self._image(split, rows[split][each])
                wrong = bool(verdicts.look_wrong[each])
                found.append(Doubt(image, suggested, float(verdicts.margins[each]), wrong))
        return sorted(found, key=lambda doubt: doubt.margin), judged

    def _candidates(self) -> Iterator[Tuple[_Key, _Key, float]]:
        """Pairs with similar features, as split and row of both images."""
        sets = list(self._stored.items())
        pairs_of_splits = [*((each, each) for each in sets), *itertools.combinations(sets, 2)]
        total = sum(len(second[1].ids) for _, second in pairs_of_splits)
        with progress.bar(total, "duplicates", "image") as bar:
            for (split, stored), (other, compared) in pairs_of_splits:
                first = None if split == other else stored.values
                pairs = near_duplicates(
                    compared.values, first, CANDIDATES, CANDIDATES_OF_IMAGE, bar.update
                )
                rows = (pairs.first, pairs.second) if first is None else pairs[1::-1]
                for one, two, similarity in zip(*rows, pairs.similarity):
                    yield (split, int(one)), (other, int(two)), float(similarity)

    def _pairs(self) -> List[Pair]:
        """The same pictures.

        An image stands with the most similar one of each split and, where that does not contradict
        its label, with the most similar one that does.
        """
        candidates = sorted(self._candidates(), key=lambda candidate: -candidate[2])
        seen = self._reduced({key for *keys, _ in candidates for key in keys})
        found: List[Pair] = []
        known: Dict[Tuple[_Key, str], bool] = {}
        for first, second, similarity in candidates:
            leaks = first[0] != second[0] and first[0] == self._train
            pair = Pair(self._image(*first), self._image(*second), similarity, leaks)
            place = second, first[0]
            has_conflict = known.get(place)
            is_wanted = has_conflict is None or (pair.conflicts and not has_conflict)
            if is_wanted and is_same(seen[first], seen[second]):
                known[place] = pair.conflicts
                found.append(pair)
        return found

    def _reduced(self, keys: "set[_Key]") -> Dict[_Key, np.ndarray]:
        """The pictures of candidates, in a size in which they can be compared."""
        found: Dict[_Key, np.ndarray] = {}
        with progress.bar(len(keys), "pixels", "image") as bar:
            for split, stored in self._stored.items():
                rows = {stored.ids[row]: row for of_split, row in keys if of_split == split}
                if not rows:
                    continue
                for example_id, image in pictures(self._frozen.source, split, list(rows)):
                    found[split, rows[example_id]] = reduced(image)
                    bar.update()
        return found

    def _outliers(self) -> Tuple[List[Outlier], Dict[str, float]]:
        found, thresholds = [], {}
        for split, stored in self._stored.items():
            measured = distances(stored.values)
            thresholds[split] = measured.threshold
            for row in measured.unlike:
                image = self._image(split, row)
                found.append(Outlier(image, float(measured.values[row]), measured.threshold))
        return sorted(found, key=lambda outlier: -outlier.distance), thresholds
