"""``checkpoints/``: the newest checkpoint that is complete, and the manager that adds more."""

import functools
import glob
import logging
import os
import re
from typing import Optional

from tf_simclrv2.config import ConfigError
from tf_simclrv2.keras2 import tf

logger = logging.getLogger(__name__)

_PREFIX = "ckpt"


def newest_checkpoint(folder: str, warn: bool = True) -> Optional[str]:
    """Finds the newest checkpoint whose files are all there.

    Args:
      folder: the directory of checkpoints; it need not exist.
      warn: whether to log that a newer checkpoint is incomplete.

    Returns:
      The checkpoint's path, or None if none was saved yet.

    Raises:
      ConfigError: checkpoints were saved, but none is complete.
    """
    state = tf.train.get_checkpoint_state(folder)
    # TensorFlow names a checkpoint in its state only after writing all of it.
    if state is not None and _is_complete(state.model_checkpoint_path):
        return state.model_checkpoint_path
    names = os.listdir(folder) if os.path.isdir(folder) else []
    found = [re.fullmatch(rf"{_PREFIX}-(\d+)\.(index|data-.*)", name) for name in names]
    steps = sorted({int(match[1]) for match in found if match}, reverse=True)
    if state is None and not steps:
        return None
    paths = [os.path.join(folder, f"{_PREFIX}-{step}") for step in steps]
    newest = next((path for path in paths if _is_complete(path)), None)
    if newest is None:
        raise ConfigError(
            f"{folder}: files of its checkpoints are missing, so that none can be used; remove "
            "the directory to start the run anew."
        )
    if warn:
        _warn_once(
            f"{folder}: the files of its newest checkpoint are missing, so "
            f"{os.path.basename(newest)} is taken"
        )
    return newest


@functools.cache
def _warn_once(message: str) -> None:
    logger.warning(message)


def _is_complete(checkpoint: str) -> bool:
    """Whether all of a checkpoint's files are there."""
    shards = glob.glob(f"{glob.escape(checkpoint)}.data-?????-of-?????")
    has_all_shards = bool(shards) and len(shards) == int(shards[0][-5:])
    return has_all_shards and os.path.isfile(f"{checkpoint}.index")


def checkpoint_manager(
    folder: str, checkpoint: tf.train.Checkpoint, keep: int
) -> tf.train.CheckpointManager:
    """Returns a manager that saves into ``folder`` and keeps the newest ``keep`` checkpoints."""
    return tf.train.CheckpointManager(checkpoint, folder, max_to_keep=keep, checkpoint_name=_PREFIX)
