"""Saving checkpoints in an order that loses nothing when the power fails or the process dies."""

import os
import re
import shutil
from typing import Callable, Iterable, List

from tf_simclrv2.keras2 import tf
from tf_simclrv2.runtime.checkpoint_folder import checkpoint_path, files_of, record, saved_steps
from tf_simclrv2.runtime.files import sync

# What TensorFlow calls files of a checkpoint that it is writing.
_UNFINISHED = re.compile(r"ckpt-\d+(_temp.*|\..*\.tempstate\d*)|checkpoint\.tmp.*")


class CheckpointSaver:
    """Saves checkpoints, and keeps the newest ones.

    ``tf.train.CheckpointManager`` doesn't replace it: that one names a checkpoint and removes the
    one before while the disk may not hold the new one yet, and can't begin where its state file is
    damaged.

    Args:
      folder: the directory of checkpoints; it need not exist yet.
      checkpoint: what to save.
      keep: how many of the newest checkpoints to keep.
      written_before: the files that must be on disk when a checkpoint is, such as its metrics.
    """

    def __init__(
        self,
        folder: str,
        checkpoint: tf.train.Checkpoint,
        keep: int,
        written_before: Callable[[], Iterable[str]] = lambda: (),
    ):
        self._folder = folder
        self._checkpoint = checkpoint
        self._keep = keep
        self._written_before = written_before

    def save(self, checkpoint_number: int) -> str:
        """Saves a checkpoint, and removes the oldest ones when that is on disk.

        Args:
          checkpoint_number: the training step.

        Returns:
          The checkpoint's path.
        """
        os.makedirs(self._folder, exist_ok=True)
        self._checkpoint.save_counter.assign_add(1)
        path = self._checkpoint.write(checkpoint_path(self._folder, checkpoint_number))
        for file in (*files_of(path), *self._written_before()):
            sync(file)
        sync(self._folder)
        sync(os.path.dirname(self._folder))
        # Those that were there before count as older, whatever their step.
        older = [step for step in saved_steps(self._folder) if step != checkpoint_number]
        kept = [checkpoint_number, *older][: self._keep]
        record(self._folder, kept[::-1])
        for step in older[self._keep - 1 :]:
            for file in files_of(checkpoint_path(self._folder, step)):
                os.remove(file)
        return path


def remove_unfinished(folder: str) -> None:
    """Removes what a process that was killed while it saved has left in a folder."""
    names: List[str] = os.listdir(folder) if os.path.isdir(folder) else []
    for path in (os.path.join(folder, name) for name in names if _UNFINISHED.fullmatch(name)):
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.remove(path)
