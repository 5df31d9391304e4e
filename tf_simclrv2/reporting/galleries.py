"""Pictures that stand by themselves: pairs of views, mistakes, unsure answers."""

import io
from typing import Dict, List, NamedTuple, Sequence

import numpy as np
from PIL import Image, UnidentifiedImageError

from tf_simclrv2.reporting.album import picture
from tf_simclrv2.reporting.answers import Answer
from tf_simclrv2.reporting.runs import Run
from tf_simclrv2.runtime.events import logged_images

# Pictures of a kind.
MOST = 12
_PAIR_SIDE = 256


class Item(NamedTuple):
    """A picture with its caption.

    Attributes:
      name: of the image.
      picture: its address; empty if the image is not there.
      title: stands above the lines.
      lines: what is told of it.
    """

    name: str
    picture: str
    title: str = ""
    lines: Sequence[str] = ()

    @property
    def is_small(self) -> bool:
        """Whether its pixels are to be seen as squares: what is smaller than shown is a PNG."""
        return self.picture.startswith("data:image/png")


def views_of(run: Run) -> List[Item]:
    """The pairs of views that a run has logged; none if it has not."""
    found = []
    logged = logged_images(run.directory.file("events"), "views")
    for number, content in enumerate(logged[:MOST], 1):
        try:
            pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        except (UnidentifiedImageError, OSError):
            continue
        found.append(Item(f"pair {number}", picture(pixels, _PAIR_SIDE)))
    return found


def most_confident_mistakes(answers: Sequence[Answer]) -> List[Answer]:
    """The wrong answers of the highest confidence, the surest first."""
    wrong = [answer for answer in answers if answer.is_wrong]
    return sorted(wrong, key=lambda answer: -answer.confidence)[:MOST]


def least_sure(answers: Sequence[Answer]) -> List[Answer]:
    """The answers of the lowest confidence, the least sure first."""
    return sorted(answers, key=lambda answer: answer.confidence)[:MOST]


def item_of(answer: Answer, pictures: Dict[str, str]) -> Item:
    """An answer with its picture.

    Args:
      answer: the answer.
      pictures: addresses by the images' names.
    """
    told = f"{answer.predicted} ({answer.confidence:.0%})"
    truth = f"in truth {answer.label}" if answer.is_wrong else "which is right"
    lines = [truth] if answer.label else []
    return Item(answer.image, pictures.get(answer.image, ""), told, lines)
