"""The flags of ``export``. Nothing here loads TensorFlow, so that help is instant."""

import dataclasses
from typing import List, Optional

from tf_simclrv2.config import Config, Must, Section, required, setting

from .formats import FORMATS

_NAMES = ", ".join(FORMATS)
_TRAINABLE = " or ".join(name for name, format in FORMATS.items() if format.trainable)


def _is_a_line(text: str) -> bool:
    """Whether a text fits a row of a table; bytes that are no UTF-8 come in as surrogates."""
    return text.isprintable()


@dataclasses.dataclass(frozen=True)
class ExportSection(Section):
    """Which run to export, where to, and as what."""

    model_dir: str = required(
        "Directory of the run, or one checkpoint in it.",
        "a directory must be given",
        is_path=True,
    )
    export_dir: str = required(
        "Directory to write; without --overwrite it must be new or empty.",
        "a directory must be given",
        is_path=True,
    )
    use_ema_weights: bool = setting(
        False, "Export the memory network of a pretraining run with --use_memory."
    )
    formats: str = setting(
        "saved_model,hub",
        "What to write, separated by commas.",
        must=Must(f"be among {_NAMES}", lambda names: set(names.split(",")) <= {*FORMATS}),
    )
    fold_batch_norm: bool = setting(
        True,
        f"Fold batch norm into the convolutions, which is faster, in all formats but {_TRAINABLE}, "
        "which can be trained.",
    )
    licence: Optional[str] = setting(
        None,
        "Licence of the weights, for the model card; without it the card names none.",
        must=Must("be one line of text in UTF-8", _is_a_line),
    )
    overwrite: bool = setting(False, "Replace an existing export.")

    @property
    def chosen_formats(self) -> List[str]:
        """The names in ``formats``, once each and in the order of FORMATS."""
        return [name for name in FORMATS if name in self.formats.split(",")]

    @property
    def folded_formats(self) -> List[str]:
        """Those of the chosen formats whose batch norm is folded."""
        inferring = [name for name in self.chosen_formats if not FORMATS[name].trainable]
        return inferring if self.fold_batch_norm else []


@dataclasses.dataclass(frozen=True)
class ExportConfig(Config):
    """Export a run as a SavedModel for serving, as TF-Hub modules and for TensorFlow Lite."""

    export: ExportSection
