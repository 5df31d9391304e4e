"""Tests the paper's claims again, on the small data sets that need no download.

Runs the commands one after the other in this process. Runs that are in the output directory already
are not repeated, and one that was interrupted continues, so the same command goes on where it
stopped. Run it from the project's root:

  python -m benchmarks.claims --output=runs/claims --dataset=digits --seeds=0,1,2,3,4

A seed is one of everything random: weights, order, views, and the choices of labels. For each it
pretrains five networks and one with the memory, by flags/DATASET/pretrain.txt but for ``--steps``
and, of tiles, at half their size, fine-tunes them on 1%, 10% and all of the labels, by
flags/DATASET/finetune_1pct.txt but for all layers and for the steps with more labels, and distills
that of 1% in 300 steps.
Differences are taken seed by seed.
"""

import argparse
import csv
import os
from typing import Callable, Dict, List, NamedTuple, Sequence

from benchmarks.runs import in_words, mean_and_error, run_once, top_1

# The recipe's network first. The half one is that of flags/DATASET/distill_small.txt.
NETWORKS = {
    "base": [],
    "half width": ["--width_multiplier=0.125"],
    "double width": ["--width_multiplier=0.5"],
    "deeper": ["--resnet_depth=34"],
}
# By name: flags of fine-tuning.
LABELS = {
    "1%": ["--label_fraction=0.01"],
    "10%": ["--label_fraction=0.1", "--train_steps=150", "--checkpoint_steps=150"],
    "100%": ["--label_fraction=1", "--train_steps=400", "--checkpoint_steps=400"],
}
_FEW, _ALL = "1%", "100%"
# Fine-tunes from the head's input instead of its first layer.
_INPUT = "--ft_proj_selector=0"
# Of each data set: training images, and flags for all its runs. At half their size the tiles take a
# quarter of the time.
_IMAGES = {"digits": 1437, "tiles": 3049}
_FLAGS = {"digits": [], "tiles": ["--image_size=16"]}
_BATCH = 128
# Of distillation.
_STEPS = 300
# Accuracies in % of one seed, by name.
Measured = Dict[str, float]


class Claim(NamedTuple):
    """A claim of the paper, as a difference of accuracies.

    Attributes:
      letter: claims of one letter belong together.
      words: the claim.
      difference: its points in %, of one seed's accuracies.
      margin: points that may be lost where the claim is that little is; else 0.
    """

    letter: str
    words: str
    difference: Callable[[Measured], float]
    margin: float = 0.0

    def verdict(self, mean: float, error: float) -> str:
        """What two standard errors leave of the claim: shown, not shown, or opposite."""
        if mean - 2 * error > -self.margin:
            return "shown"
        return "opposite" if mean + 2 * error < -self.margin else "not shown"


def _gain(bigger: str, smaller: str) -> Callable[[Measured], float]:
    def difference(of: Measured) -> float:
        few, everything = (of[f"{bigger}, {n}"] - of[f"{smaller}, {n}"] for n in (_FEW, _ALL))
        return few - everything

    return difference


def _minus(one: str, other: str) -> Callable[[Measured], float]:
    return lambda of: of[one] - of[other]


CLAIMS = (
    Claim("a", "four times the width gains more with 1% than with all labels",
          _gain("double width", "half width")),
    Claim("a", "a deeper network gains more with 1% than with all labels",
          _gain("deeper", "base")),
    Claim("b", "three layers of head, fine-tuned from the first, beat two, fine-tuned from their "
          "input", _minus("base, 1%", "two layers of head")),
    Claim("b", "fine-tuning from the head's first layer beats fine-tuning from its input",
          _minus("base, 1%", "from the head's input")),
    Claim("c", "the memory gains with 1%", _minus("memory", "base, 1%")),
    Claim("d", "a student distilled with unlabelled images beats the same network, pretrained and "
          "fine-tuned itself", _minus("small student", "half width, 1%")),
    Claim("e", "self-distillation improves on its teacher", _minus("self-distilled", "base, 1%")),
    Claim("f", "a student of a quarter of the size loses at most a point of its teacher",
          _minus("small student", "base, 1%"), margin=1.0),
    Claim("g", "distillation alone is at most a point worse than with labels mixed in",
          _minus("self-distilled", "labels mixed in"), margin=1.0),
)  # fmt: skip


class Experiment(NamedTuple):
    """What all runs of an experiment share.

    Attributes:
      output: the directory for the runs.
      dataset: whose recipes are used.
      steps: of pretraining.
    """

    output: str
    dataset: str
    steps: int

    def measure(self, seed: int) -> Measured:
        """Runs everything of a seed.

        Args:
          seed: of weights, order, views and the choice of labels.

        Returns:
          Test top-1 in % by name.
        """
        pretrained = {
            name: self._pretrain(name, flags, seed)
            for name, flags in {
                **NETWORKS,
                "two layers": ["--num_proj_layers=2", _INPUT],
                "memory": ["--use_memory"],
            }.items()
        }
        of = {
            f"{name}, {labels}": self._tuned(pretrained[name], labels)
            for name in NETWORKS
            for labels in LABELS
        }
        base = pretrained["base"]
        of["memory"] = self._tuned(pretrained["memory"], _FEW)
        of["from the head's input"] = self._tuned(base, _FEW, "input", [_INPUT])
        of["two layers of head"] = self._tuned(pretrained["two layers"], _FEW, "input", [_INPUT])
        for name, recipe, flags in (
            ("self-distilled", "self_distill", []),
            ("small student", "distill_small", []),
            ("labels mixed in", "self_distill", ["--distillation_alpha=0.5"]),
        ):
            of[name] = self._distill(f"{base}_1%", name, recipe, [*flags, f"--seed={seed}"])
        return of

    def _recipe(self, name: str) -> List[str]:
        return [f"--recipe={self.dataset}/{name}", *_FLAGS[self.dataset]]

    def _pretrain(self, name: str, flags: Sequence[str], seed: int) -> str:
        directory = os.path.join(self.output, f"{name.replace(' ', '_')}_{seed}")
        warmup = 0.1 * self.steps * _BATCH / _IMAGES[self.dataset]
        run_once(
            ["pretrain", *self._recipe("pretrain"), *flags, f"--train_batch_size={_BATCH}",
             f"--train_steps={self.steps}", f"--warmup_epochs={warmup}",
             f"--checkpoint_steps={self.steps}", f"--monitor_every_steps={self.steps}",
             f"--seed={seed}"],
            directory,
        )  # fmt: skip
        return directory

    def _tuned(
        self, pretrained: str, labels: str, variant: str = "", flags: Sequence[str] = ()
    ) -> float:
        """Fine-tunes on so many labels; returns the accuracy."""
        seed, directory = pretrained.rpartition("_")[2], f"{pretrained}_{labels}{variant}"
        run_once(
            ["finetune", *self._recipe("finetune_1pct"), *LABELS[labels], *flags, f"--seed={seed}",
             f"--label_seed={seed}", f"--checkpoint={pretrained}", "--fine_tune_after_block=-1"],
            directory,
        )  # fmt: skip
        return top_1(directory)

    def _distill(self, teacher: str, name: str, recipe: str, flags: Sequence[str]) -> float:
        directory = f"{teacher}_{name.replace(' ', '_')}"
        steps = [f"--train_steps={_STEPS}", f"--checkpoint_steps={_STEPS}"]
        run_once(
            ["distill", *self._recipe(recipe), *steps, f"--teacher={teacher}", *flags], directory
        )
        return top_1(directory)


def table(measured: Sequence[Measured]) -> str:
    """Accuracies and claims, with standard errors over the seeds, as Markdown."""
    labels = [
        f"| {network} | "
        + " | ".join(in_words([of[f"{network}, {each}"] for of in measured])
                     for each in LABELS)
        + " |"
        for network in NETWORKS
    ]  # fmt: skip
    lines = [f"| fine-tuned on | {' | '.join(LABELS)} |", "|---|" + "--:|" * len(LABELS), *labels]
    if len(measured) > 1:
        lines += ["", "| | claim | seeds | points | verdict |", "|---|---|--:|--:|---|"]
        for claim in CLAIMS:
            points = [claim.difference(of) for of in measured]
            mean, error = mean_and_error(points)
            lines.append(
                f"| {claim.letter} | {claim.words} | {len(points)} | {mean:+.1f} ± {error:.1f} "
                f"| {claim.verdict(mean, error)} |"
            )
    return "\n".join(lines)


def plot(measured: Sequence[Measured], path: str) -> None:
    """Draws accuracy by labels, a line for each network, with standard errors.

    Args:
      measured: of each seed.
      path: of the picture.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for network in NETWORKS:
        of_labels = [[of[f"{network}, {each}"] for of in measured] for each in LABELS]
        means, errors = zip(*map(mean_and_error, of_labels))
        axes.errorbar(list(LABELS), means, errors, marker="o", capsize=3, label=network)
    axes.set_xlabel("labels")
    axes.set_ylabel("test top-1 [%]")
    axes.set_title("Fine-tuned networks of different sizes, by labels")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def seeds(text: str) -> List[int]:
    return [int(seed) for seed in text.split(",")]


def main() -> None:
    """Runs what the command line asks for, seed by seed, and prints the table after each seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help="directory for the runs")
    parser.add_argument("--dataset", default="digits", choices=("digits", "tiles"))
    parser.add_argument("--seeds", type=seeds, default="0,1,2,3,4", help="separated by commas")
    parser.add_argument("--steps", type=int, default=300, help="of pretraining, 300 by default")
    options = parser.parse_args()
    if options.steps < 1:
        parser.error(f"--steps={options.steps}: must be above 0")
    output = os.path.join(options.output, options.dataset)
    os.makedirs(output, exist_ok=True)
    experiment = Experiment(output, options.dataset, options.steps)
    measured: List[Measured] = []
    for seed in options.seeds:
        measured.append(experiment.measure(seed))
        print(table(measured), flush=True)
    plot(measured, os.path.join(output, "labels.png"))
    with open(os.path.join(output, "measured.csv"), "w", newline="") as file:
        writer = csv.DictWriter(file, ["seed", *measured[0]])
        writer.writeheader()
        for seed, of in zip(options.seeds, measured):
            writer.writerow({"seed": seed, **of})


if __name__ == "__main__":
    main()
