"""Checkpoints of google-research/simclr, the paper's own code: read, understood and written.

What a network is follows from the names and shapes of its variables alone. Values are read one
variable at a time, so that no second copy of a large network is ever in memory.
"""

import math
import os
import re
from collections import Counter, deque
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np

from tf_simclrv2.config import (
    RESNET_DEPTHS,
    ConfigError,
    NetworkConfig,
    ProjectionHeadConfig,
    refuse,
)
from tf_simclrv2.interop.google import google_names
from tf_simclrv2.keras2 import READ_ERRORS, tf
from tf_simclrv2.networks.layers import SelectiveKernelConv
from tf_simclrv2.networks.network import Network
from tf_simclrv2.networks.resnet import BLOCKS, SMALLEST_BOTTLENECK_DEPTH

# After tf, which reads its environment when it is imported.
from tensorflow.core.protobuf import trackable_object_graph_pb2  # isort: skip

_ENCODER = {"tf1": "base_model/", "tf2": "model/resnet_model/"}
_FIRST_KERNEL = {
    "tf1": "base_model/conv2d/kernel",
    "tf2": "model/resnet_model/initial_conv_relu_max_pool/0/conv2d/kernel",
}
_PROJECTION = {"tf1": "head_contrastive/nl_", "tf2": "model/_projection_head/linear_layers/"}
_CLASSIFIER = {"tf1": "head_supervised/", "tf2": "model/supervised_head/"}
_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
# What Keras adds to an object beside the attributes that the authors' code gave it.
_KERAS_EDGES = re.compile(
    r"(trainable_|non_trainable_)?variables|regularization_losses|keras_api|layer-\d+"
    r"|layer_with_weights-\d+"
)
# What training keeps beside the network: counters, the optimizer's slots, the memory of SimCLRv2.
_TRAINING_STATE = re.compile(
    r"^(global_step|save_counter|optimizer|beta[12]_power)\b|^ema_model/|memory"
    r"|/(Momentum|LARSOptimizer|Adam(_1)?)$|/\.OPTIMIZER_SLOT/"
)
_USUAL_RATIO = 0.0625


class Architecture(NamedTuple):
    """What a checkpoint's names and shapes tell.

    Attributes:
      network: the encoder.
      projection_head: the projection head; mode ``none`` if the checkpoint has none.
      num_classes: classes of the classifier; None without one.
      ft_proj_selector: output of the projection head that the classifier reads, as far as the
        shapes tell: its last layer if only that fits, else its input.
      head_is_cut: whether the projection head ends at the layer that the classifier reads, as in
        our fine-tuned networks; the authors' always have the whole head.
    """

    network: NetworkConfig
    projection_head: ProjectionHeadConfig
    num_classes: Optional[int]
    ft_proj_selector: int
    head_is_cut: bool


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
      ConfigError: there is no such checkpoint, it can't be read, or it is of other code.
    """

    def __init__(self, path: str):
        self.path = path
        prefix = _find(path)
        try:
            self._reader = tf.train.load_checkpoint(prefix)
            shapes = self._reader.get_variable_to_shape_map()
            self._keys = _names(self._reader, shapes)
        except READ_ERRORS as error:
            raise self._unreadable(error) from error
        self.shapes = {name: tuple(shapes[key]) for name, key in self._keys.items()}
        flavors = [
            flavor
            for flavor, prefix in _ENCODER.items()
            if any(name.startswith(prefix) for name in self.shapes)
        ]
        if not flavors:
            found = ", ".join(sorted(self.shapes)[:3]) or "none"
            raise ConfigError(
                f"--google_checkpoint={path}: its variables must be those of "
                f"google-research/simclr, {' or '.join(_ENCODER.values())}..., but are {found}."
            )
        self.flavor = flavors[0]

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
          ConfigError: a variable is missing, too many, or of another shape, in which case the
            network is as it was; or a value can't be read.
        """
        variables = google_names(network, self.flavor)
        self._check({name: tuple(variable.shape) for name, variable in variables.items()})
        scales = []
        for name, variable in variables.items():
            try:
                value = self._reader.get_tensor(self._keys[name])
            except READ_ERRORS as error:
                raise self._unreadable(error) from error
            variable.assign(value.astype(variable.dtype.as_numpy_dtype, copy=False))
            if name.startswith(_ENCODER[self.flavor]) and name.endswith("/kernel"):
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


def _names(reader, keys) -> Dict[str, str]:
    """Returns the key in the checkpoint of each of the network's variables, by name."""
    names = {}
    if _OBJECT_GRAPH in keys:
        graph = trackable_object_graph_pb2.TrackableObjectGraph()
        graph.ParseFromString(reader.get_tensor(_OBJECT_GRAPH))
        names = dict(_walk(graph))
    reached = {_OBJECT_GRAPH, *names.values()}
    for key in keys:
        if key not in reached and not _TRAINING_STATE.search(key):
            name = key[: -len(_SUFFIX)] if key.endswith(_SUFFIX) else key
            # A linear head is a nonlinear one of a single layer.
            names[name.replace("head_contrastive/l_0/", "head_contrastive/nl_0/")] = key
    return names


def _walk(graph) -> Iterator[Tuple[str, str]]:
    """Yields path and key of every variable below ``model`` in an object graph.

    In a SavedModel the key of a variable is whichever path to it is the shortest, such as
    ``trainable_variables_list/4``; the path along the authors' own attributes is in the graph.
    """
    queue = deque(
        ("model", child.node_id) for child in graph.nodes[0].children if child.local_name == "model"
    )
    seen = set()
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


def infer_architecture(checkpoint: GoogleCheckpoint) -> Architecture:
    """Infers what network a checkpoint holds, from the names and shapes of its variables.

    One variable that is missing, too many or misshapen does not mislead it, so that the variable
    can be named later on.

    Raises:
      ConfigError: no network has such variables.
    """
    flavor, shapes = checkpoint.flavor, checkpoint.shapes
    encoder = {n: shape for n, shape in shapes.items() if n.startswith(_ENCODER[flavor])}
    channels = Counter(shape[-1] for n, shape in encoder.items() if n.endswith("/gamma"))
    # The last block group's width; its blocks share it, so that no single variable decides.
    representation_dim = max((size for size, count in channels.items() if count > 1), default=0)
    try:
        network = _infer_network(encoder, representation_dim, flavor)
    except ConfigError as error:
        raise ConfigError(
            f"--google_checkpoint={checkpoint.path}: its variables are of no network that can be "
            f"built here ({error})"
        ) from error

    head = _projection_layers(shapes, _PROJECTION[flavor])
    classifier = {
        name.rpartition("/")[2]: shape
        for name, shape in shapes.items()
        if name.startswith(_CLASSIFIER[flavor])
    }
    if not head:
        num_classes = _num_classes(classifier, (representation_dim,))
        return Architecture(network, ProjectionHeadConfig("none"), num_classes, 0, False)
    sizes = Counter(shape[-1] for shape in head[-1].values())
    proj_out_dim = sizes.most_common(1)[0][0]
    num_classes = _num_classes(classifier, (representation_dim, proj_out_dim))
    if num_classes and "beta" in head[-1] and proj_out_dim == representation_dim:
        projection_head = ProjectionHeadConfig(num_proj_layers=max(3, len(head) + 1))
        return Architecture(network, projection_head, num_classes, len(head), True)
    mode = "linear" if len(head) == 1 else "nonlinear"
    projection_head = ProjectionHeadConfig(mode, len(head), proj_out_dim)
    inputs = classifier.get("kernel", (representation_dim,))[0]
    reads_last = inputs == proj_out_dim != representation_dim
    return Architecture(
        network, projection_head, num_classes, len(head) if reads_last else 0, False
    )


def _num_classes(classifier, inputs: Tuple[int, ...]) -> Optional[int]:
    """Classes of a classifier of which not all shapes need be right."""
    kernel = classifier.get("kernel", (0,))
    parts = ("kernel", "bias") if kernel[0] in inputs else ("bias", "kernel")
    return next((classifier[part][-1] for part in parts if part in classifier), None)


def _projection_layers(shapes, prefix: str) -> List[Dict[str, Tuple[int, ...]]]:
    """Shapes of each projection layer's variables, by the last part of their names."""
    layers: Dict[int, dict] = {}
    for name, shape in shapes.items():
        match = re.match(rf"{prefix}(\d+)/.*?(\w+)$", name)
        if match:
            layers.setdefault(int(match[1]), {})[match[2]] = shape
    return [layers.get(index, {}) for index in range(max(layers, default=-1) + 1)]


def _infer_network(encoder, representation_dim: int, flavor: str) -> NetworkConfig:
    depth, sk, se, stem = _infer_structure(encoder, flavor)
    expansion = 4 if depth >= SMALLEST_BOTTLENECK_DEPTH else 1
    sk_ratio = se_ratio = 0.0
    if sk:
        sk_ratio = _ratio(_mixing_kernels(encoder, flavor), SelectiveKernelConv.MIN_MIXING_CHANNELS)
    if se:
        layers = [name.rpartition("/")[0] for name in encoder if name.endswith("/bias")]
        kernels = [encoder.get(f"{layer}/kernel", (1, 1, 0, 1)) for layer in layers]
        reducing = [shape for shape in kernels if shape[2] >= shape[3]]
        se_ratio = _ratio([(shape[2] // expansion, shape[3]) for shape in reducing], 1)
    return NetworkConfig(
        resnet_depth=depth,
        width_multiplier=representation_dim / (512 * expansion),
        sk_ratio=sk_ratio,
        se_ratio=se_ratio,
        stem=stem,
    )


def _infer_structure(encoder, flavor: str) -> Tuple[int, bool, bool, str]:
    """Depth, selective kernels, squeeze-and-excitation and stem, by the numbers of variables."""
    found = [sum(n.endswith(f"/{part}") for n in encoder) for part in ("kernel", "gamma", "bias")]
    small_first = encoder.get(_FIRST_KERNEL[flavor], (7,))[0] < 7

    def distance(structure):
        depth, sk, se, stem = structure
        blocks, bottleneck = sum(BLOCKS[depth]), depth >= SMALLEST_BOTTLENECK_DEPTH
        in_stem = 3 if sk and stem == "imagenet" else 1
        kernels = in_stem + len(BLOCKS[depth]) + blocks * ((5 if sk else 3) if bottleneck else 2)
        gammas = in_stem + len(BLOCKS[depth]) + blocks * ((4 if sk else 3) if bottleneck else 2)
        biases = 2 * blocks if se else 0
        differences = zip(found, (kernels + biases, gammas, biases))
        # Without selective kernels the stems have as many variables: the first kernel's size tells.
        other_stem = not sk and (stem == "cifar") != small_first
        return sum(abs(count - expected) for count, expected in differences) + other_stem

    return min(
        (
            (depth, sk, se, stem)
            for depth in RESNET_DEPTHS
            for sk in ((False, True) if depth >= SMALLEST_BOTTLENECK_DEPTH else (False,))
            for se in (False, True)
            for stem in ("imagenet", "cifar")
        ),
        key=distance,
    )


def _mixing_kernels(encoder, flavor: str) -> List[Tuple[int, int]]:
    """Inputs and outputs of the kernels by which selective kernels begin to mix their streams."""
    if flavor == "tf2":
        mixing = [shape for name, shape in encoder.items() if name.endswith("/conv2d_0/kernel")]
    else:
        numbered = {}
        for name, shape in encoder.items():
            match = re.search(r"/conv2d_?(\d*)/kernel$", name)
            if match:
                numbered[int(match[1] or 0)] = shape
        # Mixing begins after the 3x3 kernel that computes both streams.
        mixing = [
            shape
            for number, shape in numbered.items()
            if shape[0] == 1 and numbered.get(number - 1) == (3, 3, shape[2], 2 * shape[2])
        ]
    return [(shape[2], shape[3]) for shape in mixing]


def _ratio(pairs: List[Tuple[int, int]], smallest: int) -> float:
    """The ratio that most pairs of filters and reduced filters agree with."""
    candidates = [_USUAL_RATIO]
    for filters, reduced in sorted(set(pairs), reverse=True):
        # The first would do if multiplying and dividing were exact.
        candidates += [reduced / filters, (reduced + 0.5) / filters]
    return max(
        candidates,
        key=lambda ratio: sum(max(int(f * ratio), smallest) == r for f, r in pairs),
    )


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
