"""The settings of a report: on which runs, and where to write it."""

import csv
import dataclasses
import io
import os
from typing import List, Sequence

from tf_simclrv2.config.settings import Must, Section, refuse, required, setting

_END = "\r\n"


def joined(paths: Sequence[str]) -> str:
    """Writes paths in one text, separated by commas; one that holds a comma stands in quotes."""
    line = io.StringIO()
    # What ends a line is put in quotes, too.
    csv.writer(line, lineterminator=_END).writerow(paths)
    return line.getvalue()[: -len(_END)]


def separate(text: str) -> List[str]:
    """The inverse of :func:`joined`."""
    return next(csv.reader(io.StringIO(text, newline="")), [])


def _are_paths(text: str) -> bool:
    try:
        paths = separate(text)
    except csv.Error:
        return False
    return bool(paths) and all(path.strip() for path in paths)


@dataclasses.dataclass(frozen=True)
class ReportSection(Section):
    """On which runs to report, and where."""

    runs: str = required(
        "Directories of the runs, separated by commas; they may also stand on the command line by "
        "themselves, as in report RUN RUN.",
        "the directory of a run must be given, as in report RUN",
        is_path=True,
        positional=True,
    )
    output: str = setting(
        "report.html",
        "File to write; an earlier report is replaced. Its plots go to a directory of this name "
        "that ends in _plots, as PNG.",
        must=Must("end in .html", lambda path: path.endswith(".html")),
        is_path=True,
    )
    max_images: int = setting(
        2000,
        "Images to show on the map of representations, drawn at random if there are more; 0 leaves "
        "out all that needs images or checkpoints.",
        within="[0, 10000]",
    )

    def _check_combinations(self) -> None:
        if not _are_paths(self.runs):
            raise refuse("runs", self.runs, "must be directories of runs, separated by commas")

    @property
    def paths(self) -> List[str]:
        """The directories of the runs, each once; one whose name holds commas is one."""
        if os.path.exists(os.path.expanduser(self.runs)):
            return [self.runs]
        return list(dict.fromkeys(separate(self.runs)))
