"""From a run directory to an export directory, whole or not at all."""

import dataclasses
import os
import shutil
import tarfile
import tempfile
from typing import Any, Dict, List, Optional

from export.folding import fold_batch_norm
from export.model_card import model_card
from export.modules import HubFunctions, hub_module, serving_module
from export.tflite import save_tflite
from tf_simclrv2.config import ConfigError, refuse, setting
from tf_simclrv2.keras2 import tf
from tf_simclrv2.networks.network import Network
from tf_simclrv2.programs import command_line
from tf_simclrv2.runtime.restoring import (
    check_memory,
    restore_network,
    split_checkpoint,
    trained_steps,
)
from tf_simclrv2.runtime.run_directory import open_run

FORMATS = ("saved_model", "hub", "tflite")
_ARCHIVES = {"feature_vector": "module.tar.gz", "classification": "classification_module.tar.gz"}
# All that an export may hold: what else is in its directory is the user's own.
_ENTRIES = {"1", "hub", "tflite", "README.md", *_ARCHIVES.values()}


@dataclasses.dataclass(frozen=True)
class ExportSection:
    """Which run to export, where to, and as what."""

    model_dir: Optional[str] = setting(None, "Directory of the run, or one checkpoint in it.")
    export_dir: Optional[str] = setting(
        None, "Directory to write; without --overwrite it must be new or empty."
    )
    use_ema_weights: bool = setting(
        False, "Export the memory network of a pretraining run with --use_memory."
    )
    formats: str = setting(
        "saved_model,hub",
        f"What to write, separated by commas: {', '.join(FORMATS)}.",
    )
    fold_batch_norm: bool = setting(
        False,
        "Fold batch norm into the convolutions; for inference alone, so without hub in --formats.",
    )
    licence: str = setting("Apache-2.0", "Licence of the weights, for the model card.")
    overwrite: bool = setting(False, "Replace an existing export.")

    def __post_init__(self):
        for name in ("model_dir", "export_dir"):
            if not getattr(self, name):
                raise refuse(name, getattr(self, name), "a directory must be given")
        for name in self.formats.split(","):
            if name not in FORMATS:
                raise refuse("formats", self.formats, f"must be among {', '.join(FORMATS)}")
        if self.fold_batch_norm and "hub" in self.formats.split(","):
            raise refuse(
                "fold_batch_norm",
                self.fold_batch_norm,
                f"can't be combined with --formats={self.formats}: hub modules can be trained, "
                "which a folded network can't",
            )


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Export a run as a SavedModel for serving, as TF-Hub modules and for TensorFlow Lite."""

    export: ExportSection


def run(values: Dict[str, Any]) -> None:
    """Exports a run.

    Args:
      values: the flags that were given.

    Raises:
      ConfigError: a setting that can't be used.
    """
    config = command_line.build(ExportConfig, values).export
    path, checkpoint = split_checkpoint(config.model_dir)
    directory = open_run(path, "model_dir")
    if config.use_ema_weights:
        check_memory(directory)
    target = os.path.abspath(os.path.expanduser(config.export_dir))
    if os.path.isfile(target):
        raise refuse("export_dir", config.export_dir, "is a file, but must be a directory")
    if os.path.isdir(target) and os.listdir(target):
        if not config.overwrite:
            raise refuse("export_dir", config.export_dir, "exists; give --overwrite to replace it")
        others = sorted(set(os.listdir(target)) - _ENTRIES)
        if others:
            raise refuse(
                "export_dir",
                config.export_dir,
                f"holds what is no part of an export ({', '.join(others)}), so it stays as it is",
            )
    checkpoint = checkpoint or directory.latest_checkpoint()
    network = restore_network(directory, checkpoint, config.use_ema_weights)
    # In the order of FORMATS, since hub modules make the network trainable.
    formats = [name for name in FORMATS if name in config.formats.split(",")]
    card = model_card(
        directory,
        network,
        trained_steps(checkpoint),
        formats,
        config.use_ema_weights,
        config.fold_batch_norm,
        config.licence,
    )
    if config.fold_batch_norm:
        fold_batch_norm(network)

    size = directory.config.data.resolved_image_size
    class_names = directory.class_names if network.supervised_head is not None else None
    temporary = None
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        temporary = tempfile.mkdtemp(prefix=".export-", dir=os.path.dirname(target))
        new = os.path.join(temporary, "new")
        os.mkdir(new)
        if "saved_model" in formats:
            _save_serving(network, size, class_names, os.path.join(new, "1"))
        if "hub" in formats:
            _save_hub(network, directory.config.optimization.weight_decay, new)
        if "tflite" in formats:
            save_tflite(network, size, os.path.join(new, "tflite"))
        with open(os.path.join(new, "README.md"), "w", encoding="utf-8") as file:
            file.write(card)
        _replace(target, new, os.path.join(temporary, "old"))
    except (OSError, tf.errors.OpError) as error:
        raise ConfigError(
            f"--export_dir={config.export_dir}: can't be written ({error})."
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    print(f"{directory.path} exported to {config.export_dir}")


def _replace(target: str, new: str, aside: str) -> None:
    """Puts a directory in the place of another; one of them stands there whatever happens."""
    try:
        # Moved aside, not deleted: a crash must not leave half of it under its name.
        if os.path.exists(target):
            os.replace(target, aside)
        os.replace(new, target)
    finally:
        if os.path.exists(aside) and not os.path.exists(target):
            os.replace(aside, target)


def _save_serving(
    network: Network, image_size: int, class_names: Optional[List[str]], path: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        names_file = None
        if class_names:
            names_file = os.path.join(folder, "class_names.txt")
            with open(names_file, "w", encoding="utf-8") as file:
                file.write("\n".join(class_names) + "\n")
        module, signatures = serving_module(network, image_size, names_file)
        tf.saved_model.save(module, path, signatures=signatures)


def _save_hub(network: Network, weight_decay: float, path: str) -> None:
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=True)
    functions = HubFunctions(network)
    names = ["feature_vector"]
    if network.supervised_head is not None:
        names.append("classification")
    for name in names:
        folder = os.path.join(path, "hub", name)
        module = hub_module(functions, name, weight_decay)
        tf.saved_model.save(module, folder, options=options)
        with tarfile.open(os.path.join(path, _ARCHIVES[name]), "w:gz") as archive:
            archive.add(folder, arcname=".")
