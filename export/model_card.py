"""The model card of an export: what the model is, and how to load it."""

import datetime
import os
import string
from typing import Dict, List, NamedTuple, Optional, Sequence

from tf_simclrv2 import __version__
from tf_simclrv2.config import (
    ConfigError,
    DistillConfig,
    FinetuneConfig,
    LabelsConfig,
    PretrainConfig,
)
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.learners.steps import SOLVED, STEPS
from tf_simclrv2.networks.network import Network
from tf_simclrv2.runtime.calibration_file import Calibration
from tf_simclrv2.runtime.checkpoint import Checkpoint
from tf_simclrv2.runtime.run_directory import RunDirectory

from . import formats
from .config import ExportSection
from .markdown import escaped
from .measured import accuracy, calibrated

# Of more classes the card shows the first.
_CLASSES_SHOWN = 20
_PAPER = "[SimCLRv2](https://arxiv.org/abs/2006.10029) (Chen et al., NeurIPS 2020)"


class Subject(NamedTuple):
    """What a card is about.

    Attributes:
      run: the run that is exported.
      network: its network, as it was trained.
      step: the training step of the weights.
      calibration: of the probabilities; None if they are the softmax of the logits.
    """

    run: RunDirectory
    network: Network
    step: int
    calibration: Optional[Calibration] = None


def model_card(subject: Subject, config: ExportSection) -> str:
    """Writes the model card of an export.

    Args:
      subject: the run that is exported.
      config: what the export holds, and its licence.

    Returns:
      Markdown. Its snippets run in the directory of the export.
    """
    run, network, step, calibration = subject
    size = run.config.data.resolved_image_size
    class_names = (run.class_names or []) if network.supervised_head is not None else []
    outputs = f"`representation` [batch, {network.encoder.representation_dim}]"
    if class_names:
        outputs += (
            f"; `logits` and `probabilities` [batch, {len(class_names)}]; `classes`, int64 "
            "[batch], the index of the likeliest class"
        )
    rows: Dict[str, Optional[str]] = {
        "Method": _method(run, step, config.use_ema_weights),
        "Architecture": _architecture(run, network, config.folded_formats),
        "Parameters": _parameters(network),
        "Data": _data(run),
        "Classes": _classes(class_names) if class_names else None,
        "Labels": _labels(run),
        "Accuracy": accuracy(run, step, config.use_ema_weights),
        "Calibration": calibrated(calibration) if class_names else None,
        "Training step": f"{step:,}",
        "Input": "RGB images, float32 [batch, height, width, 3] in [0, 1]; trained and evaluated "
        f"at {size} x {size} pixels{_reduced(run)}. Divide images of 0 to 255 by 255 first: the "
        "model takes them without an error, and its answers are then wrong",
        "Outputs": outputs,
        "Intended use": _intended_use(bool(class_names)),
        "Limits": _limits(bool(class_names)),
        "Licence": escaped(config.licence) if config.licence else None,
        "Date": f"exported on {datetime.date.today().isoformat()}",
        "Written by": f"tf-simclrv2 {__version__} with TensorFlow {tf.__version__} and Keras "
        f"{keras.__version__}",
    }
    title = escaped(os.path.basename(os.path.abspath(run.path)))
    lines = [f"# {title}", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in rows.items() if value is not None]
    return "\n".join(lines) + "\n" + _snippets(config.chosen_formats, size, bool(class_names))


def _reduced(run: RunDirectory) -> str:
    """What was done to large images, which ``serving_bytes`` does by itself."""
    side = run.config.data.cache_max_side
    if side is None:
        return ""
    return (
        f", from images whose shorter side was reduced to {side} pixels by averaging if it had "
        "more, as serving_bytes does"
    )


def _snippets(names: Sequence[str], image_size: int, classifies: bool) -> str:
    """The part of the card that shows how to load what is in the export."""
    print_names = (
        'class_names = open("1/assets/class_names.txt", encoding="utf-8").read().splitlines()\n'
        'print([class_names[index] for index in outputs["classes"].numpy()])\n'
    )
    return string.Template("".join(formats.load(name).SNIPPET for name in names)).substitute(
        size=image_size,
        class_names=print_names if classifies else "",
        and_classification=" and `classification` (images to logits)" if classifies else "",
        and_archive=", `classification_module.tar.gz` the other" if classifies else "",
        and_logits=" and `logits_sup`" if classifies else "",
    )


def _classes(names: Sequence[str]) -> str:
    shown = ", ".join(map(escaped, names[:_CLASSES_SHOWN]))
    more = len(names) - _CLASSES_SHOWN
    return f"{len(names):,}: {shown}" + (f" and {more:,} more" if more > 0 else "")


def _intended_use(classifies: bool) -> str:
    use = "features of images like those of the row Data, to train other models on or to compare"
    if classifies:
        return f"classification of images like those of the row Data, and {use}"
    return use


def _limits(classifies: bool) -> str:
    limits = "measured only as the row Accuracy says; other images, such as those of another camera"
    limits += " or place, can give much worse results, so measure on your own before you rely on it"
    if classifies:
        limits += "; an image of none of the classes is given one of them all the same"
    return limits


def _method(run: RunDirectory, step: int, use_ema_weights: bool) -> str:
    config = run.config
    method = f"{_PAPER}, {STEPS[run.step_of_method].words}"
    if isinstance(config, FinetuneConfig):
        layer = config.projection_head.layer_of(config.fine_tuning.ft_proj_selector)
        if config.fine_tuning.head_start == "ridge" and step == 0:
            method = f"{_PAPER}, {SOLVED}"
        method += f", from layer {layer} of the projection head"
        if config.fine_tuning.from_scratch:
            method = f"the supervised baseline of {_PAPER}"
    if isinstance(config, PretrainConfig) and config.start.checkpoint:
        method += f", going on from the weights of {escaped(config.start.checkpoint)}"
    if run.converted is not None:
        method += f"; weights converted from {escaped(str(run.converted['google_checkpoint']))}"
    if use_ema_weights:
        method += "; the memory network, a moving average of the weights"
    return method


def _architecture(run: RunDirectory, network: Network, folded: List[str]) -> str:
    config = run.config.network
    parts = [f"ResNet-{config.resnet_depth}, width {config.width_multiplier:g}"]
    if config.sk_ratio:
        parts.append(f"selective kernels of ratio {config.sk_ratio:g}")
    if config.se_ratio:
        parts.append(f"squeeze-and-excitation of ratio {config.se_ratio:g}")
    parts.append(f"{'CIFAR' if config.stem == 'cifar' else 'ImageNet'} stem")
    layers = len(network.projection_head.projections)
    if layers:
        parts.append(f"{layers} projection layer{'s' if layers > 1 else ''}")
    if network.supervised_head is not None:
        parts.append("linear classifier")
    if folded:
        formats = " and ".join(f"`{name}`" for name in folded)
        parts.append(f"batch norm folded into the convolutions in {formats} (for inference only)")
    return ", ".join(parts)


def _parameters(network: Network) -> str:
    encoder = sum(v.shape.num_elements() for v in network.encoder.trainable_variables)
    if network.supervised_head is None:
        return f"{encoder:,} in the encoder"
    return f"{network.num_classifier_parameters:,} with the classifier, {encoder:,} in the encoder"


def _followed(path: str) -> Optional[RunDirectory]:
    """The run that another one started from, if it is still there."""
    try:
        return Checkpoint.open(path, "model_dir").run
    except ConfigError:
        return None


def _used(run: RunDirectory) -> str:
    """The images that this run itself was trained on, with their number if it noted that."""
    config, noted = run.config, run.data()
    place = noted.get("data_dir") if config.data.dataset == "folder" else None
    place = place or config.data.data_dir
    used = escaped(config.data.dataset) + (f" in {escaped(place)}" if place else "")
    used += f", split {escaped(config.data.train_split)}"
    count = noted.get("num_examples")
    used += f", {count:,} images" if isinstance(count, int) else ""
    if isinstance(config, FinetuneConfig):
        return used
    further, more = config.unlabelled.unlabeled_data_dir, noted.get("num_unlabelled")
    if further:
        number = f"{more:,} " if isinstance(more, int) else ""
        used += f", and {number}unlabelled images in {escaped(further)}"
    if isinstance(config, DistillConfig):
        used = f"the teacher's predictions on {used}"
    return used


def _data(run: RunDirectory) -> str:
    used, checkpoint = _used(run), _started_from(run)
    if checkpoint is None:
        return used
    before = _followed(checkpoint)
    if before is None:
        unknown = f"what it was pretrained on is unknown, since {escaped(checkpoint)} can't be read"
        return f"{used}; {unknown}"
    if before.converted is not None:
        source = escaped(str(before.converted["google_checkpoint"]))
        return f"{used}; pretrained weights converted from {source}, see there for their data"
    without = isinstance(before.config, PretrainConfig)
    how = "pretrained without labels on" if without else "before that trained on"
    return f"{used}; {how} {_data(before)}"


def _started_from(run: RunDirectory) -> Optional[str]:
    """The run whose weights a run went on from, or None."""
    config = run.config
    if run.converted is not None or isinstance(config, DistillConfig):
        return None
    started = config.start if isinstance(config, PretrainConfig) else config.fine_tuning
    return started.checkpoint


def _labels(run: RunDirectory) -> str:
    if run.converted is not None:
        return "unknown here; see the checkpoint's source"
    config = run.config
    if isinstance(config, PretrainConfig):
        before = _labels_before(run)
        if config.contrastive.lineareval_while_pretraining and run.class_names:
            features = before or "none"
            probed = _chosen(run, LabelsConfig()) if config.data.labels else "all of the split"
            return f"{features} for the features; {probed} for the classifier, a linear probe"
        return before or "none"
    if not isinstance(config, DistillConfig):
        return _chosen(run, config.labels)
    path = config.distillation.teacher
    teacher = _followed(path) if path else None
    if teacher is None:
        taught = "those of the teacher, whose number is unknown, since "
        taught += f"{escaped(path)} can't be read"
    else:
        taught = f"those of the teacher, {escaped(path)}: {_labels(teacher)}"
    if config.distillation.distillation_alpha == 1:
        return f"none but {taught}"
    return f"{_chosen(run, config.labels)}; and {taught}"


def _labels_before(run: RunDirectory) -> str:
    """The labels behind the weights that pretraining went on from; empty if there are none."""
    path = _started_from(run)
    if path is None:
        return ""
    before = _followed(path)
    if before is None:
        return f"unknown, since {escaped(path)} can't be read,"
    if before.converted is None and isinstance(before.config, PretrainConfig):
        return _labels_before(before)
    return f"those behind the weights of {escaped(path)} ({_labels(before)})"


def _chosen(run: RunDirectory, labels: LabelsConfig) -> str:
    table = run.config.data.labels
    if labels.is_everything and not table:
        count = run.data().get("num_examples")
        return f"all {count:,} of the split" if isinstance(count, int) else "all of the split"
    by = "" if labels.is_everything else f"drawn by seed {labels.label_seed}"
    if labels.label_subset_file:
        by = f"listed in {escaped(labels.label_subset_file)}"
    if table:
        by += f"{' ' * bool(by)}of those in the table {escaped(table)}"
    try:
        # Lines end in line feeds; names may hold any other character.
        with open(run.file("labelled_examples.txt"), "rb") as file:
            return f"{file.read().count(10):,} examples of the split, {by}"
    except OSError:
        return f"some examples of the split, {by}"
