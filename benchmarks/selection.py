"""Times a choice of images among very many, or the search for near-duplicates, and their memory.

Features are drawn around as many centres as there are classes and lie in a memory-mapped file, as
``select`` finds them. Run it from the project's root:

  python -m benchmarks.selection --images=1000000 --dim=2048 --budget=100
  python -m benchmarks.selection --images=50000 --dim=512 --methods=duplicates
"""

import argparse
import os
import resource
import tempfile
import time

import numpy as np

_CLASSES, _AT_ONCE = 1000, 8192


def write_features(path: str, images: int, dim: int) -> np.ndarray:
    """Writes features of images of random classes.

    Args:
      path: of the file.
      images: how many.
      dim: numbers of each.

    Returns:
      float16 [images, dim], memory-mapped.
    """
    random = np.random.default_rng(0)
    centres = random.standard_normal((_CLASSES, dim), np.float32)
    values = np.lib.format.open_memmap(path, "w+", np.float16, (images, dim))
    for start in range(0, images, _AT_ONCE):
        count = min(_AT_ONCE, images - start)
        noise = random.standard_normal((count, dim), np.float32)
        values[start : start + count] = centres[random.integers(_CLASSES, size=count)] + noise
    values.flush()
    del values
    return np.load(path, mmap_mode="r")


def main() -> None:
    """Measures what the command line asks for, and prints it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--budget", type=int, default=100)
    parser.add_argument("--methods", default="centres,typiclust,coreset")
    options = parser.parse_args()
    from tf_simclrv2.labelling.duplicates import near_duplicates
    from tf_simclrv2.labelling.select import select

    print("| method | seconds | CPU seconds | peak memory, GB, mapped pages included |")
    print("|---|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "values.npy")
        values = write_features(path, options.images, options.dim)
        for method in options.methods.split(","):
            start, cpu = time.monotonic(), time.process_time()
            if method == "duplicates":
                near_duplicates(values)
            else:
                select(values, options.budget, method, np.zeros(options.images, bool), seed=0)
            wall, cpu = time.monotonic() - start, time.process_time() - cpu
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
            print(f"| {method} | {wall:.0f} | {cpu:.0f} | {peak:.1f} |", flush=True)


if __name__ == "__main__":
    main()
