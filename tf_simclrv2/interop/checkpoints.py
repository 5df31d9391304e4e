"""Reads and writes checkpoints of google-research/simclr, the paper's own code.

Values are read one variable at a time, so that memory holds a large network only once.
"""

import math
import os
import re
from collections import deque
from typing import Collection, Dict, Iterator, Set, Tuple

import numpy as np

from tf_simclrv2.config import ConfigError, refuse
from tf_simclrv2.interop.google import ENCODER, google_names
from tf_simclrv2.keras2 import READ_ERRORS, tf
from tf_simclrv2.networks.network import Network
from tf_simclrv2.progress import progress

# After tf, which reads its environment when it is imported.
from tensorflow.core.protobuf import trackable_object_graph_pb2  # isort: skip

_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
# What Keras adds to an object, next to the attributes that the authors' code gave it.
_KERAS_EDGES = re.compile(
    r"(trainable_|non_trainable_)?variables|regularization_losses|keras_api|layer-\d+"
    r"|layer_with_weights-\d+"
)
# What training saves next to the network: counters, optimizer slots, the memory of SimCLRv2.
_TRAINING_STATE = re.compile(
    r"^(global_step|save_counter|optimizer|beta[12]_power)\b|^ema_model/|memory"
    r"|/(Momentum|LARSOptimizer|Adam(_1)?)$|/\.OPTIMIZER_SLOT/"
)


class GoogleCheckpoint:
    """A checkpoint of the authors' code: the network's variables by the authors' names.

    Args:
      path: a TF1 checkpoint, a TF2 checkpoint (both without ``.index``), a TF2 SavedModel's
        directory, or a directory with one of them in it.

    Attributes:
      flavor: ``tf1`` or ``tf2``.
      shapes: shape of each of the network's variables by name, see
        :func:`tf_simclrv2.interop.google.google_names`.

    Raises:
      ConfigError: there is no such checkpoint, it can't be read, or other code wrote it.
    """

    def __init__(self, path: str):
        self.path = path
        prefix = _find(path)
        try:
            self._reader = tf.train.load_checkpoint(prefix)
            shapes = self._reader.get_variable_to_shape_map()
            self._keys = self._names(shapes)
        except READ_ERRORS as error:
            raise self._unreadable(error) from error
        self.shapes = {name: tuple(shapes[key]) for name, key in self._keys.items()}
        flavors = [
            flavor
            for flavor, prefix in ENCODER.items()
            if any(name.startswith(prefix) for name in self.shapes)
        ]
        if not flavors:
            found = ", ".join(sorted(self.shapes)[:3]) or "none"
            raise ConfigError(
                f"--google_checkpoint={path}: its variables must be those of "
                f"google-research/simclr, {' or '.join(ENCODER.values())}..., but are {found}."
            )
        self.flavor = flavors[0]

    def _names(self, keys: Collection[str]) -> Dict[str, str]:
        """Returns the key in the checkpoint of each of the network's variables, by name."""
        names: Dict[str, str] = {}
        if _OBJECT_GRAPH in keys:
            graph = trackable_object_graph_pb2.TrackableObjectGraph()
            graph.ParseFromString(self._reader.get_tensor(_OBJECT_GRAPH))
            names = dict(_walk(graph))
        reached = {_OBJECT_GRAPH, *names.values()}
        for key in keys:
            if key not in reached and not _TRAINING_STATE.search(key):
                name = key[: -len(_SUFFIX)] if key.endswith(_SUFFIX) else key
                # A linear head is a nonlinear one of a single layer.
                names[name.replace("head_contrastive/l_0/", "head_contrastive/nl_0/")] = key
        return names

    def _unreadable(self, error: Exception) -> ConfigError:
        return ConfigError(
            f"--google_checkpoint={self.path}: can't be read "
            f"({type(error).__name__}: {str(error).splitlines()[0]})."
        )

    def load_into(self, network: Network) -> float:
        """Copies the checkpoint's values to a network's variables.

        Args:
          network: a network whose variables exist.

        Returns:
          The mean scale of the encoder's kernels, see :func:`kernel_scale`.

        Raises:
          ConfigError: a variable is missing, too many, or of another shape, and the network is
            unchanged; or a value can't be read.
        """
        variables = google_names(network, self.flavor)
        self._check({name: tuple(variable.shape) for name, variable in variables.items()})
        scales = []
        for name, variable in progress(variables.items(), "converting", "variable"):
            try:
                value = self._reader.get_tensor(self._keys[name])
            except READ_ERRORS as error:
                raise self._unreadable(error) from error
            variable.assign(value.astype(variable.dtype.as_numpy_dtype, copy=False))
            if name.startswith(ENCODER[self.flavor]) and name.endswith("/kernel"):
                scales.append(kernel_scale(value))
        return float(np.mean(scales))

    def _check(self, expected: Dict[str, Tuple[int, ...]]) -> None:
        problems = [
            f"{name} {list(shape)} is missing"
            for name, shape in expected.items()
            if name not in self.shapes
        ]
        problems += [
            f"{name} {list(shape)} is one too many"
            for name, shape in sorted(self.shapes.items())
            if name not in expected
        ]
        problems += [
            f"{name} is {list(self.shapes[name])} but must be {list(shape)}"
            for name, shape in expected.items()
            if self.shapes.get(name, shape) != shape
        ]
        if problems:
            raise ConfigError(
                f"--google_checkpoint={self.path}: {len(problems)} of its variables don't fit the "
                f"network that they come closest to: {'; '.join(problems)}."
            )


def kernel_scale(kernel: np.ndarray) -> float:
    """A kernel's root mean square relative to its size when training starts, 1/sqrt(inputs)."""
    inputs = math.prod(kernel.shape[:-1])
    return float(np.sqrt(np.mean(np.square(kernel)) * inputs))


def _find(path: str) -> str:
    """Returns the prefix of a checkpoint's files, which may be local or on Cloud Storage."""
    path = os.path.expanduser(path)
    if path.endswith(".index"):
        path = path[: -len(".index")]
    variables = os.path.join("variables", "variables")
    for inner in ("", variables, os.path.join("saved_model", variables)):
        prefix = os.path.join(path, inner) if inner else path
        if tf.io.gfile.exists(f"{prefix}.index"):
            return prefix
    if tf.io.gfile.isdir(path):
        latest = tf.train.latest_checkpoint(path)
        if latest is not None:
            return latest
        indices = tf.io.gfile.glob(os.path.join(path, "*.index"))
        if len(indices) == 1:
            return indices[0][: -len(".index")]
    raise refuse(
        "google_checkpoint",
        path,
        "must be a checkpoint of google-research/simclr (its path without .index), or a directory "
        "with one checkpoint or SavedModel in it",
    )


def _walk(graph: trackable_object_graph_pb2.TrackableObjectGraph) -> Iterator[Tuple[str, str]]:
    """Yields path and key of every variable below ``model`` in an object graph.

    In a SavedModel the key of a variable is whichever path to it is the shortest, such as
    ``trainable_variables_list/4``; the path along the authors' own attributes is in the graph.
    """
    queue = deque(
        ("model", child.node_id) for child in graph.nodes[0].children if child.local_name == "model"
    )
    seen: Set[int] = set()
    while queue:
        path, index = queue.popleft()
        if index in seen:
            continue
        seen.add(index)
        for attribute in graph.nodes[index].attributes:
            if attribute.name == "VARIABLE_VALUE":
                yield path, attribute.checkpoint_key
        for child in graph.nodes[index].children:
            if not _KERAS_EDGES.fullmatch(child.local_name):
                queue.append((f"{path}/{child.local_name}", child.node_id))


def save_google_checkpoint(network: Network, step: int, path: str) -> None:
    """Writes a network as a TF2 checkpoint that the authors' code restores.

    Args:
      network: a network whose variables exist.
      step: training step, the checkpoint's ``global_step``.
      path: the checkpoint's path, without ``.index``.

    Raises:
      tf.errors.OpError: it can't be written.
    """
    root = tf.__internal__.tracking.AutoTrackable()
    for name, variable in google_names(network, "tf2").items():
        *parents, attribute = name.split("/")
        node = root
        for parent in parents:
            if not hasattr(node, parent):
                setattr(node, parent, tf.__internal__.tracking.AutoTrackable())
            node = getattr(node, parent)
        setattr(node, attribute, variable)
    global_step = tf.Variable(step, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(model=root.model, global_step=global_step)
    # Unlike save, write takes the path as it is, but does not count.
    checkpoint.save_counter.assign_add(1)
    checkpoint.write(path)
