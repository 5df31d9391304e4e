"""Writing files so that a reader never sees half of one, also after a power cut."""

import errno
import os

# The suffix of a file's name while it is being written.
TEMPORARY = ".tmp"


def write_whole(path: str, text: str) -> None:
    """Writes a text file under a temporary name, then moves it into place.

    Args:
      path: the file; an existing one is replaced.
      text: its content, written as UTF-8.
    """
    temporary = f"{path}{TEMPORARY}"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        # A disk may take the new name before the content: a power cut would leave an empty file.
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync(os.path.dirname(path) or ".")


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
