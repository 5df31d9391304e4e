"""What ``audit`` tells: sentences, tables and contact sheets."""

import json
import logging
import os
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from tf_simclrv2.config import refuse
from tf_simclrv2.config.labelling import AuditSection
from tf_simclrv2.config.user_files import DIRECTORY, FILE, printable
from tf_simclrv2.labelling import contact_sheet
from tf_simclrv2.labelling.audit import LOOKS_WRONG
from tf_simclrv2.runtime.disk import writing
from tf_simclrv2.runtime.files import (
    check_can_write,
    check_place,
    kind_of,
    write_table,
    write_whole,
)
from tf_simclrv2.runtime.scratch import replacing_directory
from tf_simclrv2.training.auditing import Audit, Image
from tf_simclrv2.training.frozen import Frozen
from tf_simclrv2.training.pictures import pictures

logger = logging.getLogger(__name__)

# Says what was examined, and marks the directory as an audit's own, which the next may replace.
_SUMMARY = "audit.json"
_LABELS, _DUPLICATES, _UNLIKE = "wrong_labels", "duplicates", "unlike"
_FILES = {_SUMMARY, *(f"{name}{end}" for name in (_LABELS, _DUPLICATES, _UNLIKE)
                      for end in (".csv", ".png"))}  # fmt: skip
_TEMPORARY = ".audit-"


class Count(NamedTuple):
    """How much of a kind was found.

    Attributes:
      number: of findings.
      among: what was examined.
      words: both, in words.
    """

    number: int
    among: int
    words: str


def check_place_of(section: AuditSection, frozen: Frozen) -> str:
    """Refuses a place that holds something else than an earlier audit.

    Args:
      section: names the directory, or leaves it to the run.
      frozen: the run.

    Returns:
      The directory to write, as an absolute path.

    Raises:
      ConfigError: something else is there.
    """
    given = section.output_dir
    flag, value = ("model_dir", frozen.path) if given is None else ("output_dir", given)
    path = os.path.abspath(
        frozen.place_for("audit") if given is None else os.path.expanduser(given)
    )
    _check_replaceable(path, flag, value)
    check_can_write(os.path.dirname(path), flag, value)
    return path


def _check_replaceable(path: str, flag: str, value: str) -> None:
    """Refuses what is no directory, or holds something else than an earlier audit."""
    kind = check_place(path, flag, DIRECTORY, value)
    try:
        foreign = _foreign_entry(path) if kind == DIRECTORY else None
    except OSError as error:
        raise refuse(flag, value, f"can't be read ({error.strerror})") from error
    if foreign is not None:
        raise refuse(
            flag,
            value,
            f"{path} must be new, empty or an earlier audit's, but holds {printable(foreign)}",
        )


def _foreign_entry(path: str) -> Optional[str]:
    """What a directory holds that no audit has written; None if there is nothing."""
    names = sorted(os.listdir(path))
    files = [name for name in names if kind_of(os.path.join(path, name)) == FILE]
    foreign = next((name for name in names if name not in files or name not in _FILES), None)
    if foreign is None and names and not _is_summary(os.path.join(path, _SUMMARY)):
        foreign = names[0]
    return foreign


def _is_summary(path: str) -> bool:
    """Whether a file is a summary that an audit has written."""
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (FileNotFoundError, ValueError):
        return False
    return isinstance(content, dict) and "labels_judged" in content


def counted(audit: Audit) -> Dict[str, Count]:
    """Counts what was found, by the names that ``--fail_on`` takes."""
    images = sum(audit.counts.values())
    train, *others = audit.counts
    wrong = sum(doubt.looks_wrong for doubt in audit.doubts)
    leaks = len({pair.second for pair in audit.pairs if pair.leaks})
    conflicts = sum(pair.conflicts for pair in audit.pairs)
    held_out = images - audit.counts[train]
    return {
        "labels": Count(wrong, audit.judged, f"{wrong:,} of {audit.judged:,} labels look wrong"),
        "duplicates": Count(
            len(audit.pairs), images, f"{len(audit.pairs):,} pairs of {images:,} images are "
            "near-duplicates"),
        "conflicts": Count(
            conflicts, images, f"{conflicts:,} pairs of near-duplicates have different labels"),
        "leaks": Count(
            leaks, held_out, f"{leaks:,} of {held_out:,} images of {', '.join(others)} are "
            f"near-duplicates of images of {train}"),
        "unlike": Count(
            len(audit.outliers), images,
            f"{len(audit.outliers):,} of {images:,} images are unlike all others"),
    }  # fmt: skip


def write(directory: str, frozen: Frozen, audit: Audit) -> None:
    """Writes all files, and logs a sentence for each kind of finding.

    Args:
      directory: to write, see :func:`check_place_of`; an earlier audit's is replaced.
      frozen: whose data were audited.
      audit: what was found.

    Raises:
      ConfigError: it can't be written.
    """
    counts = counted(audit)
    with writing("output_dir", directory), replacing_directory(directory, _TEMPORARY) as place:
        tables = {_LABELS: _labels(audit), _DUPLICATES: _duplicates(audit), _UNLIKE: _unlike(audit)}
        for name, rows in tables.items():
            write_table(os.path.join(place, f"{name}.csv"), rows)
        _write_sheets(place, frozen, audit)
        summary = {
            "model_dir": frozen.path,
            "dataset": frozen.data.described,
            "labels": frozen.data.labels,
            "images": audit.counts,
            "labels_judged": audit.judged,
            "thresholds": {"margin": LOOKS_WRONG, "distance": audit.thresholds},
            "found": {name: each.number for name, each in counts.items()},
        }
        write_whole(os.path.join(place, _SUMMARY), json.dumps(summary, indent=2) + "\n")
        # Something else may have been written there meanwhile.
        _check_replaceable(directory, "output_dir", directory)
    _log(directory, frozen, audit, counts)


def _log(directory: str, frozen: Frozen, audit: Audit, counts: Dict[str, Count]) -> None:
    examined = ", ".join(f"{count:,} of {split}" for split, count in audit.counts.items())
    logger.info(f"{frozen.source.called}: examined the images {examined}")
    if audit.unjudged_because is not None:
        logger.warning(f"labels are not judged: {audit.unjudged_because}")
    else:
        alone = audit.labelled - audit.judged
        besides = f"; {alone:,} more are alone in their class, so nothing can be said" * bool(alone)
        doubted = f"{len(audit.doubts):,} are not what the other images suggest"
        logger.info(f"{counts['labels'].words} (margin below {LOOKS_WRONG}; {doubted}){besides}")
    logger.info(counts["duplicates"].words)
    if counts["conflicts"].number:
        logger.info(f"{counts['conflicts'].words}, so one of them is wrong")
    if len(audit.counts) > 1:
        logger.info(counts["leaks"].words)
    else:
        logger.warning("leaks can't be found, as there is no split to evaluate on")
    logger.info(counts["unlike"].words)
    logger.info(f"tables and contact sheets are in {directory}")


def _labels(audit: Audit) -> List[Sequence[object]]:
    rows: List[Sequence[object]] = [
        ("image", "split", "label", "suggested", "margin", "looks_wrong")
    ]
    for doubt in audit.doubts:
        verdict = "yes" if doubt.looks_wrong else "no"
        rows.append((*_cells(doubt.image), doubt.suggested, f"{doubt.margin:.4f}", verdict))
    return rows


def _duplicates(audit: Audit) -> List[Sequence[object]]:
    rows: List[Sequence[object]] = [
        ("image", "split", "label", "other_image", "other_split", "other_label", "similarity",
         "leaks", "labels_differ")
    ]  # fmt: skip
    for pair in audit.pairs:
        leaks, differ = ("yes" if each else "no" for each in (pair.leaks, pair.conflicts))
        similarity = f"{pair.similarity:.5f}"
        rows.append((*_cells(pair.first), *_cells(pair.second), similarity, leaks, differ))
    return rows


def _unlike(audit: Audit) -> List[Sequence[object]]:
    rows: List[Sequence[object]] = [("image", "split", "label", "distance", "threshold")]
    for each in audit.outliers:
        rows.append((*_cells(each.image), f"{each.distance:.4f}", f"{each.threshold:.4f}"))
    return rows


def _cells(image: Image) -> Tuple[str, str, str]:
    return printable(image.id), image.split, image.label


def _write_sheets(place: str, frozen: Frozen, audit: Audit) -> None:
    """Draws what was found first, on a sheet for each kind of finding."""
    most = contact_sheet.MOST_ON_A_SHEET
    sheets: Dict[str, List[Tuple[Image, str]]] = {
        _LABELS: [
            (doubt.image, f"{doubt.image.label}, or {doubt.suggested}? {doubt.margin:.2f}")
            for doubt in audit.doubts[:most]
        ],
        _DUPLICATES: [
            (image, f"{number}{side} {image.split} {image.label}")
            for number, pair in enumerate(audit.pairs[: most // 2], 1)
            for side, image in (("a", pair.first), ("b", pair.second))
        ],
        _UNLIKE: [
            (each.image, f"{each.distance:.3f} {each.image.label}")
            for each in audit.outliers[:most]
        ],
    }
    seen = _pictures(frozen, [image for sheet in sheets.values() for image, _ in sheet])
    for name, sheet in sheets.items():
        if sheet:
            images = [seen[image.split, image.id] for image, _ in sheet]
            captions = [f"{caption}\n{printable(image.id)}" for image, caption in sheet]
            path = os.path.join(place, f"{name}.png")
            contact_sheet.write_contact_sheet(path, images, captions)


def _pictures(frozen: Frozen, images: List[Image]) -> Dict[Tuple[str, str], np.ndarray]:
    """Small pictures, by split and id."""
    found = {}
    for split in {image.split for image in images}:
        ids = list(dict.fromkeys(image.id for image in images if image.split == split))
        for each, picture in pictures(frozen.source, split, ids):
            found[split, each] = np.asarray(contact_sheet.thumbnail(picture))
    return found
