"""``metrics.csv``: a row of a run's metrics every so many steps."""

import csv
import io
import os
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from tf_simclrv2.runtime.files import write_whole

Row = Dict[str, str]


class MetricsTable:
    """The table of a run's metrics; its first column is ``step``, and no step has two rows.

    Args:
      path: the CSV file; it need not exist yet.
    """

    def __init__(self, path: str):
        self._path = path
        # Of the file as this process has left it; None before the first row that it adds.
        self._columns: Optional[List[str]] = None
        self._last_step = -1

    def rows(self) -> List[Row]:
        """The rows, oldest first, without torn ones; empty before the first one."""
        return self._read()[0]

    def append(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a row with ``step`` and ``values``; a row of that step is replaced."""
        row = {"step": str(step), **{name: f"{value:.6g}" for name, value in values.items()}}
        if self._columns is None or step <= self._last_step or not row.keys() <= {*self._columns}:
            self._begin(step, list(row))
        assert self._columns is not None
        with open(self._path, "a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._columns, lineterminator="\n").writerow(row)
        self._last_step = step

    def drop_after(self, step: int) -> None:
        """Drops what an interrupted run left after ``step``, and torn rows."""
        rows, whole = self._read()
        kept = [row for row in rows if int(row["step"]) <= step]
        if len(kept) < len(rows) or not whole:
            self._write(list(rows[0]) if rows else [], kept)
        self._columns = None

    def _begin(self, step: int, columns: Sequence[str]) -> None:
        """Makes the file ready for rows with these columns from ``step`` on."""
        self.drop_after(step - 1)
        rows = self.rows()
        before = list(rows[0]) if rows else []
        # An earlier version may have logged other columns.
        self._columns = [*before, *(name for name in columns if name not in before)]
        if self._columns != before or not rows:
            self._write(self._columns, rows)

    def _write(self, columns: Sequence[str], rows: Sequence[Row]) -> None:
        if not columns:
            # Nothing in it can be read, but perhaps a person can make something of it.
            if os.path.getsize(self._path):
                os.replace(self._path, f"{self._path}.damaged")
            return
        lines = io.StringIO()
        writer = csv.DictWriter(lines, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_whole(self._path, lines.getvalue())

    def _read(self) -> Tuple[List[Row], bool]:
        """The rows by step, and whether the file holds nothing else."""
        if not os.path.exists(self._path):
            return [], True
        with open(self._path, newline="", encoding="utf-8", errors="replace") as file:
            *lines, rest = file.read().split("\n")
        # What a power cut tears is a short line, or one that the disk has as zeros or as noise.
        readable = [line for line in lines if line.isascii() and "\0" not in line]
        columns, *table = csv.reader(readable or ["damaged"])
        whole = [line for line in table if len(line) == len(columns) and line[0].isdecimal()]
        if columns[0] != "step":
            whole = []
        rows = {line[0]: dict(zip(columns, line)) for line in whole}
        return list(rows.values()), not rest and len(rows) == len(lines) - 1
