"""The directory of an export, which is only ever seen complete and never replaces other files."""

import contextlib
import os
from typing import Iterator

from tf_simclrv2.config import refuse
from tf_simclrv2.config.user_files import DIRECTORY
from tf_simclrv2.runtime.disk import writing
from tf_simclrv2.runtime.feature_store import FEATURES
from tf_simclrv2.runtime.files import check_place
from tf_simclrv2.runtime.scratch import replacing_directory

from .formats import FORMATS

CARD = "README.md"
# All that an export may hold, and features that it made: what else is there is the user's own.
_ENTRIES = {CARD, FEATURES, *(entry for format in FORMATS.values() for entry in format.entries)}


def check(export_dir: str, overwrite: bool) -> None:
    """Refuses a directory that can't be written, or that holds other things than an export.

    Args:
      export_dir: to be written.
      overwrite: whether an export that is there may be replaced.

    Raises:
      ConfigError: it can't be used.
    """
    target = _absolute(export_dir)
    kind = check_place(target, "export_dir", DIRECTORY, export_dir)
    if kind == DIRECTORY and os.listdir(target):
        if not overwrite:
            raise refuse("export_dir", export_dir, "exists; give --overwrite to replace it")
        others = sorted(set(os.listdir(target)) - _ENTRIES)
        if others:
            raise refuse(
                "export_dir",
                export_dir,
                f"holds files that don't belong to an export ({', '.join(others)}), so it stays as "
                "it is",
            )


@contextlib.contextmanager
def replacing(export_dir: str, overwrite: bool, needed: int) -> Iterator[str]:
    """Gives an empty directory to write, which takes its place at the end if nothing failed.

    Args:
      export_dir: to be written, see :func:`check`.
      overwrite: see :func:`check`.
      needed: about how many bytes the export has, for the error if they don't fit.

    Yields:
      The path of the empty directory.

    Raises:
      ConfigError: it can't be written.
    """
    target = _absolute(export_dir)
    with writing("export_dir", export_dir, needed), replacing_directory(target, ".export-") as new:
        yield new
        # Something may have come there meanwhile.
        check(export_dir, overwrite)


def _absolute(export_dir: str) -> str:
    return os.path.abspath(os.path.expanduser(export_dir))
