"""The report: everything about runs in one page, with its plots next to it."""

import logging
import os
from typing import Any, Dict, List, Optional, Sequence, Tuple

from tf_simclrv2 import __version__
from tf_simclrv2.config import ConfigError, place
from tf_simclrv2.config.user_files import printable
from tf_simclrv2.reporting import answers, audits, curves, galleries, results
from tf_simclrv2.reporting.answers import Answer, Evaluation
from tf_simclrv2.reporting.audits import Audited
from tf_simclrv2.reporting.charts import COLORS, Chart
from tf_simclrv2.reporting.galleries import Item
from tf_simclrv2.reporting.images import Images
from tf_simclrv2.reporting.page import Charts, page
from tf_simclrv2.reporting.results import Row
from tf_simclrv2.reporting.runs import Run, labels_used

logger = logging.getLogger(__name__)

_SECTIONS = (
    ("runs", "Runs"),
    ("results", "Results"),
    ("learning", "Learning curves"),
    ("monitors", "Monitors"),
    ("answers", "Answers"),
    ("maps", "Maps"),
    ("views", "Views"),
    ("audit", "Audit"),
)


def report(runs: Sequence[Run], images: Optional[Images], plots: str) -> Tuple[str, List[Chart]]:
    """Writes a report.

    Args:
      runs: what it is about.
      images: to show; None leaves out all that needs images.
      plots: how the page names the directory of its plots.

    Returns:
      The page in HTML, and its charts, whose names are safe as names of files.

    Raises:
      ConfigError: representations can't be computed, or an image can't be read any more.
    """
    evaluations, rows, problems = _read(runs)
    answered = {run: given for run, (_, given) in answers.answers_of(evaluations).items()}
    charts = Charts()
    learning, monitors, about_monitors = curves.charts_of(runs)
    content: Dict[str, Any] = {
        "title": f"Report on {_named(runs)}",
        "version": __version__,
        "plots": plots,
        "sections": _SECTIONS,
        "lineages": _lineages(runs),
        "runs": list(map(_described, runs)),
        "problems": problems,
        **_table(rows),
        "baselines": _baselines(runs),
        "accuracy": charts.one(results.accuracies(rows, [run.name for run in runs])),
        "label_efficiency": charts.one(results.label_efficiency(runs, rows)),
        "colors": [(run.name, COLORS[n % len(COLORS)]) for n, run in enumerate(runs)],
        "learning": charts.all(learning),
        "monitors": charts.all(monitors),
        "about_monitors": about_monitors,
        "reliability": charts.all(answers.reliability(evaluations)),
        "risk": charts.one(answers.risk(evaluations)),
        "confusions": charts.all(answers.confusions(evaluations)),
        "views": _views(runs),
        **_of_images(runs, images, answered, charts),
    }
    tooltips = [] if images is None else images.tooltips()
    return page(content, charts.found, tooltips), charts.found


def _named(runs: Sequence[Run]) -> str:
    return runs[0].name if len(runs) == 1 else f"{len(runs)} runs"


def _read(runs: Sequence[Run]) -> Tuple[List[Evaluation], List[Row], List[str]]:
    """All evaluations and their files, and a sentence for each run that has a damaged file."""
    evaluations: List[Evaluation] = []
    rows: List[Row] = []
    problems: List[str] = []
    for run in runs:
        try:
            rows += results.rows_of(run)
            evaluations += answers.evaluations_of(run)
        except ConfigError as error:
            problems.append(str(error))
            logger.warning("%s", error)
    return evaluations, rows, problems


def _lineages(runs: Sequence[Run]) -> List[List[Tuple[str, bool]]]:
    """Which run stems from which, as chains of names; whether each is in the report."""
    # A run that was moved is known by the directory in which it began.
    began = {place(run.config.run.model_dir): place(run.directory.path) for run in runs}
    names = {place(run.directory.path): run.name for run in runs}
    places = [[place(path) or path for path in run.lineage] for run in runs]
    chains = [tuple(began.get(path, path) or path for path in each) for each in places]
    whole = [
        chain
        for chain in dict.fromkeys(chains)
        if not any(chain == other[: len(chain)] for other in chains if other != chain)
    ]
    return [
        [(names.get(path, printable(os.path.basename(path))), path in names) for path in chain]
        for chain in whole
    ]


def _described(run: Run) -> Dict[str, Any]:
    """What a run's card shows."""
    config, data = run.config, run.data
    labels = labels_used(run)
    facts = {
        "data": f"{config.data.described}, {config.data.train_split}",
        "images": _counted(data.get("num_examples")),
        "labels": _counted(labels),
        "training": _trained(run),
        "directory": run.directory.path,
    }
    return {
        "name": run.name,
        "step_in_words": run.step_in_words,
        "network": run.network,
        "facts": [(name, printable(text)) for name, text in facts.items() if text],
        "settings": run.settings,
        "environment": run.environment,
    }


def _trained(run: Run) -> str:
    if run.has_taken_no_step:
        solved = ": the classifier is solved in closed form" * run.is_solved
        return f"no step was taken{solved}"
    optimization = run.config.optimization
    last = run.directory.metrics()[-1:]
    steps = f"{int(last[0]['step']):,} steps of " if last else ""
    return (
        f"{steps}{optimization.train_batch_size:,} images, {optimization.optimizer}, "
        f"learning rate {optimization.learning_rate:g}"
    )


def _counted(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else ""


def _table(rows: Sequence[Row]) -> Dict[str, Any]:
    """The rows of results, and the headings of columns that are not empty."""
    several = len({row.evaluator for row in rows}) > 1
    lines = []
    for row in rows:
        interval = ""
        if row.interval is not None:
            interval = f"{row.interval[0]:.1%} to {row.interval[1]:.1%}"
        lines.append(
            {
                "run": row.run,
                "evaluator": row.evaluator if several else "",
                "on": row.on,
                "images": _counted(row.images),
                "top-1": f"{row.accuracy:.1%}",
                "95% interval": interval,
                **row.more,
                "labels used": _counted(row.labels),
                "parameters": _counted(row.parameters),
            }
        )
    order = ["run", "evaluator", "on", "images", "top-1", "95% interval", *results.HEADINGS,
             "labels used", "parameters"]  # fmt: skip
    headings = [name for name in order if any(line.get(name) for line in lines)]
    return {
        "headings": headings,
        "texts": ["run", "evaluator", "on"],
        "rows": [{name: line.get(name, "") for name in headings} for line in lines],
    }


def _views(runs: Sequence[Run]) -> List[Tuple[str, List[Item]]]:
    """The pairs of views of the runs that have logged some."""
    found = [(run.name, galleries.views_of(run)) for run in runs]
    return [(name, pairs) for name, pairs in found if pairs]


def _baselines(runs: Sequence[Run]) -> List[Tuple[str, str]]:
    """What was measured beside runs, in words, with accuracy and interval beside each run."""
    found: Dict[str, List[str]] = {}
    for run in runs:
        try:
            measured = results.baselines_of(run)
        except ConfigError:  # It is told where the results are.
            continue
        for words, accuracy in measured:
            found.setdefault(words, []).append(f"{accuracy} beside {run.name}")
    return [(words, ", ".join(told)) for words, told in found.items()]


def _of_images(
    runs: Sequence[Run],
    images: Optional[Images],
    answered: Dict[str, List[Answer]],
    charts: Charts,
) -> Dict[str, Any]:
    """What the template shows of images; without them the names of what would be shown."""
    audited = audits.audits_of(runs)
    if images is None:
        shown: Dict[str, Any] = {
            "album": None,
            "about_images": "",
            "maps": [],
            "samples": [],
            "galleries": [],
        }
        told = [{"run": one.run, "sentences": one.sentences, "kinds": []} for one in audited]
        return {**shown, "audits": told, "any_wrong": False, "any_labels": False}
    maps = images.maps()
    return {
        "album": images.album(),
        "about_images": images.about,
        "maps": charts.all(images.charts(maps, answered)),
        "samples": images.samples(maps),
        "galleries": _galleries(images, answered),
        "audits": [_audit(images, one) for one in audited],
        "any_wrong": any(given in answered for given in maps),
        "any_labels": any(images.classes),
    }


def _galleries(images: Images, answered: Dict[str, List[Answer]]) -> List[Tuple[Any, ...]]:
    """Mistakes and unsure answers of the runs whose maps are shown, with their pictures."""
    some = {run: given for run, given in answered.items() if run in images.frozen}
    mistakes = {run: galleries.most_confident_mistakes(given) for run, given in some.items()}
    unsure = {run: galleries.least_sure(given) for run, given in some.items()}
    wanted = [each.image for found in (mistakes, unsure) for run in found for each in found[run]]
    seen = images.pictures(wanted)
    return [
        (
            run,
            [galleries.item_of(each, seen) for each in mistakes[run]],
            [galleries.item_of(each, seen) for each in unsure[run]],
        )
        for run in some
    ]


def _audit(images: Images, found: Audited) -> Dict[str, Any]:
    """What the template shows of an audit: its sentences, and findings with their pictures."""
    seen = {}
    for split in dict.fromkeys(split for split, _ in found.images):
        names = [name for other, name in found.images if other == split]
        pictures = images.pictures(names, split)
        seen.update({(split, name): address for name, address in pictures.items()})
    kinds = [
        (kind.heading, [(each, each.items(seen)) for each in kind.findings]) for kind in found.kinds
    ]
    return {"run": found.run, "sentences": found.sentences, "kinds": kinds}
