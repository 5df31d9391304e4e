"""Compares scales of features, and choices of the penalty, for ridge regression on a few labels.

    python -m benchmarks.standardising_experiment --runs=RUN,RUN --labels=30 [--draws=200]

Nothing here sees the test split: labels are drawn from 70% of the training images, as many of each
class or one more, and the others are classified. Each feature is divided by its own deviation among
the labelled images, by that of ``ShrunkScaler`` with several numbers of images more, by that among
all images that labels could be drawn from, or all features by a common one. The penalty is chosen
by the labelled images, each left out, all of them or, as the package has it, only those that are
not alone in their class. Prints Markdown: top-1 in %, the mean over runs and draws and the worst,
the difference to the first row with its standard error, and the largest output for any image, where
1 and -1 are right. What we measured: docs/results.md.
"""

import argparse
from typing import Dict, List, Tuple
from unittest import mock

import numpy as np
from sklearn.preprocessing import StandardScaler

from benchmarks.runs import in_words, mean_and_error
from benchmarks.views_experiment import TO_CHOOSE, draw, frozen

_IMAGES_MORE = (3, 10, 30, 100)
Found = Dict[str, List[Tuple[float, float]]]


class _Scaler(StandardScaler):
    """Divides by given deviations."""

    def __init__(self, scale: np.ndarray):
        super().__init__()
        self.scale = scale

    def partial_fit(self, X, y=None, sample_weight=None):
        """Learns the means."""
        super().partial_fit(X, y, sample_weight)
        self.scale_ = self.scale
        return self


def scales(few: np.ndarray, everything: np.ndarray) -> Dict[str, np.ndarray]:
    """Deviations by name, each [dim], of features [images, dim]; 1 for those that have none."""
    variances = few.var(axis=0)
    mean, count = variances.mean(), len(few)
    found = {"own": variances}
    for more in _IMAGES_MORE:
        found[f"shrunk, {more} images more"] = (count * variances + more * mean) / (count + more)
    found["of all images"] = everything.var(axis=0)
    found["common"] = np.full_like(variances, mean)
    return {name: np.sqrt(np.where(each > 0, each, 1.0)) for name, each in found.items()}


def _best_of_all(regressions, columns: np.ndarray) -> float:
    """The penalty with the least error on all images, each left out."""
    from tf_simclrv2.evaluation.ridge import PENALTIES

    targets = 2 * np.eye(len(regressions.classes))[columns] - 1
    errors = [np.sum((regressions.left_out(each) - targets) ** 2) for each in PENALTIES]
    return PENALTIES[int(np.argmin(errors))]


def measure(run: str, num_labels: int, draws: int) -> Found:
    """Top-1 in % and the largest output of each draw, by scale and penalty."""
    from tf_simclrv2.evaluation import ridge
    from tf_simclrv2.evaluation.features import Features

    learn, validate = frozen(run, TO_CHOOSE, "proj_layer_1")
    learn = Features(learn.values.astype(np.float64), learn.labels)
    random = np.random.RandomState(0)
    found: Found = {}
    for _ in range(draws):
        rows = draw(learn.labels, num_labels, random)
        few = Features(learn.values[rows], learn.labels[rows])
        columns = np.unique(few.labels, return_inverse=True)[1]
        for name, scale in scales(few.values, learn.values).items():
            with mock.patch.object(ridge, "ShrunkScaler", lambda scale=scale: _Scaler(scale)):
                regressions = ridge.Ridge(few)
            penalties = {"all": _best_of_all(regressions, columns), "not alone": regressions.best()}
            for by, penalty in penalties.items():
                outputs = regressions.solution(penalty).scores(validate.values)
                right = regressions.classes[outputs.argmax(axis=1)] == validate.labels
                measured = 100 * float(right.mean()), float(np.abs(outputs).max())
                found.setdefault(f"{name} | {by}", []).append(measured)
    return found


def main() -> None:
    """Measures the runs together."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", required=True, help="pretraining runs, separated by commas")
    parser.add_argument("--labels", type=int, required=True, help="labelled images of a draw")
    parser.add_argument("--draws", type=int, default=200, help="of each run")
    options = parser.parse_args()
    found: Found = {}
    for run in options.runs.split(","):
        for name, measured in measure(run, options.labels, options.draws).items():
            found.setdefault(name, []).extend(measured)
    print("| deviations | penalty by images | top-1 | worst | minus the first | largest output |")
    print("|---|---|--:|--:|--:|--:|")
    first = np.array(next(iter(found.values())))[:, 0]
    for name, each in found.items():
        top_1, largest = np.transpose(each)
        gain, error = mean_and_error(list(top_1 - first))
        cells = f"{top_1.min():.1f} | {gain:+.1f} ± {error:.1f} | {largest.max():,.0f}"
        print(f"| {name} | {in_words(list(top_1))} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
