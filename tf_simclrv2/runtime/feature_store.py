"""``features/``: what a run's network makes of images, kept so that it is computed once.

A directory holds the features of some images: ``values.npy``, and ``images.json``, which says of
which images the rows are. It has its name only when it is whole; a damaged one is made anew. Rows
are taken over from one directory to another, so that only images that are new are computed; but not
from another data set, whose images may have the same names, sizes and times.
"""

import dataclasses
import errno
import io
import json
import logging
import os
import re
import shutil
import tempfile
import zlib
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from tf_simclrv2 import progress
from tf_simclrv2.config import refuse
from tf_simclrv2.config.user_files import DIRECTORY, printable
from tf_simclrv2.data.sources.preparing import only_one
from tf_simclrv2.data.sources.source import digest
from tf_simclrv2.runtime.disk import cannot_be_written, free_bytes, writing
from tf_simclrv2.runtime.files import check_place, sync, write_whole
from tf_simclrv2.runtime.scratch import replacing_directory

logger = logging.getLogger(__name__)

# The directory in a run or an export.
FEATURES = "features"
_VALUES, _IMAGES = "values.npy", "images.json"
_TEMPORARY = ".new-"
_ROWS = 512
# Of a split: there may be two tables of labels, or one and none, which are used by turns.
_EARLIER_KEPT = 1
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
# About what an image takes in images.json.
_BYTES_PER_IMAGE = 100

Compute = Callable[[List[str]], Iterator[np.ndarray]]


class Images(NamedTuple):
    """Images in their order.

    Attributes:
      ids: their names.
      contents: a text for each that is another one when the image has changed.
    """

    ids: List[str]
    contents: List[str]

    @property
    def identity(self) -> str:
        """A short text that is another one for other images, or another order."""
        return digest(text for pair in zip(self.ids, self.contents) for text in pair)


@dataclasses.dataclass(frozen=True)
class FeatureStore:
    """The stored features of one network's layer, for any images.

    Attributes:
      run: the run's directory.
      weights: a name for everything besides the images that the features depend on.
      dim: features per image.
      dtype: the number format, float32 or float16.
    """

    run: str
    weights: str
    dim: int
    dtype: str

    def features(self, called: Sequence[str], images: Images, compute: Compute) -> np.ndarray:
        """Returns the features of images, computed if they are not stored.

        Args:
          called: what names the images: their split, then their data set; only the newest features
            of a name are kept, and those before.
          images: which images.
          compute: returns the features of images, given their ids in their order, batch by batch.

        Returns:
          The features, [images, dim], memory-mapped.

        Raises:
          ConfigError: they can't be written, are not finite, or don't fit the number format.
        """
        folder = os.path.join(self.run, FEATURES)
        check_place(os.path.realpath(folder), "model_dir", DIRECTORY, self.run)
        name = f"{self._named(called)}_{images.identity}"
        stored = self._load(os.path.join(folder, name), images)
        if stored is not None:
            return stored
        with writing("model_dir", self.run):
            try:
                with only_one(folder, "features"):
                    # Another process may have computed them meanwhile.
                    stored = self._load(os.path.join(folder, name), images, warn=True)
                    if stored is None:
                        rows = _Rows(images.ids, compute)
                        self._take_over(rows, folder, self._of_data_set(called), images)
                        stored = self._add(folder, name, images, rows)
                        self._remove_earlier(folder, name, called)
                return stored
            except OSError as error:
                if error.errno not in _READ_ONLY:
                    raise
                reason = cannot_be_written(folder, os.strerror(error.errno))
        logger.warning("%s %s, so the features are of this command alone", folder, reason)
        # What is mapped stays there when its file is removed.
        with tempfile.TemporaryDirectory(prefix="tf_simclrv2_") as temporary, \
                writing("model_dir", temporary):  # fmt: skip
            return self._add(temporary, name, images, _Rows(images.ids, compute))

    def _named(self, called: Sequence[str]) -> str:
        """How the names of directories begin that hold features of images called that."""
        readable = re.sub(r"\W", "_", called[0], flags=re.ASCII)[:40]
        return f"{self._of_data_set(called)}_{readable}_{digest(called)[:8]}"

    def _of_data_set(self, called: Sequence[str]) -> str:
        """How the names of directories begin that hold features of any images of a data set."""
        return f"{self.weights}_{self.dtype}_{digest(called[1:])[:8]}"

    def _load(self, path: str, images: Images, warn: bool = False) -> Optional[np.ndarray]:
        """Opens stored features of exactly these images; None if there are none, or damaged."""
        found = self._open(path)
        if found is not None and found[1] == images:
            return found[0]
        if warn and os.path.lexists(path):
            logger.warning("%s is damaged, so the features are computed anew", printable(path))
        return None

    def _open(self, path: str) -> Optional[Tuple[np.ndarray, Images]]:
        """Opens stored features; None if there are none that are whole."""
        try:
            if not os.path.isfile(os.path.join(path, _IMAGES)):  # A FIFO would never end.
                return None
            with open(os.path.join(path, _IMAGES), encoding="utf-8") as file:
                content: Dict[str, Any] = json.load(file)
            images = Images(content["ids"], content["contents"])
            values = self._mapped(path, len(images.ids))
            same = values is not None and images.identity == content["identity"]
            if values is not None and same and _checksum(values) == content["checksum"]:
                return values, images
        # What damaged files make others stumble over.
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            pass
        return None

    def _mapped(self, path: str, count: int) -> Optional[np.ndarray]:
        """The values of so many images; None if the file is not of this kind."""
        path, header = os.path.join(path, _VALUES), self._header(count)
        # Compared, since NumPy parses a damaged one as a text in Python.
        with open(path, "rb") as file:
            if file.read(len(header)) != header:
                return None
        return np.memmap(path, self.dtype, "r", len(header), (count, self.dim))

    def _header(self, count: int) -> bytes:
        """How NumPy begins a file of such an array."""
        header = {"descr": np.dtype(self.dtype).str, "fortran_order": False}
        file = io.BytesIO()
        np.lib.format.write_array_header_1_0(file, {**header, "shape": (count, self.dim)})
        return file.getvalue()

    def _add(self, folder: str, name: str, images: Images, rows: "_Rows") -> np.ndarray:
        """Writes the features of images to a directory that has its name only when it is whole."""
        needed = len(images.ids) * (self.dim * np.dtype(self.dtype).itemsize + _BYTES_PER_IMAGE)
        free = free_bytes(folder)
        if free is not None and free < needed:
            full = os.strerror(errno.ENOSPC)
            raise refuse("model_dir", self.run, cannot_be_written(folder, full, needed, folder))
        target = os.path.join(os.path.abspath(folder), name)
        with replacing_directory(target, _TEMPORARY) as new:
            checksum = self._write(os.path.join(new, _VALUES), rows)
            sums = {"identity": images.identity, "checksum": checksum}
            write_whole(os.path.join(new, _IMAGES), json.dumps({**images._asdict(), **sums}))
            sync(new)
        stored = self._mapped(target, len(images.ids))
        assert stored is not None
        return stored

    def _write(self, path: str, rows: "_Rows") -> int:
        """Writes rows one after the other; returns their checksum."""
        checksum = 0
        bar = progress.bar(rows.count, "features", "image")
        with open(path, "wb") as file, bar:
            file.write(self._header(rows.count))
            for block in rows.blocks():
                with np.errstate(over="ignore"):
                    kept = np.ascontiguousarray(block, self.dtype)
                if not np.isfinite(block).all():
                    raise refuse(
                        "model_dir",
                        self.run,
                        "its network's features are not finite numbers; give an earlier "
                        "checkpoint, or train again with a lower --learning_rate",
                    )
                if not np.isfinite(kept).all():
                    raise refuse(
                        "feature_type",
                        self.dtype,
                        f"can't hold this network's features, which go up to "
                        f"{np.abs(block).max():.3g}; float32 may",
                    )
                # Written, since a full disk kills a process that fills a memory-mapped file.
                file.write(kept.data)
                checksum = zlib.crc32(kept.data, checksum)
                bar.update(len(kept))
            file.flush()
            os.fsync(file.fileno())
        return checksum

    def _take_over(self, rows: "_Rows", folder: str, beginning: str, images: Images) -> None:
        """Finds out which rows are stored already, with whatever images of the data set around."""
        names = [name for name in os.listdir(folder) if name.startswith(f"{beginning}_")]
        place_of = {pair: row for row, pair in enumerate(zip(*images))} if names else {}
        for name in sorted(names):
            found = self._open(os.path.join(folder, name))
            if found is not None:
                rows.take_over(found[0], [place_of.get(pair, -1) for pair in zip(*found[1])])

    def _remove_earlier(self, folder: str, name: str, called: Sequence[str]) -> None:
        """Removes what is stored of earlier images of a name; who reads it still can."""
        beginning = f"{self._named(called)}_"
        names = [each for each in os.listdir(folder) if each.startswith(beginning) and each != name]
        others = [os.path.join(folder, each) for each in names]
        for path in sorted(others, key=os.path.getmtime)[:-_EARLIER_KEPT]:
            shutil.rmtree(path, ignore_errors=True)


class _Rows:
    """Rows in the order of images, some of them stored, the others to compute."""

    def __init__(self, ids: List[str], compute: Compute):
        self.count = len(ids)
        self._ids, self._compute = ids, compute
        self._stored: List[np.ndarray] = []
        # Which of the stored arrays has a row, and where; -1 is to compute.
        self._array = np.full(self.count, -1, np.int32)
        self._row = np.zeros(self.count, np.int64)

    def take_over(self, values: np.ndarray, places: List[int]) -> None:
        """Takes rows from a stored array.

        Args:
          values: the array.
          places: where each of its rows belongs; -1 for those that nobody needs.
        """
        where = np.array(places, np.int64)
        rows = np.flatnonzero(where >= 0)
        self._array[where[rows]], self._row[where[rows]] = len(self._stored), rows
        self._stored.append(values)

    def blocks(self) -> Iterator[np.ndarray]:
        """The rows, some at a time."""
        missing = np.flatnonzero(self._array < 0)
        computed = _Reader(self._compute([self._ids[row] for row in missing]))
        for start in range(0, self.count, _ROWS):
            arrays, rows = self._array[start : start + _ROWS], self._row[start : start + _ROWS]
            new = computed.take(int((arrays < 0).sum()))
            if len(new) == len(arrays):
                yield new
                continue
            block = np.empty([len(arrays), self._stored[0].shape[1]], np.float32)
            for number, values in enumerate(self._stored):
                block[arrays == number] = values[rows[arrays == number]]
            if len(new):
                block[arrays < 0] = new
            yield block


class _Reader:
    """Takes rows from batches, as many at a time as are wanted."""

    def __init__(self, batches: Iterator[np.ndarray]):
        self._batches = batches
        self._left = np.empty([0, 0], np.float32)

    def take(self, count: int) -> np.ndarray:
        """The next rows."""
        parts: List[np.ndarray] = []
        while count:
            if not len(self._left):
                self._left = next(self._batches)
            parts.append(self._left[:count])
            self._left = self._left[count:]
            count -= len(parts[-1])
        return np.concatenate(parts) if parts else np.empty([0, 0], np.float32)


def _checksum(values: np.ndarray) -> int:
    checksum = 0
    with progress.bar(len(values), "checking features", "row") as bar:
        for start in range(0, len(values), _ROWS):
            block = np.ascontiguousarray(values[start : start + _ROWS])
            checksum = zlib.crc32(block.data, checksum)
            bar.update(len(block))
    return checksum
