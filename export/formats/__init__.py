"""The formats of an export, a row each.

A format is a module here of its name, with ``SNIPPET``, the model card's Markdown that shows how to
load it, and ``write(model, directory)``, which writes it. Modules are imported when they are used,
since they load TensorFlow.
"""

import dataclasses
import importlib
from types import ModuleType
from typing import Dict, Tuple


@dataclasses.dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
      entries: the files and directories that it may leave in an export.
      trainable: whether what it writes can be trained further, so that batch norm isn't folded.
      copies: about how often it holds the weights.
    """

    entries: Tuple[str, ...]
    trainable: bool = False
    copies: float = 1.0


# In the order in which they stand in the model card.
FORMATS: Dict[str, Format] = {
    "saved_model": Format(("1",)),
    "hub": Format(("hub", "module.tar.gz", "classification_module.tar.gz"), True, copies=4),
    "tflite": Format(("tflite",), copies=1.75),
}


def load(name: str) -> ModuleType:
    """Imports the module of a format."""
    return importlib.import_module(f"{__name__}.{name}")
