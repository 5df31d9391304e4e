"""Where TensorFlow Datasets may write, and one process at a time that does."""

import contextlib
import logging
import os
import re
from typing import Iterator, List, Optional

from tf_simclrv2.config.user_files import printable

try:
    import fcntl
except ImportError:  # On Windows. There a second process makes its own copy, and drops it.
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

_DOWNLOADS = {"downloads", "download"}
_VERSION = re.compile(r"\d+\.\d+\.\d+(\.incomplete.*)?")
# Files that systems leave in directories.
_NOBODYS = {"desktop.ini", "thumbs.db", "lost+found"}


def foreign_entry(directory: str) -> Optional[str]:
    """Finds something in a directory that is not TensorFlow Datasets' own.

    Its own are its downloads, and directories as ``cifar10/3.0.2`` or ``name/configuration/1.0.0``.

    Args:
      directory: the directory, which may be missing.

    Returns:
      The name of the first other entry; None if there is none.
    """
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return None
    for name in names:
        nobodys = name.startswith(".") or name.lower() in _NOBODYS
        if not nobodys and name not in _DOWNLOADS and not _has_versions(directory, name):
            return printable(name)
    return None


def _has_versions(directory: str, name: str) -> bool:
    path = os.path.join(directory, name)
    try:
        below = os.listdir(path)
    except OSError:  # A file, or a directory of somebody else's.
        return False
    deeper: List[str] = []
    for one in below:
        with contextlib.suppress(OSError):
            deeper += os.listdir(os.path.join(path, one))
    return not below or any(map(_VERSION.fullmatch, [*below, *deeper]))


@contextlib.contextmanager
def only_one(directory: str, name: str) -> Iterator[None]:
    """Lets one process at a time do what is inside; others wait for it.

    The lock is the system's, so it ends with its process. Where a file system has no locks, nobody
    waits.

    Args:
      directory: where to keep the lock's file; it is made if need be.
      name: what is prepared, for the file's name and for those who wait.

    Raises:
      OSError: the directory can't be written.
    """
    if "://" in directory:  # A bucket, which has no locks.
        yield
        return
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, f".{re.sub(r'[^A-Za-z0-9_.-]', '_', name)[:100]}.lock")
    with open(path, "a") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.info("waiting for another process, which prepares %s", name)
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError:
                logger.debug("%s can't be locked", path)
        yield
