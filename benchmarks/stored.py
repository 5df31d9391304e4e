"""Compares data sets that TensorFlow Datasets has stored as TFRecord and as ArrayRecord.

For each it prints how alike the order of one epoch is to the next, how long the first images at a
late step take, and how many images per second one of four workers reads of its own. Run it from the
project's root:

  python -m benchmarks.stored --images=50000
"""

import argparse
import tempfile
import time
from typing import Any, Dict

import numpy as np

from benchmarks.noise import define

# Images at the late step, and those that are timed after it.
_SOME, _MANY = 16, 4000
_WORKERS = 4
_BATCH = 256
_SIDE = 32


def measure(images: int, file_format: str) -> Dict[str, float]:
    """Measures one way of storing so many images.

    Args:
      images: how many.
      file_format: tfrecord or array_record.

    Returns:
      Figures by name.
    """
    from tf_simclrv2.config import DataConfig
    from tf_simclrv2.data.sources import open_source
    from tf_simclrv2.data.stream import Part, Stream

    with tempfile.TemporaryDirectory() as directory:
        data = DataConfig(dataset="noise", data_dir=directory, file_format=file_format)
        source = open_source(data)
        stream = Stream(source, "train", 0, data=data)
        listed = source.index("train").as_numpy_iterator()
        places = {each["id"]: place for place, each in enumerate(listed)}
        # In the files' order: what is close together there may stay so.
        first, second = np.split(_places(stream, places, 2 * images), 2)
        late = _seconds(stream, _SOME, images - images % _BATCH)
        of_worker = _seconds(stream, _MANY, 0, _BATCH, Part(1, _WORKERS, _WORKERS))
        epochs = np.corrcoef(np.argsort(first), np.argsort(second))[0, 1]
        return {
            "correlation of places in two epochs": epochs,
            f"seconds to {_SOME} images at the end of an epoch": late,
            f"images per second of one of {_WORKERS} workers": _MANY / of_worker,
        }


def _places(stream: Any, places: Dict[bytes, int], count: int) -> np.ndarray:
    examples = stream.examples().take(count).as_numpy_iterator()
    return np.array([places[each["id"]] for each in examples])


def _seconds(stream: Any, count: int, *where: Any) -> float:
    begin = time.perf_counter()
    for _ in stream.examples(*where).take(count):
        pass
    return time.perf_counter() - begin


def main() -> None:
    """Measures both ways, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=50_000)
    options = parser.parse_args()
    define(options.images, _SIDE)
    tfrecord, array_record = (
        measure(options.images, each) for each in ("tfrecord", "array_record")
    )
    print(f"| {options.images:,} images of {_SIDE} pixels | tfrecord | array_record |")
    print("|---|--:|--:|")
    for name in tfrecord:
        print(f"| {name} | {tfrecord[name]:.3g} | {array_record[name]:.3g} |")


if __name__ == "__main__":
    main()
