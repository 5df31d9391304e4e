"""Measures a pipeline written by hand with OpenCV, for benchmarks.input_pipeline, which runs it.

Needs OpenCV and NumPy and none of the packages that this project needs, so that it can run in an
environment of its own, from the project's root:

  PYTHON -m benchmarks.opencv_pipeline FOLDER IMAGE_SIZE BATCH SECONDS

It prints examples per second, and per second of processor time. Views are drawn as ours are by
default: crops of 0.08 to 1 of the area, resized bicubically, mirrored, their brightness, contrast,
saturation and hue changed in random order, grey, and blurred, as float32. Each processor has a
thread of its own; OpenCV and NumPy release Python's lock.
"""

import os
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Iterator, List

import cv2
import numpy as np

from benchmarks.input_pipeline import rate

_GRAY = np.array([0.114, 0.587, 0.299], np.float32)


def crop(image: np.ndarray, size: int, random: np.random.Generator) -> np.ndarray:
    """A random part of an image, resized to ``size`` and mirrored at random."""
    height, width = image.shape[:2]
    for _ in range(10):
        area = height * width * random.uniform(0.08, 1)
        ratio = np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3)))
        rows, columns = round((area / ratio) ** 0.5), round((area * ratio) ** 0.5)
        if rows <= height and columns <= width:
            break
    else:
        rows, columns = height, width
    top, left = random.integers(height - rows + 1), random.integers(width - columns + 1)
    part = image[top : top + rows, left : left + columns]
    view = cv2.resize(part, (size, size), interpolation=cv2.INTER_CUBIC)
    return cv2.flip(view, 1) if random.random() < 0.5 else view


def hue(view: np.ndarray, turn: float) -> np.ndarray:
    """Turns the hue of a view in [0, 1] by a part of the circle."""
    hsv = cv2.cvtColor(view, cv2.COLOR_BGR2HSV)
    hsv[..., 0] = (hsv[..., 0] + 360 * turn) % 360
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)


def coloured(view: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Changes brightness, contrast, saturation and hue in random order, and makes some grey."""
    if random.random() < 0.8:
        factors = random.uniform(0.2, 1.8, 3).astype(np.float32)
        turn = random.uniform(-0.2, 0.2)
        for change in random.permutation(4):
            if change == 0:
                view = view * factors[0]
            elif change == 1:
                mean = np.float32((view @ _GRAY).mean())
                view = (view - mean) * factors[1] + mean
            elif change == 2:
                grey = (view @ _GRAY)[..., np.newaxis]
                view = (view - grey) * factors[2] + grey
            else:
                view = hue(view, turn)
            view = np.clip(view, 0, 1)
    if random.random() < 0.2:
        view = np.repeat((view @ _GRAY)[..., np.newaxis], 3, axis=2)
    return view


def example(content: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Two views of an encoded image, float32 [2, size, size, 3]."""
    random = np.random.default_rng(seed)
    image = cv2.imdecode(content, cv2.IMREAD_COLOR)
    views = []
    for _ in range(2):
        view = coloured(crop(image, size, random).astype(np.float32) / 255, random)
        if random.random() < 0.5:
            width = size // 10 | 1
            view = cv2.GaussianBlur(view, (width, width), random.uniform(0.1, 2))
        views.append(view[..., ::-1])
    return np.stack(views)


def batches(folder: str, size: int, batch: int, threads: int) -> Iterator[np.ndarray]:
    """Batches of two views without end; the next one is made while one is used."""
    cv2.setNumThreads(1)
    files = [os.path.join(root, name) for root, _, names in os.walk(folder) for name in names]
    contents = [np.fromfile(path, np.uint8) for path in sorted(files)]
    with ThreadPoolExecutor(threads) as pool:
        number = 0
        waiting: List[Future[np.ndarray]] = []
        while True:
            while len(waiting) < 2 * batch:
                content = contents[number % len(contents)]
                waiting.append(pool.submit(example, content, size, number))
                number += 1
            yield np.stack([each.result() for each in waiting[:batch]])
            del waiting[:batch]


def main() -> None:
    """Prints the two rates."""
    folder, (size, batch) = sys.argv[1], map(int, sys.argv[2:4])
    threads = len(os.sched_getaffinity(0))
    seconds = float(sys.argv[4])
    print(*rate(batches(folder, size, batch, threads), batch, seconds, seconds), flush=True)
    # Threads would go on with what they were given.
    os._exit(0)


if __name__ == "__main__":
    main()
