"""Files that users name: what is at a path, and text as editors and spreadsheets write it."""

import codecs
import csv
import io
import os
import stat
import unicodedata
from typing import Iterable, List, NamedTuple, Optional, Sequence, Tuple

from tf_simclrv2.config.settings import ConfigError, refuse

# No image or list comes near this size; a file of more is a mistake that would fill the memory.
_LARGEST_FILE = 1 << 30
FILE, DIRECTORY, LINK = "a file", "a directory", "a link"
_KINDS = {
    stat.S_IFREG: FILE,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFLNK: LINK,
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
}
# Windows writes UTF-8 and UTF-16 with these marks in front.
_MARKS: Tuple[Tuple[bytes, str], ...] = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class Line(NamedTuple):
    """A line of a text file.

    Attributes:
      number: from 1.
      text: without its line break. Bytes that are no UTF-8 stand in it as Python's file names have
        them, so that it can name any file.
    """

    number: int
    text: str


def kind_in_words(status: os.stat_result) -> str:
    """Says what an entry of a file system is: ``FILE``, ``DIRECTORY``, ``LINK`` or another kind."""
    return _KINDS.get(stat.S_IFMT(status.st_mode), "a device")


def why_unreadable(path: str) -> Optional[str]:
    """Says why a path can't be read as a file, without opening it; None if it can.

    A FIFO would block whoever opens it, and a device may never end.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        return "a link that leads nowhere" if os.path.islink(path) else error.strerror
    except ValueError:  # A NUL byte in the path.
        return "no path"
    if not stat.S_ISREG(status.st_mode):
        return kind_in_words(status)
    if status.st_size > _LARGEST_FILE:
        return f"a file of {status.st_size / _LARGEST_FILE:.0f} GiB"
    return None


def spellings(text: str) -> List[str]:
    """What the text of a list may mean: its bytes as they are, else read as Windows's Latin-1."""
    if is_utf8(text):
        return [text]
    return [text, os.fsencode(text).decode("cp1252", "replace")]


def printable(text: str) -> str:
    """Writes a name so that it takes one line and is UTF-8: other characters as escapes."""
    if text.isascii() and text.isprintable():
        return text
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    for character in set(text):
        if unicodedata.category(character) in ("Cc", "Zl", "Zp"):
            text = text.replace(character, ascii(character)[1:-1])
    return text


def is_utf8(text: str) -> bool:
    """Whether no byte of a text, as Python's names of files have them, is other than UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def check_file(path: str, flag: str, kind: str) -> None:
    """Refuses what can't be read as a file.

    Args:
      path: the file; ``~`` is the home directory.
      flag: the flag that names it, for the error.
      kind: what it must be, such as ``text file``.

    Raises:
      ConfigError: it is not there, or something else.
    """
    reason = why_unreadable(os.path.expanduser(path))
    if reason is not None:
        worded = "not there" if reason == os.strerror(2) else reason
        raise refuse(flag, path, f"must be a readable {kind}, but is {worded}")


def read_lines(path: str, flag: str) -> List[Line]:
    """Reads a text file's lines.

    UTF-8 and UTF-16 with a byte order mark are read without the mark; line breaks may be those of
    Windows.

    Args:
      path: the file; ``~`` is the home directory.
      flag: the flag that names it, for the error.

    Raises:
      ConfigError: it is no file, can't be read, or is not text.
    """
    expanded = os.path.expanduser(path)
    check_file(path, flag, "text file")
    try:
        with open(expanded, "rb") as file:
            content = file.read()
    except OSError as error:
        raise refuse(flag, path, f"must be a readable text file ({error.strerror})") from error
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            content = content[len(mark) :]
            if encoding != "utf-8":
                content = content.decode(encoding, "replace").encode("utf-8")
    lines = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    for number, line in enumerate(lines, 1):
        if b"\0" in line:
            raise not_text(flag, path, number, "it has a NUL byte")
    return [Line(number, os.fsdecode(line)) for number, line in enumerate(lines, 1)]


def not_text(flag: str, path: str, number: int, reason: str) -> ConfigError:
    """The error for a file whose line ``number`` is no text."""
    return refuse(flag, path, f"must be a text file in UTF-8, but line {number} is not: {reason}")


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as the text of a CSV file, which :func:`read_lines` and spreadsheets read.

    Args:
      rows: of the table, its header first. NUL, which no reader takes, is left out of cells.
    """
    lines = []
    for row in rows:
        line = io.StringIO()
        # What ends lines is quoted in cells, so both kinds must be among it.
        csv.writer(line, lineterminator="\r\n").writerow(row)
        lines.append(line.getvalue()[: -len("\r\n")].replace("\0", ""))
    return "".join(f"{line}\n" for line in lines)
