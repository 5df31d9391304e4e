"""The directory of an export: complete or not there, and never someone else's."""

import contextlib
import os
import shutil
import tempfile
from typing import Iterator

from tf_simclrv2.config import ConfigError, refuse
from tf_simclrv2.keras2 import tf

from .formats import FORMATS

CARD = "README.md"
# All that an export may hold: what else is in its directory is the user's own.
_ENTRIES = {CARD, *(entry for format in FORMATS.values() for entry in format.entries)}


def check(export_dir: str, overwrite: bool) -> None:
    """Refuses a directory that can't be written, or that holds other things than an export.

    Args:
      export_dir: to be written.
      overwrite: whether an export that is there may be replaced.

    Raises:
      ConfigError: it can't be used.
    """
    target = _absolute(export_dir)
    if os.path.isfile(target):
        raise refuse("export_dir", export_dir, "is a file, but must be a directory")
    if os.path.isdir(target) and os.listdir(target):
        if not overwrite:
            raise refuse("export_dir", export_dir, "exists; give --overwrite to replace it")
        others = sorted(set(os.listdir(target)) - _ENTRIES)
        if others:
            raise refuse(
                "export_dir",
                export_dir,
                f"holds what is no part of an export ({', '.join(others)}), so it stays as it is",
            )


@contextlib.contextmanager
def replacing(export_dir: str) -> Iterator[str]:
    """Gives an empty directory to write, which takes its place at the end if nothing failed.

    Args:
      export_dir: to be written, see :func:`check`.

    Yields:
      The path of the empty directory.

    Raises:
      ConfigError: it can't be written.
    """
    target = _absolute(export_dir)
    temporary = None
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        temporary = tempfile.mkdtemp(prefix=".export-", dir=os.path.dirname(target))
        new = os.path.join(temporary, "new")
        os.mkdir(new)
        yield new
        _replace(target, new, os.path.join(temporary, "old"))
    except (OSError, tf.errors.OpError) as error:
        raise ConfigError(f"--export_dir={export_dir}: can't be written ({error}).") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _absolute(export_dir: str) -> str:
    return os.path.abspath(os.path.expanduser(export_dir))


def _replace(target: str, new: str, aside: str) -> None:
    """Puts ``new`` in the place of ``target``; one of them is there whatever happens."""
    try:
        # Moved aside, not deleted: a crash must not leave half of it under its name.
        if os.path.exists(target):
            os.replace(target, aside)
        os.replace(new, target)
    finally:
        if os.path.exists(aside) and not os.path.exists(target):
            os.replace(aside, target)
