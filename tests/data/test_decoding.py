"""Image files of every kind are decoded as Pillow shows them, in an export as everywhere."""

import struct

import numpy as np
import pytest
from PIL import Image

from tests.data.samples import (
    HEIGHT,
    KINDS,
    ORDINARY,
    PICTURE,
    RGB,
    WIDTH,
    encoded,
    oriented,
    shown,
    tiff_of_16_bits,
    values_of,
    with_chunk,
    with_exif,
)
from tf_simclrv2.data import decoding, host, pixels
from tf_simclrv2.data.decoding import ANY, PLAIN, Decoder, certainly_ordinary, needs_of
from tf_simclrv2.data.images import decode
from tf_simclrv2.keras2 import tf

IN_EXPORTS = Decoder(on_host=False)


def _decoded(content: bytes, decoder: Decoder = ANY) -> np.ndarray:
    return decoder(tf.constant(content)).numpy()


def _needs(content: bytes) -> int:
    return int(needs_of(ANY.header(tf.constant(content))))


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_is_as_pillow_shows_it(name):
    sample = KINDS[name]
    image = decode(tf.constant(sample.content)).numpy()
    assert image.dtype == np.uint8
    expected = shown(sample.content)
    assert image.shape == expected.shape
    assert np.abs(image - expected).max() <= sample.tolerance
    if sample.in_exports:
        np.testing.assert_array_equal(_decoded(sample.content, IN_EXPORTS), image)
    else:
        with pytest.raises(tf.errors.InvalidArgumentError, match="not decoded here"):
            _decoded(sample.content, IN_EXPORTS)
    assert _needs(sample.content) == (
        decoding.ORDINARY
        if name in ORDINARY
        else (decoding.UNUSUAL if sample.in_exports else decoding.ONLY_ON_HOST)
    )
    if name in ORDINARY:
        np.testing.assert_array_equal(_decoded(sample.content, PLAIN), image)


def test_only_ordinary_files_are_taken_for_certainly_ordinary():
    contents = {name: sample.content for name, sample in KINDS.items()}
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        contents[f"{kind} on its side"] = oriented(kind, 6)
    contents["deep"] = encoded(Image.fromarray(values_of(12)[0]), "PNG")
    certain = {n for n, c in contents.items() if certainly_ordinary(tf.constant(c))[0]}
    assert certain < set(ORDINARY)
    assert certain == {name for name in ORDINARY if name.split()[0] in ("JPEG", "PNG")}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_orientation_is_honoured(kind):
    for orientation in range(1, 9):
        for order in "<>":
            content = oriented(kind, orientation, order)
            image, expected = _decoded(content), shown(content)
            assert image.shape == expected.shape
            assert np.abs(image - expected).max() <= (4 if kind == "JPEG" else 0), orientation
            if kind in ("JPEG", "PNG"):
                np.testing.assert_array_equal(_decoded(content, IN_EXPORTS), image)


def _exif(*entries: bytes, head: bytes = b"II*\0\x08\0\0\0", count: int = -1) -> bytes:
    count = len(entries) if count < 0 else count
    return head + struct.pack("<H", count) + b"".join(entries) + bytes(4)


_SIX = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)


@pytest.mark.parametrize(
    ("exif", "turned"),
    [
        (_exif(_SIX), True),
        (_exif(struct.pack("<HHII", 0x0112, 4, 1, 6)), True),
        (_exif(struct.pack("<HHIHH", 0x0112, 3, 1, 9, 0)), False),
        (_exif(struct.pack("<HHIHH", 0x0112, 3, 1, 0, 0)), False),
        (_exif(struct.pack("<HHIHH", 0x0112, 3, 2, 6, 0)), False),
        (_exif(struct.pack("<HHII", 0x0112, 7, 1, 6)), False),
        (_exif(_SIX, head=b"XX*\0\x08\0\0\0"), False),
        (_exif(_SIX, head=b"II*\0\xff\xff\xff\xff"), False),
        (_exif(_SIX, count=65535), True),
        (_exif(_SIX)[:15], False),
        (b"", False),
        (b"II", False),
    ],
)
def test_exif_that_is_malformed_never_fails_the_image(exif, turned):
    plain = encoded(PICTURE, "JPEG")
    upright = _decoded(plain)
    expected = np.rot90(upright, -1) if turned else upright
    np.testing.assert_array_equal(_decoded(with_exif(plain, exif)), expected)


def test_exif_is_found_behind_other_segments():
    plain = encoded(PICTURE, "JPEG", icc_profile=bytes(100_000), comment=b"c" * 300)
    start = plain.index(b"\xff\xdb")
    segment = b"Exif\0\0" + _exif(_SIX)
    # Markers may have bytes in front that only fill.
    marker = b"\xff\xff\xff\xe1" + struct.pack(">H", len(segment) + 2)
    content = plain[:start] + marker + segment + plain[start:]
    np.testing.assert_array_equal(_decoded(content), np.rot90(_decoded(plain), -1))
    cut = with_exif(plain, _exif(_SIX))[:60]
    with pytest.raises(tf.errors.InvalidArgumentError):
        _decoded(cut)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_values_of_16_bits_are_scaled_to_8(bits):
    values, expected = values_of(bits)
    for kind in ("PNG", "TIFF"):
        image = _decoded(encoded(Image.fromarray(values), kind))
        np.testing.assert_array_equal(image, np.repeat(expected[..., np.newaxis], 3, -1), kind)
    for channels in (3, 4):
        for order in "<>":
            colours = np.dstack([values, values[::-1], values[:, ::-1]])
            alpha = np.full_like(values, 2**16 - 1)
            alpha[4] = 0
            stored = colours if channels == 3 else np.dstack([colours, alpha])
            image = _decoded(tiff_of_16_bits(stored, order))
            seen = np.dstack([expected, expected[::-1], expected[:, ::-1]])
            seen[4] = 255 if channels == 4 else seen[4]
            np.testing.assert_array_equal(image, seen)


@pytest.mark.parametrize(
    ("bits", "noted", "end"), [(12, 12, 2**12), (10, 12, 2**12), (16, 12, 2**16), (10, 16, 2**16)]
)
def test_a_png_may_note_how_many_bits_are_significant(bits, noted, end):
    values, _ = values_of(bits)
    png = encoded(Image.fromarray(values), "PNG")
    image = _decoded(with_chunk(png, b"sBIT", bytes([noted])))
    np.testing.assert_array_equal(image[..., 0], np.floor(values / (end - 1) * 255 + 0.5))


def test_colours_of_16_bits_lie_over_white():
    random = np.random.RandomState(0)
    values = random.randint(0, 2**16, (HEIGHT, WIDTH, 4)).astype(np.uint16)
    content = tf.io.encode_png(values).numpy()
    colours, alpha = values[..., :3] / (2**16 - 1), values[..., 3:] / (2**16 - 1)
    # Colours and alpha are rounded to 8 bits first.
    assert np.abs(_decoded(content) - 255 * (colours * alpha + 1 - alpha)).max() <= 1.5


def test_images_of_too_many_pixels_are_not_decoded():
    few = Decoder(max_pixels=HEIGHT * WIDTH - 1)
    for name in ("JPEG", "PNG RGB", "GIF", "BMP palette", "TIFF", "WebP"):
        with pytest.raises(tf.errors.InvalidArgumentError, match="too many pixels"):
            _decoded(KINDS[name].content, few)
    exactly = Decoder(max_pixels=HEIGHT * WIDTH)
    np.testing.assert_array_equal(_decoded(KINDS["PNG RGB"].content, exactly), RGB)


def test_large_images_are_reduced(monkeypatch):
    monkeypatch.setattr(pixels, "LARGEST", HEIGHT * WIDTH // 9)
    decoder = Decoder(max_pixels=12_345)
    means = RGB.reshape(HEIGHT // 4, 4, WIDTH // 4, 4, 3).mean(axis=(1, 3))
    for kind in ("PNG", "JPEG", "TIFF"):
        # Reduced by four, as by two there would be more than a ninth.
        image = _decoded(oriented(kind, 6), decoder)
        assert image.shape == (WIDTH // 4, HEIGHT // 4, 3)
        # In eight pixels by eight, JPEG keeps little.
        tolerance = 0.5 if kind != "JPEG" else 10
        assert np.abs(np.rot90(image) - means).max() <= tolerance + 1e-3


def test_large_images_are_worked_on_row_by_row_with_the_same_pixels(monkeypatch):
    names = ("PNG alpha", "BMP 32 bits, masks XBGR")
    deep = encoded(Image.fromarray(values_of(12)[0]), "PNG")
    contents = [deep, *(KINDS[name].content for name in names)]
    expected = [_decoded(content) for content in contents]
    monkeypatch.setattr(pixels, "_MOST_AT_ONCE", 0)
    decoder = Decoder(max_pixels=12_346)
    for content, image in zip(contents, expected):
        np.testing.assert_array_equal(_decoded(content, decoder), image)


@pytest.mark.parametrize(
    "name", ["BMP 24 bits", "BMP run lengths", "PNG RGB", "TIFF", "WebP", "GIF"]
)
def test_files_that_are_cut_are_refused(name):
    content = KINDS[name].content
    for size in (0, 2, 9, 20, 60, len(content) // 2):
        with pytest.raises(tf.errors.InvalidArgumentError):
            _decoded(content[:size])


def test_other_values_than_those_of_pixels_are_refused_by_name():
    floats = encoded(Image.fromarray(np.zeros((9, 9), np.float32)), "TIFF")
    with pytest.raises(host.Unreadable, match="neither 8 nor 16 bits"):
        host.decode(floats)
