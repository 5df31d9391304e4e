"""Writes a table and plots of the demo's runs: accuracy by step of the method, learning curves."""

import os
from typing import Dict, List, NamedTuple, Optional, Tuple

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from tf_simclrv2.evaluation import measures
from tf_simclrv2.runtime.run_directory import Result, RunDirectory, write_whole
from tf_simclrv2.training.baselines import measured_by_words

# Runs of a kind are named kind_SEED.
KINDS = {
    "supervised": "supervised baseline",
    "fine_tuned": "pretrained, fine-tuned",
    "self_distilled": "self-distilled",
    "small_student": "distilled to small student",
    "chosen_probed": "on chosen images: ridge regression",
    "chosen_fine_tuned": "on chosen images: fine-tuned",
    "chosen_self_distilled": "on chosen images: self-distilled",
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
    "chosen_probed": "#ffbb78",
    "chosen_fine_tuned": "#ff7f0e",
    "chosen_self_distilled": "#d65f00",
}
_BASELINE_COLOR = "#cccccc"
# What the method's steps are compared with, of the kinds of runs.
_SUPERVISED = "supervised"


class Row(NamedTuple):
    """A line of the table.

    Attributes:
      model: what was trained.
      parameters: weights that classification runs through; None if it is no network.
      labels: labelled images used, of the classifier or of its teacher.
      accuracies: test top-1 of each labelled subset, in [0, 1].
      images: test images that each was measured on.
      seconds: mean seconds of the command, start-up included; None if it has none of its own.
      color: of its bar.
    """

    model: str
    parameters: Optional[int]
    labels: int
    accuracies: List[float]
    images: int
    seconds: Optional[float]
    color: str

    @property
    def mean(self) -> float:
        """The mean accuracy."""
        return float(np.mean(self.accuracies))

    @property
    def interval(self) -> Optional[Tuple[float, float]]:
        """The 95% interval of the accuracy where there is only one, which no other tells of."""
        if len(self.accuracies) > 1:
            return None
        return measures.interval_of(self.mean, self.images)

    @property
    def told(self) -> str:
        """The accuracy, and how sure that is."""
        if self.interval is not None:
            return measures.with_interval(self.mean, self.images)
        error = np.std(self.accuracies, ddof=1) / len(self.accuracies) ** 0.5
        return f"{self.mean:.1%} ± {100 * error:.1f}"


def write(output: str, dataset: str, seconds: Dict[str, float]) -> str:
    """Writes ``report.md`` and its plots.

    Args:
      output: the directory that holds the runs.
      dataset: the name of what they trained on.
      seconds: of each run's command, by the run's name.

    Returns:
      The table, and which baselines the method does not beat, as text.
    """
    runs = {name: RunDirectory(os.path.join(output, name)) for name in seconds}
    of_runs = {kind: _row(kind, model, runs, seconds) for kind, model in KINDS.items()}
    baselines = [*_baselines(runs, of_runs[_SUPERVISED].labels), of_runs.pop(_SUPERVISED)]
    method = list(of_runs.values())
    probes = [name for name in runs if name.startswith("pretrained")]
    first = Row(
        "linear probe while pretraining (all labels)",
        _result(runs["pretrained"])["num_parameters"],
        _num_train(runs["pretrained"]),
        [_result(runs[name])["top_1_accuracy"] for name in probes],
        _result(runs["pretrained"])["num_examples"],
        float(np.mean([seconds[name] for name in probes])),
        _COLORS["pretrained"],
    )
    table = "\n".join([_table([first, *baselines, *method]), "", *verdict(baselines, method)])
    _plot_accuracies([*baselines, *method], os.path.join(output, "accuracy.png"))
    _plot_curves(runs, os.path.join(output, "learning_curves.png"))
    text = f"# SimCLRv2 on {dataset}\n\n{table}\n\n"
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
        results[0]["num_examples"],
        float(np.mean([seconds[name] for name in names])),
        _COLORS[kind],
    )


def _baselines(runs: Dict[str, RunDirectory], labels: int) -> List[Row]:
    """The rows of what was measured beside the fine-tuned runs, on the same labels and images."""
    fine_tuned = [name for name in runs if name.startswith("fine_tuned_")]
    results = [_result(runs[name]) for name in fine_tuned]
    measured, images = list(map(measured_by_words, results)), results[0]["num_examples"]
    return [
        Row(words, None, labels, [each[words] for each in measured], images, None, _BASELINE_COLOR)
        for words in measured[0]
    ]


def verdict(baselines: List[Row], method: List[Row]) -> List[str]:
    """Says which baselines are not beaten by steps of the method, a sentence each.

    Args:
      baselines: rows of the table.
      method: rows of the method's steps, on the same labels.
    """
    lines = []
    for baseline in baselines:
        behind = [step for step in method if step.mean <= baseline.mean]
        if behind:
            steps = ", ".join(f"{step.model} at {step.told}" for step in behind)
            lines.append(f"- Not better than {baseline.model} at {baseline.told}: {steps}.")
    return lines or ["- Each step of the method is better than each baseline."]


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
        f"| model | parameters | labels used | test top-1 on {rows[0].images:,} images | seconds |",
        "|---|--:|--:|--:|--:|",
    ]
    for row in rows:
        parameters = "" if row.parameters is None else f"{row.parameters:,}"
        seconds = "" if row.seconds is None else f"{row.seconds:.0f}"
        lines.append(f"| {row.model} | {parameters} | {row.labels:,} | {row.told} | {seconds} |")
    return "\n".join([*lines, "", *_about(rows)])


def _about(rows: List[Row]) -> List[str]:
    """What stands behind the accuracies of a table."""
    lines = []
    if any(row.interval for row in rows):
        lines.append("In brackets: the 95% interval (Wilson's) of an accuracy measured once.")
    if not all(row.interval for row in rows):
        lines.append("±: the standard error of the mean over labelled subsets or networks.")
    return lines


def _plot_accuracies(rows: List[Row], path: str) -> None:
    figure, axes = plt.subplots(figsize=(7, 0.4 + 0.5 * len(rows)), layout="constrained")
    for position, row in enumerate(rows):
        mean = 100 * row.mean
        axes.barh(position, mean, color=row.color)
        points = [100 * accuracy for accuracy in row.accuracies]
        low, high = (100 * each for each in row.interval or (row.mean, max(row.accuracies)))
        axes.text(high + 2, position, f"{mean:.1f}%", va="center")
        if row.interval is not None:
            sides = [[mean - low], [high - mean]]
            axes.errorbar(mean, position, xerr=sides, color="black", capsize=3)
        else:
            axes.plot(points, [position] * len(points), "o", color="black", markersize=3)
    names = [
        f"{row.model}\n({row.parameters / 1000:,.0f} thousand parameters)"
        if row.parameters
        else row.model
        for row in rows
    ]
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 105)
    lines = "\nblack lines are 95% intervals" * any(row.interval is not None for row in rows)
    tested = f"test top-1 in % on {rows[0].images:,} images, with {rows[0].labels} labels"
    axes.set_xlabel(tested + lines)
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
