"""What rows look at, of a job of a training command: its run, length and network."""

import itertools
import json
import os
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np

from tests.net.held import Held
from tests.net.table import filled
from tests.net.watched import saved_in
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.networks.layers import BatchNorm, Conv, SelectiveKernelConv, SqueezeExcite

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_STEM = "encoder/stem/conv/conv/kernel"


def refused(held: Held) -> Optional[str]:
    """The flag that the command refused."""
    return held.refused


def tpu(held: Held) -> Optional[Dict[str, Any]]:
    """Which TPU was looked for."""
    return held.tpu


# The run.


def is_at(path: str) -> Callable[[Held], bool]:
    """Whether there is something at a path."""

    def is_there(held: Held) -> bool:
        return os.path.exists(filled(path, held.command))

    return is_there


def what_is_done(held: Held) -> Tuple[bool, bool]:
    """Whether the job trains, and whether it evaluates."""
    return held.fitted is not None, os.path.exists(os.path.join(held.path, "result.json"))


def split_and_count(held: Held) -> Optional[Tuple[str, int]]:
    """Which split was evaluated, and how many of its images; None if none was."""
    path = os.path.join(held.path, "result.json")
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        content = json.load(file)
    return content["split"], content["num_examples"]


def baselines(held: Held) -> List[str]:
    """Which baselines stand beside the evaluation."""
    with open(os.path.join(held.path, "result.json"), encoding="utf-8") as file:
        return sorted(json.load(file).get("baselines", {}).get("top_1_accuracy", {}))


def folds(held: Held) -> Optional[int]:
    """In how many folds the labels were cross-validated; None if they were not."""
    with open(os.path.join(held.path, "result.json"), encoding="utf-8") as file:
        return json.load(file).get("cross_validation", {}).get("folds")


def cross_validated(held: Held) -> List[str]:
    """What was cross-validated, in the result."""
    with open(os.path.join(held.path, "result.json"), encoding="utf-8") as file:
        return sorted({"cross_validation", "cross_fine_tuning"} & json.load(file).keys())


def fits_if_it_diverges(held: Held) -> int:
    """How often it is trained if its loss is never finite."""
    return held.fits_if_it_diverges()


def logged_steps(held: Held) -> List[float]:
    """The steps of the rows in ``metrics.csv``."""
    return [row["step"] for row in held.played.rows]


def saved_steps(held: Held) -> List[int]:
    """The steps of the checkpoints that are left in the end."""
    return held.played.saved


def monitored_steps(held: Held) -> List[int]:
    """The steps of the rows of ``metrics.csv`` with monitors."""
    return [row["step"] for row in held.played.rows if "monitor_rank_h" in row]


def monitored_images(held: Held) -> int:
    """On how many images monitors are measured."""
    (monitor,) = [each for each in held.fitted["callbacks"] if hasattr(each, "readings")]
    return sum(len(batch["image"]) for batch in monitor._batches)


def best_steps(held: Held) -> List[int]:
    """The steps of the checkpoints in ``best/``."""
    assert held.played.saved
    return saved_in(os.path.join(held.path, "best"))


def steps(held: Held) -> int:
    """How many steps are trained."""
    return held.steps


def batch_size(held: Held) -> int:
    """How many images a batch brings."""
    return len(next(iter(held.batch.values())))


def image_shapes(held: Held) -> List[Tuple[int, int]]:
    """Height and width of each stream's images."""
    return sorted({value.shape[1:3] for value in held.batch.values() if value.ndim == 4})


# The network.


def _layers(held: Held, kind: type) -> List[keras.layers.Layer]:
    return [layer for layer in held.network._flatten_layers() if isinstance(layer, kind)]


def _blocks(held: Held) -> List[keras.layers.Layer]:
    return list(itertools.chain(*held.network.encoder.groups))


def depth(held: Held) -> Tuple[int, int]:
    """The number of blocks, and of convolutions on a block's main path."""
    return len(_blocks(held)), len(_blocks(held)[0].convolutions)


def channels(held: Held) -> int:
    """The channels behind the first convolution."""
    return held.network.encoder.stem.conv.conv.kernel.shape[-1]


def selective_kernels(held: Held) -> int:
    return len(_layers(held, SelectiveKernelConv))


def squeezed_channels(held: Held) -> List[int]:
    """The widths of the squeeze-and-excitation layers."""
    return [layer.reduce.filters for layer in _layers(held, SqueezeExcite)]


def stem_pools(held: Held) -> bool:
    """Whether the first layers are ImageNet's."""
    return held.network.encoder.stem.pool is not None


def statistics_decay(held: Held) -> float:
    """The decay of batch norm's moving statistics, from two steps on the same images."""
    first = next(value for value in held.fed.values() if value.ndim == 4)
    means = [layer.moving_mean for layer in _layers(held, BatchNorm)]
    with held.unchanged():
        held.network(first, training=True)
        once = np.concatenate([mean.numpy() for mean in means])
        held.network(first, training=True)
        twice = np.concatenate([mean.numpy() for mean in means])
    moved = np.abs(once) > 1e-3
    return float(np.median(twice[moved] / once[moved])) - 1


def synchronized(held: Held) -> List[bool]:
    """Whether batch norm's statistics are those of all replicas."""
    return sorted({layer.synchronized for layer in _layers(held, BatchNorm)})


def compute_dtypes(held: Held) -> List[str]:
    """The number formats of the encoder's convolutions."""
    encoder = held.network.encoder._flatten_layers()
    return sorted({layer.compute_dtype for layer in encoder if isinstance(layer, Conv)})


def head_layers(held: Held) -> List[bool]:
    """Of each layer of the projection head, whether it is the last of all."""
    return [layer.last for layer in held.network.projection_head.projections]


def head_dim(held: Held) -> Optional[int]:
    """The dimension of the projection head's output."""
    layers = held.network.projection_head.projections
    return layers[-1].dense.units if layers else None


def classifies(held: Held) -> bool:
    return held.network.supervised_head is not None


def num_classes(held: Held) -> int:
    """How many classes the classifier tells apart."""
    return held.network.supervised_head.dense.units


def read_by_classifier(held: Held) -> List[int]:
    """Which of the head's outputs give the logits: 0 its input, 1 its first layer."""
    images = next(value for value in held.fed.values() if value.ndim == 4)
    ends = held.network.endpoints(images, training=True)
    layers = [ends["proj_head_input"]]
    layers += [
        ends[f"proj_layer_{number}"] for number in range(1, 4) if f"proj_layer_{number}" in ends
    ]
    kernel, bias = held.network.supervised_head.dense.weights
    return [
        number
        for number, hidden in enumerate(layers)
        if hidden.shape[-1] == kernel.shape[0]
        and np.allclose(tf.cast(hidden, tf.float32) @ kernel + bias, ends["logits_sup"], atol=1e-5)
    ]


def classifier_is_zero(held: Held) -> bool:
    return not np.any(held.network.supervised_head.dense.kernel.numpy())


def classifier_is_fitted(held: Held) -> bool:
    """Whether the classifier starts with offsets; random ones have none."""
    return bool(np.any(held.network.supervised_head.dense.bias.numpy()))


def weights(held: Held) -> np.ndarray:
    """All weights of the network, before training."""
    return np.concatenate([v.numpy().ravel() for v in held.network.trainable_variables])


def trained_parts(held: Held) -> List[bool]:
    """Whether the stem and each group of blocks are trained."""
    encoder = held.network.encoder
    parts = [[encoder.stem], *encoder.groups]
    return [any(layer.trainable_variables for layer in part) for part in parts]


def starts_from(path: str) -> Callable[[Held], List[str]]:
    """Which network of a run the encoder starts from: ``network``, ``memory/network``."""

    def start(held: Held) -> List[str]:
        own = held.network.encoder.stem.conv.conv.kernel.numpy()
        reader = tf.train.load_checkpoint(f"{filled(path, held.command)}/checkpoints")
        names = [f"{name}/{_STEM}{_VALUE}" for name in ("network", "memory/network")]
        kernels = {n: reader.get_tensor(n) for n in names if reader.has_tensor(n)}
        return [
            n[: -len(f"/{_STEM}{_VALUE}")] for n, k in kernels.items() if np.array_equal(k, own)
        ]

    return start
