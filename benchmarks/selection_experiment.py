"""Measures what it is worth to choose which images are labelled.

    python -m benchmarks.selection_experiment --runs=RUN,RUN [--budgets=10,20,50,100,200 --seeds=20]

Takes pretraining runs on data sets with labels, such as the digits and the tiles. For each budget
and seed it chooses images of the training split by each method of ``select``, and at random with
as many of each class, which needs the labels beforehand. Ridge regression and class means are
fitted to the chosen images' frozen features, and classify the test split. Prints Markdown: top-1 in
%, the mean over the seeds with its standard error, and the worst seed in brackets.

With ``--whole_method=DIRECTORY`` it also fine-tunes and self-distills each run by the recipes of
its data set, for ``--whole_budgets`` and the first ``--whole_seeds``; runs that are in the
directory already are not repeated. What we measured: docs/results.md.
"""

import argparse
import csv
import os
from typing import Callable, Dict, List, NamedTuple, Tuple

import numpy as np

from benchmarks.runs import mean_and_error, run_once, top_1

RANDOM, BALANCED = "random", "balanced"


class Data(NamedTuple):
    """Frozen features of a run's data set.

    Attributes:
      ids: of the training images.
      class_names: names of the classes.
      train, train_labels, test, test_labels: features and classes.
    """

    ids: List[str]
    class_names: List[str]
    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray

    def labelled(self, row: int) -> Tuple[str, str]:
        """An image and its class, as a table of labels has them."""
        return self.ids[row], self.class_names[self.train_labels[row]]


def read(run: str) -> Data:
    """Computes the features of a run, or reads those that it keeps."""
    from tf_simclrv2.config.labelling import FrozenSection
    from tf_simclrv2.training.frozen import Frozen

    frozen = Frozen.open(FrozenSection(model_dir=run))
    train, test = frozen.features(frozen.data.train_split), frozen.features("test")
    names = frozen.source.class_names
    assert names is not None
    return Data(train.ids, names, train.values, train.labels, test.values, test.labels)


def balanced(labels: np.ndarray, budget: int, seed: int) -> np.ndarray:
    """Draws as many images of each class, or one more of some."""
    random = np.random.RandomState(seed)
    classes = random.permutation(np.unique(labels))
    each, more = divmod(budget, len(classes))
    return np.concatenate(
        [
            random.choice(np.flatnonzero(labels == label), each + (place < more), replace=False)
            for place, label in enumerate(classes)
        ]
    )


def choices() -> Dict[str, Callable[[Data, int, int], np.ndarray]]:
    """Ways to choose, by name: each takes data, budget and seed, and returns rows."""
    from tf_simclrv2.labelling.select import METHODS, select

    def by(method: str) -> Callable[[Data, int, int], np.ndarray]:
        return lambda data, budget, seed: select(data.train, budget, method, seed=seed).rows

    first = {RANDOM: by(RANDOM)}
    first[BALANCED] = lambda data, budget, seed: balanced(data.train_labels, budget, seed)
    return {**first, **{name: by(name) for name in METHODS if name != RANDOM}}


def by_ridge(data: Data, rows: np.ndarray) -> np.ndarray:
    """Classes of the test images by ridge regression."""
    from tf_simclrv2.evaluation import ridge
    from tf_simclrv2.evaluation.features import Features

    labels = data.train_labels[rows]
    if len(set(labels)) == 1:
        return np.full(len(data.test), labels[0])
    solution = ridge.solve(Features(data.train[rows], labels))
    scores = data.test.astype(np.float64) @ solution.kernel + solution.bias
    return solution.classes[scores.argmax(axis=1)]


def by_class_means(data: Data, rows: np.ndarray) -> np.ndarray:
    """Classes of the test images by the most similar class mean, as the evaluator has it."""
    from sklearn.preprocessing import StandardScaler, normalize

    scaler = StandardScaler().fit(data.train)
    values, test = (normalize(scaler.transform(part)) for part in (data.train[rows], data.test))
    labels = data.train_labels[rows]
    classes = np.unique(labels)
    means = normalize(np.stack([values[labels == label].mean(axis=0) for label in classes]))
    return classes[(test @ means.T).argmax(axis=1)]


CLASSIFIERS = {"ridge": by_ridge, "class means": by_class_means}


def measure(data: Data, budget: int, seeds: int) -> Dict[str, Dict[str, List[float]]]:
    """Test top-1 in % of each seed, by classifier and choice."""
    found: Dict[str, Dict[str, List[float]]] = {name: {} for name in CLASSIFIERS}
    for name, choose in choices().items():
        for seed in range(seeds):
            rows = choose(data, budget, seed)
            for classifier, predict in CLASSIFIERS.items():
                right = 100 * float(np.mean(predict(data, rows) == data.test_labels))
                found[classifier].setdefault(name, []).append(right)
    return found


def shown(values: List[float]) -> str:
    """Mean, standard error and worst."""
    mean, error = mean_and_error(values)
    return f"{mean:.1f} ± {error:.1f} ({min(values):.0f})"


def gain(values: List[float], others: List[float]) -> str:
    """Difference of two means whose seeds have nothing in common, with its standard error."""
    (mean, error), (other, other_error) = mean_and_error(values), mean_and_error(others)
    return f"{mean - other:+.1f} ± {(error**2 + other_error**2) ** 0.5:.1f}"


def table(run: str, budgets: List[int], seeds: int) -> None:
    """Prints the tables of a run."""
    data = read(run)
    measured = {budget: measure(data, budget, seeds) for budget in budgets}
    head = f"{''.join(f' {budget} |' for budget in budgets)}\n|---|{'--:|' * len(budgets)}"
    for classifier in CLASSIFIERS:
        print(f"\n{os.path.basename(run)}, {classifier}:\n\n| labels |{head}", flush=True)
        columns = [measured[budget][classifier] for budget in budgets]
        for name in columns[0]:
            print(f"| {name} |{''.join(f' {shown(each[name])} |' for each in columns)}")
        for name in (each for each in columns[0] if each not in (RANDOM, BALANCED)):
            for other in (RANDOM, BALANCED):
                cells = "".join(f" {gain(each[name], each[other])} |" for each in columns)
                print(f"| {name} minus {other} |{cells}")


def whole_method(options: argparse.Namespace, run: str, budget: int) -> None:
    """Fine-tunes and self-distills by the recipes, and prints their accuracies."""
    from tf_simclrv2.runtime.run_directory import RunDirectory

    dataset = RunDirectory(run).config.data.dataset
    data = read(run)
    print(f"\n{os.path.basename(run)}, {budget} labels:\n\n| | fine-tuned | self-distilled |")
    print("|---|--:|--:|")
    measured: Dict[str, Dict[str, List[float]]] = {}
    for name in options.whole_choices.split(","):
        found = measured.setdefault(name, {"fine_tuned": [], "self_distilled": []})
        for seed in range(options.whole_seeds):
            place = os.path.join(
                options.whole_method, f"{os.path.basename(run)}_{name}_{budget}_{seed}"
            )
            os.makedirs(place, exist_ok=True)
            labels = os.path.join(place, "labels.csv")
            with open(labels, "w", encoding="utf-8", newline="") as file:
                chosen = choices()[name](data, budget, seed)
                csv.writer(file).writerows([("image", "label"), *map(data.labelled, chosen)])
            tuned, distilled = (os.path.join(place, kind) for kind in found)
            start = ["finetune", f"--recipe={dataset}/finetune_1pct", f"--checkpoint={run}"]
            flags = [f"--labels={labels}", "--label_fraction=1", f"--seed={seed}"]
            run_once([*start, *flags], tuned)
            taught = ["distill", f"--recipe={dataset}/self_distill", f"--teacher={tuned}"]
            run_once([*taught, f"--seed={seed}"], distilled)
            found["fine_tuned"].append(top_1(tuned))
            found["self_distilled"].append(top_1(distilled))
        print(f"| {name} | {' | '.join(map(shown, found.values()))} |", flush=True)
    for name in (each for each in measured if each not in (RANDOM, BALANCED)):
        for other in (each for each in (RANDOM, BALANCED) if each in measured):
            pairs = zip(measured[name].values(), measured[other].values())
            print(f"| {name} minus {other} | {' | '.join(gain(*pair) for pair in pairs)} |")


def main() -> None:
    """Measures the runs that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", required=True, help="run directories, separated by commas")
    parser.add_argument("--budgets", default="10,20,50,100,200")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--whole_method", help="directory for the runs of the whole method")
    parser.add_argument("--whole_budgets", help="by default the first of --budgets")
    parser.add_argument("--whole_choices", default=",".join(choices()))
    parser.add_argument("--whole_seeds", type=int, default=3)
    options = parser.parse_args()
    budgets = [int(budget) for budget in options.budgets.split(",")]
    whole_budgets = [int(each) for each in (options.whole_budgets or str(budgets[0])).split(",")]
    for run in options.runs.split(","):
        table(run.rstrip("/"), budgets, options.seeds)
        if options.whole_method:
            for budget in whole_budgets:
                whole_method(options, run.rstrip("/"), budget)


if __name__ == "__main__":
    main()
