"""What rows look at, of a command that works on a run's frozen features."""

import numpy as np

from tests.net.held import Ran


def values(ran: Ran) -> np.ndarray:
    """The features of the training split."""
    return np.array(ran.seen["features"]["train"].values)


def width(ran: Ran) -> int:
    """The numbers that an image has."""
    return values(ran).shape[1]


def number_format(ran: Ran) -> str:
    """The features' number format."""
    return str(values(ran).dtype)


def at_a_time(ran: Ran) -> int:
    """The most images whose features were computed at once; 0 if all were stored."""
    return max(ran.seen["batches"], default=0)
