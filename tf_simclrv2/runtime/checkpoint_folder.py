"""``checkpoints/``: which checkpoints are whole, and where the others are put."""

import functools
import glob
import logging
import os
import re
from typing import Dict, List, Optional, Tuple

from tf_simclrv2.config import ConfigError
from tf_simclrv2.keras2 import READ_ERRORS, tf
from tf_simclrv2.runtime.files import sync, write_whole

logger = logging.getLogger(__name__)

_PREFIX = "ckpt"
# TensorFlow's file that names the newest checkpoint; we write it after that checkpoint.
_STATE = "checkpoint"
_ASIDE = "damaged"
# How often a reader looks again because the run that it reads has saved meanwhile.
_LOOKS = 5


def checkpoint_path(folder: str, step: int) -> str:
    """Returns the path of the checkpoint of a step, without a suffix."""
    return os.path.join(folder, f"{_PREFIX}-{step}")


def checkpoint_step(path: str) -> int:
    """Returns the step in a checkpoint's name."""
    return int(os.path.basename(path).rpartition("-")[2])


def files_of(checkpoint: str) -> List[str]:
    """Returns the files of a checkpoint that are there, the index first."""
    # Without its index a checkpoint is never taken, so that is what to move or remove first.
    shards = sorted(glob.glob(f"{glob.escape(checkpoint)}.data-?????-of-?????"))
    return [path for path in (f"{checkpoint}.index", *shards) if os.path.lexists(path)]


def saved_steps(folder: str) -> List[int]:
    """Returns the steps of which there is a checkpoint, or a part of one, newest first.

    Raises:
      ConfigError: the directory can't be read.
    """
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f"{folder}: it can't be read ({error.strerror}).") from error
    found = (re.fullmatch(rf"{_PREFIX}-(\d+)\.(index|data-\d+-of-\d+)", name) for name in names)
    return sorted({int(match[1]) for match in found if match}, reverse=True)


def whole_checkpoint(folder: str, repair: bool = False, warn: bool = True) -> Optional[str]:
    """Finds the newest checkpoint that is not damaged; reads all of it.

    Args:
      folder: the directory of checkpoints; it need not exist.
      repair: whether to move damaged newer ones into ``damaged/``.
      warn: whether to log that there are damaged newer ones.

    Returns:
      The checkpoint's path, or None if none was saved yet.

    Raises:
      ConfigError: checkpoints were saved, but all are damaged, or they must not be read.
    """
    for _ in range(_LOOKS):
        steps = _newest_first(folder)
        whole, damaged = _first_whole(folder, steps)
        if not damaged or steps == _newest_first(folder):
            break
    if whole is not None:
        if damaged:
            _report(folder, damaged, whole, repair, warn)
        if repair:
            _record(folder, whole)
        return checkpoint_path(folder, whole)
    if not damaged and not os.path.lexists(os.path.join(folder, _STATE)):
        return None
    reasons = "; ".join(f"{_PREFIX}-{step}: {reason}" for step, reason in damaged.items())
    raise ConfigError(
        f"{folder}: none of its checkpoints can be read ({reasons or 'all files are missing'}); "
        "bring one back from a copy, or remove the directory to start the run anew."
    )


def _first_whole(folder: str, steps: List[int]) -> Tuple[Optional[int], Dict[int, str]]:
    """The first of some checkpoints that is whole, and what is wrong with those before it."""
    damaged: Dict[int, str] = {}
    for step in steps:
        reason = damage_of(checkpoint_path(folder, step))
        if reason is None:
            return step, damaged
        damaged[step] = reason
    return None, damaged


def damage_of(checkpoint: str) -> Optional[str]:
    """Reads all of a checkpoint, and compares it with its checksums.

    Args:
      checkpoint: its path, without a suffix.

    Returns:
      What is wrong, in words; None if nothing is.

    Raises:
      ConfigError: a file of it must not be read.
    """
    files = files_of(checkpoint)
    index, *shards = files or [""]
    if index != f"{checkpoint}.index" or not shards or len(shards) != int(shards[0][-5:]):
        return "files are missing"
    for path in files:
        if not os.path.isfile(path):
            return f"{os.path.basename(path)} is no file"
        try:
            with open(path, "rb"):
                pass
        except PermissionError as error:
            raise ConfigError(f"{path}: it can't be read ({error.strerror}).") from error
        except OSError as error:
            return f"{os.path.basename(path)}: {error.strerror}"
    try:
        reader = tf.train.load_checkpoint(checkpoint)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except READ_ERRORS as error:
        said = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        return "a checksum does not match" if "Checksum" in said else said
    return None


def record(folder: str, kept: List[int]) -> None:
    """Writes the state file, by which TensorFlow too finds the newest checkpoint.

    Args:
      folder: the directory of checkpoints.
      kept: the steps of its checkpoints, oldest first.
    """
    names = [f'"{_PREFIX}-{step}"' for step in kept]
    lines = [f"model_checkpoint_path: {names[-1]}"]
    lines += [f"all_model_checkpoint_paths: {name}" for name in names]
    write_whole(os.path.join(folder, _STATE), "".join(f"{line}\n" for line in lines))


def _newest_first(folder: str) -> List[int]:
    """Steps of checkpoints in the order in which they are to be tried."""
    steps, named = saved_steps(folder), _named(folder)
    # A checkpoint is named after all of it was written; one that is not was perhaps interrupted.
    return steps if named is None else [named, *(step for step in steps if step != named)]


def _named(folder: str) -> Optional[int]:
    """The step of the checkpoint that the state file names; None if it names none."""
    try:
        with open(os.path.join(folder, _STATE), encoding="utf-8", errors="replace") as file:
            text = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(
            f"{os.path.join(folder, _STATE)}: it can't be read ({error.strerror})."
        ) from error
    # The path may be that of another place where the run was before.
    match = re.match(rf'model_checkpoint_path: "(?:[^"\n]*/)?{_PREFIX}-(\d+)"', text)
    return int(match[1]) if match else None


def _report(folder: str, damaged: Dict[int, str], taken: int, repair: bool, warn: bool) -> None:
    names = ", ".join(f"{_PREFIX}-{step} ({reason})" for step, reason in damaged.items())
    message = f"{folder}: damaged: {names}; {_PREFIX}-{taken} is taken"
    if repair:
        aside = _put_aside(folder, list(damaged))
        if aside is not None:
            message += f"; the damaged files are now in {aside}"
    if warn:
        _warn_once(message)


def _put_aside(folder: str, steps: List[int]) -> Optional[str]:
    """Moves checkpoints where no one takes them for whole; returns where, if there were files."""
    files = [path for step in steps for path in files_of(checkpoint_path(folder, step))]
    if not files:
        return None
    aside, number = os.path.join(folder, _ASIDE), 1
    while any(os.path.lexists(os.path.join(aside, os.path.basename(path))) for path in files):
        number += 1
        aside = os.path.join(folder, f"{_ASIDE}-{number}")
    try:
        os.makedirs(aside, exist_ok=True)
        for path in files:
            os.rename(path, os.path.join(aside, os.path.basename(path)))
        sync(aside)
        sync(folder)
    except OSError as error:
        raise ConfigError(f"{folder}: it can't be written ({error.strerror}).") from error
    return aside


def _record(folder: str, newest: int) -> None:
    """Makes the state file name a checkpoint, if it doesn't."""
    if _named(folder) == newest:
        return
    older = [step for step in reversed(saved_steps(folder)) if step != newest]
    try:
        record(folder, [*older, newest])
    except OSError as error:
        raise ConfigError(f"{folder}: it can't be written ({error.strerror}).") from error


@functools.cache
def _warn_once(message: str) -> None:
    logger.warning(message)
