"""What goes wrong with disks, said in one line: full, read-only, not allowed, torn off."""

import contextlib
import errno
import logging
import os
import re
import shutil
from typing import Callable, Iterator, Optional

from tf_simclrv2.config import refuse
from tf_simclrv2.keras2 import tf

logger = logging.getLogger(__name__)

_FULL = (errno.ENOSPC, errno.EDQUOT)
# TensorFlow names an error of the disk only in its message.
_SAID_BY_TENSORFLOW = tuple(
    map(
        os.strerror,
        (*_FULL, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG, errno.ENOTDIR,
         errno.ENAMETOOLONG, errno.EISDIR, errno.ESTALE),
    )
)  # fmt: skip


def reason_of(error: Exception) -> Optional[str]:
    """Says what an error of the disk was.

    Args:
      error: an OSError, or what TensorFlow raises.

    Returns:
      The reason in the operating system's words; None for another kind of error.
    """
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return next((reason for reason in _SAID_BY_TENSORFLOW if reason in str(error)), None)


# Errors of writing, whatever was being done; others, such as of permissions, may be of images.
_OF_WRITING = tuple(map(os.strerror, (*_FULL, errno.EROFS, errno.EFBIG)))


def _is_of_writing(error: Exception, directory: str) -> bool:
    """Whether an error of the disk is one of writing, or of a file in the directory."""
    reason, path = reason_of(error), path_in(error)
    inside = path is not None and _is_inside(path, directory)
    return reason in _OF_WRITING or (reason is not None and inside)


def _is_inside(path: str, directory: str) -> bool:
    return os.path.realpath(path).startswith(os.path.realpath(directory))


def path_in(error: Exception) -> Optional[str]:
    """The path that an error of the disk names; None if it names none."""
    if isinstance(error, OSError):
        return error.filename if isinstance(error.filename, str) else None
    match = re.search(r"(?:^|\s)(/[^\s;]+)", str(error))
    return match[1].rstrip(":,") if match else None


def free_bytes(path: str) -> Optional[int]:
    """Bytes that are free where a path is or will be; None if that can't be found out."""
    path = os.path.abspath(os.path.expanduser(path))
    while not os.path.exists(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return None


def shown_bytes(count: float) -> str:
    """A number of bytes in words, such as 1.5 MB."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


@contextlib.contextmanager
def watched(directory: str, needed: Callable[[], Optional[int]]) -> Iterator[None]:
    """Turns an error of the disk, while a run is trained in a directory, into a ConfigError.

    Args:
      directory: of the run.
      needed: about how many bytes a checkpoint needs, if that is known; called after an error.

    Raises:
      ConfigError: the message says why the run can't be written, and what to do.
    """
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        reason = reason_of(error) if _is_of_writing(error, directory) else None
        if reason is None:
            raise
        where = path_in(error)
        of_run = where is None or _is_inside(where, directory)
        said = cannot_be_written(directory, reason, needed() if of_run else None, where)
        raise refuse(
            "model_dir",
            directory,
            f"{said}; what it holds stays whole, and the same command continues from there",
        ) from error


@contextlib.contextmanager
def writing(flag: str, path: str, needed: Optional[int] = None) -> Iterator[None]:
    """Turns an error of the disk into a ConfigError.

    Args:
      flag: the flag that named the path.
      path: what is written.
      needed: about how many bytes are needed, if that is known.

    Raises:
      ConfigError: it can't be written; if the disk is full, the message says how much is free.
    """
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        reason = reason_of(error)
        if reason is None:
            raise
        said = cannot_be_written(path, reason, needed, path_in(error))
        raise refuse(flag, path, said) from error


def cannot_be_written(
    path: str, reason: str, needed: Optional[int] = None, where: Optional[str] = None
) -> str:
    """The end of a sentence that says why a path can't be written.

    Args:
      path: what is written.
      reason: of :func:`reason_of`.
      needed: about how many bytes are needed, if that is known.
      where: the very file, if it is known.
    """
    details = [reason]
    if where is not None and os.path.abspath(where) != os.path.abspath(path):
        details.append(where)
    if reason in map(os.strerror, _FULL):
        if needed is not None:
            details.append(f"about {shown_bytes(needed)} are needed")
        free = free_bytes(where or path)
        if free is not None:
            details.append(f"{shown_bytes(free)} are free")
    return f"can't be written ({'; '.join(details)})"


def warn_of_little_space(path: str, needed: int, what: str) -> None:
    """Warns if a disk has less space than will be needed.

    Args:
      path: what will be written there.
      needed: bytes.
      what: what needs them, the subject of the sentence.
    """
    free = free_bytes(path)
    if free is not None and free < needed:
        logger.warning(
            f"{path}: {what} may need {shown_bytes(needed)}, but {shown_bytes(free)} are free"
        )
