"""Measures how long pretraining takes to its first step, and predict to its only image.

Run from the project's root; DIRECTORY holds the other checkout, such as an earlier commit, and
SIMCLR one of google-research/simclr:

  git worktree add DIRECTORY COMMIT
  python -m benchmarks.startup --other=DIRECTORY --image_size=32 --depth=18
  python -m benchmarks.startup --simclr=SIMCLR --image_size=32 --depth=18
  python -m benchmarks.startup --predict --other=DIRECTORY --image_size=96

Each run trains a single step on noise, without saving, evaluating or monitoring it, or classifies
one photograph by an exported ResNet-18, in a process of its own. CPU seconds are those of all its
threads, from the start of Python to its end.
"""

import argparse
import os
import resource
import runpy
import statistics
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from typing import Dict, List, Sequence
from unittest import mock

_BATCH = 64
_IMAGES = 256


def measure(flags: Sequence[str]) -> None:
    """Prints the CPU seconds of a run, of the checkout on the path."""
    from tf_simclrv2.programs.main import main as simclrv2
    from tf_simclrv2.training import job

    saves_nothing = mock.patch.object(job.SaveCheckpoints, "on_train_end", lambda *_: None)
    if find_spec("tf_simclrv2.config.monitors") is not None:
        flags = [*flags, "--monitor_images=0"]
    with saves_nothing, tempfile.TemporaryDirectory() as directory:
        code = simclrv2(
            ["pretrain", "--mode=train", "--train_steps=1", *flags, f"--model_dir={directory}"]
        )
    if code:
        sys.exit(code)
    _print_seconds()


def measure_predict(model: str, images: str) -> None:
    """Prints the CPU seconds of predicting, of the checkout on the path."""
    from tf_simclrv2.programs.main import main as simclrv2

    code = simclrv2(
        ["predict", f"--saved_model={model}", f"--images={images}",
         f"--output={os.path.join(model, 'predictions.csv')}"]
    )  # fmt: skip
    if code:
        sys.exit(code)
    _print_seconds()


def measure_authors(simclr: str, flags: Sequence[str]) -> None:
    """Prints the CPU seconds of a run of the authors' code for TensorFlow 2."""
    from benchmarks.authors import make_importable

    make_importable(simclr)
    with tempfile.TemporaryDirectory() as directory:
        sys.argv = [
            "run.py", "--use_tpu=false", "--mode=train", "--train_mode=pretrain", "--train_steps=1",
            "--checkpoint_steps=1", "--eval_split=test", *flags, f"--model_dir={directory}",
        ]  # fmt: skip
        try:
            runpy.run_path(os.path.join(simclr, "tf2", "run.py"), run_name="__main__")
        except SystemExit as end:
            if end.code:
                raise
    _print_seconds()


def _print_seconds() -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(f"\n{used.ru_utime + used.ru_stime}")


def main() -> None:
    """Runs what the command line asks for, and prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--other", help="directory of another checkout")
    parser.add_argument("--simclr", help="directory of google-research/simclr")
    parser.add_argument("--predict", action="store_true", help="instead of pretraining")
    parser.add_argument("--image_size", type=int, default=32)
    parser.add_argument("--depth", type=int, default=18, help="of the ResNet")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", metavar="DATA", help=argparse.SUPPRESS)
    options = parser.parse_args()
    flags = [f"--image_size={options.image_size}"]
    if options.measure and options.predict:
        measure_predict(options.measure, os.path.join(options.measure, "images"))
        return
    if options.measure:
        flags += [f"--resnet_depth={options.depth}", "--dataset=noise",
                  f"--data_dir={options.measure}", f"--train_batch_size={_BATCH}"]  # fmt: skip
        if options.simclr:
            measure_authors(options.simclr, flags)
        else:
            measure(flags)
        return
    medians = _of_predict(options) if options.predict else _medians(options, flags)
    print(f"| ResNet-{options.depth}, {options.image_size} pixels | CPU seconds | ratio |")
    print("|---|--:|--:|")
    last = list(medians.values())[-1]
    for name, seconds in medians.items():
        print(f"| {name} | {seconds:.1f} | {seconds / last:.2f} |")


def _of_predict(options: argparse.Namespace) -> Dict[str, float]:
    """CPU seconds of predicting one image, by checkout."""
    from benchmarks.checkouts import in_turns
    from benchmarks.predict import write_images, write_model

    with tempfile.TemporaryDirectory() as directory:
        write_model(directory, options.image_size)
        os.mkdir(os.path.join(directory, "images"))
        write_images(os.path.join(directory, "images"), 1)
        arguments = ["--predict", f"--measure={directory}"]
        medians = in_turns(__file__, arguments, options.other, options.rounds)
    return {name: seconds for name, (seconds,) in medians.items()}


def _medians(options: argparse.Namespace, flags: List[str]) -> Dict[str, float]:
    """CPU seconds of what is compared, measured by turns."""
    from benchmarks.checkouts import in_turns
    from benchmarks.noise import define
    from tf_simclrv2.config import DataConfig
    from tf_simclrv2.data.sources import open_source

    define(_IMAGES, options.image_size)
    found: Dict[str, List[float]] = {}
    with tempfile.TemporaryDirectory() as directory:
        open_source(DataConfig(dataset="noise", data_dir=directory))
        flags = [*flags, f"--depth={options.depth}", f"--measure={directory}"]
        for _ in range(options.rounds):
            for name, numbers in in_turns(__file__, flags, options.other, 1).items():
                found.setdefault(name, []).append(numbers[0])
            if options.simclr:
                simclr = f"--simclr={os.path.abspath(options.simclr)}"
                done = subprocess.run(
                    [sys.executable, "-m", "benchmarks.startup", *flags, simclr],
                    env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, check=True,
                    stdout=subprocess.PIPE, text=True,
                )  # fmt: skip
                found.setdefault("authors", []).append(float(done.stdout.splitlines()[-1]))
    return {name: statistics.median(each) for name, each in found.items()}


if __name__ == "__main__":
    main()
