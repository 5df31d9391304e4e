"""Compares ways to fine-tune on a few labels, or to distill what was fine-tuned.

Nothing here sees the test split, so a recipe can be chosen by it. Labels are drawn from 70% of the
training split, one draw for each seed, and the rest is classified. Pretraining runs take the draws
in turn. Runs that are in the output directory already are not repeated. Run it from the project's
root:

  python -m benchmarks.fine_tuning_experiment --output=runs/fine_tuning --dataset=digits \\
    --runs=RUN,RUN,RUN --variants=recipe,random_head,all_layers --seeds=0,1,2,3,4,5,6,7,8,9
  python -m benchmarks.fine_tuning_experiment --output=runs/fine_tuning --dataset=digits \\
    --step=distill --variants=recipe,cool,warm,shifts_teacher

The second command distills the runs that the first one made by the recipe. This one compares what
``finetune`` does without a recipe, with more labels too:

  python -m benchmarks.fine_tuning_experiment --output=runs/fine_tuning --dataset=digits \\
    --step=defaults --labels=40 --runs=RUN,RUN,RUN --variants=all_layers,head,head_from_layer_1
"""

import argparse
import contextlib
import os
from typing import ContextManager, Dict, List

from benchmarks import candidates
from benchmarks.runs import in_words, run_once, top_1
from benchmarks.views_experiment import TO_CHOOSE

# Of each data set: 1% of the whole in labels, and the images of the part that they are drawn from.
_LABELS = {"digits": (14, 1006), "tiles": (30, 2134)}
_ALL_LAYERS = ["--fine_tune_after_block=-1"]
_HEAD = ["--fine_tune_after_block=4", "--head_start=ridge"]
# By step: flags on top of flags/DATASET/finetune_1pct.txt, of self_distill.txt and of no recipe.
VARIANTS = {
    "finetune": {
        "recipe": [],
        "random_head": ["--head_start=random"],
        "all_layers": _ALL_LAYERS,
        "all_layers_slow": [*_ALL_LAYERS, "--train_steps=60", "--learning_rate=0.0003"],
        "all_layers_slower": [*_ALL_LAYERS, "--learning_rate=0.0001"],
        "all_layers_short": [*_ALL_LAYERS, "--train_steps=20"],
        "all_layers_random_head": [*_ALL_LAYERS, "--head_start=random"],
        "gentle": ["--train_steps=60", "--learning_rate=0.0003"],
        "gentler": ["--train_steps=60", "--learning_rate=0.0001"],
        "last_block": ["--fine_tune_after_block=3"],
        "short": ["--train_steps=20"],
        "long": ["--train_steps=180"],
        "slow": ["--learning_rate=0.0001"],
        "fast": ["--learning_rate=0.001"],
        "long_fast": ["--train_steps=180", "--learning_rate=0.001"],
        "from_input": ["--ft_proj_selector=0"],
        "last_layer": ["--ft_proj_selector=2"],
        "smoothed_labels": [],
        "averaged_weights": [],
        "frozen_batch_norm": [],
        "smaller_steps_below": [],
    },
    "distill": {
        "recipe": [],
        "cool": ["--distillation_temperature=0.5"],
        "warm": ["--distillation_temperature=2"],
        "half_as_long": ["--train_steps=300", "--checkpoint_steps=300"],
        "shifts_teacher": [],
    },
    "defaults": {
        "all_layers": [*_ALL_LAYERS, "--head_start=random"],
        "all_layers_from_ridge": [*_ALL_LAYERS, "--head_start=ridge"],
        "head": _HEAD,
        "head_from_layer_1": [*_HEAD, "--ft_proj_selector=1"],
    },
}


def changed(variant: str) -> ContextManager[None]:
    """What a variant changes besides flags."""
    change = getattr(candidates, variant, contextlib.nullcontext)
    return change()


def main() -> None:
    """Runs what the command line asks for, and prints a table with standard errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help="directory for the runs")
    parser.add_argument("--dataset", default="digits", choices=tuple(_LABELS))
    parser.add_argument("--step", default="finetune", choices=tuple(VARIANTS))
    parser.add_argument("--runs", default="", help="pretraining runs, separated by commas")
    parser.add_argument("--variants", default="recipe", help="by step: " + str(VARIANTS))
    parser.add_argument("--labels", type=int, help="drawn for fine-tuning; by default 1%%")
    parser.add_argument("--seeds", default="0,1,2,3,4,5,6,7,8,9")
    options = parser.parse_args()
    if options.step != "distill" and not options.runs:
        parser.error(f"--step={options.step} needs --runs")
    found: Dict[str, List[float]] = {}
    for variant in options.variants.split(","):
        for number, seed in enumerate(options.seeds.split(",")):
            found.setdefault(variant, []).append(measure(options, variant, number, seed))
    print("| | top-1 | minus the first |\n|---|--:|--:|")
    first = next(iter(found.values()))
    found["the best of them in each draw"] = [max(each) for each in zip(*found.values())]
    for variant, values in found.items():
        minus = in_words([one - other for one, other in zip(values, first)])
        print(f"| {variant} | {in_words(values)} | {minus if values is not first else ''} |")


def measure(options: argparse.Namespace, variant: str, number: int, seed: str) -> float:
    """Fine-tunes or distills in one way with one draw of labels; returns the top-1 in %."""
    tuned = os.path.join(options.output, f"{options.dataset}_{{}}_{seed}")
    splits = [*map("=".join, zip(("--train_split", "--eval_split"), TO_CHOOSE))]
    if options.step == "distill":
        directory, teacher = tuned.format(f"distilled_{variant}"), tuned.format("recipe")
        command = [
            "distill", f"--recipe={options.dataset}/self_distill", *splits, f"--teacher={teacher}",
        ]  # fmt: skip
    else:
        runs = options.runs.split(",")
        usual, images = _LABELS[options.dataset]
        labels = options.labels or usual
        name = variant if labels == usual else f"{variant}_{labels}"
        if options.step == "defaults":
            name, recipe = f"defaults_{name}", [f"--dataset={options.dataset}"]
        else:
            recipe = [f"--recipe={options.dataset}/finetune_1pct"]
        directory = tuned.format(name)
        command = [
            "finetune", *recipe, *splits, f"--label_fraction={labels / images}",
            f"--label_seed={seed}", f"--checkpoint={runs[number % len(runs)]}",
        ]  # fmt: skip
    with changed(variant):
        run_once([*command, *VARIANTS[options.step][variant]], directory)
    return top_1(directory)


if __name__ == "__main__":
    main()
