"""Measures how long pretraining on a large folder takes to its first step, at each start.

Run from the project's root:

  python -m benchmarks.folder_start --paths=1280000 --files=20000

It writes small PNG files of ten classes, links each of them under several names, so that the
folder has so many paths, and starts a run on them twice, each time in a process of its own: the
first start decodes all files, the next one finds what was kept. Each trains a single step of a
small network.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from unittest import mock

from benchmarks.folder import write_images

_STARTS = ("first", "second")


def link_images(directory: str, files: int, paths: int) -> None:
    """Writes so many files, and links them until there are so many paths."""
    write_images(directory, files)
    for folder in os.listdir(directory):
        names = os.listdir(os.path.join(directory, folder))
        for copy in range(1, paths // files):
            for name in names:
                place = os.path.join(directory, folder, name)
                os.link(place, os.path.join(directory, folder, f"{copy}_{name}"))


def measure(directory: str, run: str) -> None:
    """Trains one step; prints wall and CPU seconds, and the most MiB of memory."""
    from tf_simclrv2.programs.main import main as simclrv2
    from tf_simclrv2.training import job

    begun = time.time()
    with mock.patch.object(job.SaveCheckpoints, "on_train_end", lambda *_: None):
        code = simclrv2(
            ["pretrain", "--dataset=folder", f"--data_dir={directory}", "--resnet_depth=18",
             "--width_multiplier=0.25", "--image_size=32", "--train_batch_size=64",
             "--train_steps=1", "--mode=train", "--monitor_images=0", f"--model_dir={run}"]
        )  # fmt: skip
    if code:
        sys.exit(code)
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime
    print(f"\n{time.time() - begun:.1f} | {cpu:.1f} | {used.ru_maxrss / 1024:,.0f}")


def main() -> None:
    """Runs what the command line asks for, and prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--paths", type=int, default=200_000)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(*options.measure)
        return
    with tempfile.TemporaryDirectory() as directory:
        images = os.path.join(directory, "images")
        link_images(images, options.files, options.paths)
        # What was just written would not be trusted.
        time.sleep(3)
        print(
            f"| {options.paths:,} paths, start | seconds | CPU seconds | MiB |\n|---|--:|--:|--:|"
        )
        for start in _STARTS:
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.folder_start", "--measure", images,
                 os.path.join(directory, start)],
                env={**os.environ, "XDG_CACHE_HOME": os.path.join(directory, "home")},
                check=True, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            print(f"| {start} | {done.stdout.splitlines()[-1]} |", flush=True)


if __name__ == "__main__":
    main()
