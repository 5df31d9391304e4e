"""Examples kept in a directory, which is used only if it holds exactly what it should."""

import hashlib
import json
import logging
import os
import re
import tempfile
import zlib
from typing import Callable, Dict, List, Optional, Sequence, Set

import numpy as np

from tf_simclrv2 import progress
from tf_simclrv2.config import refuse
from tf_simclrv2.config.user_files import printable
from tf_simclrv2.keras2 import tf

logger = logging.getLogger(__name__)

_MANIFEST = "manifest.json"
# Of images that are reached by number: one after the other, and where each ends.
_IMAGES, _ENDS = "images", "ends.npy"
_BLOCK = 1 << 20
# Directories that this process has checked, which it need not read once more.
_CHECKED: Set[str] = set()


def cached_on_disk(
    examples: tf.data.Dataset, prefix: str, name: str, fingerprint: str
) -> tf.data.Dataset:
    """Returns examples as they stand in a directory, and writes them there first if need be.

    Unlike ``Dataset.cache`` with a file name it survives interruption, and several may write. The
    directory is checked against the sizes and checksums of its files, and made anew if one differs.

    Args:
      examples: what to keep, in their order.
      prefix: how the directory's path begins, as ``--cache_path`` has it.
      name: of the examples, for people who look at the directory.
      fingerprint: what identifies the examples.

    Raises:
      ConfigError: the directory can't be written.
    """
    return tf.data.Dataset.load(_directory(examples.save, prefix, name, fingerprint))


def images_on_disk(
    images: tf.data.Dataset, prefix: str, name: str, fingerprint: str
) -> "ImagesOnDisk":
    """Returns encoded images by their numbers, from a directory as :func:`cached_on_disk` makes.

    Args:
      images: string scalars, in their order.
      prefix, name, fingerprint: as there.

    Raises:
      ConfigError: the directory can't be written.
    """

    def write(path: str) -> None:
        os.mkdir(path)
        lengths = []
        with open(os.path.join(path, _IMAGES), "wb") as file:
            for image in images.as_numpy_iterator():
                lengths.append(file.write(image))
            # A file without a byte could not be mapped.
            file.write(b"\0")
        np.save(os.path.join(path, _ENDS), np.cumsum(lengths, dtype=np.int64))

    other = hashlib.sha256(f"by index {fingerprint}".encode()).hexdigest()
    return ImagesOnDisk(_directory(write, prefix, name, other))


class ImagesOnDisk:
    """Encoded images by their numbers; only those that are asked for are read.

    Args:
      path: the directory.
    """

    def __init__(self, path: str):
        self._content = np.memmap(os.path.join(path, _IMAGES), np.uint8, "r")
        self._ends = np.load(os.path.join(path, _ENDS), allow_pickle=False)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, number: int) -> bytes:
        start = self._ends[number - 1] if number else 0
        return self._content[start : self._ends[number]].tobytes()


def kept_images(caches: Sequence[ImagesOnDisk]) -> Callable[[tf.Tensor], tf.Tensor]:
    """What returns the images of several caches by number, one cache after the other."""
    ends = np.cumsum([len(cache) for cache in caches])

    def read(number):
        which = int(np.searchsorted(ends, number, "right"))
        return caches[which][int(number) - (int(ends[which - 1]) if which else 0)]

    return lambda number: tf.numpy_function(read, [number], tf.string, stateful=False)


def _directory(write: Callable[[str], None], prefix: str, name: str, fingerprint: str) -> str:
    """The directory that holds what ``write`` writes, made if need be."""
    readable = re.sub(r"\W", "_", name, flags=re.ASCII)[:80]
    path = f"{os.path.expanduser(prefix)}{readable}_{fingerprint[:24]}"
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise refuse("cache_path", prefix, f"the directory {folder} must exist")
    manifest = os.path.join(path, _MANIFEST)
    if not (path in _CHECKED and os.path.isfile(manifest)) and not _is_whole(path, fingerprint):
        try:
            _write(write, path, fingerprint)
        except (OSError, tf.errors.OpError) as error:
            message = error.message if isinstance(error, tf.errors.OpError) else str(error)
            reason = printable(message.strip().splitlines()[0][:200])
            raise refuse("cache_path", prefix, f"{path} can't be written ({reason})") from error
    _CHECKED.add(path)
    return path


def _write(write: Callable[[str], None], path: str, fingerprint: str) -> None:
    """Writes a cache, in the place of one that is damaged."""
    with tempfile.TemporaryDirectory(dir=os.path.dirname(os.path.abspath(path))) as temporary:
        written = os.path.join(temporary, "examples")
        write(written)
        manifest = {"fingerprint": fingerprint, "files": _checksums(written)}
        with open(os.path.join(written, _MANIFEST), "w", encoding="utf-8") as file:
            json.dump(manifest, file)
        # Another process may have written it meanwhile; then its files are there.
        if _is_whole(path, fingerprint):
            return
        try:
            if os.path.lexists(path):
                logger.warning("%s was damaged and is made anew", printable(path))
                os.rename(path, os.path.join(temporary, "damaged"))
            os.rename(written, path)
        except OSError:
            if not _is_whole(path, fingerprint):
                raise


def _is_whole(path: str, fingerprint: str) -> bool:
    """Whether a directory holds the examples of a fingerprint, unchanged since it was written."""
    try:
        with open(os.path.join(path, _MANIFEST), encoding="utf-8") as file:
            manifest = json.load(file)
        if manifest["fingerprint"] != fingerprint:
            return False
        expected: Dict[str, List[int]] = manifest["files"]
        sizes = {name: _size(path, name) for name in expected}
        # Sizes first, since reading everything takes a while.
        if any(sizes[name] != size for name, (size, _) in expected.items()):
            return False
        return _checksums(path, sizes) == expected
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Missing, or a manifest that is damaged.
        return False


def _size(path: str, name: str) -> int:
    return os.path.getsize(os.path.join(path, name))


def _checksums(path: str, sizes: Optional[Dict[str, int]] = None) -> Dict[str, List[int]]:
    """Size and checksum of each file under a directory, by relative path.

    Args:
      path: the directory.
      sizes: the files to look at, by size; None is all but the manifest.
    """
    if sizes is None:
        found = (os.path.join(base, name) for base, _, names in os.walk(path) for name in names)
        relative = (os.path.relpath(file, path) for file in found)
        sizes = {name: _size(path, name) for name in relative if name != _MANIFEST}
    checksums: Dict[str, List[int]] = {}
    with progress.bar(sum(sizes.values()), "checking the cache", "B", unit_scale=True) as shown:
        for name, size in sizes.items():
            checksum = 0
            with open(os.path.join(path, name), "rb") as file:
                while block := file.read(_BLOCK):
                    checksum = zlib.crc32(block, checksum)
                    shown.update(len(block))
            checksums[name] = [size, checksum]
    return checksums
