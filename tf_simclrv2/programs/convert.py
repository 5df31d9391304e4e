"""``convert``: turns checkpoints of google-research/simclr into run directories, and back."""

import logging
import os
from typing import List, Mapping, Optional, Union

from tf_simclrv2.config import (
    ContrastiveConfig,
    ConversionConfig,
    ConvertConfig,
    DataConfig,
    FinetuneConfig,
    FineTuningConfig,
    PretrainConfig,
    RunConfig,
    refuse,
)
from tf_simclrv2.config.user_files import FILE
from tf_simclrv2.data.sources import open_source
from tf_simclrv2.interop.architecture import Architecture, infer_architecture
from tf_simclrv2.interop.checkpoints import GoogleCheckpoint, save_google_checkpoint
from tf_simclrv2.learners.steps import build_network
from tf_simclrv2.programs import command_line
from tf_simclrv2.progress import working
from tf_simclrv2.runtime.checkpoint import Checkpoint
from tf_simclrv2.runtime.disk import writing
from tf_simclrv2.runtime.files import check_place, kind_of
from tf_simclrv2.runtime.health import check_restored
from tf_simclrv2.runtime.settings import Converted, RunSettings
from tf_simclrv2.runtime.solved_run import check_new, write_solved

logger = logging.getLogger(__name__)

# What the authors' models were trained on, and the default of their code.
_DATASET = "imagenet2012"
_IMAGE_SIZES = {"imagenet": 224, "cifar": 32}


def run(values: Mapping[str, object]) -> None:
    """Converts a checkpoint of the authors' to a run, or with ``to_google`` a run to one.

    Args:
      values: the flags that were given.

    Raises:
      ConfigError: a setting or a checkpoint can't be used; nothing was written.
    """
    conversion = command_line.build(ConvertConfig, values).conversion
    (_write if conversion.to_google else _read)(conversion)


def _read(conversion: ConversionConfig) -> None:
    assert conversion.google_checkpoint is not None
    directory = check_new(conversion.model_dir, "model_dir")
    with working("reading the checkpoint"):
        theirs = GoogleCheckpoint(conversion.google_checkpoint)
        architecture = infer_architecture(theirs)
    layer = _selected_layer(architecture, conversion)
    class_names = _class_names(architecture.num_classes, conversion)
    config = _config(architecture, layer, conversion)
    with working("building the network"):
        network = build_network(config, architecture.num_classes)
    converted: Converted = {
        "google_checkpoint": conversion.google_checkpoint,
        "kernel_scale": theirs.load_into(network),
    }
    check_restored(network.variables, conversion.google_checkpoint)

    step_of_method = "finetune" if architecture.head_is_cut else "pretrain"
    # A data set that was never prepared may give numbers too.
    names_known = class_names is None or class_names != _numbers(len(class_names))
    settings = RunSettings(step_of_method, config, class_names, names_known, converted)
    with working("writing the run"):
        write_solved(directory, "model_dir", settings, network)
    logger.info(
        "%s converted to %s: %s",
        conversion.google_checkpoint,
        directory.path,
        _description(architecture),
    )
    if _is_ambiguous(architecture, conversion):
        logger.info(
            "its classifier is taken to read the projection head's input; if it reads the first "
            "layer, as that of models fine-tuned on few labels, give --ft_proj_selector=1"
        )


def _selected_layer(architecture: Architecture, conversion: ConversionConfig) -> int:
    given = conversion.ft_proj_selector
    if given is None:
        return architecture.ft_proj_selector
    if architecture.num_classes is None:
        raise refuse("ft_proj_selector", given, "the checkpoint has no classifier, so leave it out")
    layer = architecture.projection_head.layer_of(given)
    if architecture.head_is_cut and layer != architecture.ft_proj_selector:
        raise refuse(
            "ft_proj_selector",
            given,
            f"must be {architecture.ft_proj_selector}, the only layer at which the checkpoint's "
            "projection head can end",
        )
    return layer


def _class_names(num_classes: Optional[int], conversion: ConversionConfig) -> Optional[List[str]]:
    if num_classes is None:
        return None
    if conversion.dataset is None:
        return _numbers(num_classes)
    data = DataConfig(dataset=conversion.dataset, data_dir=conversion.data_dir)
    names = open_source(data, prepare=False).class_names
    if names is None or len(names) != num_classes:
        raise refuse(
            "dataset",
            conversion.dataset,
            f"must have the {num_classes} classes of the checkpoint's classifier, but has "
            f"{'no labels' if names is None else len(names)}",
        )
    return names


def _numbers(num_classes: int) -> List[str]:
    return [str(label) for label in range(num_classes)]


def _config(
    architecture: Architecture, layer: int, conversion: ConversionConfig
) -> Union[PretrainConfig, FinetuneConfig]:
    run = RunConfig(model_dir=conversion.model_dir)
    data = DataConfig(
        dataset=conversion.dataset or _DATASET,
        data_dir=conversion.data_dir,
        image_size=conversion.image_size or _IMAGE_SIZES[architecture.network.stem],
    )
    if architecture.head_is_cut:
        return FinetuneConfig(
            run,
            FineTuningConfig(conversion.google_checkpoint, ft_proj_selector=layer),
            data=data,
            network=architecture.network,
            projection_head=architecture.projection_head,
        )
    return PretrainConfig(
        run,
        data=data,
        network=architecture.network,
        projection_head=architecture.projection_head,
        contrastive=ContrastiveConfig(
            lineareval_while_pretraining=architecture.num_classes is not None,
            ft_proj_selector=layer,
        ),
    )


def _description(architecture: Architecture) -> str:
    network = architecture.network
    parts = [f"ResNet-{network.resnet_depth} of width {network.width_multiplier:g}"]
    parts += [
        f"{name} {ratio:g}"
        for name, ratio in (("sk_ratio", network.sk_ratio), ("se_ratio", network.se_ratio))
        if ratio
    ]
    parts.append(f"{network.stem} stem")
    if architecture.head_is_cut:
        parts.append(f"the first {architecture.ft_proj_selector} layers of a projection head")
    elif architecture.projection_head.num_layers:
        parts.append(f"projection head of {architecture.projection_head.num_layers} layers")
    else:
        parts.append("no projection head")
    classes = architecture.num_classes
    parts.append("no classifier" if classes is None else f"classifier of {classes} classes")
    return ", ".join(parts)


def _is_ambiguous(architecture: Architecture, conversion: ConversionConfig) -> bool:
    """Whether the classifier may read another layer than the one that was chosen."""
    return (
        conversion.ft_proj_selector is None
        and architecture.num_classes is not None
        and architecture.ft_proj_selector == 0
        and architecture.projection_head.num_layers > 1
    )


def _write(conversion: ConversionConfig) -> None:
    assert conversion.to_google is not None
    target = os.path.abspath(os.path.expanduser(conversion.to_google))
    if check_place(f"{target}.index", "to_google", FILE, conversion.to_google) is not None:
        raise refuse("to_google", conversion.to_google, "must not exist yet")
    kind = kind_of(target)
    if kind not in (None, FILE):
        raise refuse(
            "to_google",
            conversion.to_google,
            f"is {kind}, but must be the path of a checkpoint, such as DIRECTORY/ckpt",
        )
    check_place(f"{target}.data-00000-of-00001", "to_google", FILE, conversion.to_google)
    checkpoint = Checkpoint.open(conversion.model_dir, "model_dir")
    with working("reading the run"):
        network = checkpoint.restore_network()
    with writing("to_google", conversion.to_google), working("writing the checkpoint"):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        save_google_checkpoint(network, checkpoint.step, target)
    logger.info("%s converted to the checkpoint %s", checkpoint.run.path, conversion.to_google)
