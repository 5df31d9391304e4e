"""What rows look at, of a job of a training command: the images that it trains on."""

import glob
from typing import Callable, List, NamedTuple, Sequence

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


def _turns(images: np.ndarray, ks: Sequence[int]) -> np.ndarray:
    """Images, turned by each of some numbers of quarters."""
    return np.concatenate([np.rot90(images, k, axes=(1, 2)) for k in ks])


def reflected(held: Held) -> List[float]:
    """The part of the images that are mirrored and perhaps turned, and not changed otherwise."""
    return _shares(held, held.fed, _turns(_known(held)[:, ::-1], range(4)))


def quarter_turned(held: Held) -> List[float]:
    """The part of the images that are turned by one or three quarters and perhaps mirrored."""
    both = np.concatenate([_known(held), _known(held)[:, ::-1]])
    return _shares(held, held.fed, _turns(both, (1, 3)))


def grey(held: Held) -> List[float]:
    """The part of the images whose channels are all alike, in each stream."""
    spans = [np.ptp(images, axis=-1).max((1, 2)) for images in _streams(held.fed)]
    return [float(np.mean(each < 1e-3)) for each in spans]


def brightest(held: Held) -> List[float]:
    """The largest value, in each stream."""
    return [float(images.max()) for images in _streams(held.fed)]


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


class _Maps(NamedTuple):
    """How views lie in images of the gradient, as the colours of their pixels say.

    Attributes:
      turns: angles in degrees, by which views are turned in the image.
      scales: factors by which what they show is enlarged.
      slants: of vertical lines.
      shifts: larger one of the two of each view, of its side.
    """

    turns: np.ndarray
    scales: np.ndarray
    slants: np.ndarray
    shifts: np.ndarray


def _maps(held: Held) -> _Maps:
    images = np.concatenate(_streams(held.batch)).astype(float) / 255
    size = images.shape[1]
    down, right = (np.indices((size, size)) - (size - 1) / 2) / size
    maps = []
    for image in images:
        # Only within the image, and not where the gradient ends.
        inside = ((image[..., :2] > 0.05) & (image[..., :2] < 0.95)).all(-1)
        places = np.stack([right, down, np.ones_like(right)], axis=-1)[inside]
        found = np.linalg.lstsq(places, image[inside][:, :2] - 0.5, rcond=None)[0]
        spans, middle = found[:2].T, found[2]
        turn = np.arctan2(spans[1, 0], spans[0, 0])
        back = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        upright = back @ spans
        shift = np.abs(np.linalg.solve(spans, middle)).max()
        maps.append((np.degrees(turn), 1 / upright[0, 0], upright[0, 1] / upright[1, 1], shift))
    return _Maps(*np.array(maps).T)


def largest_turn(held: Held) -> float:
    return float(np.abs(_maps(held).turns).max())


def smallest_scale(held: Held) -> float:
    return float(_maps(held).scales.min())


def largest_scale(held: Held) -> float:
    return float(_maps(held).scales.max())


def largest_slant(held: Held) -> float:
    return float(np.abs(_maps(held).slants).max())


def largest_shift(held: Held) -> float:
    return float(_maps(held).shifts.max())


def black_at_the_border(held: Held) -> List[float]:
    """The part of the gradient's views that are black somewhere, where blue is never 0."""
    return [float(np.mean(each[..., 2].min((1, 2)) < 100)) for each in _streams(held.batch)]
