"""A linear classifier in closed form: ridge regression on frozen features."""

from typing import Dict, Iterator, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from tf_simclrv2.evaluation.features import Features, accuracies
from tf_simclrv2.evaluation.scaling import ShrunkScaler

# Tried where no penalty is given. Features are standardised, so that they suit any network.
PENALTIES = tuple(10.0**power for power in range(-3, 7))
# Taken where every image is the only one of its class, and those tried where some are.
PENALTY = 10.0
_USUAL = (PENALTY / 10, PENALTY, 10 * PENALTY)
# Images at a time, so that features can be memory-mapped.
_ROWS = 4096
# Outputs are between about -1 and 1.
_SHARPNESS_BOUNDS = (0.1, 20.0)
# Where nothing can be said: the cross entropy of what is right is near 0.
SHARPNESS = 3.0
# Few images that all are right would make outputs too sharp, so that it takes many to move far from
# there: the deviation of the sharpness's logarithm. benchmarks/calibration_experiment.py compares.
_SPREAD = 0.5


class Solution(NamedTuple):
    """A linear classifier: ``features @ kernel + bias`` has a column for each class.

    Attributes:
      kernel: float64 [dim, classes].
      bias: float64 [classes].
      classes: int [classes], the class that each column is about.
      penalty: that was taken.
    """

    kernel: np.ndarray
    bias: np.ndarray
    classes: np.ndarray
    penalty: float

    def scores(self, values: np.ndarray) -> np.ndarray:
        """The outputs for features [images, dim], float64 [images, classes]."""
        blocks = [block @ self.kernel + self.bias for block in _blocks(values)]
        return np.concatenate([np.empty([0, len(self.classes)]), *blocks])

    def spread(self, num_classes: int) -> Tuple[np.ndarray, np.ndarray]:
        """Kernel and bias with a column for every class; one without an example has output -1."""
        kernel = np.zeros([len(self.kernel), num_classes])
        bias = np.full([num_classes], -1.0)
        kernel[:, self.classes], bias[self.classes] = self.kernel, self.bias
        return kernel, bias


class Ridge:
    """Regressions to 1 and -1 per class, for any penalty, on features that ``ShrunkScaler`` scales.

    A single decomposition of the training features serves all penalties, and also gives, for each
    training image, what the regression that was fitted to all others makes of it. Features may be
    memory-mapped: of those, memory holds some images at a time, besides a matrix of dim by dim, or
    all where there are fewer images than dimensions.

    Args:
      train: features of labelled images.
    """

    def __init__(self, train: Features):
        self._values = train.values
        self.classes, self._columns = np.unique(train.labels, return_inverse=True)
        counts = np.bincount(self._columns)
        self._mean = 2 * counts / len(self._columns) - 1
        self._scaler = ShrunkScaler()
        for block in _blocks(train.values):
            self._scaler.partial_fit(block)
        self._basis, self._squares = self._decomposed()
        self._products = np.zeros([len(self._squares), len(self.classes)])
        for projected, targets in self._projected():
            self._products += projected.T @ targets

    def _decomposed(self) -> Tuple[np.ndarray, np.ndarray]:
        """The features' principal directions [dim, rank], and the sums of squares along them."""
        count, dim = self._values.shape
        if count > dim:
            products = np.zeros([dim, dim])
            for block in map(self._scaler.transform, _blocks(self._values)):
                products += block.T @ block
            squares, basis = np.linalg.eigh(products)
        else:
            values = self._scaler.transform(self._values.astype(np.float64))
            _, roots, transposed = np.linalg.svd(values, full_matrices=False)
            squares, basis = roots**2, transposed.T
        kept = squares > squares.max() * max(count, dim) * np.finfo(np.float64).eps
        return basis[:, kept], squares[kept]

    def _projected(self) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
        """Features along the principal directions and centred targets, some images at a time."""
        start = 0
        for block in map(self._scaler.transform, _blocks(self._values)):
            columns = self._columns[start : start + len(block), np.newaxis]
            targets = np.where(columns == np.arange(len(self.classes)), 1.0, -1.0)
            yield block @ self._basis, targets - self._mean
            start += len(block)

    def _errors(self, penalties: Sequence[float]) -> Iterator[Tuple[int, slice, np.ndarray]]:
        """Errors of what was fitted to all other images, with their penalty's number and rows."""
        end = 0
        for projected, targets in self._projected():
            rows = slice(end, end + len(targets))
            end = rows.stop
            for number, penalty in enumerate(penalties):
                shrunk = 1 / (self._squares + penalty)
                residuals = targets - projected @ (shrunk[:, np.newaxis] * self._products)
                # How much of its own target each image's output is.
                own = 1 / len(self._columns) + projected**2 @ shrunk
                yield number, rows, residuals / (1 - own)[:, np.newaxis]

    def best(self) -> float:
        """The penalty of ``PENALTIES`` with the least squared error on images that were left out.

        Images that are the only ones of their class are not counted: what the others make of them
        can't be right, and is the less wrong the larger the penalty. As few images are left then,
        none far from ``PENALTY`` is taken, and ``PENALTY`` itself if none is left.
        """
        counted = self._have_others()
        if not counted.any():
            return PENALTY
        penalties = PENALTIES if counted.all() else _USUAL
        totals = np.zeros(len(penalties))
        for number, rows, errors in self._errors(penalties):
            totals[number] += np.sum(errors[counted[rows]] ** 2)
        return penalties[int(np.argmin(totals))]

    def _have_others(self) -> np.ndarray:
        """Which images are not alone in their class, bool [images]."""
        return np.bincount(self._columns)[self._columns] > 1

    def solution(self, penalty: float) -> Solution:
        """The regression to all images.

        Args:
          penalty: L2 penalty on the weights, of the sum of squared errors.
        """
        shrunk = self._products / (self._squares + penalty)[:, np.newaxis]
        kernel = self._basis @ shrunk / self._scaler.scale_[:, np.newaxis]
        return Solution(kernel, self._mean - self._scaler.mean_ @ kernel, self.classes, penalty)

    def left_out(self, penalty: float) -> np.ndarray:
        """What is made of each image by the regression to all others, float64 [images, classes].

        Only the features' means and deviations are those of all images, for which labels are not
        needed.
        """
        targets = np.where(self._columns[:, np.newaxis] == np.arange(len(self.classes)), 1.0, -1.0)
        return targets - np.concatenate([errors for _, _, errors in self._errors([penalty])])

    def sharpness(self, penalty: float) -> float:
        """The factor that makes logits of outputs, by which they predict images that are left out.

        It is the likeliest by their cross entropy, if its logarithm is normal around that of
        ``SHARPNESS``. Images that are alone in their class are not counted, as without them nothing
        is known of it.

        Args:
          penalty: see :meth:`solution`.
        """
        counted = self._have_others()
        scores, columns = self.left_out(penalty)[counted], self._columns[counted]
        if not len(columns):
            return SHARPNESS

        def unlikelihood(log_factor: float) -> float:
            of_labels = log_softmax(np.exp(log_factor) * scores, axis=1)
            away = (log_factor - np.log(SHARPNESS)) / _SPREAD
            return float(away**2 / 2 - of_labels[np.arange(len(columns)), columns].sum())

        bounds = np.log(_SHARPNESS_BOUNDS)
        return float(np.exp(minimize_scalar(unlikelihood, bounds=bounds, method="bounded").x))


def solve(train: Features, penalty: Optional[float] = None) -> Solution:
    """Fits one regression to 1 and -1 per class, see :class:`Ridge`.

    Args:
      train: features of labelled images.
      penalty: L2 penalty on the weights, of the sum of squared errors; None takes
        :meth:`Ridge.best`, by leave-one-out cross-validation on the training images.
    """
    ridge = Ridge(train)
    return ridge.solution(ridge.best() if penalty is None else penalty)


def run(train: Features, test: Features, penalty: Optional[float] = None) -> Dict[str, float]:
    """Takes the class with the largest output of :func:`solve`.

    Args:
      train: features of labelled images.
      test: features of the images to classify.
      penalty: see :func:`solve`.

    Returns:
      ``top_1_accuracy`` and ``top_5_accuracy`` in [0, 1], ``penalty`` and ``num_examples``.
    """
    solution = solve(train, penalty)
    scores = solution.scores(test.values)
    return {**accuracies(scores, solution.classes, test.labels), "penalty": solution.penalty}


def logits(train: Features, test: Optional[Features], num_classes: int) -> np.ndarray:
    """What the regression makes of images, as outputs times :meth:`Ridge.sharpness`.

    Args:
      train: features of labelled images.
      test: features of the images to classify; None leaves each training image out in turn.
      num_classes: that the labels are of; one without an example has output -1.

    Returns:
      float64 [images, num_classes].
    """
    regressions = Ridge(train)
    penalty = regressions.best()
    if test is None:
        scores = regressions.left_out(penalty)
    else:
        scores = regressions.solution(penalty).scores(test.values)
    outputs = np.full([len(scores), num_classes], -1.0)
    outputs[:, regressions.classes] = scores
    return regressions.sharpness(penalty) * outputs


def _blocks(values: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(values), _ROWS):
        yield np.asarray(values[start : start + _ROWS], np.float64)
