"""Measures what the memory gains at small batches: digits with and without it, at equal steps.

Runs the commands one after the other in this process and prints a table; runs that are already in
the output directory are not repeated. It made the tables in docs/results.md and docs/memory.md.
Run it from the project's root:

  python -m benchmarks.memory_experiment --output=runs/memory

For each variant, batch size and seed it runs ``pretrain`` with flags/digits/pretrain.txt and the
variant's flags, probes the frozen network, and runs ``finetune`` with
flags/digits/finetune_1pct.txt on three choices of 14 labelled images, since with so few labels the
choice decides more than the network. Views, temperature, head, rate and the layers that are trained
are those that the recipes had when the tables were made; pretraining of variants that begin with
``turns`` has those of now. With ``--start=DIRECTORY`` pretraining begins with the weights of the
runs without a memory that are there, so that the memory begins with a network that has warmed up.
Differences from the variant ``without`` or ``turns``, at the same temperature, are taken seed by
seed.
"""

import argparse
import csv
import os
import statistics
from typing import List, NamedTuple, Optional, Sequence, Tuple

from benchmarks.runs import mean_and_error, run_once, top_1

_TURNS = [
    "--use_crop=false", "--rotation_max_degrees=20", "--scale_min=0.8", "--scale_max=1.25",
    "--shear_max=0.3", "--translate_max=0.15", "--color_jitter_strength=1", "--temperature=0.5",
]  # fmt: skip
_NUM_TRAIN = 1437
_NUM_LABELS = 14
_MEMORY = ["--use_memory", "--memory_size=1024"]
# The recipes' views, temperature, head, rate and layers when the tables in docs/ were measured.
_CROPS = [
    "--use_crop=true", "--rotation_max_degrees=0", "--scale_min=1", "--scale_max=1",
    "--shear_max=0", "--translate_max=0",
]  # fmt: skip
_OF_PRETRAINING = [
    *_CROPS, "--crop_area_min=0.4", "--color_jitter_strength=0.5", "--temperature=0.1"
]  # fmt: skip
_OF_FINE_TUNING = [
    *_CROPS, "--crop_area_min=0.6", "--head_start=random", "--learning_rate=0.001",
    "--fine_tune_after_block=-1",
]  # fmt: skip
VARIANTS = {
    "without": [],
    "memory": _MEMORY,
    "moving": [*_MEMORY, "--memory_batch_norm=moving"],
    "split": [*_MEMORY, "--memory_batch_norm=split"],
    "no_ramp": [*_MEMORY, "--memory_ema_ramp=false"],
    "decay_99": [*_MEMORY, "--memory_ema_decay=0.99", "--memory_ema_ramp=false"],
    "decay_0": [*_MEMORY, "--memory_ema_decay=0"],
    "decay_90": [*_MEMORY, "--memory_ema_decay=0.9"],
    "size_256": ["--use_memory", "--memory_size=256"],
    "size_4096": ["--use_memory", "--memory_size=4096"],
    "size_256_decay_0": ["--use_memory", "--memory_size=256", "--memory_ema_decay=0"],
    "without_02": ["--temperature=0.2"],
    "memory_02": [*_MEMORY, "--temperature=0.2"],
    "moving_02": [*_MEMORY, "--temperature=0.2", "--memory_batch_norm=moving"],
    "decay_99_02": [
        *_MEMORY, "--temperature=0.2", "--memory_ema_decay=0.99", "--memory_ema_ramp=false"
    ],
    "no_ramp_02": [*_MEMORY, "--temperature=0.2", "--memory_ema_ramp=false"],
    "turns": _TURNS,
    # A tenth of an epoch's keys.
    "turns_memory": [*_TURNS, "--use_memory", "--memory_size=287"],
    "turns_split": [
        *_TURNS, "--use_memory", "--memory_size=287", "--memory_batch_norm=split"
    ],
    "turns_long": [*_TURNS, "--use_memory", "--memory_size=1024"],
}  # fmt: skip


def probes(directory: str) -> Tuple[float, float]:
    """Classifies by a pretrained network's frozen features, of images without augmentation.

    The probe that learns while pretraining, at the pretraining's learning rate and number of steps,
    also depends on how fast representations moved; these two don't.

    Args:
      directory: of the pretraining run.

    Returns:
      Test top-1 in % of a linear classifier that learnt from all labels, on the representation, and
      of the nearest class mean by cosine similarity, on the layer that fine-tuning starts from, as
      a mean over 200 choices of 14 labels.
    """
    from tf_simclrv2.data.batches import evaluation_batches
    from tf_simclrv2.data.sources import open_source
    from tf_simclrv2.evaluation import EVALUATORS
    from tf_simclrv2.evaluation.features import features
    from tf_simclrv2.runtime.checkpoint import load_run
    from tf_simclrv2.runtime.run_directory import RunDirectory

    pretrained = RunDirectory(directory)
    network, data = load_run(pretrained.path), pretrained.config.data
    source = open_source(data)
    assert data.eval_split is not None
    both = data.train_split, data.eval_split

    def splits(layer):
        return [features(network, evaluation_batches(source, data, split), layer) for split in both]

    results = [
        EVALUATORS["logistic"].run(*splits("proj_head_input")),
        EVALUATORS["class_means"].run(*splits("proj_layer_1"), num_labels=_NUM_LABELS),
    ]
    linear, few_labels = (100 * result["top_1_accuracy"] for result in results)
    return linear, few_labels


class Experiment(NamedTuple):
    """What all runs of an experiment share.

    Attributes:
      output: the directory for the runs.
      steps: of pretraining.
      label_seeds: choices of labels to fine-tune on; may be empty.
      start: the directory of the runs whose weights pretraining begins with, if any.
    """

    output: str
    steps: int
    label_seeds: Sequence[str]
    start: Optional[str] = None

    def run(self, variant: str, batch: int, seed: int) -> dict:
        """Pretrains once, and fine-tunes on each choice of labels.

        Args:
          variant: a key of ``VARIANTS``.
          batch: images in a pretraining batch.
          seed: of all runs.

        Returns:
          A row: variant, batch, seed and the test top-1 in % of the two of :func:`probes`, of the
          probe that learnt while pretraining and, unless there are no choices, after fine-tuning.
        """
        name = os.path.join(self.output, f"{variant}_{batch}_{seed}")
        pretraining = [
            "pretrain",
            "--flagfile=flags/digits/pretrain.txt",
            f"--train_batch_size={batch}",
            f"--train_steps={self.steps}",
            # The recipe's learning rate at its batch of 128, scaled by the root of the batch.
            f"--learning_rate={128**-0.5}",
            "--learning_rate_scaling=sqrt",
            # A tenth of the steps, as in the recipe.
            f"--warmup_epochs={0.1 * self.steps * batch / _NUM_TRAIN}",
            f"--checkpoint_steps={self.steps}",
            f"--seed={seed}",
            *_OF_PRETRAINING,
        ]
        if self.start is not None:
            begun = f"{_without(variant)}_{batch}_{seed}_pretrained"
            pretraining.append(f"--checkpoint={os.path.join(self.start, begun)}")
        run_once([*pretraining, *VARIANTS[variant]], f"{name}_pretrained")
        for labels in self.label_seeds:
            tuning = [
                "finetune",
                "--flagfile=flags/digits/finetune_1pct.txt",
                f"--checkpoint={name}_pretrained",
                f"--seed={seed}",
                f"--label_seed={labels}",
                *_OF_FINE_TUNING,
            ]
            run_once(tuning, f"{name}_tuned_{labels}")
        linear, few_labels = probes(f"{name}_pretrained")
        row = {
            "variant": variant,
            "batch": batch,
            "seed": seed,
            "linear probe": linear,
            "14 labels, class means": few_labels,
            "probe while pretraining": top_1(f"{name}_pretrained"),
        }
        if self.label_seeds:
            tuned = [top_1(f"{name}_tuned_{labels}") for labels in self.label_seeds]
            row["14 labels, fine-tuned"] = statistics.mean(tuned)
        return row


def table(rows: List[dict]) -> str:
    """Returns means and standard deviations over the seeds, and paired differences, as Markdown."""
    measures = [name for name in rows[0] if name not in ("variant", "batch", "seed")]
    lines = [
        f"| batch | variant | seeds | {' | '.join(measures)} |",
        "|--:|---|--:|" + "--:|" * len(measures),
    ]
    for batch, variant in sorted({(row["batch"], row["variant"]) for row in rows}):
        same = [row for row in rows if (row["batch"], row["variant"]) == (batch, variant)]
        cells = [_mean_and_spread([row[measure] for row in same]) for measure in measures]
        lines.append(f"| {batch} | {variant} | {len(same)} | {' | '.join(cells)} |")
        other = _without(variant)
        base = {row["seed"]: row for row in rows
                if (row["batch"], row["variant"]) == (batch, other)}  # fmt: skip
        pairs = [(row, base[row["seed"]]) for row in same if row["seed"] in base]
        if variant != other and len(pairs) > 1:
            cells = []
            for measure in measures:
                differences = [one[measure] - other[measure] for one, other in pairs]
                mean, error = mean_and_error(differences)
                cells.append(f"{mean:+.1f} ± {error:.1f}")
            lines.append(
                f"| {batch} | {variant} minus {other} | {len(pairs)} | {' | '.join(cells)} |"
            )
    return "\n".join(lines)


def _without(variant: str) -> str:
    """The variant without a memory that another is compared with."""
    if variant.startswith("turns"):
        return "turns"
    return "without_02" if variant.endswith("_02") else "without"


def _mean_and_spread(values: List[float]) -> str:
    spread = f" ({statistics.stdev(values):.1f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


def main() -> None:
    """Runs what the command line asks for, seed by seed, and prints the table after each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help="directory for the runs")
    parser.add_argument("--variants", default="without,memory", help=", ".join(VARIANTS))
    parser.add_argument("--batches", default="32,64,128")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--steps", type=int, default=300, help="steps of pretraining")
    parser.add_argument("--label_seeds", default="0,1,2", help="fine-tune on these choices, if any")
    parser.add_argument("--start", help="begin with the weights of the runs in this directory")
    options = parser.parse_args()
    label_seeds = [seed for seed in options.label_seeds.split(",") if seed]
    os.makedirs(options.output, exist_ok=True)
    experiment = Experiment(options.output, options.steps, label_seeds, options.start)
    rows = []
    for seed in options.seeds.split(","):
        for batch in options.batches.split(","):
            for variant in options.variants.split(","):
                rows.append(experiment.run(variant, int(batch), int(seed)))
                print(table(rows), flush=True)
    with open(os.path.join(options.output, "rows.csv"), "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
