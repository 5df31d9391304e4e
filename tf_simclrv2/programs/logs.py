"""What the library logs, shown as the command line's own lines."""

import contextlib
import logging
import sys
from typing import Iterator

LOGGER = "tf_simclrv2"


class _Lines(logging.Handler):
    """Writes results to stdout and warnings to stderr, looked up anew for each line."""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.levelno >= logging.WARNING:
            print(f"warning: {message}", file=sys.stderr, flush=True)
        else:
            print(message, flush=True)


@contextlib.contextmanager
def shown() -> Iterator[None]:
    """Prints what the library logs, and leaves logging as it was afterwards.

    Information goes to stdout as it is; warnings go to stderr behind the word ``warning:``.
    """
    logger, handler = logging.getLogger(LOGGER), _Lines()
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]
