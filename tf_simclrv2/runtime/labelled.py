"""``labelled_examples.txt``: the examples whose labels a run uses, each with its class."""

import os
from typing import List, Mapping, Set

from tf_simclrv2.config import refuse
from tf_simclrv2.config.user_files import printable


def lines(class_of: Mapping[str, str]) -> List[str]:
    """The lines of the file.

    Args:
      class_of: names of the examples' classes by id.
    """
    return [f"{printable(example)}\t{name}" for example, name in class_of.items()]


def read_ids(path: str) -> Set[str]:
    """The ids in the file, as :func:`printable` writes them.

    Args:
      path: a run's ``labelled_examples.txt``; a file that is not there has none.
    """
    return {line.split("\t")[0] for line in _lines_of(path)}


def _lines_of(path: str) -> Set[str]:
    if not os.path.isfile(path):
        return set()
    with open(path, encoding="utf-8", errors="replace") as file:
        return set(file.read().split("\n")) - {""}


def check_same(path: str, class_of: Mapping[str, str], table: str, advice: str) -> None:
    """Refuses labels that are not those that a run has used so far.

    Args:
      path: the run's ``labelled_examples.txt``; a file that is not there says nothing.
      class_of: names of the labelled examples' classes by id.
      table: whose labels they are.
      advice: what to do, as the end of a sentence.

    Raises:
      ConfigError: they are others.
    """
    if not os.path.isfile(path):
        return
    before, now = _lines_of(path), set(lines(class_of))
    if before != now:
        example = min(before ^ now).split("\t")[0]
        raise refuse(
            "labels",
            table,
            f"has changed since the run in {os.path.dirname(path)} began ({len(now - before)} "
            f"labels are new or others, {len(before - now)} are gone or were others, such as that "
            f"of {example}), so {advice}",
        )
