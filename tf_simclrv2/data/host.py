"""Image files that only Pillow decodes, on the host: TIFF, WebP and compressed BMP files."""

import contextlib
import io
import sys
import warnings
from typing import Iterator, Tuple

import numpy as np
from PIL import (
    BmpImagePlugin,
    Image,
    ImageOps,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from tf_simclrv2.data.pixels import DEPTHS

# All that is handed to Pillow; it never finds out for itself what a file is.
_FORMATS = tuple(
    plugin.format
    for plugin in (
        TiffImagePlugin.TiffImageFile,
        WebPImagePlugin.WebPImageFile,
        BmpImagePlugin.BmpImageFile,
    )
)
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
# Of colours of 16 bits Pillow keeps the upper 8, or the lower 8 if told another order of bytes.
_OTHER_ORDER = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
_SIXTEEN_BITS = tuple(f"{colours};16" for colours in ("RGB", "RGBX", "RGBA"))
_OTHER_VALUES = ("I", "F")
# What Pillow raises for files that are damaged or that it can't read.
_DAMAGES = (
    OSError, SyntaxError, ValueError, LookupError, TypeError, OverflowError, EOFError,
    AttributeError, Image.DecompressionBombError,
)  # fmt: skip


class Unreadable(ValueError):
    """An image file can't be decoded; the message says why, as far as that is known."""


def size_of(content: bytes) -> Tuple[int, int]:
    """Height and width of an image file as stored, without decoding it.

    Raises:
      Unreadable: Pillow can't read its header.
    """
    with _opened(content) as image:
        return image.height, image.width


def decode(content: bytes) -> np.ndarray:
    """Decodes an image file to RGB, uint8 [height, width, 3], upright and laid over white.

    Of several pages or frames it takes the first.

    Raises:
      Unreadable: Pillow can't decode it.
    """
    with _opened(content) as image:
        is_deep = image.mode.startswith("I;16") or _raw_mode(image)[:-1] in _SIXTEEN_BITS
        return _scaled(_deep(content, image)) if is_deep else _in_colours(image)


@contextlib.contextmanager
def _opened(content: bytes) -> Iterator[Image.Image]:
    """Opens an image; errors within the block are about the file."""
    try:
        with warnings.catch_warnings():
            # --max_image_pixels judges the number of pixels.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
                yield image
    except UnidentifiedImageError as error:
        raise Unreadable("no image of a kind that is known") from error
    except _DAMAGES as error:
        raise Unreadable(str(error)) from error


def _in_colours(image: Image.Image) -> np.ndarray:
    if image.mode in _OTHER_VALUES:
        raise ValueError("its values have neither 8 nor 16 bits")
    upright = ImageOps.exif_transpose(image)
    if "A" not in upright.getbands() and "transparency" not in upright.info:
        return np.asarray(upright.convert("RGB"))
    return _over_white(np.asarray(upright.convert("RGBA")))


def _raw_mode(image: Image.Image) -> str:
    """How the values of an image are stored, in Pillow's words."""
    tiles = getattr(image, "tile", None)
    args = tiles[0][3] if tiles else ""
    mode = args if isinstance(args, str) else args[0]
    return mode if isinstance(mode, str) else ""


def _deep(content: bytes, image: Image.Image) -> np.ndarray:
    """Values of 16 bits, uint16 [height, width, 1, 3 or 4]."""
    if image.mode.startswith("I;16"):
        white_is_zero = getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO
        values = np.asarray(ImageOps.exif_transpose(image)).astype(np.uint16)[..., np.newaxis]
        return np.uint16(_end(values)) - values if white_is_zero else values
    with _opened(content) as other:
        mode = _raw_mode(other)
        flipped = mode[:-1] + _OTHER_ORDER[mode[-1]]
        other.tile = [  # type: ignore[attr-defined]
            tile._replace(args=(flipped, *tile.args[1:]))
            for tile in other.tile  # type: ignore[attr-defined]
        ]
        lower = np.asarray(ImageOps.exif_transpose(other)).astype(np.uint16)
    return np.asarray(ImageOps.exif_transpose(image)).astype(np.uint16) * 256 + lower


def _end(values: np.ndarray) -> int:
    """The largest value that pixels may have, judged by those that they have."""
    largest = int(values.max(initial=0))
    return next(2**depth - 1 for depth in DEPTHS if largest < 2**depth)


def _scaled(values: np.ndarray) -> np.ndarray:
    """Does what :func:`tf_simclrv2.data.pixels.scaled_to_8_bits` does."""
    ends = np.full(values.shape[-1], _end(values[..., :3]), np.float32)
    ends[3:] = 2**16 - 1
    scaled = np.floor(values.astype(np.float32) * 255 / ends + 0.5).astype(np.uint8)
    return np.repeat(scaled, 3, axis=-1) if scaled.shape[-1] == 1 else _over_white(scaled)


def _over_white(pixels: np.ndarray) -> np.ndarray:
    colours, alpha = pixels[..., :3], pixels[..., 3:].astype(np.uint16)
    if not alpha.size:
        return colours
    return ((colours * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
