"""How the command line keeps TensorFlow quiet, and nothing else does.

Importing the library leaves TensorFlow's logging as it is. The command line puts its work into
:func:`quiet`, before TensorFlow is imported, which this module doesn't do.
"""

import contextlib
import logging
import os
import sys
from typing import Iterator

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_ERRORS_ONLY = "3"

_mutes_stderr = False


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hides what TensorFlow logs below errors while the block runs, and no longer.

    TensorFlow's C++ part reads its level once: if the block imports TensorFlow, that part stays
    quiet. A level that the user has set in ``TF_CPP_MIN_LOG_LEVEL`` wins.
    """
    global _mutes_stderr
    logger = logging.getLogger("tensorflow")
    outermost = _is_error not in logger.filters
    chosen_by_user = _LEVEL in os.environ
    if not outermost:
        yield
        return
    # A filter and not a level: TensorFlow sets the logger's level when it is imported.
    logger.addFilter(_is_error)
    if not chosen_by_user:
        os.environ[_LEVEL] = _ERRORS_ONLY
        _mutes_stderr = True
    try:
        yield
    finally:
        logger.removeFilter(_is_error)
        if not chosen_by_user:
            os.environ.pop(_LEVEL, None)
            _mutes_stderr = False


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Drops what the block writes to stderr below Python, within :func:`quiet` only.

    For the few notices that TensorFlow writes whatever its log level.
    """
    if not _mutes_stderr:
        yield
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)
