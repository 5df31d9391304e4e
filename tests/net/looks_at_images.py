"""What rows look at, of a job of a training command: the images that it trains on."""

import glob
from typing import Callable, List

import numpy as np

from tests.net import pictures
from tests.net.held import Held
from tests.net.table import filled, training

# Images of pictures.colours() that are trained on, with a tenth held out.
EPOCH = 70


def _streams(batch) -> List[np.ndarray]:
    """The images of a batch, of each name that it has."""
    return [value for value in batch.values() if value.ndim == 4]


def _as_pixels(images: np.ndarray) -> np.ndarray:
    return images if images.dtype == np.uint8 else np.round(images * 255).astype(np.uint8)


def _known(held: Held) -> np.ndarray:
    return pictures.pixels(held.values["data_dir"])


def _coming(held: Held) -> List[int]:
    """Which images come, mirrored or not, one after the other."""
    images, known = held.images(EPOCH), _known(held)
    both = pictures.numbers(images, known), pictures.numbers(images[:, :, ::-1], known)
    return [max(pair) for pair in zip(*both)]


def order(held: Held) -> List[int]:
    """In which order an epoch's images come, whichever they are."""
    return np.argsort(np.argsort(_coming(held))).tolist()


def flipped(held: Held) -> List[bool]:
    """Whether the images that come are mirrored."""
    return [
        number >= 0 for number in pictures.numbers(held.images(EPOCH), _known(held)[:, :, ::-1])
    ]


def which(held: Held) -> List[int]:
    """Which images come in an epoch, whatever their order."""
    return sorted(_coming(held))


def labelled(held: Held) -> List[int]:
    """Which images come with labels."""
    name = "labelled_image" if "labelled_image" in held.batch else "image"
    return sorted({*pictures.numbers(held.images(EPOCH, name), _known(held))})


def how_many_labelled(held: Held) -> int:
    return len(labelled(held))


def in_folder(folder: str) -> Callable[[Held], int]:
    """How many images of an epoch of 100 come from a folder."""

    def from_folder(held: Held) -> int:
        known = pictures.pixels(filled(folder, held.command))
        return sum(number >= 0 for number in pictures.numbers(held.images(100), known))

    return from_folder


def held_out(held: Held) -> int:
    """How many of the first images are those that another job holds out."""
    validation = training(held.command, "").split("validation")
    return sum(number >= 0 for number in pictures.numbers(held.images(10), validation))


def kept(held: Held) -> float:
    """The part of later images that are as the files were when they were read first."""
    batches = held.batches()
    name = next(iter(held.batch))
    with pictures.repainted(held.values["data_dir"]):
        later = [next(batches)[name] for _ in range(11)][-4:]
    numbers = pictures.numbers(np.concatenate(later), _known(held))
    return np.mean([number >= 0 for number in numbers])


def kept_in_a_file(held: Held) -> bool:
    """Whether there is a directory with the examples."""
    return bool(held.values.get("cache_path") and glob.glob(held.values["cache_path"] + "*"))


# Augmentation. What reaches the loss, whether it was made on the host or on the device?


def _shares(held: Held, batch, expected: np.ndarray) -> List[float]:
    """Of each stream's images: the part that is one of those expected."""
    streams = [pictures.numbers(_as_pixels(images), expected) for images in _streams(batch)]
    return [float(np.mean([number >= 0 for number in numbers])) for numbers in streams]


def untouched(held: Held) -> List[float]:
    """The part of the images that are as in their files, in each stream."""
    return _shares(held, held.fed, _known(held))


def untouched_by_the_host(held: Held) -> List[float]:
    """The same of images as they come from the pipeline."""
    return _shares(held, held.batch, _known(held))


def mirrored(held: Held) -> List[float]:
    """The part of the images that are mirrored and not changed otherwise."""
    return _shares(held, held.fed, _known(held)[:, :, ::-1])


def contrasts(held: Held) -> List[float]:
    """How much neighbouring pixels differ, in each stream."""
    return [float(np.abs(np.diff(images, axis=2)).mean()) for images in _streams(held.fed)]


def distorted(held: Held) -> np.ndarray:
    """What reaches the loss of the first stream."""
    return _streams(held.fed)[0]


def as_in_finetune(*flags: str) -> Callable[[np.ndarray, np.ndarray], None]:
    """Expects the very images that fine-tuning makes with these flags, which are others."""

    def check(before: np.ndarray, after: np.ndarray) -> None:
        assert not np.array_equal(before, after)
        np.testing.assert_allclose(after, distorted(training("finetune", *flags)), atol=1e-6)

    return check


def _extents(held: Held) -> np.ndarray:
    """Height and width of each crop, of the image's, from the colours of the gradient."""
    images = np.concatenate(_streams(held.batch)).astype(float) / 255
    red, green = images[..., 0], images[..., 1]
    return np.stack([np.ptp(each.reshape(len(each), -1), axis=1) for each in (green, red)])


def smallest_area(held: Held) -> float:
    """Of the crops, the area of the smallest, of the image's."""
    return float(_extents(held).prod(axis=0).min())


def largest_aspect(held: Held) -> float:
    """Of the crops, the largest ratio of their sides."""
    height, width = _extents(held)
    return float(np.maximum(height / width, width / height).max())
