"""Run directories as a report reads them, written without training anything."""

import csv
import json
import pathlib
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from tf_simclrv2.config import (
    DataConfig,
    DistillationConfig,
    DistillConfig,
    FinetuneConfig,
    FineTuningConfig,
    NetworkConfig,
    OptimizationConfig,
    PretrainConfig,
    RunConfig,
    TrainingConfig,
)
from tf_simclrv2.programs import audit_report
from tf_simclrv2.runtime.settings import RunSettings
from tf_simclrv2.training.auditing import Audit, Doubt, Image, Outlier, Pair

CLASSES = ["cat", "<b>dog</b>", "owl"]
# What must be shown as it is, wherever it stands.
HOSTILE = "</script><img src=x onerror=alert(1)>&\"'{{ 7 * 7 }}"


def pretraining(
    path: Any, classes: Optional[List[str]] = None, batch: int = 16, **data: Any
) -> pathlib.Path:
    """A pretraining run."""
    config = PretrainConfig(
        RunConfig(model_dir=str(path)),
        data=DataConfig(image_size=8, **data),
        network=NetworkConfig(stem="cifar"),
        optimization=OptimizationConfig(train_batch_size=batch),
    )
    return _begun(path, "pretrain", config, classes)


def fine_tuning(
    path: Any, checkpoint: Any, labels: int = 10, head_start: str = "random", **data: Any
) -> pathlib.Path:
    """A fine-tuning run, of so many labels."""
    config = FinetuneConfig(
        RunConfig(model_dir=str(path)),
        fine_tuning=FineTuningConfig(checkpoint=str(checkpoint), head_start=head_start),
        data=DataConfig(image_size=8, **data),
    )
    run = _begun(path, "finetune", config, CLASSES)
    write(run / "data.json", {"num_labelled": labels, "num_examples": 100})
    return run


def distilling(path: Any, teacher: Any, **data: Any) -> pathlib.Path:
    """A distillation run."""
    config = DistillConfig(
        RunConfig(model_dir=str(path)),
        distillation=DistillationConfig(teacher=str(teacher)),
        data=DataConfig(image_size=8, **data),
    )
    return _begun(path, "distill", config, CLASSES)


def _begun(
    path: Any, step: str, config: TrainingConfig, classes: Optional[List[str]]
) -> pathlib.Path:
    run = pathlib.Path(path)
    run.mkdir(parents=True)
    RunSettings(step, config, classes).write(str(run / "config.json"))
    return run


def write(path: pathlib.Path, content: Any) -> None:
    """Writes JSON."""
    path.write_text(json.dumps(content), encoding="utf-8")


def log(run: pathlib.Path, columns: Dict[str, Sequence[Any]]) -> None:
    """Writes ``metrics.csv``; an empty text is an empty cell."""
    _write_table(run / "metrics.csv", list(columns), zip(*columns.values()))


def _write_table(path: pathlib.Path, header: Sequence[str], rows: Any) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def evaluate(
    run: pathlib.Path, classes: Sequence[str], answers: Sequence[Tuple[str, str, str, float]]
) -> None:
    """Writes what an evaluation keeps: its numbers, and its files.

    Args:
      run: the run.
      classes: in their order.
      answers: image, label, predicted class and confidence of each.
    """
    folder = run / "evaluation" / "test" / "classifier"
    folder.mkdir(parents=True)
    _write_table(folder / "predictions.csv", ("image", "label", "predicted", "confidence"), answers)
    pairs = [(label, predicted) for _, label, predicted, _ in answers]
    counts = [[pairs.count((true, other)) for other in classes] for true in classes]
    _write_table(
        folder / "confusion.csv", ("label", *classes), [(c, *n) for c, n in zip(classes, counts)]
    )
    right = np.array([label == predicted for label, predicted in pairs])
    confidence = np.array([answer[3] for answer in answers])
    accuracy = float(right.mean())
    names = ("images", "confidence", "accuracy")
    columns = ("low", "high", *names, *(f"{name}_scaled" for name in names))
    whole = (len(answers), float(confidence.mean()), accuracy)
    scaled = (len(answers), accuracy, accuracy)
    rows = [(0, 0.5, 0, 0, 0, 0, 0, 0), (0.5, 1, *whole, *scaled)]
    _write_table(folder / "reliability.csv", columns, rows)
    order = np.argsort(-confidence)
    risks = np.cumsum(~right[order]) / np.arange(1, len(right) + 1)
    coverages = np.arange(1, len(right) + 1) / len(right)
    points = zip(confidence[order], coverages, risks)
    _write_table(folder / "risk_coverage.csv", ("threshold", "coverage", "risk"), points)
    numbers = {"accuracy": accuracy, "interval": [accuracy / 2, 1.0], "images": len(answers),
               "balanced_accuracy": accuracy, "brier": 0.2, "calibration_error": 0.1,
               "calibration_error_scaled": 0.05, "temperature": 1.5,
               "files": str(folder.relative_to(run))}  # fmt: skip
    write(run / "result.json", {"version": 2, "top_1_accuracy": accuracy, "dataset": "folder",
                                "split": "test", "classifier": numbers,
                                "num_examples": len(answers),
                                "num_parameters": 1234})  # fmt: skip


def audit(run: pathlib.Path, findings: int) -> Audit:
    """Writes what an audit of a run keeps, with so many findings of each kind; returns them."""

    def image(number: int, split: str = "train") -> Image:
        return Image(f"{number}.png", split, CLASSES[number % 3])

    found = range(findings)
    content = Audit(
        counts={"train": 900, "test": 100},
        judged=900,
        labelled=900,
        unjudged_because=None,
        doubts=[Doubt(image(n), "owl", n - findings, True) for n in found],
        pairs=[
            Pair(image(n), image(n + 1, split), 1 - n / 1e4, leaks=split == "test")
            for n in found for split in ("test", "train")
        ],
        outliers=[Outlier(image(n, "test"), 2 - n / 1e3, 0.5) for n in found],
        thresholds={"train": 0.5, "test": 0.5},
    )  # fmt: skip
    (run / "audit").mkdir()
    counts = {name: each.number for name, each in audit_report.counted(content).items()}
    write(run / "audit" / "audit.json", {"found": counts, "images": content.counts,
                                         "labels_judged": content.judged})  # fmt: skip
    tables = {"wrong_labels": audit_report._labels, "duplicates": audit_report._duplicates,
              "unlike": audit_report._unlike}  # fmt: skip
    for name, rows in tables.items():
        header, *lines = rows(content)
        _write_table(run / "audit" / f"{name}.csv", header, lines)
    return content
