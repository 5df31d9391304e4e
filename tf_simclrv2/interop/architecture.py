"""Infers which network a google-research/simclr checkpoint holds, from names and shapes."""

import re
from collections import Counter
from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple

from tf_simclrv2.config import RESNET_DEPTHS, ConfigError, NetworkConfig, ProjectionHeadConfig
from tf_simclrv2.interop.checkpoints import GoogleCheckpoint
from tf_simclrv2.interop.google import CLASSIFIER, ENCODER, FIRST_KERNEL, PROJECTION
from tf_simclrv2.networks.layers import SelectiveKernelConv
from tf_simclrv2.networks.resnet import BLOCKS, SMALLEST_BOTTLENECK_DEPTH

_USUAL_RATIO = 0.0625
Shape = Tuple[int, ...]
Shapes = Mapping[str, Shape]
# Depth, selective kernels, squeeze-and-excitation and stem.
Structure = Tuple[int, bool, bool, str]


class Architecture(NamedTuple):
    """A checkpoint's network, as far as names and shapes show it.

    Attributes:
      network: the encoder.
      projection_head: the projection head; mode ``none`` if the checkpoint has none.
      num_classes: classes of the classifier; None without one.
      ft_proj_selector: output of the projection head that the classifier reads: its last layer if
        only that fits, else its input.
      head_is_cut: whether the projection head ends at the layer that the classifier reads, as in
        our fine-tuned networks; the authors' always have the whole head.
    """

    network: NetworkConfig
    projection_head: ProjectionHeadConfig
    num_classes: Optional[int]
    ft_proj_selector: int
    head_is_cut: bool


def infer_architecture(checkpoint: GoogleCheckpoint) -> Architecture:
    """Infers which network a checkpoint holds.

    One variable that is missing, too many or of a wrong shape does not change the answer, so that
    the caller can name that variable.

    Args:
      checkpoint: only its names and shapes are read.

    Raises:
      ConfigError: no network has such variables.
    """
    flavor, shapes = checkpoint.flavor, checkpoint.shapes
    encoder = {n: shape for n, shape in shapes.items() if n.startswith(ENCODER[flavor])}
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

    head = _projection_layers(shapes, PROJECTION[flavor])
    classifier = {
        name.rpartition("/")[2]: shape
        for name, shape in shapes.items()
        if name.startswith(CLASSIFIER[flavor])
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


def _num_classes(classifier: Shapes, inputs: Tuple[int, ...]) -> Optional[int]:
    """The number of classes, even where one of the classifier's shapes is wrong."""
    kernel = classifier.get("kernel", (0,))
    parts = ("kernel", "bias") if kernel[0] in inputs else ("bias", "kernel")
    return next((classifier[part][-1] for part in parts if part in classifier), None)


def _projection_layers(shapes: Shapes, prefix: str) -> List[Dict[str, Shape]]:
    """Shapes of each projection layer's variables, by the last part of their names."""
    layers: Dict[int, Dict[str, Shape]] = {}
    for name, shape in shapes.items():
        match = re.match(rf"{prefix}(\d+)/.*?(\w+)$", name)
        if match:
            layers.setdefault(int(match[1]), {})[match[2]] = shape
    return [layers.get(index, {}) for index in range(max(layers, default=-1) + 1)]


def _infer_network(encoder: Shapes, representation_dim: int, flavor: str) -> NetworkConfig:
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


def _infer_structure(encoder: Shapes, flavor: str) -> Structure:
    """The structure whose numbers of variables come closest to the checkpoint's."""
    found = [sum(n.endswith(f"/{part}") for n in encoder) for part in ("kernel", "gamma", "bias")]
    small_first = encoder.get(FIRST_KERNEL[flavor], (7,))[0] < 7

    def distance(structure: Structure) -> int:
        depth, sk, se, stem = structure
        blocks, bottleneck = sum(BLOCKS[depth]), depth >= SMALLEST_BOTTLENECK_DEPTH
        in_stem = 3 if sk and stem == "imagenet" else 1
        kernels = in_stem + len(BLOCKS[depth]) + blocks * ((5 if sk else 3) if bottleneck else 2)
        gammas = in_stem + len(BLOCKS[depth]) + blocks * ((4 if sk else 3) if bottleneck else 2)
        biases = 2 * blocks if se else 0
        differences = zip(found, (kernels + biases, gammas, biases))
        # Without selective kernels both stems have as many variables, but kernels of other sizes.
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


def _mixing_kernels(encoder: Shapes, flavor: str) -> List[Tuple[int, int]]:
    """Inputs and outputs of the kernels by which selective kernels begin to mix their streams."""
    if flavor == "tf2":
        mixing = [shape for name, shape in encoder.items() if name.endswith("/conv2d_0/kernel")]
    else:
        numbered: Dict[int, Shape] = {}
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
        # The second one where rounding makes the product of the first one too small.
        candidates += [reduced / filters, (reduced + 0.5) / filters]
    return max(
        candidates,
        key=lambda ratio: sum(max(int(f * ratio), smallest) == r for f, r in pairs),
    )
