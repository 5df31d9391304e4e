"""Measures what a folder of images costs before the first step, against another checkout.

Run from the project's root; DIRECTORY holds the other checkout, such as an earlier commit:

  git worktree add DIRECTORY COMMIT
  python -m benchmarks.folder --other=DIRECTORY --images=20000

It writes small PNG files of ten classes, and times, in a process of its own for each checkout,
opening the folder, which decodes every file once, opening it again, looking at the files only
(``--check_images=quick``), choosing the labels of a tenth of them, and reaching the examples at the
first step and after 3.9 epochs. What a checkout doesn't know stands as n/a.
"""

import argparse
import dataclasses
import os
import tempfile
import time
from typing import Callable, List

import numpy as np
from PIL import Image

_PARTS = (
    "check", "check again", "look (quick)", "choose labels", "reach step 0", "reach epoch 3.9",
)  # fmt: skip
_LATE = 3.9
_CLASSES = 10


def write_images(directory: str, count: int) -> None:
    """Writes small images, each of its own colours."""
    random = np.random.RandomState(0)
    for number in range(count):
        folder = os.path.join(directory, f"class_{number % _CLASSES}")
        os.makedirs(folder, exist_ok=True)
        pixels = random.randint(0, 255, [32, 32, 3], np.uint8)
        Image.fromarray(pixels).save(os.path.join(folder, f"{number}.png"))


def _seconds(work: Callable[[], object]) -> float:
    """CPU seconds, as other work on the machine disturbs them less."""
    start = time.process_time()
    work()
    return time.process_time() - start


def measure(directory: str) -> None:
    """Prints the CPU seconds of each part, of the checkout on the path; 0 for what it lacks."""
    from tf_simclrv2.config import DataConfig, LabelsConfig
    from tf_simclrv2.data.labels import labelled_ids
    from tf_simclrv2.data.sources import open_source
    from tf_simclrv2.data.stream import Stream
    from tf_simclrv2.keras2 import tf

    tf.zeros([])
    data = DataConfig(dataset="folder", data_dir=directory)
    quick = {"check_images": "quick"} if "check_images" in dataclasses.asdict(data) else None

    def checking(**settings) -> float:
        source = open_source(dataclasses.replace(data, **settings))
        return _seconds(lambda: source.num_examples("train"))

    times: List[float] = []
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        times += [checking(), checking()]
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        times.append(0.0 if quick is None else checking(**quick))
        source = open_source(data)
        count = source.num_examples("train")
        times.append(
            _seconds(lambda: labelled_ids(source, "train", LabelsConfig(label_fraction=0.1)))
        )
        stream = Stream(source, "train", 0, data=data)

        def reaching(start: int) -> float:
            return _seconds(lambda: next(iter(stream.examples(start))))

        times += [reaching(0), reaching(int(_LATE * count))]
    print(*times)


def main() -> None:
    """Runs what the command line asks for, and prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--other", help="directory of another checkout")
    parser.add_argument("--images", type=int, default=20000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return
    from benchmarks.checkouts import in_turns

    with tempfile.TemporaryDirectory() as directory:
        write_images(directory, options.images)
        arguments = [f"--measure={directory}"]
        medians = in_turns(__file__, arguments, options.other, options.rounds)
    print(f"| {options.images:,} images, CPU seconds | {' | '.join(medians)} | ratio |")
    print("|---|" + "--:|" * (len(medians) + 1))
    for number, part in enumerate(_PARTS):
        seconds = [each[number] for each in medians.values()]
        cells = [f"{each:.2f}" if each else "n/a" for each in seconds]
        ratio = f"{seconds[0] / seconds[-1]:.2f}" if seconds[-1] else "n/a"
        print(f"| {part} | {' | '.join(cells)} | {ratio} |")


if __name__ == "__main__":
    main()
