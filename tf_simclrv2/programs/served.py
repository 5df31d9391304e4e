"""Loads the SavedModel of an export, and finds out whether it is whole."""

import contextlib
import os
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional

from google.protobuf.message import DecodeError

from tf_simclrv2.config import refuse
from tf_simclrv2.keras2 import READ_ERRORS, tf
from tf_simclrv2.runtime import graph_checksum
from tf_simclrv2.runtime.health import not_finite

Serve = Callable[[tf.Tensor], Dict[str, tf.Tensor]]

_SIGNATURE = "serving_bytes"
# What TensorFlow raises for a graph or for weights that are damaged: whatever it stumbles over.
_DAMAGES = (
    *READ_ERRORS, DecodeError, OSError, LookupError, TypeError, AttributeError, AssertionError,
)  # fmt: skip


class Served(NamedTuple):
    """What an export serves.

    Attributes:
      serve: the signature that takes encoded images, string [batch].
      class_names: names of the classes; None for a model without a classifier.
      marks_invalid: whether it answers the other images of a batch if one can't be decoded.
    """

    serve: Serve
    class_names: Optional[List[str]]
    marks_invalid: bool


class Damaged(Exception):
    """A SavedModel that can't be used; the message is the end of a sentence."""


@contextlib.contextmanager
def damaged_refused(saved_model: str) -> Iterator[None]:
    """Turns :class:`Damaged` into a ConfigError.

    Args:
      saved_model: what the flag is.

    Raises:
      ConfigError: the export is damaged.
    """
    try:
        yield
    except Damaged as error:
        raise refuse("saved_model", saved_model, str(error)) from error


def load_served(directory: str) -> Served:
    """Loads what an export serves.

    Args:
      directory: of the SavedModel.

    Raises:
      Damaged: it is damaged, or no SavedModel of our export.
    """
    signatures = _graph(directory).meta_graphs[0].signature_def
    if _SIGNATURE not in signatures:
        raise Damaged(f"must have the signature {_SIGNATURE} of our export")
    class_names = _class_names(directory, signatures[_SIGNATURE].outputs)
    try:
        model = tf.saved_model.load(directory)
    except _DAMAGES as error:
        raise _damaged("SavedModel", error) from error
    name = not_finite(getattr(model, "variables", ()))
    if name is not None:
        raise Damaged(f"must hold a trained model, but its weight {name} holds NaN or infinity")

    def serve(image_bytes: tf.Tensor) -> Dict[str, tf.Tensor]:
        # The signature's functions live as long as the model does.
        return model.signatures[_SIGNATURE](image_bytes)

    return Served(serve, class_names, "valid" in signatures[_SIGNATURE].outputs)


def _graph(directory: str) -> Any:
    """Reads the graph, and refuses one that is not what was exported."""
    # keras2 must have been the first to import TensorFlow.
    from tensorflow.core.protobuf import saved_model_pb2

    try:
        with open(os.path.join(directory, graph_checksum.GRAPH), "rb") as file:
            content = file.read()
        if graph_checksum.is_damaged(directory, content):
            raise _damaged(graph_checksum.GRAPH, ValueError("its checksum is another one"))
        graph = saved_model_pb2.SavedModel.FromString(content)
    except (OSError, DecodeError) as error:
        raise _damaged(graph_checksum.GRAPH, error) from error
    if not graph.meta_graphs:
        raise _damaged(graph_checksum.GRAPH, ValueError("it is empty"))
    return graph


def _class_names(directory: str, outputs: Mapping[str, Any]) -> Optional[List[str]]:
    """Reads the names of a classifier's classes, of which there must be as many as classes."""
    if "probabilities" not in outputs:
        return None
    name = os.path.join("assets", "class_names.txt")
    try:
        with open(os.path.join(directory, name), encoding="utf-8", newline="") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(name, error) from error
    dimensions = outputs["probabilities"].tensor_shape.dim
    count = dimensions[-1].size if dimensions else -1
    names = text.splitlines()
    if len(names) != count:  # Earlier exports may have other kinds of line breaks in names.
        names = text.rstrip("\n").split("\n") if text else []
    if count > 0 and len(names) != count:
        raise Damaged(
            f"its {name} is damaged, so export it again (it must have a line for each of the "
            f"{count} classes, but has {len(names)})"
        )
    return names


def _damaged(name: str, error: Exception) -> Damaged:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).strip()
    line = (reason.splitlines() or [type(error).__name__])[0][:200].rstrip(".")
    return Damaged(f"its {name} is damaged, so export it again ({line})")
