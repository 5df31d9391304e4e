"""What the faults share: commands in processes of their own, and runs to compare with."""

import csv
import glob
import os
import resource
import signal
import subprocess
import sys
import time
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from tests.conftest import DIGITS_VIEWS, TINY
from tf_simclrv2.keras2 import tf

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
STEPS, EVERY = 40, 5
LENGTH = [
    "--train_batch_size=20", f"--train_steps={STEPS}", f"--checkpoint_steps={EVERY}",
    "--log_every_steps=2",
]  # fmt: skip
PRETRAIN = ["pretrain", *TINY, *LENGTH, *DIGITS_VIEWS]
# A command takes seconds, on a busy machine minutes; what takes longer than this hangs.
LONGEST = 400.0
LARGEST = 8 << 30


class Ended(NamedTuple):
    """How a process ended: its exit code, None where it hung, and its last line of errors."""

    code: Optional[int]
    err: str

    @property
    def lines(self) -> List[str]:
        """Lines of stderr without the progress bar's and TensorFlow's."""
        return [
            line
            for line in self.err.replace("\r", "\n").splitlines()
            if line.strip() and "step" not in line and "batch" not in line and line[:2] != "20"
        ]

    @property
    def is_refusal(self) -> bool:
        """Whether it was one line about an error, and exit code 1."""
        told = [line for line in self.err.splitlines() if line.startswith("error: ")]
        return self.code == 1 and len(told) == 1 and "Traceback" not in self.err

    @property
    def story(self) -> str:
        return f"exit {self.code}: {self.err[-600:]}"


class Running:
    """A command in a process of its own."""

    def __init__(self, arguments: Sequence[str], log: str, env: Optional[Dict[str, str]] = None):
        module = ["export"] if arguments[0] == "export" else ["tf_simclrv2", arguments[0]]
        self._log = open(log, "w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", *module, *arguments[1:]],
            cwd=ROOT,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            start_new_session=True,
            preexec_fn=_begin,
        )

    def until(self, condition: Callable[[], bool], seconds: float = LONGEST) -> None:
        """Waits until a condition holds or the process has ended."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None and not condition():
            time.sleep(0.001)

    def kill(self) -> None:
        """Kills it, as the system does: without a word before."""
        self.process.kill()
        self.process.wait()

    def end(self, seconds: float = LONGEST) -> Ended:
        """Waits until it has ended; kills it if it takes too long."""
        code: Optional[int] = None
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        self._log.seek(0)
        with self._log:
            return Ended(code, self._log.read())


def _begin() -> None:
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_DATA, (LARGEST, LARGEST))


def rows(run: str) -> List[Dict[str, str]]:
    """The rows of a run's metrics.csv so far."""
    path = os.path.join(run, "metrics.csv")
    if not os.path.exists(path):
        return []
    with open(path, newline="", encoding="utf-8", errors="replace") as file:
        return list(csv.DictReader(file))


def has_row(run: str, step: int) -> Callable[[], bool]:
    """Whether a run has logged a step by now."""

    def condition() -> bool:
        steps = [row["step"] for row in rows(run) if (row["step"] or "").isdigit()]
        return bool(steps) and int(steps[-1]) >= step

    return condition


def saved(run: str) -> str:
    """A finished run's checkpoint."""
    return os.path.join(run, "checkpoints", f"ckpt-{STEPS}")


def _tensors(run: str) -> Dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(saved(run))
    names = reader.get_variable_to_shape_map()
    # How often a process saved is not part of what was trained.
    return {name: reader.get_tensor(name) for name in names if "save_counter" not in name
            and name != "_CHECKPOINTABLE_OBJECT_GRAPH"}  # fmt: skip


def check_weights(run: str, reference: str) -> None:
    """Checks that weights, slots, moving averages and queue are those of an undisturbed run."""
    ours, theirs = _tensors(run), _tensors(reference)
    assert ours.keys() == theirs.keys()
    differing = [name for name in ours if ours[name].tobytes() != theirs[name].tobytes()]
    assert not differing


def check_records(run: str, reference: str) -> None:
    """Checks that metrics.csv and TensorBoard's events have each step once, and the values."""
    ours, theirs = ([_measured(row) for row in rows(path)] for path in (run, reference))
    assert ours == theirs
    steps: Dict[str, List[int]] = {}
    # Not those of other curves in folders of their own, which are written anew each time.
    for path in sorted(glob.glob(os.path.join(glob.escape(run), "events", "events.out.*"))):
        for event in tf.compat.v1.train.summary_iterator(path):
            for value in event.summary.value:
                steps.setdefault(value.tag, []).append(event.step)
    doubled = {tag for tag, seen in steps.items() if len(seen) > len({*seen})}
    assert not doubled


def _measured(row: Dict[str, str]) -> Dict[str, str]:
    return {name: value for name, value in row.items() if name != "images_per_second"}
