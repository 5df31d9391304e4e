"""``report``: one page on runs, with its plots next to it."""

import json
import logging
import os
from typing import List, Mapping, Optional, Sequence

from tf_simclrv2.config import RunsReportConfig, refuse
from tf_simclrv2.config.user_files import DIRECTORY, FILE, printable
from tf_simclrv2.programs import command_line
from tf_simclrv2.programs.exported import check_output
from tf_simclrv2.progress import progress
from tf_simclrv2.reporting.charts import Chart, png
from tf_simclrv2.reporting.images import Images
from tf_simclrv2.reporting.report import report
from tf_simclrv2.reporting.runs import open_runs
from tf_simclrv2.runtime.disk import shown_bytes, writing
from tf_simclrv2.runtime.files import check_place, kind_of, write_whole
from tf_simclrv2.runtime.scratch import replacing_directory

logger = logging.getLogger(__name__)

# Lists the plots, and marks their directory as a report's own, which the next may replace.
_LIST = "plots.json"
_TEMPORARY = ".report-"
# By what a page is known as a report, and where that stands at the latest.
_MARK, _BEGINNING = b'<meta name="generator" content="tf-simclrv2 report">', 2000


def run(values: Mapping[str, object]) -> None:
    """Writes the page and the plots.

    Args:
      values: the flags that were given.

    Raises:
      ConfigError: a setting can't be used.
    """
    section = command_line.build(RunsReportConfig, values).report
    output = os.path.abspath(os.path.expanduser(section.output))
    plots = f"{output[: -len('.html')]}_plots"
    _check_places(output, plots, section.output)
    runs = open_runs(section.paths, "runs")
    images = Images.open(runs, section.max_images) if section.max_images else None
    page, charts = report(runs, images, os.path.basename(plots))
    with writing("output", section.output):
        with replacing_directory(plots, _TEMPORARY) as place:
            _write_plots(place, charts)
            # Something else may have been written there meanwhile.
            _check_places(output, plots, section.output)
        write_whole(output, page)
    logger.info("%d plots as PNG are in %s", len(charts), plots)
    logger.info("%s: %s, open it in a browser", output, shown_bytes(len(page.encode())))


def _check_places(output: str, plots: str, given: str) -> None:
    """Refuses places that hold something else than an earlier report."""
    check_output(os.path.expanduser(given))
    if kind_of(output) == FILE and not _is_report(output):
        raise refuse("output", given, "must be new or an earlier report, but is another file")
    foreign = _foreign_entry(plots) if check_place(plots, "output", DIRECTORY, given) else None
    if foreign is not None:
        raise refuse(
            "output",
            given,
            f"{plots} must be new, empty or an earlier report's, but holds {printable(foreign)}",
        )


def _is_report(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return _MARK in file.read(_BEGINNING)
    except OSError:
        return False


def _foreign_entry(plots: str) -> Optional[str]:
    """What a directory holds that no report has written; None if there is nothing."""
    names = sorted(os.listdir(plots))
    mine = {_LIST, *_listed(os.path.join(plots, _LIST))}
    return next((name for name in names if name not in mine), None)


def _listed(path: str) -> List[str]:
    """The plots in a list that a report has written; none if it is no such list."""
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError, RecursionError):
        return []
    return list(content) if isinstance(content, dict) else []


def _write_plots(place: str, charts: Sequence[Chart]) -> None:
    for chart in progress(charts, "plots", "plot"):
        with open(os.path.join(place, f"{chart.name}.png"), "wb") as file:
            file.write(png(chart))
    titles = {f"{chart.name}.png": chart.title for chart in charts}
    write_whole(os.path.join(place, _LIST), json.dumps(titles, indent=2) + "\n")
