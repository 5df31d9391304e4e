"""Tables of labels, as spreadsheets and annotation tools write them: CSV or Parquet."""

import contextlib
import csv
import dataclasses
import decimal
import math
import os
import re
import unicodedata
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Sequence, Tuple

from tf_simclrv2.config import ConfigError, refuse
from tf_simclrv2.config.extras import check_installed
from tf_simclrv2.config.user_files import (
    Line,
    check_file,
    is_utf8,
    not_text,
    printable,
    read_lines,
)
from tf_simclrv2.config.words import shown

FLAG = "labels"
TRAIN, VALIDATION, TEST = "train", "validation", "test"
# What a table may call the splits.
_SPLITS = {
    **dict.fromkeys(("", "train", "training"), TRAIN),
    **dict.fromkeys(("validation", "valid", "val", "dev"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}
# What select writes of images that it chose at random.
RANDOM = "random"
_NEEDED = ("image", "label")
_OPTIONAL = ("split", "chosen_by")
_DELIMITERS = ",;\t"
# What csv.Sniffer looks at; its time grows with the square of it.
_SNIFFED_LINES, _SNIFFED_CHARACTERS = 20, 2000
_SHOWN = 5


class Row(NamedTuple):
    """A row of a table.

    Attributes:
      number: of the line in which it begins, or, of Parquet, of the row; from 1.
      image: what the table calls the image.
      label: the name of its class; empty for an image without a label.
      split: ``train``, ``validation`` or ``test``.
      chosen_by: how ``select`` chose the image; empty for an image that it didn't choose.
    """

    number: int
    image: str
    label: str
    split: str
    chosen_by: str = ""


@dataclasses.dataclass(frozen=True)
class LabelTable:
    """A table of labels.

    Attributes:
      path: its file, as the user named it.
      rows: those that are not empty; there is one at least.
      has_splits: whether it has a column ``split``; without one all rows are of ``train``.
      unit: what rows are counted in: ``line`` or ``row``.
    """

    path: str
    rows: List[Row]
    has_splits: bool
    unit: str

    @property
    def classes(self) -> List[str]:
        """The labels that there are, sorted."""
        return sorted({row.label for row in self.rows if row.label})

    def at(self, row: Row) -> str:
        """Where a row is, for messages."""
        return f"{self.unit} {row.number}"

    def refuse(self, allowed: str) -> ConfigError:
        """The error for a table that can't be used, see :func:`tf_simclrv2.config.refuse`."""
        return refuse(FLAG, self.path, allowed)


def read_labels(path: str) -> LabelTable:
    """Reads a table of labels.

    It has the columns ``image`` and ``label``, in any case and order, and may have ``split`` and
    ``chosen_by``; what else it has is left alone. A file that ends in .parquet is read as such. All
    others are text in UTF-8 whose columns are separated by commas, semicolons or tabs.

    Raises:
      ConfigError: it can't be read, or a row of it can't be used; the message names the line.
    """
    is_parquet = path.lower().endswith(".parquet")
    header, records = _read_parquet(path) if is_parquet else _read_text(path)
    columns = _columns(path, header)
    unit = "row" if is_parquet else "line"
    rows = []
    for number, fields in records:
        if not is_parquet and len(fields) != len(header):
            raise refuse(
                FLAG,
                path,
                f"{unit} {number} has {len(fields)} columns, but the header has {len(header)}; a "
                "text with the delimiter in it must be in quotes",
            )
        rows.append(_row(path, f"{unit} {number}", number, _picked(fields, columns)))
    if not rows:
        raise refuse(FLAG, path, "must have a row for each image that was labelled, but has none")
    return LabelTable(path, rows, "split" in columns, unit)


def read_records(path: str) -> Tuple[List[str], Dict[int, List[str]]]:
    """Reads a table with all of its columns, as texts; see :func:`read_labels`.

    Of Parquet, columns that are neither texts nor numbers are left out.

    Returns:
      The header, and rows by the numbers that :func:`read_labels` gives them.

    Raises:
      ConfigError: it can't be read.
    """
    is_parquet = path.lower().endswith(".parquet")
    header, records = _read_parquet(path, _is_plain) if is_parquet else _read_text(path)
    return list(header), {number: list(fields) for number, fields in records}


def read_classes(path: str) -> List[str]:
    """Reads the names of classes from a text file, one on a line; empty lines are left out.

    Raises:
      ConfigError: it can't be read, a class is named twice, or there are fewer than two.
    """
    names: Dict[str, int] = {}
    for number, text in read_lines(path, "classes"):
        name = _composed(text)
        if not is_utf8(name):
            raise not_text("classes", path, number, f"it reads {printable(name)}")
        if name in names:
            raise refuse(
                "classes", path, f"{printable(name)} is in line {names[name]} and line {number}"
            )
        if printable(name) != name:
            raise refuse("classes", path, f"line {number} must be printable: {printable(name)}")
        if name:
            names[name] = number
    if len(names) < 2:
        raise refuse("classes", path, f"must name two classes or more, but names {len(names)}")
    return list(names)


def quoted(text: str) -> str:
    """A text of a table as messages show it: in one line, and not at any length."""
    return shown(printable(text))


def _row(path: str, where: str, number: int, texts: Dict[str, str]) -> Row:
    """Checks a row's texts."""
    image, label, split = texts["image"], _composed(texts["label"]), texts.get("split", "").strip()
    if not image.strip():
        raise refuse(FLAG, path, f"{where} names no image")
    if printable(label) != label:
        raise refuse(
            FLAG,
            path,
            f"{where} has the label {quoted(label)}, which must be one printable line",
        )
    if split.casefold() not in _SPLITS:
        raise refuse(
            FLAG,
            path,
            f"{where} has the split {quoted(split)}, which must be train, validation or test",
        )
    chosen_by = texts.get("chosen_by", "").strip()
    return Row(number, image, label, _SPLITS[split.casefold()], chosen_by)


def _composed(name: str) -> str:
    """The name of a class in one of the spellings that look the same, without blanks around it."""
    return unicodedata.normalize("NFC", name.strip())


def _picked(fields: Sequence[str], columns: Dict[str, int]) -> Dict[str, str]:
    return {name: fields[position] for name, position in columns.items()}


def _folded(name: str) -> str:
    return name.strip().casefold()


def _columns(path: str, header: Sequence[str]) -> Dict[str, int]:
    """Where the columns are that are read."""
    found: Dict[str, int] = {}
    for position, name in enumerate(map(_folded, header)):
        if name in found:
            raise refuse(FLAG, path, f"must have one column {name}, but has several")
        if name in (*_NEEDED, *_OPTIONAL):
            found[name] = position
    missing = [name for name in _NEEDED if name not in found]
    if missing:
        there = ", ".join(quoted(name.strip()) or "an empty one" for name in header[:_SHOWN])
        more = ", ..." if len(header) > _SHOWN else ""
        raise refuse(
            FLAG,
            path,
            f"must have the columns image and label, but its first line has no "
            f"{' and no '.join(missing)}: {there}{more}"
            if header
            else "must be a table with the columns image and label, but is empty",
        )
    return found


Records = Iterable[Tuple[int, Sequence[str]]]


def _read_text(path: str) -> Tuple[Sequence[str], Records]:
    """The header of a text file, and its further records with the numbers of their lines."""
    lines = read_lines(path, FLAG)
    for number, text in lines:
        if not text.isascii() and not is_utf8(text):
            raise not_text(FLAG, path, number, f"it reads {quoted(text)}")
    records = _records(path, lines, _delimiter(lines))
    _, header = next(records, (0, []))
    return header, records


def _records(path: str, lines: Sequence[Line], delimiter: str) -> Iterator[Tuple[int, List[str]]]:
    """The records that are not empty, each with the number of the line in which it begins."""
    texts = (f"{line.text}\n" for line in lines)
    reader = csv.reader(texts, strict=True, **_format(lines, delimiter))
    number = 1
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                yield number, fields
            number = reader.line_num + 1
    except csv.Error as error:
        reason = "its quote is never closed" if "end of data" in str(error) else str(error)
        raise refuse(
            FLAG, path, f"line {number} can't be read as a row of a table: {reason}"
        ) from error


def _format(lines: Sequence[Line], delimiter: str) -> Dict[str, Any]:
    """How the rows are written; blanks before a cell stay, unless there are some before a quote."""
    blank = re.compile(rf'(?:^|{delimiter}) +"')
    skips = any(blank.search(line.text) for line in lines)
    return {"delimiter": delimiter, "skipinitialspace": skips}


def _delimiter(lines: Sequence[Line]) -> str:
    """What separates the columns: what is likeliest, as long as the header has its columns then."""
    filled = [line.text for line in lines if line.text.strip()][:_SNIFFED_LINES]
    try:
        sample = "\n".join(filled)[:_SNIFFED_CHARACTERS]
        likely = csv.Sniffer().sniff(sample, _DELIMITERS).delimiter
    except csv.Error:
        likely = _DELIMITERS[0]
    for delimiter in (likely, *_DELIMITERS):
        with contextlib.suppress(csv.Error):  # Reading the records says what is wrong.
            header = next(csv.reader(filled[:1], **_format(lines, delimiter)), [])
            if set(_NEEDED) <= set(map(_folded, header)):
                return delimiter
    return likely


def _read_parquet(
    path: str, also: Callable[[Any], bool] = lambda kind: False
) -> Tuple[Sequence[str], Records]:
    """The names of a Parquet file's columns that are read, and its rows with their numbers.

    Args:
      path: the file.
      also: whether a column of a type is read that is not one of those that labels need.
    """
    check_installed("pyarrow", FLAG, path)
    check_file(path, FLAG, "Parquet file")
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(os.path.expanduser(path))
        schema = file.schema_arrow
        # Others may be large, such as the images' features.
        needed = _columns(path, schema.names).values()
        wanted = [
            name
            for position, name in enumerate(schema.names)
            if position in needed or also(schema.types[position])
        ]
        columns = file.read(columns=wanted)
        values = [_listed(columns.column(name)) for name in wanted]
    except ConfigError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError, KeyError) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise refuse(FLAG, path, f"must be a readable Parquet file ({said[0]})") from error
    rows = enumerate(zip(*values), 1)
    return wanted, ((number, _texts(path, number, row)) for number, row in rows)


def _listed(column: Any) -> List[Any]:
    """A Parquet column's values; dates and times as texts, since Python has none so fine."""
    import pyarrow

    return (column.cast("string") if pyarrow.types.is_temporal(column.type) else column).to_pylist()


def _is_plain(kind: Any) -> bool:
    from pyarrow import types

    return not (types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind))


def _texts(path: str, number: int, values: Sequence[object]) -> List[str]:
    """A row's values as a CSV file would have them."""
    if any(isinstance(value, (list, dict, bytes)) for value in values):
        raise refuse(FLAG, path, f"row {number} must have texts or numbers")
    return [_text(value) for value in values]


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, (float, decimal.Decimal)):
        if math.isnan(value):
            return ""
        # Where a column has empty cells, whole numbers come as these.
        return str(int(value)) if math.isfinite(value) and value == int(value) else str(value)
    return str(value)
