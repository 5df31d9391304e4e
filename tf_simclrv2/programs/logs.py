"""What the library logs, shown as the command line's own lines."""

import contextlib
import logging
import sys
from typing import Iterator

LOGGER = "tf_simclrv2"


class _Lines(logging.Handler):
    """Writes results to stdout, warnings and errors to stderr, looked up anew for each line."""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.levelno >= logging.ERROR:
            print(message, file=sys.stderr, flush=True)
        elif record.levelno >= logging.WARNING:
            print(f"warning: {message}", file=sys.stderr, flush=True)
        else:
            print(message, flush=True)


@contextlib.contextmanager
def shown() -> Iterator[None]:
    """Prints what the library logs, and leaves logging as it was afterwards.

    Information goes to stdout and errors go to stderr as they are; warnings go to stderr behind
    the word ``warning:``.
    TensorFlow's own logger only reports errors meanwhile.
    """
    logger, tensorflow, handler = (
        logging.getLogger(LOGGER),
        logging.getLogger("tensorflow"),
        _Lines(),
    )
    before = logger.level, logger.propagate, tensorflow.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    tensorflow.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]
        tensorflow.setLevel(before[2])
