"""Which image files were found to be whole, kept so that the next command need not look again.

There is one file for each folder of images, in the user's directory of caches. It is only about
files that have not been touched since: same size and same times of change. Whatever is wrong with
it, or with the place where it lies, only costs the time of another look.
"""

import contextlib
import hashlib
import io
import logging
import os
import tempfile
import time
from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np
import PIL

from tf_simclrv2.config.user_files import printable
from tf_simclrv2.data.images import Shape
from tf_simclrv2.keras2 import tf

logger = logging.getLogger(__name__)

# Counts up when a check finds other files corrupt, or knows other things of them.
_VERSION = 1
_NAME = "tf_simclrv2/checked_images"
# File systems tell times apart that are so many nanoseconds apart, the coarsest ones.
_SETTLED = 2_000_000_000
_DIGEST = hashlib.sha256


class Table(NamedTuple):
    """What was found of files that are whole; as arrays, since there may be millions.

    Attributes:
      rows: the row of each file, by its name.
      stamps: int64 [files, 3], size in bytes, and times of change in nanoseconds: of the content,
        and of anything.
      shapes: int64 [files, 3], see :class:`Shape`.
      decoded: bool [files], whether the file was decoded.
    """

    rows: Dict[bytes, int]
    stamps: np.ndarray
    shapes: np.ndarray
    decoded: np.ndarray


class KeptChecks:
    """What earlier commands found of the files of a folder.

    Args:
      root: the folder.
      max_pixels: what an image may have.
    """

    def __init__(self, root: str, max_pixels: int):
        versions = f"{_VERSION} {tf.__version__} {PIL.__version__}"
        what = f"{versions} {max_pixels} {os.path.realpath(root)}"
        self._root = root
        folder, name = directory(), _DIGEST(os.fsencode(what)).hexdigest()[:32]
        self._path = None if folder is None else os.path.join(folder, name)
        self._files: List[str] = []
        self._stamps = np.zeros([0, 3], np.int64)

    def known(self, files: List[str], decoded: bool) -> Dict[str, Shape]:
        """What is known of files that have not changed.

        Args:
          files: paths relative to the root. They are looked up now, before they are read.
          decoded: whether to be decoded once is what it takes.
        """
        self._files, self._stamps = files, self._stamps_now(files)
        kept = _read(self._path)
        rows = np.array([kept.rows.get(os.fsencode(file), -1) for file in files], np.int64)
        same = (rows >= 0) & (self._stamps[:, 0] >= 0)
        same[same] = (kept.stamps[rows[same]] == self._stamps[same]).all(axis=1)
        if decoded:
            same[same] = kept.decoded[rows[same]]
        # One object for each of few shapes.
        shapes: Dict[Tuple[int, ...], Shape] = {}
        found = {}
        for place in np.flatnonzero(same):
            shape = tuple(kept.shapes[rows[place]].tolist())
            found[files[place]] = shapes.setdefault(shape, Shape(*shape))
        return found

    def _stamps_now(self, files: List[str]) -> np.ndarray:
        """Stamps of files, with -1 for those that must not be relied upon."""
        stamps = np.full([len(files), 3], -1, np.int64)
        settled = time.time_ns() - _SETTLED
        for place, file in enumerate(files):
            with contextlib.suppress(OSError):
                status = os.stat(os.path.join(self._root, file))
                # Of a file that was just written, a later change may have the same times.
                if max(status.st_mtime_ns, status.st_ctime_ns) < settled:
                    stamps[place] = status.st_size, status.st_mtime_ns, status.st_ctime_ns
        return stamps

    def add(self, shapes: Dict[str, Shape], decoded: bool) -> None:
        """Keeps what was found of files that are whole, if it can be written."""
        places = [
            place
            for place, file in enumerate(self._files)
            if file in shapes and self._stamps[place, 0] >= 0
        ]
        if not places or self._path is None:
            return
        names = [os.fsencode(self._files[place]) for place in places]
        new = Table(
            {name: row for row, name in enumerate(names)},
            self._stamps[places],
            np.array([shapes[self._files[place]] for place in places], np.int64),
            np.full(len(places), decoded),
        )
        try:
            # Another command may have added others meanwhile.
            _write(self._path, _joined(_read(self._path), new))
        except OSError as error:
            logger.debug("%s can't be written (%s)", printable(self._path), error.strerror)


def _joined(old: Table, new: Table) -> Table:
    """Rows of both tables; of files in both, the new ones."""
    others = {name: row for name, row in old.rows.items() if name not in new.rows}
    kept = list(others.values())
    return Table(
        {name: row for row, name in enumerate([*others, *new.rows])},
        np.concatenate([old.stamps[kept], new.stamps]),
        np.concatenate([old.shapes[kept], new.shapes]),
        np.concatenate([old.decoded[kept], new.decoded]),
    )


def directory() -> Optional[str]:
    """Where checks are kept: in the directory that XDG's specification says is for caches.

    Returns:
      None for a user who has none.
    """
    given = os.environ.get("XDG_CACHE_HOME", "")
    base = given if os.path.isabs(given) else os.path.expanduser("~/.cache")
    return os.path.join(base, _NAME) if os.path.isabs(base) else None


def _read(path: Optional[str]) -> Table:
    """What is kept in a file; nothing if it is missing, or not as it was written."""
    none = np.zeros([0, 3], np.int64)
    nothing = Table({}, none, none, np.zeros(0, bool))
    if path is None:
        return nothing
    try:
        with open(path, "rb") as file:
            # Another user may have other ideas of what a whole image is.
            own = os.fstat(file.fileno()).st_uid == os.geteuid()
            digest, content = file.read(_DIGEST().digest_size), file.read()
    except OSError:
        return nothing
    if not own or _DIGEST(content).digest() != digest:
        return nothing
    with np.load(io.BytesIO(content), allow_pickle=False) as columns:
        names = columns["names"].tobytes().split(b"\0")
        rows = {name: row for row, name in enumerate(names)}
        return Table(rows, columns["stamps"], columns["shapes"], columns["decoded"])


def _write(path: str, table: Table) -> None:
    names = np.frombuffer(b"\0".join(table.rows), np.uint8)
    content = io.BytesIO()
    np.savez(
        content, names=names, stamps=table.stamps, shapes=table.shapes, decoded=table.decoded
    )  # fmt: skip
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary: Optional[str] = None
    try:
        with tempfile.NamedTemporaryFile(dir=os.path.dirname(path), delete=False) as file:
            temporary = file.name
            file.write(_DIGEST(content.getvalue()).digest() + content.getvalue())
        os.replace(temporary, path)
    except BaseException:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise
