"""Which image files there are: the one listing that training, ``predict`` and ``embed`` share."""

import collections
import dataclasses
import glob
import logging
import os
from typing import Callable, Counter, Dict, Iterable, Iterator, List, Optional, Set, Tuple, TypeVar

from tf_simclrv2 import progress
from tf_simclrv2.config import refuse
from tf_simclrv2.config.user_files import Line, printable, read_lines, spellings, why_unreadable
from tf_simclrv2.data.images import IMAGE_SUFFIXES

logger = logging.getLogger(__name__)

T = TypeVar("T")

# The longest path that Linux takes, in bytes.
_LONGEST_PATH = 4096
_SUFFIXES_SHOWN = 12


@dataclasses.dataclass
class Listing:
    """The image files under a directory.

    Attributes:
      root: the directory.
      files: paths of the image files, relative to ``root`` and sorted.
      unreadable: why those of them that are no regular file must not be opened.
      empty: directories, relative to ``root``, that hold neither an image nor another directory.
      left_out: what else is there, counted by suffix or kind.
    """

    root: str
    files: List[str] = dataclasses.field(default_factory=list)
    unreadable: Dict[str, str] = dataclasses.field(default_factory=dict)
    empty: List[str] = dataclasses.field(default_factory=list)
    left_out: Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def warn_of_left_out(self) -> None:
        """Logs what was left out, if there is anything."""
        if not self.left_out:
            return
        counts = [f"{count} {what}" for what, count in self.left_out.most_common(_SUFFIXES_SHOWN)]
        more = ", ..." if len(self.left_out) > _SUFFIXES_SHOWN else ""
        logger.warning(
            "%d of the files and links in %s are no images that can be read, and were left out: "
            "%s%s",
            sum(self.left_out.values()), printable(self.root), ", ".join(counts), more,
        )  # fmt: skip


def list_images(root: str) -> Listing:
    """Lists the image files under a directory, at any depth.

    Hidden files and directories are left out. Links are followed, but a directory is listed once,
    under its own path if that is under ``root`` as well.

    Args:
      root: the directory to search; its ``~`` must be expanded.
    """
    with progress.bar(desc="listing images", unit="file") as bar:
        return _listed(root, bar.update)


def _listed(root: str, tell: Callable[[], object]) -> Listing:
    """Lists images; calls ``tell`` after each file or directory."""
    listing = Listing(root)
    seen: Set[object] = set()
    # Links wait until all directories under their own paths are listed.
    pending, links = [""], collections.deque[str]()
    while pending or links:
        relative = pending.pop() if pending else links.popleft()
        path = os.path.join(root, relative)
        try:
            status = os.stat(path)
            entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        except OSError as error:
            listing.left_out[f"directories that can't be read ({error.strerror})"] += 1
            continue
        # Some file systems number nothing.
        place = (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(path)
        if place in seen:
            listing.left_out["links to directories that are listed already"] += 1
            continue
        seen.add(place)
        _list_directory(relative, _told(entries, tell), listing, (pending, links))
    listing.files.sort()
    listing.empty.sort()
    return listing


def _told(items: Iterable[T], tell: Callable[[], object]) -> Iterator[T]:
    for item in items:
        yield item
        tell()


def _list_directory(
    relative: str,
    entries: Iterable["os.DirEntry[str]"],
    listing: Listing,
    waiting: Tuple[List[str], "collections.deque[str]"],
) -> None:
    """Adds a directory's files to the listing, and its directories to those that wait."""
    directories, links = waiting
    holds_something = False
    for entry in entries:
        path = os.path.join(relative, entry.name)
        is_directory = _is_directory(entry)
        if entry.name.startswith("."):
            listing.left_out["hidden directories" if is_directory else "hidden files"] += 1
        elif is_directory:
            (links if entry.is_symlink() else directories).append(path)
            holds_something = True
        elif entry.name.lower().endswith(IMAGE_SUFFIXES):
            listing.files.append(path)
            holds_something = True
            reason = why_unreadable(entry.path)
            if reason is not None:
                listing.unreadable[path] = reason
        else:
            suffix = os.path.splitext(entry.name)[1].lower()
            listing.left_out[printable(suffix) or "without a suffix"] += 1
    if not holds_something:
        listing.empty.append(relative or ".")


def _is_directory(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link to itself.
        return False


def find_image(root: str) -> Optional[str]:
    """Looks for an image file that belongs to a user, in the layouts of a folder.

    Args:
      root: the directory to search, three directories deep, outside of TensorFlow Datasets'
        ``downloads``.

    Returns:
      The first file's path, relative to ``root``; None if there is none.
    """
    for base, directories, names in os.walk(root):
        relative = os.path.relpath(base, root)
        depth = 0 if relative == "." else relative.count(os.sep) + 1
        directories[:] = sorted(
            name for name in directories if depth < 3 and name[0] != "." and name != "downloads"
        )
        for name in sorted(names):
            if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("."):
                return os.path.normpath(os.path.join(relative, name))
    return None


def find_images(images: str) -> List[str]:
    """Lists the image files that ``--images`` names.

    Args:
      images: files, folders (searched through), globs or text files (.txt) that list files,
        separated by commas. A name may hold commas and brackets itself.

    Raises:
      ConfigError: there are none, or a list can't be read.
    """
    paths: List[str] = []
    for part in _parts(images):
        if os.path.isdir(part):
            listing = list_images(part)
            listing.warn_of_left_out()
            paths += [os.path.join(part, file) for file in listing.files]
        elif part.endswith(".txt") and os.path.lexists(part):
            paths += map(_listed_path, filter(_is_listed, read_lines(part, "images")))
        else:
            paths += _matching(part)
    if not paths:
        suffixes = ", ".join(IMAGE_SUFFIXES)
        raise refuse("images", images, f"must name at least one image file ({suffixes})")
    return paths


def _parts(images: str) -> Iterator[str]:
    """Divides ``--images`` at its commas, except at those in the name of something that exists."""
    pieces = images.split(",")
    start = 0
    while start < len(pieces):
        end = start + 1
        joined = pieces[start]
        for last in range(start + 1, len(pieces)):
            joined = f"{joined},{pieces[last]}"
            if len(joined) > _LONGEST_PATH:
                break
            if _is_there(os.path.expanduser(joined), pieces[last]):
                end = last + 1
        part = ",".join(pieces[start:end])
        if part:
            yield os.path.expanduser(part)
        start = end


def _is_there(joined: str, end: str) -> bool:
    """Whether something has the name, or a directory the name of all but the glob at its end."""
    if os.sep in end and glob.has_magic(end):
        return os.path.isdir(os.path.dirname(joined))
    return os.path.lexists(joined)


def _is_listed(line: Line) -> bool:
    return bool(line.text.strip())


def _listed_path(line: Line) -> str:
    meant = [os.path.expanduser(text) for text in spellings(line.text)]
    # A missing file is reported with the unreadable ones.
    return next(filter(os.path.lexists, meant), meant[0])


def _matching(part: str) -> List[str]:
    """The files that a path or glob names; a path without a file is itself one of them."""
    if os.path.lexists(part) or not glob.has_magic(part):
        return [part]
    literal = part
    # The directories that exist are no patterns, even if there are brackets in their names.
    while literal and not os.path.isdir(literal):
        literal = os.path.dirname(literal)
    pattern = glob.escape(literal) + part[len(literal) :]
    found = progress.progress(glob.iglob(pattern, recursive=True), "listing images", "file")
    return sorted(path for path in found if not os.path.isdir(path))
