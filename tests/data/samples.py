"""Image files of every kind, and what Pillow shows of them."""

import io
import struct
from typing import Dict, NamedTuple, Tuple

import numpy as np
from PIL import Image, ImageOps

HEIGHT, WIDTH = 40, 48
_Y, _X = np.mgrid[0:HEIGHT, 0:WIDTH]
RGB = np.dstack([_X * 5, _Y * 6, 255 - _X * 5]).astype(np.uint8)
PICTURE = Image.fromarray(RGB)
_CLEAR = Image.fromarray(np.dstack([RGB, (_X * 5).astype(np.uint8)]))
_PALETTE = PICTURE.convert("P", palette=Image.Palette.ADAPTIVE, colors=64)
_FEW = PICTURE.convert("P", palette=Image.Palette.ADAPTIVE, colors=16)


class Sample(NamedTuple):
    """A file.

    Attributes:
      content: of it.
      in_exports: whether exports decode it.
      tolerance: how far decoders may differ.
    """

    content: bytes
    in_exports: bool = True
    tolerance: int = 0


def encoded(image: Image.Image, kind: str, **arguments) -> bytes:
    """The content of an image file."""
    file = io.BytesIO()
    image.save(file, kind, **arguments)
    return file.getvalue()


def oriented(kind: str, orientation: int, order: str = "<", image=PICTURE) -> bytes:
    """An image file with an orientation of Exif, of either order of bytes."""
    exif = Image.Exif()
    exif.endian = order
    exif[0x010F], exif[0x0112] = "maker", orientation
    return encoded(image, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))


def shown(content: bytes) -> np.ndarray:
    """What Pillow shows of a file: upright, over white, int [height, width, 3]."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB")).astype(int)


def bmp(bits: int, rows, extra: bytes = b"", compression: int = 0, height: int = HEIGHT) -> bytes:
    """A BMP of any kind; ``extra`` are its masks or its palette."""
    data, offset = b"".join(rows), 54 + len(extra)
    colours = len(extra) // 4 if bits <= 8 else 0
    head = struct.pack("<IHHI", offset + len(data), 0, 0, offset)
    info = (40, WIDTH, height, 1, bits, compression, len(data), 2835, 2835, colours, 0)
    return b"BM" + head + struct.pack("<IiiHHIIiiII", *info) + extra + data


def _bmps() -> Dict[str, Sample]:
    reversed_rows = RGB[::-1]
    red, green, blue = (reversed_rows[..., i].astype(np.uint16) for i in range(3))
    palette = np.array(_FEW.getpalette()[:48]).reshape(16, 3)[:, ::-1]
    table = b"".join(bytes([*colour, 0]) for colour in palette.tolist())
    indices = np.asarray(_FEW)[::-1]
    falling = b"".join(bytes([255 - i] * 3 + [0]) for i in range(256))
    grey = 255 - np.asarray(PICTURE.convert("L"))[::-1]
    xbgr = np.dstack([np.zeros((HEIGHT, WIDTH), np.uint8), reversed_rows[..., ::-1]])
    lengths = b"".join(
        b"".join(bytes([1, int(value)]) for value in row) + b"\0\0" for row in indices
    )
    kinds = {
        "24 bits": encoded(PICTURE, "BMP"),
        "24 bits and more bytes": encoded(PICTURE, "BMP") + b"\0\0",
        "24 bits, top row first": bmp(24, [RGB[..., ::-1].tobytes()], height=-HEIGHT),
        "32 bits": encoded(_CLEAR, "BMP"),
        "32 bits, masks XBGR": bmp(
            32, [xbgr.tobytes()], struct.pack("<III", 0xFF000000, 0xFF0000, 0xFF00), 3
        ),
        "grey": encoded(PICTURE.convert("L"), "BMP"),
        "palette": encoded(_PALETTE, "BMP"),
        "palette that falls": bmp(8, [grey.tobytes()], falling),
        "4 bits": bmp(4, [(indices[:, 0::2] << 4 | indices[:, 1::2]).tobytes()], table),
        "1 bit": encoded(PICTURE.convert("1"), "BMP"),
    }
    deep = {
        "16 bits, 565": bmp(
            16, [(red >> 3 << 11 | green >> 2 << 5 | blue >> 3).tobytes()],
            struct.pack("<III", 0xF800, 0x7E0, 0x1F), 3,
        ),
        "16 bits, 555": bmp(16, [(red >> 3 << 10 | green >> 3 << 5 | blue >> 3).tobytes()]),
    }  # fmt: skip
    core = struct.pack("<IHHI", 26 + RGB.size, 0, 0, 26) + struct.pack(
        "<IHHHH", 12, WIDTH, HEIGHT, 1, 24
    )
    on_host = {
        "run lengths": bmp(8, [lengths + b"\0\1"], table, 1),
        "of OS/2": b"BM" + core + reversed_rows[..., ::-1].tobytes(),
    }
    return {
        **{f"BMP {name}": Sample(content) for name, content in kinds.items()},
        # Of 5 bits Pillow rounds down.
        **{f"BMP {name}": Sample(content, tolerance=1) for name, content in deep.items()},
        **{f"BMP {name}": Sample(content, in_exports=False) for name, content in on_host.items()},
    }


def _pngs() -> Dict[str, bytes]:
    colour = tuple(RGB[3, 4].tolist())
    return {
        "RGB": encoded(PICTURE, "PNG"),
        "grey": encoded(PICTURE.convert("L"), "PNG"),
        "1 bit": encoded(PICTURE.convert("1"), "PNG"),
        "palette": encoded(_PALETTE, "PNG"),
        "palette of 4 bits": encoded(_FEW, "PNG", bits=4),
        "palette, transparent": encoded(_PALETTE, "PNG", transparency=3),
        "grey, transparent": encoded(PICTURE.convert("L"), "PNG", transparency=100),
        "RGB, transparent": encoded(PICTURE, "PNG", transparency=colour),
        "alpha": encoded(_CLEAR, "PNG"),
        "grey and alpha": encoded(_CLEAR.convert("LA"), "PNG"),
    }


def _host_kinds() -> Dict[str, bytes]:
    second = Image.fromarray(255 - RGB)
    pages = {"save_all": True, "append_images": [second]}
    return {
        "TIFF": encoded(PICTURE, "TIFF"),
        "TIFF LZW": encoded(PICTURE, "TIFF", compression="tiff_lzw"),
        "TIFF alpha": encoded(_CLEAR, "TIFF"),
        "TIFF palette": encoded(_PALETTE, "TIFF"),
        "TIFF of two pages": encoded(PICTURE, "TIFF", **pages),
        "WebP": encoded(PICTURE, "WEBP"),
        "WebP alpha": encoded(_CLEAR, "WEBP", lossless=True),
        "WebP that moves": encoded(PICTURE, "WEBP", lossless=True, **pages),
    }


KINDS: Dict[str, Sample] = {
    "JPEG": Sample(encoded(PICTURE, "JPEG"), tolerance=4),
    "JPEG grey": Sample(encoded(PICTURE.convert("L"), "JPEG"), tolerance=4),
    "JPEG CMYK": Sample(encoded(PICTURE.convert("CMYK"), "JPEG", quality=95), tolerance=14),
    **{f"PNG {name}": Sample(content) for name, content in _pngs().items()},
    "GIF": Sample(encoded(_PALETTE, "GIF")),
    "GIF transparent": Sample(encoded(_PALETTE, "GIF", transparency=5)),
    "GIF with a comment": Sample(encoded(_PALETTE, "GIF", transparency=5, comment=b"x" * 700)),
    **_bmps(),
    **{name: Sample(content, in_exports=False) for name, content in _host_kinds().items()},
}
# What TensorFlow's own decoder shows rightly.
ORDINARY = (
    "JPEG", "JPEG grey", "JPEG CMYK", "PNG RGB", "PNG grey", "PNG 1 bit", "PNG palette",
    "PNG palette of 4 bits", "GIF", "BMP 24 bits", "BMP 24 bits, top row first", "BMP 32 bits",
)  # fmt: skip


def tiff_of_16_bits(values: np.ndarray, order: str) -> bytes:
    """An uncompressed TIFF of colours, uint16 [height, width, 3 or 4], in either order of bytes."""
    height, width, channels = values.shape
    data = values.astype(f"{order}u2").tobytes()
    sizes = struct.pack(f"{order}{channels}H", *[16] * channels)
    short, long = 3, 4
    entries = [
        (256, short, 1, width), (257, short, 1, height), (258, short, channels, 8),
        (259, short, 1, 1), (262, short, 1, 2), (273, long, 1, 0), (277, short, 1, channels),
        (278, short, 1, height), (279, long, 1, len(data)),
    ]  # fmt: skip
    if channels == 4:
        entries.append((338, short, 1, 2))
    first = 8 + len(sizes)
    begin = first + 2 + 12 * len(entries) + 4
    directory = struct.pack(f"{order}H", len(entries))
    for tag, kind, count, value in entries:
        directory += struct.pack(f"{order}HHI", tag, kind, count)
        value = begin if tag == 273 else value
        is_short = kind == short and count == 1
        directory += (
            struct.pack(f"{order}HH", value, 0) if is_short else struct.pack(f"{order}I", value)
        )
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", first)
    return head + sizes + directory + bytes(4) + data


def with_chunk(png: bytes, name: bytes, data: bytes) -> bytes:
    """A PNG with a further chunk after its header."""
    import zlib

    checksum = struct.pack(">I", zlib.crc32(name + data))
    return png[:33] + struct.pack(">I", len(data)) + name + data + checksum + png[33:]


def with_exif(jpeg: bytes, exif: bytes) -> bytes:
    """A JPEG with Exif data, whatever they are."""
    segment = b"Exif\0\0" + exif
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


def values_of(bits: int) -> Tuple[np.ndarray, np.ndarray]:
    """Values of so many bits, uint16 [height, width], and what they are in 8 bits."""
    values = np.random.RandomState(bits).randint(0, 2**bits, (HEIGHT, WIDTH)).astype(np.uint16)
    values[0, :2] = 0, 2**bits - 1
    return values, np.floor(values / (2**bits - 1) * 255 + 0.5)
