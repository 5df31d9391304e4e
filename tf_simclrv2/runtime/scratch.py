"""Directories that are written next to their place and then moved there, and what kills leave."""

import contextlib
import logging
import os
import re
import shutil
import tempfile
import time
from typing import Iterator

from tf_simclrv2.config.user_files import DIRECTORY
from tf_simclrv2.runtime.files import kind_of, sync
from tf_simclrv2.runtime.lock import Lock, owner_of

logger = logging.getLogger(__name__)

_NEW, _OLD, _LOCK = "new", "old", "lock"
# Between making a directory and locking it, a process takes much less.
_SECONDS_TO_LOCK = 2.0


@contextlib.contextmanager
def replacing_directory(target: str, prefix: str) -> Iterator[str]:
    """Gives an empty directory to fill, which takes its place at the end if nothing failed.

    What earlier processes that were killed left next to the target is removed; where one was killed
    while it replaced a directory, that directory is put back first.

    Args:
      target: the directory's place, an absolute path; a directory there is replaced.
      prefix: how the names of temporary directories begin.

    Yields:
      The path of the empty directory.

    Raises:
      OSError: it can't be written.
    """
    parent = os.path.dirname(target)
    os.makedirs(parent, exist_ok=True)
    remove_left(parent, prefix)
    temporary = tempfile.mkdtemp(prefix=prefix, dir=parent)
    lock = Lock(os.path.join(temporary, _LOCK), target=os.path.basename(target))
    try:
        lock.take()
        new = os.path.join(temporary, _NEW)
        os.mkdir(new)
        yield new
        _replace(target, new, os.path.join(temporary, _OLD))
        sync(parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        lock.release()
        remove_left(parent, prefix)


def _replace(target: str, new: str, aside: str) -> None:
    """Puts ``new`` in the place of ``target``; one of them is there whatever happens."""
    try:
        # Moved aside, not deleted: a crash must not leave half of it under its name.
        if os.path.lexists(target):
            os.replace(target, aside)
        os.replace(new, target)
    finally:
        if os.path.lexists(aside) and not os.path.lexists(target):
            os.replace(aside, target)


def remove_left(parent: str, prefix: str) -> None:
    """Removes temporary directories of processes that were killed; keeps those of living ones.

    Args:
      parent: the directory that holds them.
      prefix: how their names begin.
    """
    # mkdtemp's names: what a user named alike is not touched.
    names = re.compile(rf"{re.escape(prefix)}[a-z0-9_]{{8}}")
    for name in filter(names.fullmatch, os.listdir(parent)):
        path = os.path.join(parent, name)
        with contextlib.suppress(OSError):
            held = set(os.listdir(path)) if kind_of(path) == DIRECTORY else set()
            if held and held <= {_NEW, _OLD, _LOCK}:
                _remove(path)


def _remove(path: str) -> None:
    lock_file, aside = os.path.join(path, _LOCK), os.path.join(path, _OLD)
    target = owner_of(lock_file).get("target")
    if not os.path.lexists(lock_file) and time.time() - os.stat(path).st_mtime < _SECONDS_TO_LOCK:
        return
    lock = Lock(lock_file)
    if lock.take(watch=False) is not None:
        return
    try:
        if os.path.lexists(aside):
            if not isinstance(target, str):
                logger.warning("%s: left by a command that was killed; move or remove it", aside)
                return
            place = os.path.join(os.path.dirname(path), os.path.basename(target))
            if not os.path.lexists(place):
                os.replace(aside, place)
                logger.warning("%s was put back; a command that replaced it was killed", place)
        shutil.rmtree(path)
    finally:
        lock.release()
