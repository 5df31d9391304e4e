"""``result.json``: the run's own evaluation, and next to it those on other data."""

import contextlib
import json
import logging
import os
from typing import Any, Dict, Iterator, List, Mapping, Optional

from tf_simclrv2.config import ConfigError

logger = logging.getLogger(__name__)

# An evaluation's numbers, and which data and weights they are of. Any, since JSON has no types.
Result = Mapping[str, Any]
# The key of evaluations on other data, other splits or earlier weights.
OTHERS = "other_evaluations"
# Keys of what is about the run, and not one of its evaluations: what pretraining tells of itself
# without labels and has warned of, what the labels are worth, and what fine-tuning on them is.
MONITORS, WARNINGS, CROSS_VALIDATION = "monitors", "warnings", "cross_validation"
CROSS_FINE_TUNING = "cross_fine_tuning"
OF_RUN = (MONITORS, WARNINGS, CROSS_VALIDATION, CROSS_FINE_TUNING)
# What an evaluation is of: a later one of the same takes its place.
_DATA = ("dataset", "data_dir", "split")
_IDENTITY = (*_DATA, "fingerprint", "eval_steps", "step")
# The form of the file: since 2 it has intervals, and numbers by evaluator. Any earlier one is read.
VERSION = 2
_VERSION = "version"
_OF_FILE = (_VERSION, OTHERS, *OF_RUN)


def read(path: str) -> Dict[str, Any]:
    """Reads ``result.json``; a file that is not there is empty.

    Raises:
      ConfigError: it can't be read.
    """
    if not os.path.exists(path):
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path) from error
    others = content.get(OTHERS, []) if isinstance(content, dict) else None
    if not isinstance(others, list) or not all(isinstance(other, dict) for other in others):
        raise _unreadable(path)
    return content


def _unreadable(path: str) -> ConfigError:
    return ConfigError(f"{path}: is damaged; move it away, and evaluate anew.")


def own(content: Result, step: Optional[int] = None) -> Optional[Result]:
    """The run's evaluation on its own data, or None if there is none.

    Args:
      content: of ``result.json``.
      step: of the weights, if those of this training step are wanted rather than the newest.
    """
    newest = {name: value for name, value in content.items() if name not in _OF_FILE}
    if not newest:
        return None
    if step is None or newest.get("step") == step:
        return newest
    return next(
        (
            other
            for other in content.get(OTHERS, [])
            if other.get("step") == step and _same(other, newest, _DATA)
        ),
        None,
    )


def added(content: Result, result: Result, is_own: bool) -> Dict[str, Any]:
    """Adds an evaluation to those there are; only one of the very same is replaced.

    What stood beside that one, such as baselines or another evaluator, stays.

    Args:
      content: of ``result.json``.
      result: the evaluation.
      is_own: whether it is on the run's own data; then it stands at the top, unless there is one
        of later weights.
    """
    others: List[Result] = list(content.get(OTHERS, []))
    top = own(content)
    for before in [top or {}, *others]:
        if _same(before, result, _IDENTITY):
            result = {**result, **{n: v for n, v in before.items() if n not in result}}
    others = [other for other in others if not _same(other, result, _IDENTITY)]
    if not is_own:
        others.append(result)
    elif top is None or not _later(top, result):
        if top is not None and not _same(top, result, _IDENTITY):
            others.append(top)
        top = result
    else:
        others.append(result)
    kept = {name: content[name] for name in OF_RUN if name in content}
    return {_VERSION: VERSION, **(top or {}), **kept, **({OTHERS: others} if others else {})}


def added_of_run(content: Result, name: str, value: Result) -> Dict[str, Any]:
    """Adds what is about the run, and not one of its evaluations.

    Args:
      content: of ``result.json``.
      name: a key of ``OF_RUN``.
      value: replaces what is there.
    """
    assert name in OF_RUN
    return {**content, _VERSION: VERSION, name: value}


def _same(one: Result, other: Result, names: Any) -> bool:
    return all(one.get(name) == other.get(name) for name in names)


def _later(one: Result, other: Result) -> bool:
    return one.get("step", 0) > other["step"]


def set_aside(path: str) -> None:
    """Renames a file that can't be read, so that a new one can be written."""
    os.replace(path, f"{path}.damaged")
    logger.warning("%s was damaged and is now %s.damaged", path, os.path.basename(path))


@contextlib.contextmanager
def alone_in(directory: str) -> Iterator[None]:
    """Lets commands that change the same ``result.json`` do so one after the other."""
    try:
        import fcntl
    except ImportError:  # where there are no such locks
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        # Some network file systems have no locks.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
