"""Measures how far leave-one-out accuracy, as ``probe`` tells it, is from the truth.

    python -m benchmarks.leave_one_out_experiment --runs=RUN,RUN [--budgets=20,40,100,200]

Takes pretraining runs on data sets with labels, such as the digits and the tiles. For each budget
and seed it takes images at random, and those that ``select --method=centres`` chooses, and fits
ridge regression to their frozen features. Prints Markdown: leave-one-out accuracy minus that on all
other training images, and minus that on the test split, in points, each with the deviation over the
seeds; and how often the 95% interval covers these. What we measured: docs/results.md.
"""

import argparse
from typing import List, Tuple

import numpy as np

from benchmarks.selection_experiment import Data, choices, read

CHOICES = ("random", "centres")


def measure(data: Data, rows: np.ndarray) -> Tuple[List[float], List[bool]]:
    """Leave-one-out accuracy minus those on others and on the test split, and what is covered."""
    from tf_simclrv2.evaluation import probe, ridge
    from tf_simclrv2.evaluation.features import Features

    train = Features(data.train[rows], data.train_labels[rows])
    rest = np.setdiff1d(np.arange(len(data.train)), rows)
    told = next(each for each in probe.left_out(train) if each.classifier == probe.RIDGE)
    solution, (low, high) = ridge.solve(train), told.interval
    others = [
        Features(data.train[rest], data.train_labels[rest]),
        Features(data.test, data.test_labels),
    ]
    true = [
        probe.num_right(each, solution.scores(each.values), solution.classes) / len(each.labels)
        for each in others
    ]
    return [100 * (told.accuracy - each) for each in true], [low <= each <= high for each in true]


def row(data: Data, choice: str, budget: int, seeds: int) -> str:
    """A line of the table."""
    measured = [measure(data, choices()[choice](data, budget, seed)) for seed in range(seeds)]
    differences, covered = (np.array(each, float) for each in zip(*measured))
    cells = [
        f"{difference:+.1f} ± {deviation:.1f} | {share:.0%}"
        for difference, deviation, share in zip(
            differences.mean(axis=0), differences.std(axis=0), covered.mean(axis=0)
        )
    ]
    return f"| {choice} | {budget} | {' | '.join(cells)} |"


def main() -> None:
    """Measures each run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", required=True, help="pretraining runs, separated by commas")
    parser.add_argument("--budgets", default="20,40,100,200", help="numbers of labelled images")
    parser.add_argument("--seeds", type=int, default=20, help="choices of each")
    arguments = parser.parse_args()
    for run in arguments.runs.split(","):
        data = read(run)
        print(f"\n{run}\n\n| images | labels | minus others | covered | minus test | covered |")
        print("|---|--:|--:|--:|--:|--:|")
        for choice in CHOICES:
            for budget in map(int, arguments.budgets.split(",")):
                print(row(data, choice, budget, arguments.seeds), flush=True)


if __name__ == "__main__":
    main()
