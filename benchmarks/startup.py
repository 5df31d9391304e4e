"""Measures how long pretraining takes to its first step, against another checkout.

Run from the project's root; DIRECTORY holds the other checkout, such as an earlier commit:

  git worktree add DIRECTORY COMMIT
  python -m benchmarks.startup --other=DIRECTORY --image_size=32 --depth=18

Each run trains a single step on the digits, without saving, evaluating or monitoring it, in a
process of its own. CPU seconds are those of all its threads, from the start of Python to its end.
"""

import argparse
import resource
import sys
import tempfile
from importlib.util import find_spec
from typing import Sequence

_BATCH = 64


def measure(flags: Sequence[str]) -> None:
    """Prints the CPU seconds of a run, of the checkout on the path."""
    from tf_simclrv2.programs.main import main as simclrv2
    from tf_simclrv2.training import job

    job.SaveCheckpoints.on_train_end = lambda *_: None
    if find_spec("tf_simclrv2.config.monitors") is not None:
        flags = [*flags, "--monitor_images=0"]
    with tempfile.TemporaryDirectory() as directory:
        code = simclrv2(
            [
                "pretrain",
                "--dataset=digits",
                "--mode=train",
                "--train_steps=1",
                f"--train_batch_size={_BATCH}",
                f"--model_dir={directory}",
                *flags,
            ]
        )
    if code:
        sys.exit(code)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(f"\n{used.ru_utime + used.ru_stime}")  # fmt: skip


def main() -> None:
    """Runs what the command line asks for, and prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--other", help="directory of another checkout")
    parser.add_argument("--image_size", type=int, default=32)
    parser.add_argument("--depth", type=int, default=18, help="of the ResNet")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    flags = [f"--image_size={options.image_size}", f"--depth={options.depth}"]
    if options.measure:
        measure([flags[0], f"--resnet_depth={options.depth}"])
        return
    from benchmarks.checkouts import in_turns

    medians = in_turns(__file__, ["--measure", *flags], options.other, options.rounds)
    print(f"| ResNet-{options.depth}, {options.image_size} pixels | CPU seconds |\n|---|--:|")
    for name, (seconds,) in medians.items():
        print(f"| {name} | {seconds:.1f} |")
    if options.other:
        print(f"| ours / other | {medians['ours'][0] / medians['other'][0]:.2f} |")


if __name__ == "__main__":
    main()
