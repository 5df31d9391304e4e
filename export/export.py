"""From a run directory to an export directory, whole or not at all."""

import dataclasses
import os
import shutil
import tempfile
from typing import Any, Dict, Optional

from export.modules import hub_module, serving_module
from tf_simclrv2.config import ConfigError, refuse, setting
from tf_simclrv2.keras2 import tf
from tf_simclrv2.programs import command_line
from tf_simclrv2.runtime.restoring import restore_network, split_checkpoint
from tf_simclrv2.runtime.run_directory import open_run

FORMATS = ("saved_model", "hub")


@dataclasses.dataclass(frozen=True)
class ExportSection:
    """Which run to export, where to, and as what."""

    model_dir: Optional[str] = setting(None, "Directory of the run, or one checkpoint in it.")
    export_dir: Optional[str] = setting(None, "Directory to write; it must not exist yet.")
    formats: str = setting("saved_model,hub", "What to write, separated by commas.")
    overwrite: bool = setting(False, "Replace an existing export.")

    def __post_init__(self):
        for name in ("model_dir", "export_dir"):
            if not getattr(self, name):
                raise refuse(name, getattr(self, name), "a directory must be given")
        for name in self.formats.split(","):
            if name not in FORMATS:
                raise refuse("formats", self.formats, f"must be among {', '.join(FORMATS)}")


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Export a run as a SavedModel for serving and as TF-Hub modules."""

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
    target = os.path.abspath(os.path.expanduser(config.export_dir))
    if os.path.isfile(target):
        raise refuse("export_dir", config.export_dir, "is a file, but must be a directory")
    if os.path.isdir(target) and os.listdir(target) and not config.overwrite:
        raise refuse("export_dir", config.export_dir, "exists; give --overwrite to replace it")
    network = restore_network(directory, checkpoint)

    os.makedirs(os.path.dirname(target), exist_ok=True)
    temporary = tempfile.mkdtemp(prefix=".export-", dir=os.path.dirname(target))
    try:
        formats = config.formats.split(",")
        if "saved_model" in formats:
            class_names = directory.class_names if network.supervised_head is not None else None
            size = directory.config.data.resolved_image_size
            _save_serving(network, size, class_names, os.path.join(temporary, "1"))
        if "hub" in formats:
            _save_hub(network, os.path.join(temporary, "hub"))
        os.chmod(temporary, 0o755)
        if os.path.exists(target):
            shutil.rmtree(target)
        os.replace(temporary, target)
    except OSError as error:
        raise ConfigError(
            f"--export_dir={config.export_dir}: can't be written ({error})."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    print(f"{directory.path} exported to {config.export_dir}")


def _save_serving(network, image_size, class_names, path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        names_file = None
        if class_names:
            names_file = os.path.join(folder, "class_names.txt")
            with open(names_file, "w", encoding="utf-8") as file:
                file.write("\n".join(class_names) + "\n")
        module, signatures = serving_module(network, image_size, names_file)
        tf.saved_model.save(module, path, signatures=signatures)


def _save_hub(network, path) -> None:
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=True)
    names = {"representation": "feature_vector"}
    if network.supervised_head is not None:
        names["logits"] = "classification"
    for output, name in names.items():
        module = hub_module(network, output)
        tf.saved_model.save(module, os.path.join(path, name), options=options)
