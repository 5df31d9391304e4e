"""Whether labels are right, and which images are unlike all others: what frozen features say."""

from typing import List, NamedTuple, Sequence, Tuple

import numpy as np

from tf_simclrv2.evaluation.features import Features
from tf_simclrv2.evaluation.ridge import Ridge
from tf_simclrv2.labelling.duplicates import Directions, blocks

# A label looks wrong if its margin is less. docs/labels.md has how many right and wrong ones are.
LOOKS_WRONG = -0.75
# An image is unlike all others if its distance is so many interquartile ranges above the third
# quartile. docs/labels.md has what that finds.
UNLIKE = 8.0
# Images by which what is typical of a class is held near what a perfect classifier says of it.
_PERFECT = 3.0
_NEIGHBOURS = 5
# Images among which neighbours are looked up; of more, so many are drawn.
_MOST_COMPARED = 20_000
# Distances are from 0 to 2. Less than this is no difference.
_LEAST_DISTANCE = 1e-4


class Verdicts(NamedTuple):
    """What all other images say of each image's label.

    Attributes:
      margins: float64 [images], about 1 for a label that the others confirm and -1 for one that
        they contradict; NaN where they can't say anything, since no other image of the class has a
        label.
      suggested: int64 [images], the class other than the label's that the others suggest most; -1
        where the margin is NaN.
    """

    margins: np.ndarray
    suggested: np.ndarray

    @property
    def doubtful(self) -> np.ndarray:
        """Images whose label is not what the others suggest, the most doubtful first."""
        with np.errstate(invalid="ignore"):
            found = np.flatnonzero(self.margins < 0)
        return found[np.argsort(self.margins[found], kind="stable")]

    @property
    def look_wrong(self) -> np.ndarray:
        """Bool [images], whether a label looks wrong."""
        with np.errstate(invalid="ignore"):
            return self.margins < LOOKS_WRONG


def judge(train: Features, others: Sequence[Features] = ()) -> List[Verdicts]:
    """Judges labels by ridge regression on the labelled training images.

    The outputs for each training image are of the regression that was fitted to all others, and its
    penalty is chosen by such outputs. How hard a class is differs, so outputs are compared with
    those that are typical of each class, the means of its images other than the one to judge. The
    margin is by how much the squared distance to what is typical of the label is less
    than to what is typical of the nearest other class, over 4. For the outputs of a perfect
    classifier, 1 for the class and -1 for others, this is the difference of the two outputs over 2.

    Args:
      train: features and labels of images, all of which have a label.
      others: further labelled images, such as of other splits, of which nothing is learnt.

    Returns:
      What is said of the training images, and of the images of each of ``others``.

    Raises:
      ValueError: the training images have labels of fewer than two classes.
    """
    ridge = Ridge(train)
    classes = ridge.classes
    if len(classes) < 2:
        raise ValueError(f"labels must be of two classes or more, but are of {len(classes)}.")
    penalty = ridge.best()
    scores, columns = ridge.left_out(penalty), np.searchsorted(classes, train.labels)
    sums, counts = _sums(scores, columns, len(classes))
    typical = sums / counts[:, np.newaxis]
    own = (sums[columns] - scores) / (counts[columns] - 1)[:, np.newaxis]
    verdicts = _verdicts(scores, columns, typical, own)
    alone = np.bincount(columns)[columns] < 2
    found = [_named(verdicts, classes, ~alone)]
    solution = ridge.solution(penalty)
    for other in others:
        columns = np.searchsorted(classes, other.labels).clip(max=len(classes) - 1)
        scores = solution.scores(other.values)
        verdicts = _verdicts(scores, columns, typical, typical[columns])
        found.append(_named(verdicts, classes, classes[columns] == other.labels))
    return found


def _sums(scores: np.ndarray, columns: np.ndarray, num_classes: int) -> Tuple[np.ndarray, ...]:
    """The sum of outputs of each class's images, and how many they are, with perfect ones added."""
    sums = _PERFECT * (2 * np.eye(num_classes) - 1)
    np.add.at(sums, columns, scores)
    return sums, np.bincount(columns, minlength=num_classes) + _PERFECT


def _verdicts(
    scores: np.ndarray, columns: np.ndarray, typical: np.ndarray, own: np.ndarray
) -> Verdicts:
    """Compares outputs with what is typical of each class, and of each image's own."""
    rows = np.arange(len(scores))
    # Without the outputs' own squares, which are the same for all classes.
    distances = np.sum(typical**2, axis=1) - 2 * scores @ typical.T
    distances[rows, columns] = np.inf
    nearest = distances.argmin(axis=1)
    to_own = np.sum(own**2, axis=1) - 2 * np.sum(scores * own, axis=1)
    return Verdicts((distances[rows, nearest] - to_own) / 4, nearest)


def _named(verdicts: Verdicts, classes: np.ndarray, known: np.ndarray) -> Verdicts:
    """Verdicts with the numbers of classes, where something is known of an image's label."""
    return Verdicts(
        np.where(known, verdicts.margins, np.nan), np.where(known, classes[verdicts.suggested], -1)
    )


class Distances(NamedTuple):
    """How far images are from those that are most like them.

    Attributes:
      values: float64 [images], the mean of one minus the cosine similarity to the nearest five.
      threshold: images that are farther are unlike all others.
    """

    values: np.ndarray
    threshold: float

    @property
    def unlike(self) -> np.ndarray:
        """Images that are unlike all others, the most unlike first."""
        found = np.flatnonzero(self.values > self.threshold)
        return found[np.argsort(-self.values[found], kind="stable")]


def distances(values: np.ndarray, seed: int = 0) -> Distances:
    """Measures how unlike all others each image is.

    The threshold lies eight interquartile ranges above the third quartile of the distances. Of more
    than 20,000 images the neighbours are those among 20,000 that are drawn.

    Args:
      values: features [images, dim], may be memory-mapped.
      seed: of the draw.
    """
    directions, count = Directions(values), len(values)
    chosen = np.arange(count)
    if count > _MOST_COMPARED:
        chosen = np.sort(np.random.RandomState(seed).choice(count, _MOST_COMPARED, replace=False))
    compared = directions(values[chosen])
    neighbours = min(_NEIGHBOURS, len(chosen) - 1)
    if neighbours < 1:
        return Distances(np.zeros(count), 0.0)
    means = []
    for start, part in blocks(values, rows=256):
        similarity = directions(part) @ compared.T
        itself = chosen[np.newaxis] == np.arange(start, start + len(part))[:, np.newaxis]
        similarity[itself] = -np.inf
        means.append(
            -np.partition(-similarity, neighbours - 1, axis=1)[:, :neighbours].mean(axis=1)
        )
    found = np.maximum(1 - np.concatenate(means, dtype=np.float64), 0)
    first, third = np.percentile(found, (25, 75))
    return Distances(found, float(third + UNLIKE * (third - first) + _LEAST_DISTANCE))
