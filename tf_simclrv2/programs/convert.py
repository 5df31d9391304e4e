"""``convert``: checkpoints of google-research/simclr to run directories, and back."""

import os
import shutil
import tempfile
from typing import Any, Dict, List, Optional

from tf_simclrv2.config import (
    ConfigError,
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
from tf_simclrv2.data.sources import open_source
from tf_simclrv2.interop.checkpoints import (
    Architecture,
    GoogleCheckpoint,
    infer_architecture,
    save_google_checkpoint,
)
from tf_simclrv2.keras2 import tf
from tf_simclrv2.programs import command_line
from tf_simclrv2.runtime.restoring import (
    build_network,
    restore_network,
    split_checkpoint,
    trained_steps,
)
from tf_simclrv2.runtime.run_directory import RunDirectory, open_run

# The authors' models and their code's default.
_DATASET = "imagenet2012"
_IMAGE_SIZES = {"imagenet": 224, "cifar": 32}


def run(values: Dict[str, Any]) -> None:
    """Converts in the direction that the flags tell.

    Args:
      values: the flags that were given.

    Raises:
      ConfigError: a setting or a checkpoint that can't be used; nothing was written.
    """
    conversion = command_line.build(ConvertConfig, values).conversion
    if conversion.to_google:
        _write(conversion)
    else:
        _read(conversion)


def _read(conversion: ConversionConfig) -> None:
    directory = RunDirectory(conversion.model_dir)
    directory.check_empty("must be a new or empty directory")
    theirs = GoogleCheckpoint(conversion.google_checkpoint)
    architecture = infer_architecture(theirs)
    layer = _selected_layer(architecture, conversion)
    class_names = _class_names(architecture.num_classes, conversion)
    config = _config(architecture, layer, conversion)
    network = build_network(config, architecture.num_classes)
    converted = {
        "google_checkpoint": conversion.google_checkpoint,
        "kernel_scale": theirs.load_into(network),
    }

    step_of_method = "finetune" if architecture.head_is_cut else "pretrain"
    # Some data sets that were never prepared can't name their classes either.
    names_known = class_names is None or class_names != _numbers(len(class_names))
    settings = directory.check(step_of_method, config, class_names, names_known, converted)
    # Training continues from step 0, whatever the authors' counter says.
    counter = tf.train.Checkpoint(_iterations=tf.Variable(0, dtype=tf.int64))
    checkpoint = tf.train.Checkpoint(network=network, optimizer=counter)
    target, temporary = os.path.realpath(directory.path), None
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        temporary = tempfile.mkdtemp(prefix=".convert-", dir=os.path.dirname(target))
        new = RunDirectory(os.path.join(temporary, "run"))
        new.begin(settings)
        new.checkpoint_manager(checkpoint, keep=1).save(checkpoint_number=0)
        os.replace(new.path, target)
    except (tf.errors.OpError, OSError) as error:
        raise _unwritable("model_dir", conversion.model_dir, error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    print(f"{conversion.google_checkpoint} converted to {directory.path}: {_told(architecture)}")
    if _is_ambiguous(architecture, conversion):
        print(
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


def _config(architecture: Architecture, layer: int, conversion: ConversionConfig):
    run = RunConfig(model_dir=conversion.model_dir)
    parts = {
        "data": DataConfig(
            dataset=conversion.dataset or _DATASET,
            data_dir=conversion.data_dir,
            image_size=conversion.image_size or _IMAGE_SIZES[architecture.network.stem],
        ),
        "network": architecture.network,
        "projection_head": architecture.projection_head,
    }
    if architecture.head_is_cut:
        start = FineTuningConfig(conversion.google_checkpoint, ft_proj_selector=layer)
        return FinetuneConfig(run, start, **parts)
    contrastive = ContrastiveConfig(
        lineareval_while_pretraining=architecture.num_classes is not None, ft_proj_selector=layer
    )
    return PretrainConfig(run, contrastive=contrastive, **parts)


def _told(architecture: Architecture) -> str:
    network = architecture.network
    told = [f"ResNet-{network.resnet_depth} of width {network.width_multiplier:g}"]
    told += [
        f"{name} {ratio:g}"
        for name, ratio in (("sk_ratio", network.sk_ratio), ("se_ratio", network.se_ratio))
        if ratio
    ]
    told.append(f"{network.stem} stem")
    if architecture.head_is_cut:
        told.append(f"the first {architecture.ft_proj_selector} layers of a projection head")
    elif architecture.projection_head.num_layers:
        told.append(f"projection head of {architecture.projection_head.num_layers} layers")
    else:
        told.append("no projection head")
    classes = architecture.num_classes
    told.append("no classifier" if classes is None else f"classifier of {classes} classes")
    return ", ".join(told)


def _is_ambiguous(architecture: Architecture, conversion: ConversionConfig) -> bool:
    """Whether the classifier could as well read another layer than the one that was chosen."""
    return (
        conversion.ft_proj_selector is None
        and architecture.num_classes is not None
        and architecture.ft_proj_selector == 0
        and architecture.projection_head.num_layers > 1
    )


def _write(conversion: ConversionConfig) -> None:
    target = os.path.abspath(os.path.expanduser(conversion.to_google))
    if os.path.isdir(target):
        raise refuse(
            "to_google",
            conversion.to_google,
            "is a directory, but must be the path of a checkpoint, such as DIRECTORY/ckpt",
        )
    if os.path.exists(f"{target}.index"):
        raise refuse("to_google", conversion.to_google, "must not exist yet")
    path, checkpoint = split_checkpoint(conversion.model_dir)
    directory = open_run(path, "model_dir")
    checkpoint = checkpoint or directory.latest_checkpoint()
    network = restore_network(directory, checkpoint)
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        save_google_checkpoint(network, trained_steps(checkpoint), target)
    except (tf.errors.OpError, OSError) as error:
        raise _unwritable("to_google", conversion.to_google, error) from error
    print(f"{directory.path} converted to the checkpoint {conversion.to_google}")


def _unwritable(flag: str, path: str, error: Exception) -> ConfigError:
    return ConfigError(f"--{flag}={path}: can't be written ({str(error).splitlines()[0]}).")
