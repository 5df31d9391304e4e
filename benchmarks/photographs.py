"""Measures training on large photographs with and without --cache_max_side, in examples per second.

Run from the project's root:

  python -m benchmarks.photographs --images=24 --max_side=512

It writes JPEG files of 4,000 x 3,000 pixels, cut out of the two photographs that scikit-learn
ships and enlarged, with the noise of a camera. For views of 224 pixels it decodes, crops and
resizes them: from the files as they are, and as the cache has them, with and without
``--cache_max_side``. The cache is written before; how long that takes is told as well. Seconds are
of CPU time, as other work on the machine disturbs them less.
"""

import argparse
import dataclasses
import os
import statistics
import tempfile
import time
from typing import Dict, Iterator, List

import numpy as np

_WIDTH, _HEIGHT = 4000, 3000
_SIZE, _BATCH, _STEPS = 224, 8, 4


def write_photographs(directory: str, count: int) -> int:
    """Writes photographs of two classes; returns the bytes of one."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    random = np.random.RandomState(0)
    path = ""
    for number in range(count):
        photograph = load_sample_images().images[number % 2]
        top, left = random.randint(0, 40, 2)
        part = Image.fromarray(photograph[top : top + 360, left : left + 480])
        pixels = np.asarray(part.resize((_WIDTH, _HEIGHT), Image.Resampling.BICUBIC), np.float32)
        pixels = pixels + random.normal(0, 4, pixels.shape)
        folder = os.path.join(directory, str(number % 2))
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, f"{number}.jpg")
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return os.path.getsize(path)


def rates(directory: str, max_side: int, images: int, rounds: int) -> Dict[str, float]:
    """Examples per CPU second, by what the images are read from: the median of rounds in turn."""
    from tf_simclrv2.config import AugmentationConfig, DataConfig
    from tf_simclrv2.data.batches import Views, batches
    from tf_simclrv2.data.sources import open_source
    from tf_simclrv2.data.stream import Stream

    data = DataConfig(
        dataset="folder", data_dir=directory, image_size=_SIZE, holdout_fraction=0.0
    )  # fmt: skip
    cached = dataclasses.replace(data, cache_path=f"{directory}_cache_")
    made: Dict[str, Iterator] = {}
    for name, settings in {
        "files": data,
        "cache": cached,
        f"cache, reduced to {max_side}": dataclasses.replace(cached, cache_max_side=max_side),
    }.items():
        stream = Stream(open_source(settings), "train", 0, data=settings)
        start = time.process_time()
        stream.examples()
        print(f"{name}: made in {time.process_time() - start:.1f} CPU seconds")
        views = Views.two(_SIZE, AugmentationConfig(), on_device=True)
        made[name] = iter(batches(stream, views, _BATCH))
        # The first epoch; the program is compiled with the first batch.
        for _ in range(images // _BATCH):
            next(made[name])
    found: Dict[str, List[float]] = {name: [] for name in made}
    for _ in range(rounds):
        for name, source in made.items():
            begin = time.process_time()
            for _ in range(_STEPS):
                next(source)
            found[name].append(_STEPS * _BATCH / (time.process_time() - begin))
    return {name: statistics.median(each) for name, each in found.items()}


def main() -> None:
    """Runs what the command line asks for, and prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--max_side", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        os.environ["XDG_CACHE_HOME"] = os.path.join(directory, "home")
        size = write_photographs(os.path.join(directory, "images"), options.images)
        images = os.path.join(directory, "images")
        found = rates(images, options.max_side, options.images, options.rounds)
    first = found["files"]
    print(f"\n| {_WIDTH} x {_HEIGHT} pixels, {size / 2**20:.1f} MiB | examples per CPU second | |")
    print("|---|--:|--:|")
    for name, rate in found.items():
        print(f"| {name} | {rate:.1f} | {rate / first:.1f} |")


if __name__ == "__main__":
    main()
