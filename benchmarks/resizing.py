"""Compares ways to resize a crop in TensorFlow's graph: milliseconds, and how far they are apart.

Run from the project's root:

  python -m benchmarks.resizing

Crops of six shapes are resized to 224 x 224 pixels by Keys' bicubic interpolation, without
antialiasing, as views are: by TensorFlow's own operation, which the pipeline uses, and in four
other ways. Milliseconds are of CPU time on one thread, the best of some rounds.
"""

import argparse
import functools
import time
from typing import Callable, Dict, List, Tuple

import numpy as np

from tf_simclrv2.keras2 import tf

_SIDE, _LARGEST = 224, 512
_SHAPES = ((375, 500), (180, 240), (300, 200), (100, 120), (350, 350), (150, 90))
# Keys' parameter.
_A = -0.5


def own(image: tf.Tensor) -> tf.Tensor:
    """As the pipeline does it."""
    return tf.image.resize(image, [_SIDE, _SIDE], tf.image.ResizeMethod.BICUBIC)


def scale_and_translate(image: tf.Tensor) -> tf.Tensor:
    """By the operation that also antialiases."""
    sides = tf.cast(tf.shape(image)[:2], tf.float32)
    return tf.raw_ops.ScaleAndTranslate(
        images=image[tf.newaxis], size=[_SIDE, _SIDE], scale=_SIDE / sides,
        translation=tf.zeros([2]), kernel_type="keyscubic", antialias=False,
    )[0]  # fmt: skip


def _taps(side: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
    """Of each pixel of the result along a side: four pixels of the crop, and their weights."""
    middles = (tf.range(_SIDE, dtype=tf.float32) + 0.5) * tf.cast(side, tf.float32) / _SIDE - 0.5
    first = tf.floor(middles)
    places = tf.cast(first, tf.int32)[:, tf.newaxis] + tf.range(-1, 3)
    d = tf.abs(tf.cast(places, tf.float32) - middles[:, tf.newaxis])
    near = ((_A + 2) * d - (_A + 3)) * d * d + 1
    far = ((_A * d - 5 * _A) * d + 8 * _A) * d - 4 * _A
    inside = tf.logical_and(places >= 0, places < side)
    weights = tf.where(d <= 1, near, far) * tf.cast(inside, tf.float32)
    weights /= tf.reduce_sum(weights, axis=1, keepdims=True)
    return tf.clip_by_value(places, 0, side - 1), weights


def two_passes(image: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Rows first, then columns, each the weighted sum of four."""
    (rows, of_rows), (columns, of_columns) = _taps(height), _taps(width)
    made = tf.add_n(
        [
            of_rows[:, k, tf.newaxis, tf.newaxis]
            * tf.cast(tf.gather(image, rows[:, k]), tf.float32)
            for k in range(4)
        ]
    )
    return tf.add_n(
        [
            of_columns[tf.newaxis, :, k, tf.newaxis] * tf.gather(made, columns[:, k], axis=1)
            for k in range(4)
        ]
    )


def two_products(image: tf.Tensor) -> tf.Tensor:
    """By two products of matrices, most of whose entries are 0."""
    height, width = tf.unstack(tf.shape(image)[:2])
    (rows, of_rows), (columns, of_columns) = _taps(height), _taps(width)
    first = tf.reduce_sum(tf.one_hot(rows, height) * of_rows[..., tf.newaxis], axis=1)
    second = tf.reduce_sum(tf.one_hot(columns, width) * of_columns[..., tf.newaxis], axis=1)
    made = tf.matmul(first, tf.reshape(tf.cast(image, tf.float32), [height, width * 3]))
    return tf.einsum("xw,ywc->yxc", second, tf.reshape(made, [_SIDE, width, 3]))


def ways() -> Dict[str, Callable[[np.ndarray], tf.Tensor]]:
    """What resizes a crop, by name."""
    any_size = [tf.TensorSpec([None, None, 3], tf.uint8)]
    graph = functools.partial(tf.function, autograph=False, input_signature=any_size)
    compiled = tf.function(two_passes, autograph=False, jit_compile=True)

    def passes(image):
        return two_passes(image, *tf.unstack(tf.shape(image)[:2]))

    def padded(image):
        sides = [side for side in image.shape[:2]]
        room = [(0, _LARGEST - side) for side in sides]
        return compiled(np.pad(image, [*room, (0, 0)]), *map(tf.constant, sides))

    return {
        "tf.image.resize": graph(own),
        "ScaleAndTranslate": graph(scale_and_translate),
        "two passes of four taps": graph(passes),
        "two products of matrices": graph(two_products),
        "two passes, padded, compiled by XLA": padded,
    }


def main() -> None:
    """Runs what the command line asks for, and prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    random = np.random.RandomState(0)
    crops = [random.randint(0, 256, (*shape, 3)).astype(np.uint8) for shape in _SHAPES]
    found = ways()
    expected = [own(crop).numpy() for crop in crops]
    furthest: Dict[str, float] = {}
    times: Dict[str, List[float]] = {name: [] for name in found}
    for name, resize in found.items():
        pairs = zip(map(resize, crops), expected)
        furthest[name] = max(float(np.abs(made - right).max()) for made, right in pairs)
    for _ in range(options.rounds):
        for name, resize in found.items():
            begun = time.process_time()
            for crop in crops:
                resize(crop)
            times[name].append((time.process_time() - begun) / len(crops))
    first = min(times["tf.image.resize"])
    print("| to 224 x 224 pixels | CPU ms | ratio | largest difference of 255 |\n|---|--:|--:|--:|")
    for name, seconds in times.items():
        best = min(seconds)
        print(f"| {name} | {1000 * best:.2f} | {best / first:.1f} | {furthest[name]:.2f} |")


if __name__ == "__main__":
    main()
