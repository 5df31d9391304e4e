"""``predict``: finds the likeliest classes of image files with an export."""

import csv
import dataclasses
import io
import logging
import os
from typing import IO, List, Mapping, Sequence

import numpy as np

from tf_simclrv2.config import PredictConfig, PredictionConfig, refuse
from tf_simclrv2.config.extras import check_installed
from tf_simclrv2.config.user_files import printable
from tf_simclrv2.programs import command_line
from tf_simclrv2.programs.exported import ExportedModel, check_output
from tf_simclrv2.runtime.disk import writing
from tf_simclrv2.runtime.files import whole_file

logger = logging.getLogger(__name__)

_RANKED = ("class", "probability")


def run(values: Mapping[str, object]) -> None:
    """Writes a table with the ``top_k`` likeliest classes of each image, one row per image.

    Its columns are ``image``, ``class``, ``probability``, ``class_2``, ``probability_2`` and so on.
    Classes are empty where the likeliest is less probable than is asked for.

    Args:
      values: the flags that were given.

    Raises:
      ConfigError: a setting can't be used, or no image can be read.
    """
    config = command_line.build(PredictConfig, values).prediction
    config = dataclasses.replace(config, output=os.path.expanduser(config.output))
    writes_parquet = config.output.endswith(".parquet")
    if writes_parquet:
        check_installed("pyarrow", "output", config.output)
    check_output(config.output)
    model = ExportedModel(config)
    if model.class_names is None:
        raise refuse("saved_model", config.saved_model, "must be the export of a classifier")
    threshold = _threshold(config, model)
    names = np.array(model.class_names)
    top_k = min(config.top_k, len(names))
    suffixes = ["", *(f"_{rank}" for rank in range(2, top_k + 1))]
    columns = ["image", *(f"{name}{suffix}" for suffix in suffixes for name in _RANKED)]
    rows: List[Sequence[object]] = []
    unsure = 0
    for paths, outputs in model.outputs("predict"):
        best = np.argsort(-outputs["probabilities"], axis=1, kind="stable")[:, :top_k]
        probabilities = np.take_along_axis(outputs["probabilities"], best, axis=1)
        for path, classes, ranked in zip(paths, names[best].tolist(), probabilities.tolist()):
            if ranked[0] < threshold:
                classes, unsure = [None] * top_k, unsure + 1
            cells = zip(classes, ranked)
            rows.append([printable(path), *(value for pair in cells for value in pair)])
    write = _write_parquet if writes_parquet else _write_csv
    with writing("output", config.output), whole_file(config.output) as file:
        write(file, columns, rows)
    logger.info("%d predictions written to %s", len(rows), config.output)
    if threshold:
        logger.info(
            "%d of them have no class, as the likeliest has a probability below %.4g",
            unsure, threshold,
        )  # fmt: skip


def _threshold(config: PredictionConfig, model: ExportedModel) -> float:
    """The least probability of a class that is written."""
    if config.target_risk is None:
        return config.abstain_below or 0.0
    calibration = model.calibration()
    if calibration is None:
        raise refuse(
            "target_risk",
            config.target_risk,
            f"needs the risk that was measured, but {config.saved_model} has none; evaluate the "
            "run on at least 20 labelled images that it wasn't trained on, then export it again, "
            "or give --abstain_below",
        )
    curve = calibration.curve
    point = curve.largest_coverage(config.target_risk)
    if point is None:
        least = min(curve.points, key=lambda each: each.risk)
        raise refuse(
            "target_risk",
            config.target_risk,
            f"must be at least {least.risk:.4g}, the least that was measured on "
            f"{calibration.measured_on}",
        )
    # Only now, since scikit-learn takes a while to load.
    from tf_simclrv2.evaluation.measures import interval_of

    answered = round(point.coverage * curve.images)
    low, high = interval_of(point.risk, answered)
    logger.info(
        f"a probability of at least {point.threshold:.4g} is asked for: on "
        f"{calibration.measured_on} {point.coverage:.1%} had it, and {point.risk:.1%} of these "
        f"{answered:,} were wrong (95% interval {low:.1%} to {high:.1%})"
    )
    return point.threshold


def _write_csv(file: IO[bytes], columns: List[str], rows: List[Sequence[object]]) -> None:
    text = io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(f"{v:.6f}" if isinstance(v, float) else v for v in row)
    text.flush()
    text.detach()


def _write_parquet(file: IO[bytes], columns: List[str], rows: List[Sequence[object]]) -> None:
    # Imported only here, since it takes a while.
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table(dict(zip(columns, zip(*rows)))), file)
