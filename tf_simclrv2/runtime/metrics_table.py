"""``metrics.csv``: a row of a run's metrics every so many steps."""

import csv
import io
import os
from typing import Dict, List, Mapping

from tf_simclrv2.runtime.files import write_whole


class MetricsTable:
    """The table of a run's metrics; its first column is ``step``.

    Args:
      path: the CSV file; it need not exist yet.
    """

    def __init__(self, path: str):
        self._path = path

    def rows(self) -> List[Dict[str, str]]:
        """The rows, oldest first; empty before the first one."""
        if not os.path.exists(self._path):
            return []
        with open(self._path, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def append(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a row with ``step`` and ``values``."""
        row = {"step": str(step), **{name: f"{value:.6g}" for name, value in values.items()}}
        is_new = not os.path.exists(self._path)
        with open(self._path, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row), lineterminator="\n")
            if is_new:
                writer.writeheader()
            writer.writerow(row)

    def drop_after(self, step: int) -> None:
        """Drops the rows that an interrupted run left after ``step``."""
        rows = self.rows()
        kept = [row for row in rows if int(row["step"]) <= step]
        if len(kept) < len(rows):
            lines = io.StringIO()
            writer = csv.DictWriter(lines, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(kept)
            write_whole(self._path, lines.getvalue())
