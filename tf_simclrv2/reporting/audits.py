"""What audits of runs have found: counted, and the first of each kind with their images."""

import csv
import json
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from tf_simclrv2.reporting.galleries import Item
from tf_simclrv2.reporting.runs import Run

# Findings of a kind that are shown with their images, and of how many audits: a page stays small.
_MOST, _MOST_PAIRS, _MOST_AUDITS = 8, 4, 2
# What an audit writes, and how to tell it.
_SUMMARY = "audit.json"
_WORDS = {
    "labels": "labels that look wrong",
    "duplicates": "pairs of near-duplicates",
    "conflicts": "pairs of near-duplicates with different labels",
    "leaks": "images to evaluate on with a near-duplicate among those to train on",
    "unlike": "images unlike all others",
}
# The name of an image, after its split.
_Key = Tuple[str, str]
_Line = Dict[str, str]


class Finding(NamedTuple):
    """Something that an audit has found.

    Attributes:
      title: what is shown above all.
      lines: what else is told of it.
      images: split and name of the images that it is about, one or two.
    """

    title: str
    lines: List[str]
    images: List[_Key]

    def items(self, pictures: Dict[_Key, str]) -> List[Item]:
        """The images, with their pictures where these are there.

        Args:
          pictures: addresses by split and name.
        """
        return [Item(name, pictures.get((split, name), "")) for split, name in self.images]


class Kind(NamedTuple):
    """The first findings of a kind.

    Attributes:
      heading: what they are.
      findings: the worst first, at least one.
    """

    heading: str
    findings: List[Finding]


class Audited(NamedTuple):
    """What an audit of a run has found.

    Attributes:
      run: which run, by name.
      sentences: what was found, counted.
      kinds: some of it.
    """

    run: str
    sentences: List[str]
    kinds: List[Kind]

    @property
    def images(self) -> List[_Key]:
        """All images that findings are about, each once."""
        findings = [finding for kind in self.kinds for finding in kind.findings]
        return list(dict.fromkeys(image for finding in findings for image in finding.images))


def audits_of(runs: Sequence[Run]) -> List[Audited]:
    """What audits of runs have found: the first ones with findings, so that a page stays small.

    Args:
      runs: those without an audit are left out.
    """
    found = list(filter(None, map(audit_of, runs)))
    counted = [one._replace(kinds=[]) for one in found[_MOST_AUDITS:]]
    return [*found[:_MOST_AUDITS], *counted]


def audit_of(run: Run) -> Optional[Audited]:
    """What an audit of a run has found; None if there was none, or it can't be read."""
    try:
        with open(run.directory.file("audit", _SUMMARY), encoding="utf-8") as file:
            content: Any = json.load(file)
        found, images = content["found"], content["images"]
        judged = content["labels_judged"]
        examined = ", ".join(f"{int(count):,} of {split}" for split, count in images.items())
        sentences = [f"Examined: {examined}; {int(judged):,} labels could be judged."]
        sentences += [
            f"{int(found[name]):,} {words}" for name, words in _WORDS.items() if name in found
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return Audited(run.name, sentences, list(_kinds(run)))


def _kinds(run: Run) -> Iterator[Kind]:
    pairs = _findings(run, "duplicates.csv", _pair)
    leaks = [pair for is_leak, pair in pairs if is_leak]
    others = [pair for is_leak, pair in pairs if not is_leak]
    for heading, found in (
        ("Most doubtful labels", _findings(run, "wrong_labels.csv", _doubt)[:_MOST]),
        ("Images to evaluate on that are also trained on", leaks[:_MOST_PAIRS]),
        ("Near-duplicates", others[:_MOST_PAIRS]),
        ("Images unlike all others", _findings(run, "unlike.csv", _outlier)[:_MOST]),
    ):
        if found:
            yield Kind(heading, found)


def _findings(run: Run, name: str, read: Callable[[_Line], Any]) -> List[Any]:
    """What a table of an audit holds; empty if it isn't there, or somebody has damaged it."""
    try:
        path = run.directory.file("audit", name)
        with open(path, newline="", encoding="utf-8", errors="replace") as file:
            return [read(line) for line in csv.DictReader(file)]
    except (OSError, KeyError, TypeError, csv.Error):
        return []


def _doubt(line: _Line) -> Finding:
    title = f"{line['label']}, or {line['suggested']}?"
    return Finding(title, [f"margin {line['margin']}"], [(line["split"], line["image"])])


def _pair(line: _Line) -> Tuple[bool, Finding]:
    """Whether the two are in different splits, one of them to train on, and which they are."""
    labels = [line["label"], line["other_label"]]
    splits = [line["split"], line["other_split"]]
    differ = line["labels_differ"] == "yes"
    title = ", or ".join(labels) + "?" if differ else next(filter(None, labels), "")
    images = list(zip(splits, (line["image"], line["other_image"])))
    lines = [" and ".join(dict.fromkeys(splits)), f"similarity {line['similarity']}"]
    return line["leaks"] == "yes", Finding(title, lines, images)


def _outlier(line: _Line) -> Finding:
    lines = [f"distance {line['distance']}, of others up to {line['threshold']}"]
    return Finding(line["label"], lines, [(line["split"], line["image"])])
