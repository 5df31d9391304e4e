"""A lock file that says who writes here, and that a process which was killed doesn't leave locked.

The operating system's own lock (``flock``) goes with the process that holds it, and answers for
processes of one machine. File systems that several machines share don't always pass it on; there
the owner's heartbeat decides, the time at which the file was last touched.
"""

import contextlib
import errno
import fcntl
import json
import logging
import os
import platform
import threading
import time
from typing import IO, Dict, Iterator, Optional, Tuple

from tf_simclrv2.config import refuse
from tf_simclrv2.config.user_files import FILE
from tf_simclrv2.runtime.files import is_open_at, kind_of

logger = logging.getLogger(__name__)

# The name in a run directory.
RUN_LOCK = "run.lock"
_SECONDS_BETWEEN_BEATS = 10.0
# A process on another machine that was silent for so long has ended.
_SILENT_SECONDS = 60.0
_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)

Owner = Dict[str, object]
State = Tuple[object, ...]


class Lock:
    """A lock file.

    Args:
      path: the file; its directory exists.
      facts: what else to note in it.
    """

    def __init__(self, path: str, **facts: object):
        self._path = path
        self._facts = facts
        self._file: Optional[IO[bytes]] = None
        self._ended = threading.Event()

    def take(self, watch: bool = True) -> Optional[Owner]:
        """Takes the lock unless another process holds it.

        Args:
          watch: whether to watch a process on another machine that may have ended, for a minute at
            most; else it counts as living.

        Returns:
          None if the lock is this process's now, else what its owner noted, as far as it can be
          read.

        Raises:
          OSError: the file can't be written, or is no file.
        """
        while True:
            if kind_of(self._path) not in (None, FILE):
                raise FileExistsError(errno.EEXIST, "it must be a file", self._path)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            file = os.fdopen(os.open(self._path, flags, 0o644), "r+b")
            granted = _lock(file)
            if not is_open_at(file, self._path):  # Its owner has removed it meanwhile.
                file.close()
                continue
            owner = _read(file)
            here = owner.get("machine") == _machine()
            # Where locks are not passed on, one's own new file is empty.
            is_ours = granted is not False and (not owner or bool(granted and here))
            refused = here and granted is False
            if refused or (not is_ours and _beats(self._path, watch)):
                file.close()
                return owner
            if granted is False:  # Of a machine that is gone, which a server still remembers.
                file.close()
                os.unlink(self._path)
                continue
            self._hold(file)
            return None

    def _hold(self, file: IO[bytes]) -> None:
        self._file = file
        owner = {
            "host": platform.node(),
            "pid": os.getpid(),
            "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
            "machine": _machine(),
            **self._facts,
        }
        file.seek(0)
        file.truncate()
        file.write(json.dumps(owner).encode())
        file.flush()
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        while not self._ended.wait(_SECONDS_BETWEEN_BEATS):
            with contextlib.suppress(OSError):
                os.utime(self._path)

    def release(self) -> None:
        """Removes the file, if it is this process's."""
        self._ended.set()
        if self._file is not None:
            with contextlib.suppress(OSError):
                if is_open_at(self._file, self._path):
                    os.unlink(self._path)
            self._file.close()
            self._file = None


def owner_of(path: str) -> Owner:
    """What a lock's owner has noted in it; empty if this can't be read."""
    try:
        with open(path, "rb") as file:
            return _read(file)
    except OSError:
        return {}


def _read(file: IO[bytes]) -> Owner:
    try:
        owner = json.loads(file.read())
    except ValueError:  # It is being written, or was when its writer was killed.
        return {}
    return owner if isinstance(owner, dict) else {}


def _lock(file: IO[bytes]) -> Optional[bool]:
    """Whether the operating system grants the lock; None if it can't tell."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        return None
    return True


def _machine() -> str:
    """Tells machines apart, also those of one name; containers of one machine share its locks."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return platform.node()


def _beats(path: str, watch: bool) -> bool:
    """Whether a lock's owner still touches it; may watch until it was silent for long enough."""
    first = _touched(path)
    while first is not None and abs(time.time() - first) < _SILENT_SECONDS:
        if not watch:
            return True
        time.sleep(min(1.0, _SECONDS_BETWEEN_BEATS / 4))
        if _touched(path) != first:
            return True
    return False


def _touched(path: str) -> Optional[float]:
    """When a file was last touched; opened first, so that a network file system asks its server."""
    try:
        with open(path, "rb") as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return None


def state_of(directory: str) -> State:
    """What changes whenever the run in a directory is begun or saves a checkpoint."""
    states = []
    for name in ("config.json", os.path.join("checkpoints", "checkpoint")):
        with contextlib.suppress(OSError):
            status = os.stat(os.path.join(directory, name))
            states.append((name, status.st_ino, status.st_mtime_ns))
    return tuple(states)


@contextlib.contextmanager
def sole_writer(directory: str, claimed: Optional[State] = None) -> Iterator[None]:
    """Keeps other processes from training a run as long as the block runs.

    Args:
      directory: of the run; it is made if need be, and removed if nothing came into it.
      claimed: what :func:`state_of` was when this process decided what to do there; None to
        leave that unchecked.

    Raises:
      ConfigError: another process trains the run, or has done so since; or the directory can't be
        written.
    """
    path, owner = os.path.join(directory, RUN_LOCK), None
    lock = Lock(path)
    try:
        existed = os.path.isdir(directory)
        os.makedirs(directory, exist_ok=True)
        owner = lock.take()
    except OSError as error:
        raise refuse("model_dir", directory, f"can't be written ({error.strerror})") from error
    if owner is not None:
        raise refuse(
            "model_dir",
            directory,
            f"another process trains this run (process {owner.get('pid', 'unknown')} on "
            f"{owner.get('host', 'an unknown host')}, since {owner.get('started', 'just now')}); "
            "wait for its end, or give another directory",
        )
    try:
        if claimed is not None and claimed != state_of(directory):
            raise refuse(
                "model_dir",
                directory,
                "another process has trained this run meanwhile; start the command again",
            )
        yield
    finally:
        lock.release()
        if not existed:
            with contextlib.suppress(OSError):
                os.rmdir(directory)
