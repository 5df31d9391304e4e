"""Writing files so that a reader never sees half of one, and that nothing but files is replaced.

A power cut, too, leaves the old file or the new one.
"""

import contextlib
import errno
import fcntl
import os
import tempfile
from typing import IO, Iterable, Iterator, Optional, Sequence, Tuple

from tf_simclrv2.config import refuse
from tf_simclrv2.config.user_files import DIRECTORY, FILE, LINK, csv_text, kind_in_words

# The suffix of a file's name while it is being written.
TEMPORARY = ".tmp"

# What a run writes.
_RUN_DIRECTORIES = ("best", "checkpoints", "events")
_RUN_FILES = (
    "config.json", "environment.json", "metrics.csv", "labelled_examples.txt", "result.json",
)  # fmt: skip
# The kernel's own directories. /dev/shm is an ordinary file system in memory.
_KERNELS = ("/dev", "/proc", "/sys")
_SHARED_MEMORY = "/dev/shm"


def kind_of(path: str) -> Optional[str]:
    """Says what is at a path, in words; a link is not followed.

    Returns:
      ``FILE``, ``DIRECTORY``, ``LINK``, another kind, or None if nothing is there.

    Raises:
      OSError: this can't be found out, for example because the name is too long.
    """
    try:
        return kind_in_words(os.lstat(path))
    except FileNotFoundError:
        return None


def check_place(path: str, flag: str, allowed: str, given: Optional[str] = None) -> Optional[str]:
    """Refuses a path at which something else is than what is to be written there.

    The type is looked up without following links: a command must never replace or fill a device,
    a FIFO or what a link leads to.

    Args:
      path: what is to be written.
      flag: the flag that named it, for the error.
      allowed: ``FILE`` or ``DIRECTORY``.
      given: the flag's value, if it is another than ``path``.

    Returns:
      What is there, see :func:`kind_of`.

    Raises:
      ConfigError: something else is there, or nothing can be written there.
    """
    given = path if given is None else given
    try:
        kind = kind_of(path)
        folder = os.path.realpath(os.path.dirname(os.path.abspath(path)))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise refuse(flag, given, f"can't be written ({reason})") from error
    if kind not in (None, allowed):
        others = "" if kind in (FILE, DIRECTORY) else "new or "
        leads = f" to {os.path.realpath(path)}" if kind == LINK else ""
        where = "" if given == path else f"{path} "
        raise refuse(flag, given, f"{where}is {kind}{leads}, but must be {others}{allowed}")
    if _is_under(folder, _KERNELS) and not _is_under(folder, (_SHARED_MEMORY,)):
        raise refuse(flag, given, f"can't be written ({folder} belongs to the system)")
    return kind


def _is_under(path: str, folders: Tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def check_can_write(folder: str, flag: str, given: str) -> None:
    """Refuses a directory in which no file can be made, by making one.

    Args:
      folder: the directory; of one that is not there, the nearest above it that is counts.
      flag: the flag that named it, for the error.
      given: the flag's value.

    Raises:
      ConfigError: no file can be made there.
    """
    folder = os.path.abspath(folder)
    try:
        while not os.path.lexists(folder):
            folder = os.path.dirname(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise refuse(flag, given, f"can't be written ({error.strerror})") from error


def check_run_places(directory: str) -> None:
    """Refuses a run directory of which what a run writes is something else than it should be.

    Links may lead to directories, which can be on another disk.

    Args:
      directory: of the run; it need not exist.

    Raises:
      ConfigError: the message names what is there.
    """
    for name in ("", *_RUN_DIRECTORIES):
        path = os.path.realpath(os.path.join(directory, name))
        check_place(path, "model_dir", DIRECTORY, directory)
    for name in _RUN_FILES:
        check_place(os.path.join(directory, name), "model_dir", FILE, directory)


@contextlib.contextmanager
def whole_file(path: str) -> Iterator[IO[bytes]]:
    """Gives a temporary file to fill, which takes the place of ``path`` if nothing failed.

    Two processes that write the same file do so one after the other, and what one that was killed
    left is used again.

    Args:
      path: the file; an existing one is replaced.

    Yields:
      The open file.

    Raises:
      OSError: it can't be written, or something other than a file is there.
    """
    temporary = temporary_of(path)
    _check_is_file(path)
    with _opened_alone(temporary) as file:
        try:
            yield file
            file.flush()
            # A disk may take the new name before the content: a power cut leaves an empty file.
            os.fsync(file.fileno())
            _check_is_file(path)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    sync(os.path.dirname(path) or ".")


def temporary_of(path: str) -> str:
    """The path under which :func:`whole_file` writes until a file is complete."""
    return f"{path}{TEMPORARY}"


def _check_is_file(path: str) -> None:
    kind = kind_of(path)
    if kind not in (None, FILE):
        raise FileExistsError(errno.EEXIST, f"it is {kind}, but must be a file", path)


def _opened_alone(path: str) -> IO[bytes]:
    """Opens a file for writing, empty, after waiting for another process that has it open."""
    while True:
        _check_is_file(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.fdopen(os.open(path, flags, 0o666), "wb")
        # Not all file systems have locks.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        if is_open_at(file, path):
            file.truncate(0)
            return file
        # The other process has moved it into place meanwhile.
        file.close()


def is_open_at(file: IO[bytes], path: str) -> bool:
    """Whether an open file is still the one at ``path``."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.lstat(path))
    except FileNotFoundError:
        return False


def sync(path: str) -> None:
    """Returns when the disk holds a file's content, or which names a directory has.

    Args:
      path: an existing file or directory.
    """
    try:
        number = os.open(path, os.O_RDONLY)
    except PermissionError:  # A directory that others may enter but not list, such as /home.
        return
    try:
        os.fsync(number)
    except OSError as error:
        # Some network file systems can't do it for directories.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(number)


def write_whole(path: str, text: str) -> None:
    """Writes a text file under a temporary name, then moves it into place.

    Args:
      path: the file; an existing one is replaced.
      text: its content, written as UTF-8; bytes of file names that are no UTF-8 stay as they are.
    """
    with whole_file(path) as file:
        file.write(text.encode("utf-8", "surrogateescape"))


def write_table(path: str, rows: Iterable[Sequence[object]]) -> None:
    """Writes a CSV file as :func:`write_whole` does.

    Args:
      path: the file; an existing one is replaced.
      rows: of the table, its header first.
    """
    write_whole(path, csv_text(rows))
