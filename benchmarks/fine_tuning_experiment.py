"""Compares ways to fine-tune on a few labels.

Nothing here sees the test split, so a recipe can be chosen by it. Labels are drawn from 70% of the
training split, one draw for each seed, and the rest is classified. Pretraining runs take the draws
in turn. Runs that are in the output directory already are not repeated. Run it from the project's
root:

  python -m benchmarks.fine_tuning_experiment --output=runs/fine_tuning --dataset=digits \\
    --runs=RUN,RUN,RUN --variants=recipe,random_head,frozen --seeds=0,1,2,3,4,5,6,7,8,9
"""

import argparse
import os
from typing import Dict, List

from benchmarks.runs import in_words, run_once, top_1
from benchmarks.views_experiment import TO_CHOOSE

# Of each data set: the share of that part that makes as many labels as 1% of the whole.
_FRACTIONS = {"digits": 14 / 1006, "tiles": 30 / 2134}
# On top of flags/DATASET/finetune_1pct.txt.
VARIANTS = {
    "recipe": [],
    "random_head": ["--head_start=random"],
    "frozen": ["--fine_tune_after_block=4"],
    "last_block": ["--fine_tune_after_block=3"],
    "short": ["--train_steps=20"],
    "long": ["--train_steps=180"],
    "slow": ["--learning_rate=0.0001"],
    "fast": ["--learning_rate=0.001"],
    "long_fast": ["--train_steps=180", "--learning_rate=0.001"],
    "from_input": ["--ft_proj_selector=0"],
    "last_layer": ["--ft_proj_selector=2"],
}


def main() -> None:
    """Runs what the command line asks for, and prints a table with standard errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help="directory for the runs")
    parser.add_argument("--dataset", default="digits", choices=tuple(_FRACTIONS))
    parser.add_argument("--runs", required=True, help="pretraining runs, separated by commas")
    parser.add_argument("--variants", default="recipe", help=", ".join(VARIANTS))
    parser.add_argument("--seeds", default="0,1,2,3,4,5,6,7,8,9")
    options = parser.parse_args()
    runs, seeds = options.runs.split(","), options.seeds.split(",")
    labels = f"--label_fraction={_FRACTIONS[options.dataset]}"
    found: Dict[str, List[float]] = {}
    for variant in options.variants.split(","):
        for number, seed in enumerate(seeds):
            directory = os.path.join(options.output, f"{options.dataset}_{variant}_{seed}")
            run_once(
                ["finetune", f"--recipe={options.dataset}/finetune_1pct", labels,
                 *map("=".join, zip(("--train_split", "--eval_split"), TO_CHOOSE)),
                 f"--label_seed={seed}", f"--checkpoint={runs[number % len(runs)]}",
                 *VARIANTS[variant]],
                directory,
            )  # fmt: skip
            found.setdefault(variant, []).append(top_1(directory))
    first = next(iter(found.values()))
    print("| | top-1 | minus the first |\n|---|--:|--:|")
    for variant, values in found.items():
        minus = in_words([one - other for one, other in zip(values, first)])
        print(f"| {variant} | {in_words(values)} | {minus if values is not first else ''} |")


if __name__ == "__main__":
    main()
