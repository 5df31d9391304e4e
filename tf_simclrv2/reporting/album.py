"""Small pictures for a page: one file with all of them, and larger ones by themselves."""

import base64
import io
import math
from typing import Dict, List, NamedTuple, Sequence

import numpy as np
from PIL import Image

from tf_simclrv2.data.sources import Source
from tf_simclrv2.labelling.contact_sheet import encoded, thumbnail
from tf_simclrv2.training.pictures import pictures

# Pixels of a side: of the album's pictures, and of those that stand by themselves.
TILE = 48
_LARGER = 144
_GROUND = (128, 128, 128)
_QUALITY = 80
_PNG = b"\x89PNG"


class Album(NamedTuple):
    """Pictures in one file, row by row.

    Attributes:
      source: the file, as an address that a page can hold.
      columns: pictures in a row.
      num_pictures: how many there are.
    """

    source: str
    columns: int
    num_pictures: int

    @property
    def rows(self) -> int:
        """Rows of pictures."""
        return -(-self.num_pictures // self.columns)


def album(source: Source, split: str, ids: Sequence[str]) -> Album:
    """Lays pictures out in the order of their ids.

    Args:
      source: the data set.
      split: whose images they are.
      ids: of the images, at least one.

    Raises:
      ConfigError: an image can't be read any more.
    """
    columns = math.isqrt(len(ids) - 1) + 1
    rows = -(-len(ids) // columns)
    sheet = Image.new("RGB", (columns * TILE, rows * TILE), _GROUND)
    place = {each: number for number, each in enumerate(ids)}
    for each, pixels in pictures(source, split, list(ids)):
        picture = thumbnail(pixels, TILE)
        row, column = divmod(place[each], columns)
        left, top = (TILE - picture.width) // 2, (TILE - picture.height) // 2
        sheet.paste(picture, (column * TILE + left, row * TILE + top))
    file = io.BytesIO()
    sheet.save(file, format="JPEG", quality=_QUALITY)
    return Album(address(file.getvalue()), columns, len(ids))


def larger(source: Source, split: str, ids: Sequence[str]) -> Dict[str, str]:
    """Pictures that stand by themselves, as addresses by id.

    Args:
      source, split, ids: see :func:`album`; there may be none.

    Raises:
      ConfigError: an image can't be read any more.
    """
    if not ids:
        return {}
    wanted: List[str] = list(dict.fromkeys(ids))
    return {each: picture(pixels) for each, pixels in pictures(source, split, wanted)}


def picture(pixels: np.ndarray, side: int = _LARGER) -> str:
    """The address of an image, whose longer side is at most ``side`` pixels.

    Args:
      pixels: uint8 [height, width, 3].
      side: in pixels.
    """
    return address(encoded(pixels, side))


def address(content: bytes) -> str:
    """A PNG or JPEG file as an address that a page can hold."""
    kind = "png" if content.startswith(_PNG) else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
