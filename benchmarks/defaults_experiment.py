"""Compares what a newcomer gets without a recipe to what the recipes give, on folders of images.

Runs the commands one after the other in this process; runs that are in the output directory already
are not repeated. Run it from the project's root:

  python -m benchmarks.defaults_experiment --output=runs/defaults --dataset=digits --seeds=0,1,2

It writes the images as ``split/class/file`` and pretrains and fine-tunes on two labels of
each class: with no flag but the network's size; with the views of flags/DATASET/data.txt or those
of the paper besides; and by the recipes. All are evaluated on the test split, by which nothing was
chosen.
"""

import argparse
import os
from typing import Dict, List

from benchmarks.runs import in_words, run_once, top_1, write_once

_NETWORK = ["--resnet_depth=18", "--width_multiplier=0.25"]
_LABELS = "--labels_per_class=2"
# By name: flags of pretraining and of fine-tuning, DATASET standing for the data set.
VARIANTS = {
    "defaults": (_NETWORK, []),
    "defaults, with the recipe's views": (["--recipe=DATASET/data", *_NETWORK], []),
    "recipes": (["--recipe=DATASET/pretrain"], ["--recipe=DATASET/finetune_1pct"]),
    "defaults, with the paper's views": (["--recipe=views/photographs", *_NETWORK], []),
}


def write_folder(dataset: str, directory: str) -> None:
    """Writes the images of a data set as PNG files ``split/class/file``."""
    from tf_simclrv2.config import DataConfig
    from tf_simclrv2.data.sources import open_source
    from tf_simclrv2.keras2 import tf

    source = open_source(DataConfig(dataset=dataset))
    assert source.class_names is not None
    for split in source.splits:
        for number, example in enumerate(source.examples(split).as_numpy_iterator()):
            folder = os.path.join(directory, split, source.class_names[example["label"]])
            os.makedirs(folder, exist_ok=True)
            tf.io.write_file(os.path.join(folder, f"{number:05}.png"), example["image"])


def measure(output: str, dataset: str, variant: str, seed: int) -> float:
    """Pretrains and fine-tunes one way with one seed; returns the test top-1 in %."""
    images = os.path.join(output, dataset)
    write_once(images, lambda path: write_folder(dataset, path))
    name = os.path.join(output, f"{dataset}_{list(VARIANTS).index(variant)}_{seed}")
    pretraining, tuning = (
        [flag.replace("DATASET", dataset) for flag in flags] for flags in VARIANTS[variant]
    )
    folder = ["--dataset=folder", f"--data_dir={images}"]
    run_once(["pretrain", *pretraining, *folder, f"--seed={seed}"], f"{name}_pretrained")
    run_once(
        ["finetune", f"--checkpoint={name}_pretrained", *tuning, _LABELS, f"--seed={seed}",
         f"--label_seed={seed}", *(folder if tuning else [])],
        name,
    )  # fmt: skip
    return top_1(name)


def main() -> None:
    """Runs what the command line asks for, and prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help="directory for images and runs")
    parser.add_argument("--dataset", default="digits", choices=("digits", "tiles"))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--variants", default="; ".join(VARIANTS), help="separated by semicolons")
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    found: Dict[str, List[float]] = {}
    for seed in seeds:
        for variant in options.variants.split("; "):
            found.setdefault(variant, []).append(
                measure(options.output, options.dataset, variant, seed)
            )
    print(f"| {options.dataset}, two labels of each class | test top-1 in % |\n|---|--:|")
    for variant, values in found.items():
        print(f"| {variant} | {in_words(values)} |")
    if {"recipes", *found} == {*found} and len(found) > 1:
        for variant in (each for each in found if each != "recipes"):
            points = [one - two for one, two in zip(found[variant], found["recipes"])]
            print(f"| {variant}, less the recipes | {in_words(points)} |")


if __name__ == "__main__":
    main()
