"""What a job's directory must offer: no other process that trains in it, and enough space."""

import contextlib
import functools
import glob
import os
from typing import Callable, Optional, Protocol, TypeVar

from tf_simclrv2.learners.learner import Learner
from tf_simclrv2.runtime import disk
from tf_simclrv2.runtime.health import trained_variables
from tf_simclrv2.runtime.lock import sole_writer, state_of
from tf_simclrv2.runtime.run_directory import RunDirectory


class _Job(Protocol):
    @property
    def run(self) -> RunDirectory: ...

    @property
    def learner(self) -> Learner: ...


J = TypeVar("J", bound=_Job)


def alone(train: Callable[[J], None]) -> Callable[[J], None]:
    """Lets a job train only while no other process trains in its directory, and names disk errors.

    Of several processes that share a run, the one that writes takes the lock. A job that only
    evaluates may do so while another process trains.
    """

    @functools.wraps(train)
    def train_alone(job: J) -> None:
        run, stack = job.run, contextlib.ExitStack()
        with stack:
            stack.enter_context(disk.watched(run.path, lambda: checkpoint_bytes(job.learner)))
            if run.writable and run.config.run.mode != "eval":
                stack.enter_context(sole_writer(run.path, run.claimed))
            train(job)
            run.claimed = state_of(run.path)

    return train_alone


def warn_of_little_space(run: RunDirectory, learner: Learner) -> None:
    """Warns if the disk has no room for the checkpoints that a run will keep.

    Args:
      run: the run's directory.
      learner: what is trained, with its optimizer.
    """
    size = checkpoint_bytes(learner)
    if not run.writable or size is None:
        return
    saved = len(glob.glob(os.path.join(glob.escape(run.file("checkpoints")), "*.index")))
    # One more than are kept is there while it is saved.
    further = max(1, run.config.run.keep_checkpoint_max + 1 - saved)
    what = f"{further} more checkpoints of {disk.shown_bytes(size)}"
    disk.warn_of_little_space(run.path, further * size, what)


def checkpoint_bytes(learner: Learner) -> Optional[int]:
    """Bytes that a checkpoint takes, as far as variables make them up; None before compiling."""
    if getattr(learner, "optimizer", None) is None:
        return None
    sizes = {id(v): v.shape.num_elements() * v.dtype.size for v in trained_variables(learner)}
    return sum(sizes.values())
