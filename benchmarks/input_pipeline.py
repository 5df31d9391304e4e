"""Measures the input pipeline in examples per second, part by part, next to the authors' pipeline.

Run from the project's root; it takes about a quarter of an hour on two cores:

  python -m benchmarks.input_pipeline --simclr=PATH --opencv=PYTHON

PATH is a checkout of google-research/simclr. Its tf2/data_util.py and our pipeline are measured in
turn, on the same images; without PATH, only ours is measured. PYTHON is one that has OpenCV, and
runs benchmarks.opencv_pipeline. An example is an image with its two views. Images are cut out of
the two photographs that scikit-learn ships and are kept encoded in memory: JPEGs of 500x375 pixels
for 224 pixels, and JPEGs of 96x96 and PNGs of 32x32 for these sizes. Each size and number of
processors runs in a separate process.
"""

import argparse
import dataclasses
import functools
import itertools
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Callable, Dict, Iterable, List, NamedTuple, Tuple

_SHAPES = {32: (32, 32, "PNG"), 96: (96, 96, "JPEG"), 224: (375, 500, "JPEG")}
_BATCHES = {32: 256, 96: 128, 224: 64}
_NUM_IMAGES = 256
_HOST, _COMPLETE = "host: and flip, colour", "complete: and blur, float32"
_OPENCV = "OpenCV, with blur"
_COMPARED = (
    (_HOST, "theirs, without blur"),
    (_COMPLETE, "theirs, with blur"),
    (_COMPLETE, _OPENCV),
    (_HOST, "decoder and two crops"),
    (_HOST, "decoder alone"),
)


def write_images(folder: str, size: int) -> None:
    """Writes images for views of ``size`` pixels as ``folder/class/file``."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    height, width, kind = _SHAPES[size]
    random = np.random.RandomState(0)
    photographs = load_sample_images().images
    for number in range(_NUM_IMAGES):
        photograph = photographs[number % 2]
        # A part of three quarters to all of the photograph, in the shape wanted.
        scale = random.uniform(0.75, 1) * min(
            photograph.shape[0] / height, photograph.shape[1] / width
        )
        rows, columns = int(height * scale), int(width * scale)
        top = random.randint(photograph.shape[0] - rows + 1)
        left = random.randint(photograph.shape[1] - columns + 1)
        image = Image.fromarray(photograph[top : top + rows, left : left + columns])
        path = os.path.join(folder, str(number % 2))
        os.makedirs(path, exist_ok=True)
        image.resize((width, height), Image.Resampling.LANCZOS).save(
            os.path.join(path, f"{number}.{kind.lower()}"), quality=90
        )


def our_parts(source, data, batch: int) -> Dict[str, Callable]:
    """Our data sets by the name of the part of the work that they do, of examples in batches."""
    from tf_simclrv2.config import AugmentationConfig
    from tf_simclrv2.data.batches import Views, batches
    from tf_simclrv2.data.stream import Stream
    from tf_simclrv2.data.views import DRAWS, distort, ready_for_network
    from tf_simclrv2.keras2 import tf

    size, decode = data.resolved_image_size, source.decoder("train")
    encoded = list(source.examples("train").as_numpy_iterator())
    images = tf.data.Dataset.from_tensor_slices([example["image"] for example in encoded])
    images = images.repeat()
    stream = Stream(source, "train", 0, data=data)

    def batched(dataset):
        return dataset.batch(batch, drop_remainder=True).prefetch(tf.data.AUTOTUNE)

    def views(augmentation, on_device=False):
        return batches(stream, Views.two(size, augmentation, on_device), batch)

    def complete(augmentation):
        ready = views(augmentation).map(ready_for_network, tf.data.AUTOTUNE)
        return lambda: ready.prefetch(tf.data.AUTOTUNE)

    def two_crops(content):
        image = decode(content)
        shape = tf.shape(image)
        crops = [
            tf.image.crop_to_bounding_box(image, 0, 0, shape[0] * 3 // 4, shape[1] * 3 // 4)
        ] * 2
        return [tf.image.resize(crop, [size, size], "bicubic") for crop in crops]

    sharp = AugmentationConfig(use_blur=False)
    yiq = dataclasses.replace(sharp, color_space="yiq")
    first = next(iter(views(AugmentationConfig(), on_device=True)))
    inputs = [(first[name], first[name + DRAWS]) for name in ("view_1", "view_2")]

    def on_device(config):
        compiled = tf.function(functools.partial(distort, config=config), jit_compile=True)
        return lambda: (list(itertools.starmap(compiled, inputs)) for _ in itertools.count())

    def count_bytes(content):
        return tf.reduce_sum(tf.shape(decode(content)))

    return {
        "decoder alone": lambda: batched(images.map(count_bytes, tf.data.AUTOTUNE)),
        "decoder and two crops": lambda: batched(images.map(two_crops, tf.data.AUTOTUNE)),
        "host: decode, crop, resize": lambda: views(sharp, on_device=True),
        _HOST: lambda: views(sharp),
        "host: and flip, colour in YIQ": lambda: views(yiq),
        _COMPLETE: complete(AugmentationConfig()),
        "device part on this CPU": on_device(AugmentationConfig()),
    }


def their_parts(path: str, source, size: int, batch: int) -> Dict[str, Callable]:
    """The data sets of google-research/simclr, see :func:`our_parts`."""
    from tf_simclrv2.keras2 import tf

    sys.path.insert(0, os.path.join(path, "tf2"))
    import data_util

    encoded = [example["image"] for example in source.examples("train").as_numpy_iterator()]
    images = tf.data.Dataset.from_tensor_slices(encoded).repeat()

    def two_views(image):
        return tuple(
            data_util.preprocess_image(
                image, size, size, is_training=True, color_jitter_strength=1.0
            )
            for _ in range(2)
        )

    def decode(content):
        return tf.io.decode_image(content, channels=3, expand_animations=False)

    def batches():
        decoded = images.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
        decoded = decoded.shuffle(batch * (50 if size <= 32 else 10))
        return decoded.map(two_views, num_parallel_calls=tf.data.AUTOTUNE).batch(batch, True)

    def blurred(*views):
        return data_util.batch_random_blur(list(views), size, size)

    return {
        "theirs, without blur": lambda: batches().prefetch(tf.data.AUTOTUNE),
        "theirs, with blur": lambda: batches().map(blurred, tf.data.AUTOTUNE).prefetch(1),
    }


def rate(batches: Iterable, batch: int, warmup: float, seconds: float) -> Tuple[float, float]:
    """Examples per second, and per second of processor time, from the end of the warmup on."""
    iterator = iter(batches)
    begin = time.perf_counter()
    while time.perf_counter() - begin < warmup:
        next(iterator)
    next(iterator)
    start, worked, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - start < seconds or count < 2:
        next(iterator)
        count += batch
    return count / (time.perf_counter() - start), count / (time.process_time() - worked)


def _rate_of_opencv(python: str, *arguments: object) -> Tuple[float, float]:
    command = [python, "-m", "benchmarks.opencv_pipeline", *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    wall, processor = map(float, done.stdout.split())
    return wall, processor


class Peers(NamedTuple):
    """What is measured beside ours; empty what isn't.

    Attributes:
      simclr: the checkout of google-research/simclr.
      opencv: a Python that has OpenCV.
    """

    simclr: str
    opencv: str


def measure(folder: str, size: int, cores: int, peers: Peers, seconds: float, rounds: int) -> Dict:
    """Measures all parts in turns.

    Args:
      folder: the images.
      size: of the views, in pixels.
      cores: processors to use.
      peers: what is measured besides.
      seconds: how long to measure, and before that to warm up.
      rounds: how often.

    Returns:
      Lists of examples per second, and per second of processor time, by part.
    """
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    from tf_simclrv2.config import DataConfig
    from tf_simclrv2.data.sources import open_source

    data = DataConfig(
        dataset="folder", data_dir=folder, image_size=size, holdout_fraction=0, cache_dataset=True
    )
    source, batch = open_source(data), _BATCHES[size]
    parts = our_parts(source, data, batch)
    if peers.simclr:
        parts.update(their_parts(peers.simclr, source, size, batch))
    rates: Dict[str, List[Tuple[float, float]]] = {name: [] for name in parts}
    for _ in range(rounds):
        for name, batches in parts.items():
            rates[name].append(rate(batches(), batch, seconds, seconds))
        if peers.opencv:
            found = _rate_of_opencv(peers.opencv, folder, size, batch, seconds)
            rates.setdefault(_OPENCV, []).append(found)
    return rates


def main() -> None:
    """Prints a table for each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simclr", default="", help="checkout of google-research/simclr")
    parser.add_argument("--opencv", default="", help="a Python that has OpenCV")
    parser.add_argument("--sizes", default="32,96,224", help="sizes of views in pixels")
    parser.add_argument("--cores", default="1,2", help="numbers of processors")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a measurement")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    cores = [int(number) for number in options.cores.split(",")]
    peers = Peers(options.simclr, options.opencv)
    for size in map(int, options.sizes.split(",")):
        measured = []
        with tempfile.TemporaryDirectory() as folder:
            write_images(folder, size)
            for number in cores:
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    measured.append(
                        pool.apply(measure, (folder, size, number, peers, options.seconds,
                                             options.rounds))
                    )  # fmt: skip
        _print_table(size, cores, measured)


def _print_table(size: int, cores: List[int], measured: List[Dict]) -> None:
    print(f"\n{size} pixels, examples of two views a second; in brackets, of processor time\n")
    print("| part |" + "".join(f" {number} cores |" for number in cores))
    print("|---|" + "--:|" * len(cores))

    def row(name, cells, digits):
        texts = [f" {wall:.{digits}f} ({processor:.{digits}f}) |" for wall, processor in cells]
        print(f"| {name} |" + "".join(texts), flush=True)

    for name in measured[0]:
        row(name, [[statistics.median(kind) for kind in zip(*m[name])] for m in measured], 0)
    for ours, other in _COMPARED:
        if other in measured[0]:
            # Pair by pair, each measured in the same round.
            pairs = [
                [(a / b, c / d) for (a, c), (b, d) in zip(m[ours], m[other])] for m in measured
            ]
            medians = [[statistics.median(kind) for kind in zip(*pair)] for pair in pairs]
            row(f"{ours} / {other}", medians, 2)


if __name__ == "__main__":
    main()
