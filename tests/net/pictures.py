"""Folders of small images that tests tell apart by their pixels."""

import contextlib
import functools
import glob
import os
import tempfile
from typing import Iterator, List

import numpy as np
from PIL import Image

CLASSES, OF_CLASS, SIZE = 10, 8, 8
_ROOT = tempfile.TemporaryDirectory(prefix="tf_simclrv2_pictures_")


def _noise(seed: int) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, (SIZE, SIZE, 3), np.uint8)


def _gradient() -> np.ndarray:
    """Red grows to the right and green downwards, so that a crop shows where it was taken."""
    ramp = np.linspace(0, 255, 64).round().astype(np.uint8)
    across, down = np.meshgrid(ramp, ramp)
    return np.stack([across, down, np.full_like(down, 128)], axis=-1)


def _write(path: str, image: np.ndarray) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Image.fromarray(image).save(path)


def _classes(name: str, first_seed: int, names: str = "0123456789") -> str:
    folder = os.path.join(_ROOT.name, name)
    for index in range(CLASSES * OF_CLASS):
        path = os.path.join(folder, names[index // OF_CLASS], f"{index % OF_CLASS}.png")
        _write(path, _noise(first_seed + index))
    return folder


@functools.lru_cache(None)
def colours() -> str:
    """Ten classes, called as the digits are, of eight images each; every image is another."""
    return _classes("colours", 1000)


@functools.lru_cache(None)
def others() -> str:
    """A folder like :func:`colours`, of other images."""
    return _classes("others", 2000)


@functools.lru_cache(None)
def letters() -> str:
    """A folder like :func:`colours`, whose classes are called by letters."""
    return _classes("letters", 4000, "abcdefghij")


@functools.lru_cache(None)
def more() -> str:
    """Thirty images without labels."""
    folder = os.path.join(_ROOT.name, "more")
    for index in range(30):
        _write(os.path.join(folder, f"{index:02}.png"), _noise(5000 + index))
    return folder


LABELLED = 4


@functools.lru_cache(None)
def table() -> str:
    """A table with labels of half of the images of :func:`colours`, those of their directories."""
    path = os.path.join(_ROOT.name, "labels.csv")
    with open(path, "w", encoding="utf-8") as file:
        file.write("image,label\n")
        for index in range(CLASSES):
            file.writelines(f"{index}/{number}.png,{index}\n" for number in range(LABELLED))
    return path


@functools.lru_cache(None)
def classes() -> str:
    """A list of the classes of :func:`table` and of two more."""
    path = os.path.join(_ROOT.name, "classes.txt")
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{index}\n" for index in range(CLASSES + 2))
    return path


def three() -> str:
    """The paths of three images, separated by commas."""
    return ",".join(_files(more())[:3])


@functools.lru_cache(None)
def damaged() -> str:
    """A folder like :func:`colours`, in which two files of each class are cut off."""
    folder = _classes("damaged", 6000)
    for path in glob.glob(os.path.join(folder, "*", "[01].png")):
        with open(path, "rb") as file:
            content = file.read()
        with open(path, "wb") as file:
            file.write(content[: len(content) // 2])
    return folder


@functools.lru_cache(None)
def same() -> str:
    """Ten classes of eight images that are all the same gradient, so that only views differ."""
    folder = os.path.join(_ROOT.name, "same")
    for index in range(CLASSES * OF_CLASS):
        _write(os.path.join(folder, str(index // OF_CLASS), f"{index % OF_CLASS}.png"), _gradient())
    return folder


def _files(folder: str) -> List[str]:
    return sorted(glob.glob(os.path.join(folder, "**", "*.png"), recursive=True))


@functools.lru_cache(None)
def pixels(folder: str) -> np.ndarray:
    """All images of a folder, in the order of their paths."""
    return np.stack([np.asarray(Image.open(path)) for path in _files(folder)])


def numbers(images: np.ndarray, known: np.ndarray) -> List[int]:
    """Which of the ``known`` images each image is; -1 for one that is none of them."""
    number_of = {image.tobytes(): number for number, image in enumerate(known)}
    return [number_of.get(image.astype(np.uint8).tobytes(), -1) for image in images]


@contextlib.contextmanager
def repainted(folder: str) -> Iterator[None]:
    """Replaces all images of a folder, and puts them back afterwards."""
    before = pixels(folder)
    try:
        for path, image in zip(_files(folder), before):
            Image.fromarray(255 - image).save(path)
        yield
    finally:
        for path, image in zip(_files(folder), before):
            Image.fromarray(image).save(path)
