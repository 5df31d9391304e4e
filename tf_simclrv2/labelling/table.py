"""The table of a round: all rows of earlier rounds, then the images to label next."""

from typing import List, Mapping, NamedTuple, Optional, Sequence

from tf_simclrv2.config.user_files import csv_text

IMAGE, LABEL, CHOSEN_BY, NUMBER = "image", "label", "chosen_by", "number"
# What the column of numbers is called in a table that has one named so of its own.
_OTHER_NUMBER = "select_number"


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
        return csv_text(self.rows)


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
    folded = [name.strip().casefold() for name in header]
    needed = [IMAGE, LABEL, CHOSEN_BY, _number_column(folded)]
    missing = [name for name in needed if name not in folded]
    columns = [*header, *missing]
    image_at, label_at, chosen_by_at, number_at = map([*folded, *missing].index, needed)
    records, known = records or {}, known or {}
    moved = {known[image] for image in images if image in known}
    width = len(columns)
    earlier = [_padded(row, width) for key, row in records.items() if key not in moved]
    first = 1 + max((_number(row[number_at]) for row in earlier), default=0)
    new = []
    for number, image in enumerate(images, first):
        row = _padded(records[known[image]] if image in known else (), width)
        row[image_at], row[label_at] = image, ""
        row[chosen_by_at], row[number_at] = chosen_by, str(number)
        new.append(row)
    start = 1 + len(earlier)
    return Table(
        [columns, *earlier, *new],
        list(range(start, start + len(new))),
        list(range(first, first + len(new))),
        label_at,
    )


def _number_column(header: Sequence[str]) -> str:
    """The name of the column of numbers, which must not be one that the user made.

    In a table with ``chosen_by``, an earlier round wrote it: last, if there are several.
    """
    names = [NUMBER, _OTHER_NUMBER]
    names += [f"{_OTHER_NUMBER}_{count}" for count in range(2, 2 + len(header))]
    last = max((place for place, name in enumerate(names) if name in header), default=-1)
    return names[max(last, 0) if CHOSEN_BY in header else last + 1]


def _padded(row: Sequence[str], width: int) -> List[str]:
    return [*row, *[""] * (width - len(row))]


def _number(text: str) -> int:
    """A row's number, 0 if it has none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
