"""Compares views for pretraining by how far a few labels go on the frozen network.

Nothing here sees the test split, so views and temperature can be chosen by it. All training images
are pretrained on, without labels. Of 70% of them a few labels are drawn, again and again, and the
rest are classified. Runs that are in the output directory already are not repeated. Run it from the
project's root:

  python -m benchmarks.views_experiment --output=runs/views --dataset=digits \\
    --variants=recipe,crops,turns --seeds=0,1,2

With ``--on_test`` it measures on the test split what was chosen, with labels of the whole training
split.
"""

import argparse
import os
import statistics
from typing import TYPE_CHECKING, Dict, List, Tuple

import numpy as np

from benchmarks.runs import in_words, run_once

if TYPE_CHECKING:
    from tf_simclrv2.evaluation.features import Features

# Where labels are drawn, and what is classified.
TO_CHOOSE, _ON_TEST = ("train[:70%]", "train[70%:]"), ("train", "test")
_DRAWS = 30
# Of each data set: labels that are drawn.
NUM_LABELS = {"digits": 14, "tiles": 30}
_TURNS = [
    "--use_crop=false", "--rotation_max_degrees=20", "--scale_min=0.8", "--scale_max=1.25",
    "--shear_max=0.3", "--translate_max=0.15",
]  # fmt: skip
_CROPS = [
    "--use_crop=true", "--crop_area_min=0.4", "--rotation_max_degrees=0", "--scale_min=1",
    "--scale_max=1", "--shear_max=0", "--translate_max=0",
]  # fmt: skip
_UPRIGHT = ["--use_vertical_flip=false", "--rotate_90=false"]
# On top of flags/DATASET/pretrain.txt.
VARIANTS = {
    "recipe": [],
    "crops": [*_CROPS, "--color_jitter_strength=0.5"],
    "crops_strong": [*_CROPS, "--color_jitter_strength=1"],
    "turns": [*_TURNS, "--color_jitter_strength=0.5"],
    "turns_plain": [*_TURNS, "--color_jitter_strength=0"],
    "turns_strong": [*_TURNS, "--color_jitter_strength=1"],
    "turns_cool": [*_TURNS, "--color_jitter_strength=1", "--temperature=0.1"],
    "turns_crops": [
        *_TURNS[1:], "--color_jitter_strength=1", "--use_crop=true", "--crop_area_min=0.6",
        "--crop_aspect_max=1.5",
    ],
    "turns_solarized": [*_TURNS, "--color_jitter_strength=1", "--solarize_probability=0.2"],
    "short": ["--train_steps=600"],
    "large_batch": ["--train_steps=1200", "--train_batch_size=256"],
    # Without knowing the tiles: the authors' for CIFAR-10, and weaker ones.
    "of_cifar": [
        "--train_steps=600", *_UPRIGHT, "--crop_area_min=0.08", "--color_jitter_strength=0.5",
        "--grayscale_probability=0.2",
    ],
    "mild": [
        "--train_steps=600", *_UPRIGHT, "--crop_area_min=0.3", "--color_jitter_strength=0.2",
    ],
    "milder": [
        "--train_steps=600", *_UPRIGHT, "--crop_area_min=0.2", "--color_jitter_strength=0.1",
    ],
    "small_crops": ["--crop_area_min=0.08"],
    "mild_colours": ["--color_jitter_strength=0.2"],
    "colours": ["--color_jitter_strength=0.4"],
    "strong_colours": ["--color_jitter_strength=1", "--grayscale_probability=0.2"],
    "upright": _UPRIGHT,
}  # fmt: skip


def draw(labels: np.ndarray, count: int, random: np.random.RandomState) -> np.ndarray:
    """Positions of so many labels, of each class as many as of the others, or one more."""
    classes = np.unique(labels)
    each, more = divmod(count, len(classes))
    counts = each + (random.permutation(len(classes)) < more)
    return np.concatenate(
        [
            random.choice(np.flatnonzero(labels == label), number, replace=False)
            for label, number in zip(classes, counts)
        ]
    )


def measure(learn: "Features", validate: "Features", num_labels: int) -> Dict[str, float]:
    """Accuracies of simple classifiers on features.

    Args:
      learn: features of the images of which labels are drawn.
      validate: features of the images to classify.
      num_labels: labels of a draw.

    Returns:
      Top-1 in %, means over the draws, by name.
    """
    from tf_simclrv2.evaluation import EVALUATORS, baselines
    from tf_simclrv2.evaluation.features import Features

    random = np.random.RandomState(0)
    found: Dict[str, List[float]] = {}
    for _ in range(_DRAWS):
        chosen = draw(learn.labels, num_labels, random)
        few = Features(learn.values[chosen], learn.labels[chosen])
        others = np.delete(learn.values, chosen, axis=0)
        for name, top in baselines.run(few, validate, others).items():
            found.setdefault(name, []).append(100 * top)
    means = {name: statistics.mean(values) for name, values in found.items()}
    of_means = EVALUATORS["class_means"].run(learn, validate, num_labels=num_labels)
    of_all = {
        f"{name}, all labels": 100 * EVALUATORS[name].run(learn, validate)["top_1_accuracy"]
        for name in ("knn", "logistic")
    }
    return {"class_means": 100 * of_means["top_1_accuracy"], **means, **of_all}


def frozen(directory: str, splits: Tuple[str, str], layer: str) -> "Tuple[Features, Features]":
    """The features of both splits of a run's data set; its raw pixels without a layer."""
    from tf_simclrv2.data.batches import evaluation_batches
    from tf_simclrv2.data.sources import open_source
    from tf_simclrv2.evaluation.baselines import raw_pixels
    from tf_simclrv2.evaluation.features import features
    from tf_simclrv2.runtime.checkpoint import load_run
    from tf_simclrv2.runtime.run_directory import RunDirectory

    data = RunDirectory(directory).config.data
    source = open_source(data)
    learn, validate = (evaluation_batches(source, data, split) for split in splits)
    if not layer:
        return raw_pixels(learn), raw_pixels(validate)
    network = load_run(directory)
    return features(network, learn, layer), features(network, validate, layer)


def _line(variant: str, rows: List[Dict[str, float]]) -> str:
    cells = []
    for name in rows[0]:
        cells.append(in_words([row[name] for row in rows]))
    return f"| {variant} | {' | '.join(cells)} |"


def main() -> None:
    """Runs what the command line asks for, and prints a table with standard errors over seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help="directory for the runs")
    parser.add_argument("--dataset", default="digits", choices=tuple(NUM_LABELS))
    parser.add_argument("--variants", default="recipe", help=", ".join(VARIANTS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--layer", default="proj_head_input", help="proj_head_input, proj_layer_1")
    parser.add_argument("--on_test", action="store_true", help="measure what was chosen")
    options = parser.parse_args()
    splits = _ON_TEST if options.on_test else TO_CHOOSE
    seeds = options.seeds.split(",")
    lines: List[str] = []
    for variant in options.variants.split(","):
        rows = []
        for seed in seeds:
            directory = os.path.join(options.output, f"{options.dataset}_{variant}_{seed}")
            recipe = f"--recipe={options.dataset}/pretrain"
            run_once(["pretrain", recipe, *VARIANTS[variant], f"--seed={seed}"], directory)
            number = NUM_LABELS[options.dataset]
            if not lines:
                raw = measure(*frozen(directory, splits, ""), number)
                lines += [f"| | {' | '.join(raw)} |", "|---|" + "--:|" * len(raw)]
                lines.append(_line("raw pixels", [raw]))
            rows.append(measure(*frozen(directory, splits, options.layer), number))
        lines.append(_line(variant, rows))
        print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
