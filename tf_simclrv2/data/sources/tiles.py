"""Tiles of real colour photographs that need no download, as a data set of TensorFlow Datasets."""

import functools
import hashlib
import importlib.util
import os
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

import numpy as np

from tf_simclrv2.config import ConfigError, DataConfig
from tf_simclrv2.config.extras import check_installed
from tf_simclrv2.data.sources.tfds import TfdsSource

_SIDE = 32
# A tile's side in the photograph is this many halves of a pixel for each of its own.
_HALVES = (2, 3, 4, 6)
# Widths of the stripes of a photograph that are for training and for testing, in turn. Tiles of all
# scales fit into both.
_STRIPES = (("train", 256), ("test", 96))
# Left out between two stripes, as many pixels as a JPEG's blocks have, so that none reaches both.
_MARGIN = 16
# Of a tile's values. Those with less, such as the black around a retina, show nothing.
_LEAST_DEVIATION = 3


class Photograph(NamedTuple):
    """A photograph in scikit-image's wheel.

    Attributes:
      file_name: in ``skimage/data``.
      sha256: how the file's SHA-256 begins.
      shrunk: how many of its pixels are averaged to one, along each side.
    """

    file_name: str
    sha256: str
    shrunk: int = 1


# By class. These are the colour photographs in the wheel that scikit-image's documentation says may
# be used freely; docs/data.md names authors and licences.
PHOTOGRAPHS: Dict[str, Photograph] = {
    "astronaut": Photograph("astronaut.png", "88431cd9653ccd53"),
    "cat": Photograph("chelsea.png", "596aa1e7cb875eb7"),
    "coffee": Photograph("coffee.png", "cc02f8ca188b167c"),
    "galaxies": Photograph("hubble_deep_field.jpg", "3a19c5dd8a927a93"),
    "retina": Photograph("retina.jpg", "38a07f36f27f095e", shrunk=2),
    "rocket": Photograph("rocket.jpg", "c2dd0de7c538df8d"),
    "tissue": Photograph("ihc.png", "f8dd1aa387ddd1f4"),
}


class Tile(NamedTuple):
    """A square of a photograph.

    Attributes:
      split: ``train`` or ``test``.
      top: its first row in the photograph.
      left: its first column.
      side: height and width in pixels of the photograph.
    """

    split: str
    top: int
    left: int
    side: int


class TilesSource(TfdsSource):
    """Tiles of 32 pixels from the seven colour photographs that scikit-image's wheel ships.

    A class is a photograph. Train and test split come from different stripes of it, and share no
    pixel at any scale.

    Args:
      data: where to store them.
    """

    # They need no directory: one that holds images was given to be used.
    may_lie_next_to_images = False

    def __init__(self, data: DataConfig):
        _register()
        super().__init__(data)

    def prepare(self) -> None:
        """Cuts the tiles, unless that was done before, see :meth:`TfdsSource.prepare`.

        Raises:
          ConfigError: scikit-image is not installed, or has other photographs.
        """
        if not self.is_prepared():
            check_installed("scikit-image", "dataset", self.name)
            for photograph in PHOTOGRAPHS.values():
                _check(photograph)
        super().prepare()


def tiles_of(height: int, width: int) -> List[Tile]:
    """Where the tiles of a photograph are: a grid for each scale in each stripe.

    Args:
      height: of the photograph in pixels.
      width: of it.
    """
    found = []
    for split, left, right in _stripes(width):
        for side in (_SIDE * halves // 2 for halves in _HALVES):
            for top in range(0, height - side + 1, side):
                found += [Tile(split, top, x, side) for x in range(left, right - side + 1, side)]
    return found


def _stripes(width: int) -> Iterator[Tuple[str, int, int]]:
    """The stripes of a photograph: split, first column, and the one after the last."""
    left = 0
    while left < width:
        for split, wide in _STRIPES:
            yield split, left, min(left + wide, width)
            left += wide + _MARGIN


def read_photograph(photograph: Photograph) -> np.ndarray:
    """A photograph's pixels, uint8 [height, width, 3]."""
    from PIL import Image

    with Image.open(_path(photograph)) as image:
        return _averaged(np.asarray(image.convert("RGB")), photograph.shrunk)


def cut(pixels: np.ndarray, tile: Tile) -> np.ndarray:
    """A tile's own pixels, uint8 [32, 32, 3], each the mean of those that it covers.

    Args:
      pixels: the photograph, uint8 [height, width, 3].
      tile: which square of it.
    """
    square = pixels[tile.top : tile.top + tile.side, tile.left : tile.left + tile.side]
    # In halves of a pixel, so that each of the tile's covers a whole number.
    return _averaged(square.repeat(2, axis=0).repeat(2, axis=1), 2 * tile.side // _SIDE)


def _averaged(pixels: np.ndarray, block: int) -> np.ndarray:
    """Means of square blocks, rounded: in integers, which are the same on every machine."""
    height, width = (size // block for size in pixels.shape[:2])
    blocks = pixels[: height * block, : width * block].astype(np.int32)
    sums = blocks.reshape(height, block, width, block, 3).sum(axis=(1, 3))
    return ((sums + block**2 // 2) // block**2).astype(np.uint8)


def _shows_something(tile: np.ndarray) -> bool:
    values = tile.astype(np.int64)
    # The variance times the square of the number of values.
    spread = values.size * int((values**2).sum()) - int(values.sum()) ** 2
    return spread >= (_LEAST_DEVIATION * values.size) ** 2


def _path(photograph: Photograph) -> str:
    # Nothing of scikit-image is imported: its functions may download what is in the wheel.
    spec = importlib.util.find_spec("skimage")
    folders = list(spec.submodule_search_locations or []) if spec is not None else []
    return os.path.join(*folders[:1], "data", photograph.file_name)


def _check(photograph: Photograph) -> None:
    path = _path(photograph)
    try:
        with open(path, "rb") as file:
            found = hashlib.sha256(file.read()).hexdigest()
    except OSError as error:
        raise ConfigError(
            f"--dataset=tiles: {path} of scikit-image can't be read ({error.strerror}); "
            "pip install --force-reinstall scikit-image brings it back."
        ) from error
    if not found.startswith(photograph.sha256):
        raise ConfigError(
            f"--dataset=tiles: {path} is not the photograph that the tiles are cut from; "
            "pip install --force-reinstall scikit-image brings it back."
        )


@functools.cache
def _register() -> None:
    """Defines the tiles' builder, which makes TensorFlow Datasets know them by name.

    The builder stands in a function since its base class needs TensorFlow Datasets imported.
    """
    import tensorflow_datasets as tfds

    class Tiles(tfds.core.GeneratorBasedBuilder):
        """Tiles of the colour photographs that scikit-image ships."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return self.dataset_info_from_configs(
                features=tfds.features.FeaturesDict(
                    {
                        "file_name": tfds.features.Text(),
                        "image": tfds.features.Image(shape=(_SIDE, _SIDE, 3)),
                        "label": tfds.features.ClassLabel(names=list(PHOTOGRAPHS)),
                    }
                ),
                supervised_keys=("image", "label"),
                homepage="https://scikit-image.org/docs/stable/api/skimage.data.html",
            )

        def _split_generators(self, dl_manager) -> Dict[str, Iterator]:
            return {split: self._generate_examples(split) for split, _ in _STRIPES}

        def _generate_examples(self, split: str) -> Iterator[Tuple[str, Dict[str, Any]]]:
            for name, photograph in PHOTOGRAPHS.items():
                pixels = read_photograph(photograph)
                for tile in tiles_of(*pixels.shape[:2]):
                    image = cut(pixels, tile)
                    if tile.split != split or not _shows_something(image):
                        continue
                    file_name = f"{name}/{tile.side}/{tile.top}_{tile.left}.png"
                    yield file_name, {"file_name": file_name, "image": image, "label": name}
