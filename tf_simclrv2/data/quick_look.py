"""What the header and the end of an image file say: whether it is whole, and how large.

Only JPEG and PNG files whose header and end leave no doubt are vouched for. All others have to be
decoded, so that nothing counts as corrupt here that decodes.
"""

import os
import struct
import zlib
from typing import Optional, Tuple

from tf_simclrv2.data.pixels import MOST_IN_FLOATS

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_JPEG, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
# Begins the pixels.
_SCAN = 0xDA
# Frames hold the size; of these numbers three are other segments.
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_READ_AT_ONCE = 4096
# Of one header; more are not a photograph's.
_MOST_SEGMENTS = 1000


def look(path: str) -> Optional[Tuple[int, int]]:
    """Height and width of an image file, as stored, that seems to be whole; else None."""
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except OSError:
        return None
    try:
        size = os.fstat(file).st_size
        start = os.pread(file, _READ_AT_ONCE, 0)
        end = start[-12:] if size == len(start) else os.pread(file, 12, max(size - 12, 0))
        if start.startswith(_PNG):
            sides = _of_png(start, end)
        elif start.startswith(_JPEG) and end.endswith(_JPEG_END):
            sides = _of_jpeg(file, start, size)
        else:
            sides = None
    except (OSError, struct.error, IndexError):
        return None
    finally:
        os.close(file)
    usual = sides is not None and 0 < sides[0] * sides[1] <= MOST_IN_FLOATS
    return sides if usual else None


def _of_png(start: bytes, end: bytes) -> Optional[Tuple[int, int]]:
    width, height, checksum = struct.unpack(">16xII5xI", start[:33])
    whole = start[8:16] == b"\0\0\0\rIHDR" and zlib.crc32(start[12:29]) == checksum
    return (height, width) if whole and end == _PNG_END else None


def _of_jpeg(file: int, start: bytes, size: int) -> Optional[Tuple[int, int]]:
    """Goes through the segments up to the pixels, which are followed by the end."""
    sides, place, first = None, 2, 0
    for _ in range(_MOST_SEGMENTS):
        if place + 9 > first + len(start):
            start, first = os.pread(file, _READ_AT_ONCE, place), place
        here = place - first
        if start[here] != 0xFF:
            return None
        marker = start[here + 1]
        if marker == _SCAN:
            return sides if place + 4 < size - len(_JPEG_END) else None
        if marker == 0xFF:  # Any number of these may stand before a marker.
            place += 1
            continue
        length, height, width = struct.unpack(">HxHH", start[here + 2 : here + 9])
        if marker in _FRAMES:
            sides = height, width
        place += 2 + length
    return None
