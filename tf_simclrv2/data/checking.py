"""Which files of a folder can be used: found by decoding them, by a look at them, or on trust."""

import concurrent.futures
import dataclasses
import logging
import os
from typing import Callable, Dict, List, Optional, Tuple

import numpy as np

from tf_simclrv2 import progress
from tf_simclrv2.config import SMALLEST_IMAGE, ConfigError, DataConfig, refuse
from tf_simclrv2.config.user_files import printable
from tf_simclrv2.data.decoding import ONLY_ON_HOST, ORDINARY, PLAIN, Decoder
from tf_simclrv2.data.images import Shape, shapes_of
from tf_simclrv2.data.kept_checks import KeptChecks
from tf_simclrv2.data.quick_look import look

logger = logging.getLogger(__name__)

_NAMES_SHOWN = 20
_LOOKED_AT_ONCE = 256
# Files that tell the usual size where nothing is looked at.
_SAMPLE = 256
# Of these one must decode.
_SOME = 32


@dataclasses.dataclass(frozen=True)
class Usable:
    """The files of a split that can be used.

    Attributes:
      files: paths, in the order of the split.
      side: pixels of the shorter side that half of them don't exceed; None if that is not known.
      decoder: what decodes them.
      is_checked: whether each was decoded, so that nothing is left to find.
    """

    files: List[str]
    side: Optional[int]
    decoder: Decoder
    is_checked: bool


@dataclasses.dataclass
class Check:
    """The check of a folder.

    Attributes:
      root: the folder.
      data: how many files may be corrupt, and how large an image may be.
      refused: returns the error for the folder, given what is allowed.
      unreadable: why some files must not be opened, by path; others that are found are added.
    """

    root: str
    data: DataConfig
    refused: Callable[[str], ConfigError]
    unreadable: Dict[str, str]

    def of(self, split: str, files: List[str], how: str) -> Usable:
        """Finds the files of a split that can be used; warns of corrupt ones.

        Args:
          split: its name.
          files: its files.
          how: full, quick or no.

        Raises:
          ConfigError: too many are corrupt, or an image is too small.
        """
        readable = [file for file in files if file not in self.unreadable]
        if how == "no":
            self._judge(split, [file for file in files if file in self.unreadable], len(files))
            self._check_any(split, readable)
            return self._trusted(readable)
        shapes = self._decoded(readable) if how == "full" else self._looked_at(readable)
        self._judge(split, [file for file in files if file not in shapes], len(files))
        self._check_sides(shapes)
        self._warn_of_pillow(split, shapes)
        needs = max(shape.needs for shape in shapes.values())
        decoder = PLAIN
        # A header doesn't say everything that decoding takes.
        if needs != ORDINARY or how == "quick":
            on_host, most = needs == ONLY_ON_HOST, self.data.max_image_pixels
            decoder = Decoder(on_host=on_host, max_pixels=most)
        side = int(np.median([min(shape[:2]) for shape in shapes.values()]))
        kept = [file for file in files if file in shapes]
        if how == "quick":
            self._check_any(split, kept)
        return Usable(kept, side, decoder, is_checked=how == "full")

    def _check_any(self, split: str, files: List[str]) -> None:
        """Refuses files of which none of some decodes: training would look for one for ever."""
        some = files[:: max(1, len(files) // _SOME)][:_SOME]
        if not self._decoded(some[:1]) and not self._decoded(some):
            raise refuse(
                "check_images",
                self.data.check_images,
                f"none of {len(some)} files of {split} that were tried, out of {len(files)}, is a "
                f"whole image (corrupt), such as {printable(os.path.join(self.root, some[0]))}"
                f"{self._reason(some[0])}; replace them, or leave it out",
            )

    def damaged(self, split: str, files: List[str], count: int) -> List[str]:
        """Those of some of a split's files that do not decode; warns of them.

        Args:
          split: its name.
          files: the files to look at.
          count: of all files of the split, by which damaged ones are too many.

        Raises:
          ConfigError: they are too many, or none decodes.
        """
        whole = self._decoded(files)
        found = [file for file in files if file not in whole]
        self._judge(split, found, len(files) if len(found) == len(files) else count)
        return found

    def first_damaged(self, files: List[str]) -> Optional[str]:
        """The first of some files that does not decode, if there is one."""
        whole = self._decoded(files)
        return next((file for file in files if file not in whole), None)

    def _decoded(self, files: List[str]) -> Dict[str, Shape]:
        """What is known of the files that decode."""
        kept = KeptChecks(self.root, self.data.max_image_pixels)
        known = kept.known(files, decoded=True)
        others = [file for file in files if file not in known]
        if not others:
            return known
        shapes, reasons = shapes_of(self.root, others, self.data.max_image_pixels)
        self.unreadable.update(reasons)
        kept.add(shapes, decoded=True)
        return {**known, **shapes}

    def _looked_at(self, files: List[str]) -> Dict[str, Shape]:
        """The same of files that seem to be whole; those that may not be are decoded."""
        kept = KeptChecks(self.root, self.data.max_image_pixels)
        known = kept.known(files, decoded=False)
        found = _looks(self.root, [file for file in files if file not in known])
        shapes = {
            file: Shape(*sides, ORDINARY)
            for file, sides in found.items()
            if sides is not None and sides[0] * sides[1] <= self.data.max_image_pixels
        }
        kept.add(shapes, decoded=False)
        return {**known, **shapes, **self._decoded([f for f in found if f not in shapes])}

    def _trusted(self, files: List[str]) -> Usable:
        sample = files[:: max(1, len(files) // _SAMPLE)]
        sides = [min(found) for found in _looks(self.root, sample).values() if found is not None]
        decoder = Decoder(max_pixels=self.data.max_image_pixels)
        return Usable(files, int(np.median(sides)) if sides else None, decoder, is_checked=False)

    def _judge(self, split: str, corrupt: List[str], count: int) -> None:
        """Warns of corrupt files, or refuses them if the settings say so."""
        if not corrupt:
            return
        first = printable(os.path.join(self.root, corrupt[0])) + self._reason(corrupt[0])
        if self.data.strict_images:
            raise refuse("strict_images", True, f"{first} is no whole image (corrupt)")
        if len(corrupt) > self.data.max_bad_images * count or len(corrupt) == count:
            raise refuse(
                "max_bad_images",
                self.data.max_bad_images,
                f"{len(corrupt)} of the {count} files of {split} are corrupt (no whole image), "
                f"such as {first}; remove them, or allow for as many",
            )
        for file in corrupt[:_NAMES_SHOWN]:
            logger.warning("corrupt, left out: %s%s", printable(file), self._reason(file))
        logger.warning(
            "%d of the %d files of %s %s are corrupt and were left out",
            len(corrupt), count, printable(self.root), split,
        )  # fmt: skip

    def _reason(self, file: str) -> str:
        reason = self.unreadable.get(file)
        return f" ({reason})" if reason else ""

    def _check_sides(self, shapes: Dict[str, Shape]) -> None:
        smallest = min(shapes, key=lambda file: min(shapes[file][:2]))
        if min(shapes[smallest][:2]) < SMALLEST_IMAGE["cifar"]:
            height, width, _ = shapes[smallest]
            raise self.refused(
                f"{printable(smallest)} has {height}x{width} pixels, too few to crop; height "
                f"and width must be at least {SMALLEST_IMAGE['cifar']}"
            )

    def _warn_of_pillow(self, split: str, shapes: Dict[str, Shape]) -> None:
        """Warns of files that take longer than others and that exports don't decode."""
        slow = [file for file, shape in shapes.items() if shape.needs == ONLY_ON_HOST]
        if slow:
            kinds = sorted({os.path.splitext(file)[1].lower() for file in slow})
            logger.warning(
                "%d of the %d files of %s %s (%s) are decoded by Pillow, which takes longer than "
                "JPEG or PNG, and an export's serving_bytes doesn't take them",
                len(slow), len(shapes), printable(self.root), split, ", ".join(kinds),
            )  # fmt: skip


def _looks(root: str, files: List[str]) -> Dict[str, Optional[Tuple[int, int]]]:
    """The sides of files that seem to be whole, and None of others."""

    def look_at(some: List[str]) -> List[Optional[Tuple[int, int]]]:
        return [look(os.path.join(root, file)) for file in some]

    parts = [files[n : n + _LOOKED_AT_ONCE] for n in range(0, len(files), _LOOKED_AT_ONCE)]
    found: Dict[str, Optional[Tuple[int, int]]] = {}
    # Mostly they wait for the disk.
    with concurrent.futures.ThreadPoolExecutor() as pool, \
            progress.bar(len(files), "checking images", "image") as bar:  # fmt: skip
        for part, sides in zip(parts, pool.map(look_at, parts)):
            found.update(zip(part, sides))
            bar.update(len(part))
    return found
