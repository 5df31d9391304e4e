"""Signals that ask a command to end: at once, or after the step of training that is under way.

It imports no TensorFlow, so that the command line can be ready for signals before that is loaded.
"""

import contextlib
import signal
import threading
from typing import Iterator, Optional

# Kubernetes, Slurm's time limit and kill send SIGTERM; a terminal sends the others.
ENDING = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")
# What Slurm's --signal is usually told to send before a job is preempted.
PREEMPTING = ("SIGUSR1", "SIGUSR2")
# So many times Ctrl-C means that the user doesn't want to wait.
_IMPATIENT = 3


class _State:
    """What has arrived, and whether it may interrupt."""

    def __init__(self) -> None:
        self.received: Optional[str] = None
        self.waits = False
        self.interrupts = 0


_state = _State()
_owns_process = False


def received() -> Optional[str]:
    """The name of the first signal that arrived since the handlers were set; None if none has."""
    return _state.received


def _handle(number: int, _frame: object) -> None:
    first = _state.received is None
    if first:
        _state.received = signal.Signals(number).name
    _state.interrupts += number == signal.SIGINT
    # Further signals must not interrupt what ends in order because of the first one.
    if (first and not _state.waits) or _state.interrupts == _IMPATIENT:
        raise KeyboardInterrupt


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Makes the signals that ask to end raise KeyboardInterrupt, once, and takes that back.

    Signals that are ignored, as under nohup, stay ignored, and handlers of others stay in place,
    but for that of SIGTERM.
    """
    # Python lets only the main thread handle signals.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    global _state
    before, outer = {}, _state
    _state = _State()
    usual = (signal.SIG_DFL, signal.default_int_handler, _handle)
    for name in (*ENDING, *PREEMPTING):
        number = getattr(signal, name, None)  # Windows lacks some.
        now = None if number is None else signal.getsignal(number)
        if number and now != signal.SIG_IGN and (now in usual or name == "SIGTERM"):
            before[number] = signal.signal(number, _handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            # None is a handler that was not set from Python, which Python can't set again.
            handler = signal.SIG_DFL if handler is None else handler
            is_over = _owns_process and _state.received is not None
            signal.signal(number, signal.SIG_IGN if is_over else handler)
        _state = outer


@contextlib.contextmanager
def own_process() -> Iterator[None]:
    """Has further signals ignored once a command of the block was ended by one.

    For a process that ends after the block: a second signal would kill it meanwhile.
    """
    global _owns_process
    _owns_process = True
    try:
        yield
    finally:
        _owns_process = False


def note(name: str) -> None:
    """Notes a signal that another process has received on behalf of this one."""
    _state.received = _state.received or name


def wait() -> None:
    """From now on signals are only noted, until :func:`waiting_ends`."""
    _state.waits = True


@contextlib.contextmanager
def waiting_ends() -> Iterator[None]:
    """Lets signals interrupt again after the block; one that was noted meanwhile does so then.

    Raises:
      KeyboardInterrupt: a signal was noted.
    """
    try:
        yield
    finally:
        _state.waits = False
    if _state.received is not None:
        raise KeyboardInterrupt
