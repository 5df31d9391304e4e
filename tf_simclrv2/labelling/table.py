"""The table of a round: all rows of earlier rounds, then the images to label next."""

import csv
import io
from typing import List, Mapping, NamedTuple, Optional, Sequence

IMAGE, LABEL, CHOSEN_BY, NUMBER = COLUMNS = ("image", "label", "chosen_by", "number")


class Table(NamedTuple):
    """A table to fill in.

    Attributes:
      rows: of texts, the header first.
      chosen: which of them are new, counted from 0 for the header.
      numbers: of the new rows' images, which no other row has.
      label_column: where the labels belong.
    """

    rows: List[List[str]]
    chosen: List[int]
    numbers: List[int]
    label_column: int

    def as_csv(self) -> str:
        """The table as a CSV file has it."""
        file = io.StringIO()
        csv.writer(file, lineterminator="\n").writerows(self.rows)
        return file.getvalue()


def next_round(
    images: Sequence[str],
    chosen_by: str,
    header: Sequence[str] = (),
    records: Optional[Mapping[int, Sequence[str]]] = None,
    known: Optional[Mapping[str, int]] = None,
) -> Table:
    """Appends rows without label to a table.

    Args:
      images: to label.
      chosen_by: how they were chosen.
      header: names of the table's columns.
      records: its rows, by numbers of any kind.
      known: the numbers of rows, still without label, of some of the images. They move to the end
        and keep their further columns.
    """
    columns = [*header]
    folded = [name.strip().casefold() for name in columns]
    columns += [name for name in COLUMNS if name not in folded]
    place = {name: [*folded, *columns[len(folded) :]].index(name) for name in COLUMNS}
    records, known = records or {}, known or {}
    moved = {known[image] for image in images if image in known}
    width = len(columns)
    earlier = [_padded(row, width) for key, row in records.items() if key not in moved]
    first = 1 + max((_number(row[place[NUMBER]]) for row in earlier), default=0)
    new = []
    for number, image in enumerate(images, first):
        row = _padded(records[known[image]] if image in known else (), width)
        row[place[IMAGE]], row[place[LABEL]] = image, ""
        row[place[CHOSEN_BY]], row[place[NUMBER]] = chosen_by, str(number)
        new.append(row)
    start = 1 + len(earlier)
    return Table(
        [columns, *earlier, *new],
        list(range(start, start + len(new))),
        list(range(first, first + len(new))),
        place[LABEL],
    )


def _padded(row: Sequence[str], width: int) -> List[str]:
    return [*row, *[""] * (width - len(row))]


def _number(text: str) -> int:
    """A row's number, 0 if it has none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
