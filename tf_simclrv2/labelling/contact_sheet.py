"""A contact sheet: small pictures side by side, each with a caption, to look at in one glance."""

import io
from typing import IO, Sequence, Union

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Pixels: the longest side of a picture as it is shown, and the space around pictures.
SIDE = 128
_GAP = 8
_COLUMNS = 8
# More pictures are too many for one glance, and go on another sheet.
MOST_ON_A_SHEET = 96
_LINE = 15
_FONT_SIZE = 12
_INK, _GROUND, _PAPER = (30, 30, 30), (238, 238, 238), (255, 255, 255)


def write_contact_sheet(
    file: Union[str, IO[bytes]], images: Sequence[np.ndarray], captions: Sequence[str]
) -> None:
    """Draws pictures in rows of eight, and writes them as PNG.

    Args:
      file: a path, or a file that is open.
      images: uint8 [height, width, 3] each, of any size.
      captions: one for each picture; a line break starts another line, and a line that is too
        long is cut.

    Raises:
      ValueError: there is no image, or not one caption for each.
    """
    if not images or len(images) != len(captions):
        raise ValueError(f"there are {len(images)} images and {len(captions)} captions.")
    font = _font()
    lines = max(caption.count("\n") + 1 for caption in captions)
    columns = min(_COLUMNS, len(images))
    rows = -(-len(images) // columns)
    width, height = SIDE + _GAP, SIDE + lines * _LINE + _GAP
    sheet = Image.new("RGB", (columns * width + _GAP, rows * height + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (image, caption) in enumerate(zip(images, captions)):
        left, top = number % columns * width + _GAP, number // columns * height + _GAP
        draw.rectangle((left, top, left + SIDE - 1, top + SIDE - 1), fill=_GROUND)
        picture = thumbnail(image)
        sheet.paste(
            picture, (left + (SIDE - picture.width) // 2, top + (SIDE - picture.height) // 2)
        )
        for line, text in enumerate(caption.split("\n")):
            place = (left, top + SIDE + 1 + line * _LINE)
            draw.text(place, _cut(draw, text, font), fill=_INK, font=font)
    sheet.save(file, format="PNG")


def thumbnail(image: np.ndarray, side: int = SIDE) -> Image.Image:
    """Makes a picture's longer side ``side`` pixels long.

    Args:
      image: uint8 [height, width, 3]; a small one is enlarged to whole multiples, in sharp squares.
      side: in pixels.
    """
    picture = Image.fromarray(np.ascontiguousarray(image))
    times = side / max(picture.size)
    if times >= 1:
        times = int(times)
    width, height = (max(1, round(times * length)) for length in picture.size)
    method = Image.Resampling.NEAREST if times >= 1 else Image.Resampling.LANCZOS
    return picture.resize((width, height), method)


def encoded(image: np.ndarray, side: int) -> bytes:
    """A thumbnail as a file: PNG for small pictures, whose pixels count, else JPEG."""
    file = io.BytesIO()
    if max(image.shape[:2]) <= side // 2:
        thumbnail(image, max(image.shape[:2])).save(file, format="PNG")
    else:
        thumbnail(image, side).save(file, format="JPEG", quality=85)
    return file.getvalue()


def _font() -> ImageFont.FreeTypeFont:
    """Matplotlib's font: it has more than Pillow's own, which lacks most letters beyond ASCII."""
    import matplotlib.font_manager

    return ImageFont.truetype(matplotlib.font_manager.findfont("DejaVu Sans"), _FONT_SIZE)


def _cut(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont) -> str:
    """A line's text as far as it fits under a picture; of a long one its end tells more."""
    if draw.textlength(text, font=font) <= SIDE:
        return text
    while text and draw.textlength(f"…{text}", font=font) > SIDE:
        text = text[1:]
    return f"…{text}"
