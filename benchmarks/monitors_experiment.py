"""Measures what pretraining's monitors are worth: do they rank runs as a linear probe does?

    OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 \\
        python -m benchmarks.monitors_experiment --output=DIRECTORY [--dataset=digits --runs=20]

Pretrains the same small network many times, each time with settings drawn at random: learning rate,
temperature, batch, weight decay, number of steps, and views. The monitors are those that a run ends
with. The probe is logistic regression on the frozen representations h of all training images, and
classifies the test images. Prints Markdown: Spearman's rank correlation of each monitor with the
probe over the runs, with its 95% interval (bootstrap over runs), and the accuracy of the run that
the monitor would choose. Where less of a monitor is better, its sign is turned. Runs that are in
the directory already are not repeated. What we measured: docs/results.md.
"""

import argparse
import json
import os
from typing import Dict, List, NamedTuple

import numpy as np

from benchmarks.runs import run_once

_NETWORK = ["--resnet_depth=18", "--width_multiplier=0.125", "--proj_out_dim=64"]
_FIXED = [
    *_NETWORK, "--optimizer=lars", "--learning_rate_scaling=none", "--log_every_steps=10",
    "--lineareval_while_pretraining=false", "--mode=train",
]  # fmt: skip
_SIZES = {"digits": 8, "tiles": 16}
# As they are, as the data set's recipe has them, and with the crops and colours of SimCLR.
_VIEWS = {
    "none": ["--use_crop=false", "--color_jitter_strength=0", "--rotation_max_degrees=0",
             "--scale_min=1", "--scale_max=1", "--shear_max=0", "--translate_max=0"],
    "recipe": [],
    "weak": ["--color_jitter_strength=0.3"],
    "crops": ["--use_crop=true", "--crop_area_min=0.08", "--rotation_max_degrees=0",
              "--scale_min=1", "--scale_max=1", "--shear_max=0", "--translate_max=0"],
}  # fmt: skip
_CHOICES = {
    "learning_rate": (0.03, 0.1, 0.3, 1.0, 3.0),
    "temperature": (0.05, 0.1, 0.2, 0.5, 1.0),
    "train_batch_size": (32, 64, 128),
    "weight_decay": (0.0, 1e-4, 1e-2),
    "train_steps": (50, 100, 150),
}
# By the monitor's name: its name in a run, and whether less of it is better.
_MONITORS = {
    "RankMe of h": ("rank_h", False),
    "RankMe of z": ("rank_z", False),
    "alignment": ("alignment", True),
    "uniformity": ("uniformity", True),
    "alignment + uniformity": ("both", True),
    "held-out loss": ("loss", True),
    "held-out loss / guessing": ("relative", True),
    "held-out accuracy": ("accuracy", False),
    "training loss": ("contrast_loss", True),
    "training accuracy": ("contrast_accuracy", False),
    "kNN (labels)": ("knn", False),
    "ridge (labels)": ("ridge", False),
}


class Measured(NamedTuple):
    """A run.

    Attributes:
      monitors: by name, see ``_MONITORS``.
      probe: accuracy of the linear probe in %.
    """

    monitors: Dict[str, float]
    probe: float


def flags(dataset: str, number: int) -> List[str]:
    """The settings of a run, drawn by its number."""
    random = np.random.RandomState(number)
    drawn = {name: values[random.randint(len(values))] for name, values in _CHOICES.items()}
    views = list(_VIEWS)[random.randint(len(_VIEWS))]
    given = [f"--{name}={value}" for name, value in drawn.items()]
    # A tenth of the steps, whatever the data set's size.
    images = {"digits": 1437, "tiles": 3049}[dataset]
    epochs = drawn["train_steps"] * drawn["train_batch_size"] / images
    given += [f"--warmup_epochs={epochs / 10:g}", f"--seed={number}"]
    return [f"--recipe={dataset}/data", f"--image_size={_SIZES[dataset]}", *_FIXED, *given,
            *_VIEWS[views]]  # fmt: skip


def measured(run: str) -> Measured:
    """Monitors and probe of a run that has ended; the probe is kept in the run."""
    from tf_simclrv2.runtime.run_directory import RunDirectory

    directory = RunDirectory(run)
    monitors, last = dict(directory.of_run("monitors") or {}), directory.metrics()[-1]
    monitors["both"] = monitors["alignment"] + monitors["uniformity"]
    monitors["relative"] = monitors["loss"] / monitors["loss_of_guessing"]
    monitors.update({name: float(last[name]) for name in ("contrast_loss", "contrast_accuracy")})
    path = os.path.join(run, "linear_probe.json")
    if not os.path.exists(path):
        accuracy = probe(run)
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"top_1_accuracy": accuracy}, file)
    with open(path, encoding="utf-8") as file:
        return Measured(monitors, 100 * json.load(file)["top_1_accuracy"])


def probe(run: str) -> float:
    """Accuracy of logistic regression on the representations h of all training images."""
    from tf_simclrv2.config.labelling import FrozenSection
    from tf_simclrv2.evaluation import EVALUATORS
    from tf_simclrv2.training.frozen import Frozen

    frozen = Frozen.open(FrozenSection(model_dir=run, layer=0))
    train, test = (frozen.features(split).labelled() for split in ("train", "test"))
    return EVALUATORS["logistic"].run(train, test)["top_1_accuracy"]


def table(runs: List[Measured]) -> str:
    """Markdown of the rank correlations."""
    from scipy.stats import bootstrap, spearmanr

    probes = np.array([run.probe for run in runs])
    lines = ["| monitor | rank correlation | 95% interval | chooses |", "|---|--:|--:|--:|"]
    for words, (name, turned) in _MONITORS.items():
        values = np.array([run.monitors[name] * (-1 if turned else 1) for run in runs])

        def correlation(*pair: np.ndarray) -> float:
            return spearmanr(*pair).statistic

        found = bootstrap(
            (values, probes), correlation, paired=True, vectorized=False, n_resamples=2000,
            method="percentile", random_state=0,
        ).confidence_interval  # fmt: skip
        chosen = probes[values.argmax()]
        lines.append(
            f"| {words} | {correlation(values, probes):+.2f} | {found.low:+.2f} to "
            f"{found.high:+.2f} | {chosen:.1f}% |"
        )
    best, middle, worst = np.max(probes), np.median(probes), np.min(probes)
    lines += [
        "",
        f"{len(runs)} runs; probe: best {best:.1f}%, median {middle:.1f}%, worst {worst:.1f}%",
    ]
    return "\n".join(lines)


def main() -> None:
    """Trains and measures the runs that the command line asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", required=True, help="directory for the runs")
    parser.add_argument("--dataset", default="digits", choices=sorted(_SIZES))
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args()
    found = []
    for number in range(options.runs):
        run = os.path.join(options.output, f"{options.dataset}_{number}")
        run_once(
            ["pretrain", *flags(options.dataset, number)],
            run,
            has_ended=lambda directory: directory.of_run("monitors") is not None,
        )
        found.append(measured(run))
        print(f"run {number}: probe {found[-1].probe:.1f}%", flush=True)
    print(f"\n{options.dataset}:\n\n{table(found)}")


if __name__ == "__main__":
    main()
