"""Progress of what takes longer than a second: how much is done and left, and how long that takes.

On a terminal it is a bar. Elsewhere, such as in a log file, it is a line every ten seconds, so that
what takes less says nothing; time that passes is shown even if nothing is counted meanwhile. Within
:func:`hidden` there is none.
"""

import contextlib
import sys
import threading
from typing import Any, Iterable, Iterator, Optional, Sized, TypeVar

from tqdm import tqdm

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 10.0
# On a terminal: before a bar appears, and between its changes.
_SECONDS_UNSEEN, _SECONDS_BETWEEN_CHANGES = 1.0, 0.2
# After which a bar is drawn anew though nothing was counted.
_SECONDS_BETWEEN_REFRESHES = 1.0

_is_hidden = False


@contextlib.contextmanager
def hidden(is_hidden: bool = True) -> Iterator[None]:
    """Shows no progress while the block runs.

    Args:
      is_hidden: False leaves it as it is.
    """
    global _is_hidden
    before = _is_hidden
    _is_hidden = before or is_hidden
    try:
        yield
    finally:
        _is_hidden = before


def is_hidden() -> bool:
    """Whether no progress is shown now; what this process starts should show none then, either."""
    return _is_hidden


class _Bar(tqdm):
    """A bar that is also drawn anew while what it counts makes no progress.

    tqdm draws only when something is counted, so a first batch that compiles would show nothing.
    """

    _shown_at = float("-inf")

    def refresh_by_time(self) -> None:
        """Starts what draws the bar until it is closed."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._refresh, daemon=True)
        self._thread.start()

    def _refresh(self) -> None:
        interval = max(self.mininterval, _SECONDS_BETWEEN_REFRESHES)
        wait = self.delay or interval
        while not self._ended.wait(wait):
            wait = min(interval, self._shown_at + interval - self._time())
            if wait <= 0:
                self.refresh()
                wait = interval

    def display(self, msg: Optional[str] = None, pos: Optional[int] = None) -> Any:
        self._shown_at = self._time()
        self.delay = 0.0  # So that tqdm knows that there is a line to clear.
        return super().display(msg, pos)

    def close(self) -> None:
        self._stop_refreshing()
        super().close()

    def _stop_refreshing(self) -> None:
        if not self.disable and hasattr(self, "_thread"):
            self._ended.set()
            self._thread.join()


class _Lines(_Bar):
    """A bar whose states are lines of their own, for what is no terminal."""

    def refresh(self, *arguments: Any, **named: Any) -> Optional[bool]:
        # A line that time has drawn may be newer than the last one of what was counted.
        if self._time() - self._shown_at < self.mininterval:
            return None
        return super().refresh(*arguments, **named)

    def display(self, msg: Optional[str] = None, pos: Optional[int] = None) -> Any:
        self.fp.write(f"{self if msg is None else msg}\n")
        self.fp.flush()
        self._shown, self._shown_at = self.n, self._time()

    def close(self) -> None:
        self._stop_refreshing()
        if not self.disable and getattr(self, "_shown", self.n) != self.n:
            self.display()
        self.leave = False
        self.clear = lambda *_, **__: None  # There is no line to clear.
        self.delay = float("inf")  # Nor one to end.
        super().close()


def bar(
    total: Optional[float] = None, desc: str = "", unit: str = "it", *, at_once: bool = False,
    **settings: Any,
) -> tqdm:  # fmt: skip
    """Opens a bar, to be updated and closed, or used in a ``with`` block.

    Args:
      total: how much there is to do, if that is known.
      desc: what is being done.
      unit: of what.
      at_once: whether it appears at once and stays when it ends, as for a training; else it appears
        when it has taken a second, and goes.
      **settings: further arguments of tqdm.
    """
    terminal = sys.stderr.isatty()
    seconds = _SECONDS_BETWEEN_CHANGES if terminal else SECONDS_BETWEEN_LINES
    delay = _SECONDS_UNSEEN if terminal else SECONDS_BETWEEN_LINES
    shown = (_Bar if terminal else _Lines)(
        total=total,
        desc=desc,
        unit=unit,
        mininterval=seconds,
        maxinterval=max(seconds, 10.0),
        delay=0 if at_once else delay,
        leave=at_once,
        dynamic_ncols=True,
        disable=_is_hidden,
        **settings,
    )
    if not shown.disable:
        shown.refresh_by_time()
    return shown


def progress(
    items: Iterable[T], desc: str, unit: str = "it", total: Optional[float] = None
) -> Iterator[T]:
    """Goes through items with a bar.

    Args:
      items: what to go through.
      desc: what is being done.
      unit: what the items are.
      total: how many they are, if they don't know it.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with bar(total, desc, unit) as shown:
        for item in items:
            yield item
            shown.update()


@contextlib.contextmanager
def working(desc: str) -> Iterator[None]:
    """Shows how long the block has taken, for what can't be counted.

    Args:
      desc: what is being done.
    """
    with bar(desc=desc, bar_format="{desc}: {elapsed}"):
        yield
