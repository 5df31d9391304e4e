"""Whether two files hold the same picture, by their pixels."""

import numpy as np
from PIL import Image

_SIDE = 16
# Pixels of the same picture differ by less than this part of their contrast, and a bit for plain
# ones. A picture of JPEG quality 75 keeps to it. docs/labels.md has how often others do.
_PART_OF_CONTRAST, _LEAST_DIFFERENCE = 0.2, 0.5
# Of the mean colours, in steps of 256.
_MOST_BRIGHTER = 16.0


def reduced(image: np.ndarray) -> np.ndarray:
    """Averages a picture down to what :func:`is_same` compares.

    Args:
      image: uint8 [height, width, 3].

    Returns:
      uint8 [side, side, 3], the side being 16, or that of a smaller picture.
    """
    return _to_side(image, min(_SIDE, *image.shape[:2]))


def is_same(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two pictures are copies of one: saved again, resized or a little brighter.

    Args:
      first: of :func:`reduced`.
      second: of :func:`reduced`.
    """
    side = min(len(first), len(second))
    one, other = (_to_side(each, side).astype(np.float64) for each in (first, second))
    means = one.mean(axis=(0, 1)), other.mean(axis=(0, 1))
    if np.abs(means[0] - means[1]).max() > _MOST_BRIGHTER:
        return False
    one, other = one - means[0], other - means[1]
    contrast = np.sqrt((np.mean(one**2) + np.mean(other**2)) / 2)
    difference = np.sqrt(np.mean((one - other) ** 2))
    return bool(difference <= _PART_OF_CONTRAST * contrast + _LEAST_DIFFERENCE)


def _to_side(image: np.ndarray, side: int) -> np.ndarray:
    if image.shape[:2] == (side, side):
        return image
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX))
