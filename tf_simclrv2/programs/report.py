"""Writes a table and plots of the demo's runs: accuracy by step of the method, learning curves."""

import os
from typing import Dict, List, NamedTuple

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from tf_simclrv2.runtime.run_directory import Result, RunDirectory, write_whole

# Runs of a kind are named kind_SEED.
KINDS = {
    "supervised": "supervised baseline",
    "fine_tuned": "pretrained, fine-tuned",
    "self_distilled": "self-distilled",
    "small_student": "distilled to small student",
}
_CURVES = {
    "pretrained": ("contrast_accuracy", "contrastive accuracy"),
    "supervised": ("supervised_loss", "training loss"),
    "fine_tuned": ("supervised_loss", "training loss"),
    "self_distilled": ("distillation_loss", "distillation loss"),
    "small_student": ("distillation_loss", "distillation loss"),
}
_COLORS = {
    "pretrained": "#4c4c4c",
    "supervised": "#999999",
    "fine_tuned": "#1f77b4",
    "self_distilled": "#2ca02c",
    "small_student": "#98df8a",
}


class Row(NamedTuple):
    """A line of the table.

    Attributes:
      model: what was trained.
      parameters: weights that classification runs through.
      labels: labelled images used, of the classifier or of its teacher.
      accuracies: test top-1 of each labelled subset, in [0, 1].
      seconds: mean seconds of the command, start-up included.
    """

    model: str
    parameters: int
    labels: int
    accuracies: List[float]
    seconds: float


def write(output: str, seconds: Dict[str, float]) -> str:
    """Writes ``report.md`` and its plots.

    Args:
      output: the directory that holds the runs.
      seconds: of each run's command, by the run's name.

    Returns:
      The table, as text.
    """
    runs = {name: RunDirectory(os.path.join(output, name)) for name in seconds}
    rows = [_row(kind, model, runs, seconds) for kind, model in KINDS.items()]
    probe = runs["pretrained"]
    rows.insert(
        0,
        Row(
            "linear probe while pretraining (all labels)",
            _result(probe)["num_parameters"],
            _num_train(probe),
            [_result(probe)["top_1_accuracy"]],
            seconds["pretrained"],
        ),
    )
    table = _table(rows)
    _plot_accuracies(rows[1:], os.path.join(output, "accuracy.png"))
    _plot_curves(runs, os.path.join(output, "learning_curves.png"))
    text = f"# SimCLRv2 on handwritten digits\n\n{table}\n\n"
    text += "![accuracy](accuracy.png)\n\n![learning curves](learning_curves.png)\n"
    write_whole(os.path.join(output, "report.md"), text)
    return table


def _row(kind: str, model: str, runs: Dict[str, RunDirectory], seconds: Dict[str, float]) -> Row:
    names = [name for name in runs if name.rpartition("_")[0] == kind]
    results = [_result(runs[name]) for name in names]
    # A distilled network uses only the labels of its teacher.
    seed = names[0].rpartition("_")[2]
    with open(runs[f"fine_tuned_{seed}"].file("labelled_examples.txt"), encoding="utf-8") as file:
        labels = len(file.readlines())
    return Row(
        model,
        results[0]["num_parameters"],
        labels,
        [result["top_1_accuracy"] for result in results],
        float(np.mean([seconds[name] for name in names])),
    )


def _result(run: RunDirectory) -> Result:
    result = run.result()
    assert result is not None  # The demo evaluates every run.
    return result


def _num_train(run: RunDirectory) -> int:
    last = run.metrics()[-1]
    batch_size = run.config.optimization.train_batch_size
    return round(int(last["step"]) * batch_size / float(last["epoch"]))


def _table(rows: List[Row]) -> str:
    lines = [
        "| model | parameters | labels used | test top-1 | seconds |",
        "|---|--:|--:|--:|--:|",
    ]
    for row in rows:
        accuracy = f"{np.mean(row.accuracies):.1%}"
        if len(row.accuracies) > 1:
            accuracy += f" ({min(row.accuracies):.1%} to {max(row.accuracies):.1%})"
        lines.append(
            f"| {row.model} | {row.parameters:,} | {row.labels:,} | {accuracy} "
            f"| {row.seconds:.0f} |"
        )
    return "\n".join(lines)


def _plot_accuracies(rows: List[Row], path: str) -> None:
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    for position, (kind, row) in enumerate(zip(KINDS, rows)):
        mean = 100 * np.mean(row.accuracies)
        axes.barh(position, mean, color=_COLORS[kind])
        points = [100 * accuracy for accuracy in row.accuracies]
        axes.text(max(points) + 2, position, f"{mean:.1f}%", va="center")
        if len(points) > 1:
            axes.plot(points, [position] * len(points), "o", color="black", markersize=3)
    names = [f"{row.model}\n({row.parameters / 1000:,.0f} thousand parameters)" for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 105)
    axes.set_xlabel(f"test top-1 in %, {rows[0].labels} labelled images")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _plot_curves(runs: Dict[str, RunDirectory], path: str) -> None:
    titles = [["pretrained"], ["supervised", "fine_tuned"], ["self_distilled", "small_student"]]
    figure, panels = plt.subplots(1, 3, figsize=(11, 3), layout="constrained")
    for axes, kinds in zip(panels, titles):
        for name, run in runs.items():
            kind = name if name in kinds else name.rpartition("_")[0]
            if kind not in kinds:
                continue
            column, label = _CURVES[kind]
            metrics = run.metrics()
            steps = [int(row["step"]) for row in metrics]
            values = [float(row[column]) for row in metrics]
            first = not any(line.get_label() == kind for line in axes.lines)
            axes.plot(steps, values, color=_COLORS[kind], label=kind if first else None)
            axes.set_ylabel(label)
        axes.set_xlabel("step")
        axes.legend([kind.replace("_", "-") for kind in kinds], frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
