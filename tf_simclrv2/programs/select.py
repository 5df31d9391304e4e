"""``select``: chooses the images to label next, and writes what they are labelled with."""

import logging
import os
from contextlib import nullcontext
from typing import Callable, Dict, List, Mapping, Sequence, Tuple

import numpy as np

from tf_simclrv2.config import SelectConfig, refuse
from tf_simclrv2.config.labelling import SelectSection
from tf_simclrv2.config.user_files import DIRECTORY, printable
from tf_simclrv2.data.label_table import read_classes, read_records
from tf_simclrv2.data.sources import TableSource
from tf_simclrv2.data.sources.preparing import only_one
from tf_simclrv2.labelling import contact_sheet
from tf_simclrv2.labelling.page import Shown, page
from tf_simclrv2.labelling.select import METHODS, select
from tf_simclrv2.labelling.table import Table, next_round
from tf_simclrv2.programs import command_line
from tf_simclrv2.progress import bar
from tf_simclrv2.runtime.disk import writing
from tf_simclrv2.runtime.feature_store import FEATURES
from tf_simclrv2.runtime.files import check_can_write, check_place, write_whole
from tf_simclrv2.runtime.scratch import replacing_directory
from tf_simclrv2.training.frozen import Frozen
from tf_simclrv2.training.pictures import pictures

logger = logging.getLogger(__name__)

TABLE, PAGE, SHEET = "labels.csv", "labelling.html", "contact_sheet"
_DEFAULT = "selected"
# Pixels of the page's pictures, and of those of a page with many; and up to which they are shown
# with sharp edges.
_SIDE, _SMALL_SIDE, _MANY = 320, 160, 500
_SHARP = 64


def run(values: Mapping[str, object]) -> None:
    """Writes a table with the chosen images, a contact sheet and a page to fill the table in.

    Args:
      values: the flags that were given.

    Raises:
      ConfigError: a setting can't be used.
    """
    section = command_line.build(SelectConfig, values).selection
    if section.output_dir is not None:
        _check_output(section.output_dir)
    frozen = Frozen.open(section)
    header, records = _records(frozen)
    if section.output_dir is None:
        check_can_write(_free_place(frozen), "model_dir", section.model_dir)
    split = frozen.data.train_split
    labelled_ids = _labelled(frozen)
    _check_budget(section, frozen, len(labelled_ids))
    classes = _classes(section, frozen)
    stored = frozen.features(split)
    labelled = np.array([each in labelled_ids for each in stored.ids], bool)
    with bar(section.budget, f"choosing by {section.method}", "image") as shown:

        def tell(doing: str, more: int) -> None:
            shown.set_description(doing, refresh=False)
            shown.update(more)

        choice = select(stored.values, section.budget, section.method, labelled, section.seed, tell)
    ids = [stored.ids[row] for row in choice.rows]
    table = _table(frozen, ids, section.method, header, records)
    target = _placed(section, frozen, lambda place: _write(place, frozen, ids, table, classes))
    logger.info(
        f"{target}: {len(ids):,} of {len(labelled) - int(labelled.sum()):,} images without a label "
        f"are chosen, {METHODS[section.method].words}; open {PAGE} in a browser, or fill in the "
        f"column label of {TABLE}, then give the table to --labels"
    )
    if choice.num_near_duplicates:
        logger.warning(
            "near-duplicates of others or of labelled images among them, as no more images differ: "
            f"{choice.num_near_duplicates:,}; if they do differ, the network has collapsed"
        )


def _placed(section: SelectSection, frozen: Frozen, write: Callable[[str], None]) -> str:
    """Writes a directory, whole or not at all; returns its path."""
    # Of two commands that look for a free place in the run, the second must see the first one's.
    folder = os.path.join(frozen.path, FEATURES)
    alone = only_one(folder, "a choice") if section.output_dir is None else nullcontext()
    with alone:
        target = os.path.abspath(os.path.expanduser(section.output_dir or _free_place(frozen)))
        with writing("output_dir", target), replacing_directory(target, ".select-") as place:
            write(place)
            # Another command may have written there meanwhile.
            _check_output(target)
    return target


def _check_output(given: str) -> None:
    """Refuses a directory that holds something, or where nothing can be written."""
    path = os.path.abspath(os.path.expanduser(given))
    check_place(path, "output_dir", DIRECTORY, given)
    try:
        if os.path.isdir(path) and os.listdir(path):
            there = TABLE if os.path.lexists(os.path.join(path, TABLE)) else "something"
            raise refuse("output_dir", given, f"holds {there} already; name a new directory")
    except OSError as error:
        raise refuse("output_dir", given, f"can't be read ({error.strerror})") from error
    check_can_write(os.path.dirname(path), "output_dir", given)


def _free_place(frozen: Frozen) -> str:
    """A directory of the run that is not there yet."""
    first = frozen.place_for(_DEFAULT)
    path, number = first, 1
    while os.path.lexists(path):
        number += 1
        path = f"{first}_{number}"
    return path


def _labelled(frozen: Frozen) -> Dict[str, None]:
    """Images that have a label in the table; a data set's own labels are not used."""
    if not isinstance(frozen.source, TableSource):
        return {}
    return {each: None for each, row in frozen.source.rows.items() if row.label}


def _check_budget(section: SelectSection, frozen: Frozen, num_labelled: int) -> None:
    split = frozen.data.train_split
    ids = frozen.source.listed(split) if num_labelled else {}
    labelled = sum(each in ids for each in _labelled(frozen))
    free = frozen.source.num_examples(split) - labelled
    if free < 1:
        raise refuse(
            "labels", frozen.data.labels, f"gives all images of {split} a label: none is left"
        )
    if section.budget > free:
        raise refuse(
            "budget",
            section.budget,
            f"must be at most {free}, the images without a label of {frozen.data.described} "
            f"{split}",
        )


def _records(frozen: Frozen) -> Tuple[List[str], Dict[int, List[str]]]:
    """The table's header and rows; none without a table.

    They must be those from which the source was made: read at once, not after the choice.
    """
    if not isinstance(frozen.source, TableSource):
        return [], {}
    return read_records(str(frozen.data.labels))


def _table(
    frozen: Frozen,
    ids: List[str],
    method: str,
    header: Sequence[str],
    records: Mapping[int, Sequence[str]],
) -> Table:
    names = [printable(each) for each in ids]
    rows = frozen.source.rows if isinstance(frozen.source, TableSource) else {}
    known = {name: rows[each].number for each, name in zip(ids, names) if each in rows}
    return next_round(names, method, header, records, known)


def _classes(section: SelectSection, frozen: Frozen) -> List[str]:
    """The classes as far as they are known."""
    if section.classes:
        return read_classes(section.classes)
    if frozen.source.class_names is not None:
        return frozen.source.class_names
    rows = frozen.source.rows if isinstance(frozen.source, TableSource) else {}
    return sorted({row.label for row in rows.values() if row.label})


def _write(
    directory: str, frozen: Frozen, ids: List[str], table: Table, classes: List[str]
) -> None:
    """Writes all files of a choice."""
    side = _SIDE if len(ids) <= _MANY else _SMALL_SIDE
    seen: Dict[str, Tuple[Shown, np.ndarray]] = {}
    for each, image in pictures(frozen.source, frozen.data.train_split, ids):
        is_small = max(image.shape[:2]) <= _SHARP
        shown = Shown(printable(each), contact_sheet.encoded(image, side), is_small)
        seen[each] = shown, np.asarray(contact_sheet.thumbnail(image))
    for number, start in enumerate(range(0, len(ids), contact_sheet.MOST_ON_A_SHEET), 1):
        some = slice(start, start + contact_sheet.MOST_ON_A_SHEET)
        captions = [f"{n}\n{printable(each)}" for n, each in zip(table.numbers[some], ids[some])]
        name = f"{SHEET}.png" if number == 1 else f"{SHEET}_{number}.png"
        images = [seen[each][1] for each in ids[some]]
        contact_sheet.write_contact_sheet(os.path.join(directory, name), images, captions)
    shown_images = [seen[each][0] for each in ids]
    write_whole(os.path.join(directory, PAGE), page(table, shown_images, classes, TABLE))
    write_whole(os.path.join(directory, TABLE), table.as_csv())
