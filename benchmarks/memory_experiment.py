"""What the memory is worth at small batches: digits, with and without it, at equal steps.

Runs the shipped commands, one after the other in this process, and prints a table; runs that are
already in the output directory are not repeated. The tables in docs/results.md and docs/memory.md
are made with it, from the project's root:

  python -m benchmarks.memory_experiment --output=runs/memory

For each variant, batch size and seed: ``pretrain`` by flags/digits/pretrain.txt with the variant's
flags, a linear probe on the frozen encoder with all labels, and ``finetune`` by
flags/digits/finetune_1pct.txt on three choices of 14 labelled images, since with so few the choice
decides more than the network. Differences to the variant ``without`` are taken seed by seed.
"""

import argparse
import csv
import os
import statistics
from typing import List

_NUM_TRAIN = 1437
_MEMORY = ["--use_memory", "--memory_size=1024"]
_LABEL_SEEDS = (0, 1, 2)
VARIANTS = {
    "without": [],
    "memory": _MEMORY,
    "moving": [*_MEMORY, "--memory_batch_norm=moving"],
    "no_ramp": [*_MEMORY, "--memory_ema_ramp=false"],
    "decay_99": [*_MEMORY, "--memory_ema_decay=0.99", "--memory_ema_ramp=false"],
    "decay_0": [*_MEMORY, "--memory_ema_decay=0"],
    "decay_90": [*_MEMORY, "--memory_ema_decay=0.9"],
    "size_256": ["--use_memory", "--memory_size=256"],
    "size_4096": ["--use_memory", "--memory_size=4096"],
}


def _run(arguments: List[str], directory: str) -> None:
    from tf_simclrv2.keras2 import keras
    from tf_simclrv2.programs.main import main
    from tf_simclrv2.runtime.run_directory import RunDirectory

    if RunDirectory(directory).result() is None:
        keras.backend.clear_session()
        code = main([*arguments, f"--model_dir={directory}"])
        if code:
            raise SystemExit(code)


def _accuracy(directory: str) -> float:
    from tf_simclrv2.runtime.run_directory import RunDirectory

    return 100 * RunDirectory(directory).result()["top_1_accuracy"]


def linear_probe(directory: str) -> float:
    """Test top-1 in % of a linear classifier on a pretrained network's frozen representations.

    It learns from all labels and from images without augmentation, so that it says what the
    representation holds once training is over. The probe that learns while pretraining, at the
    pretraining's learning rate and number of steps, also says how fast representations moved.
    """
    from tf_simclrv2.data.pipeline import evaluation_batches
    from tf_simclrv2.data.sources import open_source
    from tf_simclrv2.keras2 import keras, tf
    from tf_simclrv2.runtime.restoring import restore_network
    from tf_simclrv2.runtime.run_directory import RunDirectory

    pretrained = RunDirectory(directory)
    network, data = restore_network(pretrained), pretrained.config.data
    splits = []
    for split in (data.train_split, data.eval_split):
        batches = []
        for batch in evaluation_batches(open_source(data), data, split):
            outputs = network(batch["image"], training=False)
            counts = batch["weight"] > 0
            batches.append((outputs["representation"][counts], batch["label"][counts]))
        splits += [tf.concat(part, axis=0) for part in zip(*batches)]
    features, labels, test_features, test_labels = splits
    mean, variance = tf.nn.moments(features, 0)
    standardize = keras.layers.Normalization(mean=mean, variance=variance)
    kernel = tf.Variable(tf.zeros([features.shape[1], len(pretrained.class_names)]))
    bias = tf.Variable(tf.zeros([len(pretrained.class_names)]))
    optimizer = keras.optimizers.Adam(0.05)

    @tf.function
    def step(inputs):
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, inputs @ kernel + bias)
            loss = tf.reduce_mean(losses) + 1e-3 * tf.reduce_sum(kernel**2)
        variables = [kernel, bias]
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))

    inputs = standardize(features)
    for _ in range(500):
        step(inputs)
    predicted = tf.argmax(standardize(test_features) @ kernel + bias, axis=1)
    return 100 * float(tf.reduce_mean(tf.cast(predicted == test_labels, tf.float32)))


def run(output: str, variant: str, batch: int, seed: int, steps: int) -> dict:
    """Pretrains and fine-tunes once.

    Args:
      output: the directory for the runs.
      variant: a key of ``VARIANTS``.
      batch: images in a pretraining batch.
      seed: of all runs.
      steps: of pretraining.

    Returns:
      A row: variant, batch, seed and the test top-1 in % of linear probe, of the probe that learnt
      while pretraining and after fine-tuning.
    """
    name = os.path.join(output, f"{variant}_{batch}_{seed}")
    pretraining = [
        "pretrain",
        "--flagfile=flags/digits/pretrain.txt",
        f"--train_batch_size={batch}",
        f"--train_steps={steps}",
        # The recipe's learning rate at its batch of 128, scaled by the root of the batch.
        f"--learning_rate={128**-0.5}",
        "--learning_rate_scaling=sqrt",
        # A tenth of the steps, as in the recipe.
        f"--warmup_epochs={0.1 * steps * batch / _NUM_TRAIN}",
        f"--checkpoint_steps={steps}",
        f"--seed={seed}",
    ]
    _run([*pretraining, *VARIANTS[variant]], f"{name}_pretrained")
    for labels in _LABEL_SEEDS:
        tuning = [
            "finetune",
            "--flagfile=flags/digits/finetune_1pct.txt",
            f"--checkpoint={name}_pretrained",
            f"--seed={seed}",
            f"--label_seed={labels}",
        ]
        _run(tuning, f"{name}_tuned_{labels}")
    return {
        "variant": variant,
        "batch": batch,
        "seed": seed,
        "linear": linear_probe(f"{name}_pretrained"),
        "probe": _accuracy(f"{name}_pretrained"),
        "fine_tuned": statistics.mean(
            _accuracy(f"{name}_tuned_{labels}") for labels in _LABEL_SEEDS
        ),
    }


_MEASURES = ("linear", "probe", "fine_tuned")


def table(rows: List[dict]) -> str:
    """Returns means over the seeds and standard deviations, and paired differences, as Markdown."""
    lines = [
        "| batch | variant | seeds | linear probe | probe while pretraining | 1% labels |",
        "|--:|---|--:|--:|--:|--:|",
    ]
    for batch, variant in sorted({(row["batch"], row["variant"]) for row in rows}):
        same = [row for row in rows if (row["batch"], row["variant"]) == (batch, variant)]
        cells = [_mean_and_spread([row[measure] for row in same]) for measure in _MEASURES]
        lines.append(f"| {batch} | {variant} | {len(same)} | {' | '.join(cells)} |")
        base = {row["seed"]: row for row in rows
                if (row["batch"], row["variant"]) == (batch, "without")}  # fmt: skip
        pairs = [(row, base[row["seed"]]) for row in same if row["seed"] in base]
        if variant != "without" and len(pairs) > 1:
            cells = []
            for measure in _MEASURES:
                differences = [one[measure] - other[measure] for one, other in pairs]
                error = statistics.stdev(differences) / len(pairs) ** 0.5
                cells.append(f"{statistics.mean(differences):+.1f} ± {error:.1f}")
            lines.append(
                f"| {batch} | {variant} minus without | {len(pairs)} | {' | '.join(cells)} |"
            )
    return "\n".join(lines)


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
    options = parser.parse_args()
    os.makedirs(options.output, exist_ok=True)
    rows = []
    for seed in options.seeds.split(","):
        for batch in options.batches.split(","):
            for variant in options.variants.split(","):
                rows.append(run(options.output, variant, int(batch), int(seed), options.steps))
                print(table(rows), flush=True)
    fields = ["variant", "batch", "seed", *_MEASURES]
    with open(os.path.join(options.output, "rows.csv"), "w", newline="") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
