"""What a table of labels says of the images that there are: their labels, classes and splits."""

import collections
import hashlib
import os
from typing import Dict, List, Mapping, Optional, Sequence

from tf_simclrv2.config.user_files import printable
from tf_simclrv2.data.label_table import RANDOM, LabelTable, Row, quoted, read_classes
from tf_simclrv2.data.names import Names

_NAMES_SHOWN = 5
_NOT_CHOSEN = ("", RANDOM)


def joined(table: LabelTable, names: Names, whose: str) -> Dict[str, Row]:
    """Finds the images of a table's rows.

    Args:
      table: the table.
      names: of the images that there are.
      whose: where these are, for messages.

    Returns:
      The rows by the ids of their images; of several of one image, one that has a label.

    Raises:
      ConfigError: an image is not there or not the only one of its name, or rows contradict each
        other.
    """
    rows: Dict[str, Row] = {}
    unknown: List[Row] = []
    for row in table.rows:
        found = names.find(row.image)
        if len(found) > 1:
            several = " and ".join(printable(names.ids[index]) for index in found[:2])
            raise table.refuse(
                f"{table.at(row)}: {quoted(row.image)} is the name of {len(found)} images; name "
                f"them by their paths, such as {several}"
            )
        if not found:
            unknown.append(row)
            continue
        example = names.ids[found[0]]
        rows[example] = _one_of(table, rows.get(example, row), row)
    if unknown:
        raise table.refuse(
            f"{len(unknown)} of its {len(table.rows)} rows name no image of {whose}, such as "
            f"{quoted(unknown[0].image)} in {table.at(unknown[0])}; images are "
            f"called like {printable(names.ids[0])}"
        )
    return rows


def _one_of(table: LabelTable, before: Row, now: Row) -> Row:
    """Which of two rows of the same image counts; refuses those that contradict each other."""
    if before.label and now.label and before.label != now.label:
        raise table.refuse(
            f"{quoted(now.image)} is labelled {quoted(before.label)} in "
            f"{table.at(before)}, but {quoted(now.label)} in {table.at(now)}"
        )
    if before.split != now.split:
        raise table.refuse(
            f"{quoted(now.image)} is of {before.split} in {table.at(before)}, but of "
            f"{now.split} in {table.at(now)}"
        )
    kept = before if before.label else now
    # One that was chosen stays chosen, whoever labelled it.
    how = before.chosen_by, now.chosen_by
    chosen = (each for each in how if each not in _NOT_CHOSEN)
    return kept._replace(chosen_by=next(chosen, max(how)))


def class_names(
    table: LabelTable, classes: Optional[str], own: Optional[List[str]], known: Optional[List[str]]
) -> Optional[List[str]]:
    """Decides on the classes.

    Args:
      table: whose labels they are.
      classes: the file that lists them, if there is one.
      own: those of the data set itself, which are taken if they have all labels.
      known: those of a run, which go first.

    Returns:
      Their names in their order; None if there are no labels, or of a single class.

    Raises:
      ConfigError: a label is no class.
    """
    labels = table.classes
    if known is not None:
        _check_labels(table, known, "of the run")
        return known
    if classes:
        names = read_classes(classes)
        _check_labels(table, names, f"of --classes={classes}")
        return names if labels else None
    if labels and own is not None and set(labels) <= set(own):
        return own
    return labels if len(labels) > 1 else None


def _check_labels(table: LabelTable, names: Sequence[str], whose: str) -> None:
    """Refuses labels that are no class."""
    known = set(names)
    for row in table.rows:
        if row.label and row.label not in known:
            more = ", ..." if len(names) > _NAMES_SHOWN else ""
            raise table.refuse(
                f"{table.at(row)} has the label {quoted(row.label)}, which is none of the classes "
                f"{whose} ({', '.join(map(quoted, names[:_NAMES_SHOWN]))}{more})"
            )


def held_out(label_of: Mapping[str, int], fraction: float, seed: int) -> List[str]:
    """Chooses the same fraction of each class to hold out, rounded, but never all of it.

    The choice depends on the seed and the examples' ids, so that most of it stays as labels are
    added.

    Args:
      label_of: the classes of examples by id.
      fraction: of each class.
      seed: of the choice.
    """
    by_class: Dict[int, List[str]] = collections.defaultdict(list)
    for example, label in label_of.items():
        by_class[label].append(example)

    def draw(example: str) -> bytes:
        return hashlib.sha256(os.fsencode(f"{seed} {example}")).digest()

    chosen: List[str] = []
    for examples in by_class.values():
        count = min(round(fraction * len(examples)), len(examples) - 1)
        chosen += sorted(examples, key=draw)[:count]
    return chosen
