"""What the header of an image file says, read by TensorFlow, so that exports read the same.

Nothing is decoded here. Bytes that are missing count as zeros, and every loop has an end, so that a
header that is damaged is never more than an image that does not decode.
"""

from typing import NamedTuple, Tuple

from tf_simclrv2.keras2 import tf

# Kinds of files; the last are those that only Pillow decodes, on the host.
JPEG, PNG, GIF, BMP, OTHER = range(5)
STARTS = {JPEG: b"\xff\xd8\xff", PNG: b"\x89PNG\r\n\x1a\n", GIF: b"GIF8", BMP: b"BM"}
# Segments, chunks or blocks of a file that are looked at.
_LONGEST_WALK = 10_000
_LONGEST_DIRECTORY = 1024
_ORIENTATION = 0x0112
_SHORT, _LONG = 3, 4


class Header(NamedTuple):
    """Facts of an image file, int64 scalars.

    Attributes:
      kind: JPEG, PNG, GIF, BMP or OTHER.
      height, width: in pixels, as stored; 0 for OTHER.
      orientation: of Exif, 1 to 8; 1 is upright.
      transparent: whether pixels may be transparent, 0 or 1.
      depth: bits of a value of a pixel, where the decoder must know them.
      significant: how many of a PNG's bits its chunk sBIT says are significant; 0 if it has none.
      exact: whether nothing follows a BMP's pixels.
      control, frame: where the first frame of a GIF begins and the block that controls it, 0 if
        there is none.
      exif, exif_size: where the data of Exif are, and how many bytes; 0 if there are none.
    """

    kind: tf.Tensor
    height: tf.Tensor
    width: tf.Tensor
    orientation: tf.Tensor
    transparent: tf.Tensor
    depth: tf.Tensor
    significant: tf.Tensor
    exact: tf.Tensor
    control: tf.Tensor
    frame: tf.Tensor
    exif: tf.Tensor
    exif_size: tf.Tensor

    @property
    def pixels(self) -> tf.Tensor:
        """Their number, float64 scalar: hostile headers claim more than integers hold."""
        return tf.cast(self.height, tf.float64) * tf.cast(self.width, tf.float64)


def read_header(content: tf.Tensor) -> Header:
    """Reads the header of an image file.

    Args:
      content: of the file, string scalar.

    Raises:
      tf.errors.InvalidArgumentError: the header of a JPEG is damaged.
    """
    kind = tf.constant(OTHER)
    for each, start in STARTS.items():
        kind = tf.where(tf.strings.substr(content, 0, len(start)) == start, each, kind)
    readers = [_jpeg, _png, _gif, _bmp, lambda content: _found(OTHER)]
    found = tf.switch_case(kind, [lambda reader=reader: reader(content) for reader in readers])
    orientation = tf.cond(
        found.exif_size > 0,
        lambda: orientation_of(part(content, found.exif, found.exif_size)),
        lambda: tf.constant(1, tf.int64),
    )
    return found._replace(orientation=orientation)


def _found(kind, **facts) -> Header:
    """A header of what a reader of one kind found, and of what there is usually."""
    usual = {**dict.fromkeys(Header._fields, 0), "orientation": 1, "depth": 8, "exact": 1}
    facts = {**usual, "kind": kind, **facts}
    return Header(**{name: tf.cast(fact, tf.int64) for name, fact in facts.items()})


# Bytes and numbers.


def size_in_bytes(content: tf.Tensor) -> tf.Tensor:
    """Bytes of a string, int64 scalar."""
    return tf.cast(tf.strings.length(content), tf.int64)


def part(content: tf.Tensor, start, size) -> tf.Tensor:
    """Bytes of a string, as far as it has them."""
    start = tf.minimum(tf.cast(start, tf.int64), size_in_bytes(content))
    return tf.strings.substr(content, start, tf.cast(size, tf.int64))


def numbers(content: tf.Tensor, start, count: int, bits: int = 8, big: bool = False) -> tf.Tensor:
    """Unsigned numbers in a string, int64 [count]; what is missing is 0.

    Args:
      content: the string.
      start: where they begin.
      count: how many.
      bits: of each, 8, 16 or 32.
      big: whether the first byte is the highest.
    """
    size = count * bits // 8
    kind = {8: tf.uint8, 16: tf.uint16, 32: tf.int32}[bits]
    read = tf.io.decode_raw(
        part(content, start, size), kind, little_endian=not big, fixed_length=size
    )
    read = tf.cast(read, tf.int64)
    return read & (2**bits - 1) if bits == 32 else read


# Exif.


def orientation_of(exif: tf.Tensor) -> tf.Tensor:
    """The orientation that Exif data note, int64 scalar, 1 where they don't or are malformed.

    Args:
      exif: string scalar: a TIFF's header and its directories.
    """
    mark = numbers(exif, 0, 2, 16, big=True)
    big = mark[0] == int.from_bytes(b"MM", "big")
    known = (big | (mark[0] == int.from_bytes(b"II", "big"))) & (
        (mark[1] == 0x2A) | (mark[1] == 0x2A00)
    )

    def number(values):  # [..., bytes], in the order of the data
        size = values.shape[-1]
        weights = [256**place for place in range(size)]
        of_order = (tf.constant(each, tf.int64) for each in (weights[::-1], weights))
        return tf.reduce_sum(values * tf.where(big, *of_order), -1)

    offset = number(numbers(exif, 4, 4))
    count = tf.minimum(number(numbers(exif, offset, 2)), _LONGEST_DIRECTORY)
    table = tf.io.decode_raw(part(exif, offset + 2, 12 * count), tf.uint8)
    rows = tf.size(table) // 12
    entries = tf.cast(tf.reshape(table[: 12 * rows], [rows, 12]), tf.int64)
    kinds = number(entries[:, 2:4])
    values = tf.where(kinds == _SHORT, number(entries[:, 8:10]), number(entries[:, 8:12]))
    found = (number(entries[:, :2]) == _ORIENTATION) & (number(entries[:, 4:8]) == 1)
    found &= ((kinds == _SHORT) | (kinds == _LONG)) & (values <= 8) & known
    return tf.reduce_max(tf.concat([tf.ones([1], tf.int64), tf.where(found, values, 1)], 0))


# Kinds of files.


def begins_with_tables(content: tf.Tensor) -> tf.Tensor:
    """Whether a JPEG begins with the tables of its coefficients, so that it has no Exif.

    Most do, perhaps after a header of JFIF.
    """
    tables = b"\xff\xdb"
    jfif = part(content, 2, 4) == b"\xff\xe0\x00\x10"
    return (part(content, 2, 2) == tables) | (jfif & (part(content, 20, 2) == tables))


def _jpeg(content: tf.Tensor) -> Header:
    tables = begins_with_tables(content)
    height, width, _ = tf.unstack(tf.io.extract_jpeg_shape(content))

    def step(position, start, size, more):
        marker, length = tf.unstack(numbers(content, position, 2, 16, big=True))
        is_exif = (marker == 0xFFE1) & (part(content, position + 4, 6) == b"Exif\0\0")
        start, size = (
            tf.where(is_exif, position + 10, 0),
            tf.where(is_exif, tf.maximum(length - 8, 0), 0),
        )
        fills = marker == 0xFFFF
        # The image begins, or what is here is no marker with a length.
        ended = (marker < 0xFFC0) | ((marker >= 0xFFD0) & (marker <= 0xFFDA))
        return tf.where(fills, position + 1, position + 2 + length), start, size, ~(is_exif | ended)

    zero = tf.constant(0, tf.int64)
    _, start, size, _ = tf.while_loop(
        lambda *state: state[-1], step, (tf.constant(2, tf.int64), zero, zero, ~tables),
        maximum_iterations=_LONGEST_WALK,
    )  # fmt: skip
    return _found(JPEG, height=height, width=width, exif=start, exif_size=size)


def _chunk(name: bytes) -> int:
    return int.from_bytes(name, "big")


def _png(content: tf.Tensor) -> Header:
    def step(position, has_colour, significant, start, size, more):
        length, name = tf.unstack(numbers(content, position, 2, 32, big=True))
        bits = numbers(content, position + 8, 3)
        # Of grey images only the first number is that of a colour.
        bits = tf.where(length >= 3, tf.reduce_max(bits), bits[0])
        is_exif = name == _chunk(b"eXIf")
        return (
            position + 12 + length,
            has_colour | (name == _chunk(b"tRNS")),
            tf.where(name == _chunk(b"sBIT"), bits, significant),
            tf.where(is_exif, position + 8, start),
            tf.where(is_exif, length, size),
            # Zeros are behind the end of a file that is cut.
            (name != _chunk(b"IEND")) & (name != 0),
        )

    zero = tf.constant(0, tf.int64)
    _, has_colour, significant, start, size, _ = tf.while_loop(
        lambda *state: state[-1], step,
        (tf.constant(8, tf.int64), tf.constant(False), zero, zero, zero, tf.constant(True)),
        maximum_iterations=_LONGEST_WALK,
    )  # fmt: skip
    width, height = tf.unstack(numbers(content, 16, 2, 32, big=True))
    depth, colours = tf.unstack(numbers(content, 24, 2))
    transparent = has_colour | (colours == 4) | (colours == 6)
    return _found(
        PNG, height=height, width=width, transparent=transparent, depth=depth,
        significant=significant, exif=start, exif_size=size,
    )  # fmt: skip


def _gif(content: tf.Tensor) -> Header:
    def step(position, control, inside, more):
        first, label = tf.unstack(numbers(content, position, 2))
        begins = ~inside & (first == 0x21)
        is_control = begins & (label == 0xF9)
        return (
            tf.where(inside, position + 1 + first, tf.where(begins, position + 2, position)),
            tf.where(is_control, position, control),
            # Blocks of an extension follow, until one is empty.
            begins | (inside & (first > 0)),
            begins | inside,
        )

    begin = 13 + 3 * _colours(numbers(content, 10, 1)[0])
    zero = tf.constant(0, tf.int64)
    no, yes = tf.constant(False), tf.constant(True)
    frame, control, _, _ = tf.while_loop(
        lambda *state: state[-1], step, (begin, zero, no, yes),
        maximum_iterations=_LONGEST_WALK,
    )  # fmt: skip
    flags, _, _, colour = tf.unstack(numbers(content, control + 3, 4))
    _, colours = gif_palette(content, frame)
    transparent = (control > 0) & (flags & 1 > 0) & (colour < colours)
    size = tf.maximum(numbers(content, 6, 2, 16), numbers(content, frame + 5, 2, 16))
    return _found(
        GIF, height=size[1], width=size[0], transparent=transparent, control=control, frame=frame
    )


def gif_palette(content: tf.Tensor, frame: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
    """Where the colours of a GIF's frame begin, which begins itself at ``frame``; their number."""
    own = _colours(numbers(content, frame + 9, 1)[0])
    shared = _colours(numbers(content, 10, 1)[0])
    return tf.where(own > 0, frame + 10, 13), tf.where(own > 0, own, shared)


def _colours(flags: tf.Tensor) -> tf.Tensor:
    """How many colours a GIF's table has, of which these flags are."""
    count = tf.bitwise.left_shift(tf.constant(2, tf.int64), flags & 7)
    return tf.where(flags & 0x80 > 0, count, 0)


class BmpHeader(NamedTuple):
    """Fields of a BMP's header, int64 scalars: see Microsoft's BITMAPINFOHEADER."""

    offset: tf.Tensor
    size: tf.Tensor
    width: tf.Tensor
    height: tf.Tensor
    bits: tf.Tensor
    compression: tf.Tensor
    colours: tf.Tensor

    @property
    def row(self) -> tf.Tensor:
        """Bytes of a row of pixels."""
        return (self.width * self.bits + 31) // 32 * 4

    @property
    def falls(self) -> tf.Tensor:
        """Whether the first row of the file is the uppermost of the image."""
        return self.height >= 2**31

    @property
    def rows(self) -> tf.Tensor:
        """How many."""
        return tf.where(self.falls, 2**32 - self.height, self.height)


def bmp_header(content: tf.Tensor) -> BmpHeader:
    """Reads the fields of a BMP's header."""
    offset, size, width, height = tf.unstack(numbers(content, 10, 4, 32))
    both, compression, _, _, _, colours = tf.unstack(numbers(content, 26, 6, 32))
    return BmpHeader(offset, size, width, height, both // 2**16, compression, colours)


def bmp_masks(content: tf.Tensor, header: BmpHeader) -> tf.Tensor:
    """Which bits of a pixel of 16 or 32 bits are red, green, blue and alpha: int64 [4]."""
    given = numbers(content, 54, 4, 32)
    given *= [1, 1, 1, tf.cast(header.size >= 56, tf.int64)]
    usual = tf.where(
        header.bits == 16,
        tf.constant([0x7C00, 0x3E0, 0x1F, 0], tf.int64),
        tf.constant([0xFF0000, 0xFF00, 0xFF, 0], tf.int64),
    )
    return tf.where((header.compression == 3) & (tf.reduce_sum(given) > 0), given, usual)


def _bmp(content: tf.Tensor) -> Header:
    header = bmp_header(content)
    bits, masked = header.bits, header.compression == 3
    several = tf.reduce_any(bits == [1, 4, 8, 16, 24, 32])
    decodes = tf.where(masked, (bits == 16) | (bits == 32), (header.compression == 0) & several)
    decodes &= header.size >= 40
    transparent = (bits >= 16) & (bmp_masks(content, header)[3] > 0)
    end = header.offset + header.row * header.rows
    exact = ~masked & (end == size_in_bytes(content))
    found = _found(
        BMP, height=header.rows, width=header.width, transparent=transparent, depth=bits,
        exact=exact,
    )  # fmt: skip
    return Header(*(tf.where(decodes, ours, other) for ours, other in zip(found, _found(OTHER))))
