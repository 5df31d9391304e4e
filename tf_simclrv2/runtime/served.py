"""Finds and loads the SavedModel of an export, and finds out whether it is whole."""

import contextlib
import hashlib
import json
import os
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, TypeVar

from google.protobuf.message import DecodeError

from tf_simclrv2.config import refuse
from tf_simclrv2.keras2 import READ_ERRORS, tf
from tf_simclrv2.runtime import graph_checksum
from tf_simclrv2.runtime.calibration_file import CALIBRATION, Calibration
from tf_simclrv2.runtime.health import not_finite

Serve = Callable[[tf.Tensor], Dict[str, tf.Tensor]]
Embed = Callable[[tf.Tensor], tf.Tensor]
_T = TypeVar("_T")

# The asset that says which images the network is for.
ABOUT_IMAGES = "images.json"
_SIGNATURE, _EMBED = "serving_bytes", "embed"
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


class Embedder(NamedTuple):
    """What is known of an export's representations before it is loaded.

    Attributes:
      image_size: side in pixels of the images that its network was trained on.
      dim: numbers of a representation.
      identity: tells its weights from others.
    """

    image_size: int
    dim: int
    identity: str


class Damaged(Exception):
    """A SavedModel that can't be used; the message is the end of a sentence."""


@contextlib.contextmanager
def damaged_refused(saved_model: str, flag: str = "saved_model") -> Iterator[None]:
    """Turns :class:`Damaged` into a ConfigError.

    Args:
      saved_model: what the flag is.
      flag: its name.

    Raises:
      ConfigError: the export is damaged.
    """
    try:
        yield
    except Damaged as error:
        raise refuse(flag, saved_model, str(error)) from error


def find_saved_model(path: str) -> Optional[str]:
    """The directory of an export's SavedModel; None if there is none.

    Args:
      path: the export, or its SavedModel.
    """
    path = os.path.expanduser(path)
    candidates = [path, os.path.join(path, "1")]
    graphs = (os.path.join(each, graph_checksum.GRAPH) for each in candidates)
    return next((os.path.dirname(graph) for graph in graphs if os.path.isfile(graph)), None)


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
    model = _model(directory)

    def serve(image_bytes: tf.Tensor) -> Dict[str, tf.Tensor]:
        # The signature's functions live as long as the model does. Called without the name, it
        # first fails with a message that shows the contents of all files, which takes long.
        return model.signatures[_SIGNATURE](image_bytes=image_bytes)

    return Served(serve, class_names, "valid" in signatures[_SIGNATURE].outputs)


def describe_embedder(directory: str) -> Embedder:
    """Reads what an export says of its representations; loads no weights.

    Args:
      directory: of the SavedModel.

    Raises:
      Damaged: it is damaged, no SavedModel of our export, or of one that doesn't say it.
    """
    signatures = _graph(directory).meta_graphs[0].signature_def
    if _EMBED not in signatures:
        raise Damaged(f"must have the signature {_EMBED} of our export")
    image_size = _asset(directory, ABOUT_IMAGES, _image_size)
    if image_size is None:
        place = os.path.join("assets", ABOUT_IMAGES)
        raise Damaged(f"must say the size of its images in {place}; export its run again")
    shape = signatures[_EMBED].outputs["representation"].tensor_shape
    index = os.path.join("variables", "variables.index")
    try:
        # It holds the checksums of all weights.
        with open(os.path.join(directory, index), "rb") as file:
            identity = hashlib.sha256(file.read()).hexdigest()[:8]
        return Embedder(image_size, shape.dim[-1].size, identity)
    except OSError as error:
        raise _damaged(index, error) from error
    except IndexError as error:
        raise _damaged(graph_checksum.GRAPH, error) from error


def load_embed(directory: str) -> Embed:
    """Loads what computes an export's representations.

    Args:
      directory: of the SavedModel.

    Returns:
      A function of images, float32 [batch, height, width, 3] in [0, 1], to representations,
      float32 [batch, dim].

    Raises:
      Damaged: it is damaged.
    """
    model = _model(directory)

    def embed(images: tf.Tensor) -> tf.Tensor:
        return model.signatures[_EMBED](images=images)["representation"]

    return embed


def stored_calibration(directory: str) -> Optional[Calibration]:
    """The calibration in an export; None if it has none.

    Args:
      directory: of the SavedModel.

    Raises:
      Damaged: it can't be read.
    """
    return _asset(directory, CALIBRATION, Calibration.of_json)


def _asset(directory: str, name: str, read: Callable[[Any], _T]) -> Optional[_T]:
    """What a JSON file among an export's assets says; None if it has none."""
    name = os.path.join("assets", name)
    try:
        with open(os.path.join(directory, name), encoding="utf-8") as file:
            return read(json.load(file))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise _damaged(name, error) from error


def _image_size(about: Any) -> int:
    size = int(about["image_size"])
    if size < 1:
        raise ValueError(f"the images' size is {size}")
    return size


def _model(directory: str) -> Any:
    """Loads a SavedModel, whose weights must be numbers."""
    try:
        model = tf.saved_model.load(directory)
    except _DAMAGES as error:
        raise _damaged("SavedModel", error) from error
    name = not_finite(getattr(model, "variables", ()))
    if name is not None:
        raise Damaged(f"must hold a trained model, but its weight {name} holds NaN or infinity")
    return model


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
