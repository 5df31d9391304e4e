"""Frozen features of whole splits, and the accuracy of what was fitted to them."""

from typing import Dict, Iterable, Iterator, NamedTuple, Optional, Tuple

import numpy as np

from tf_simclrv2.keras2 import tf
from tf_simclrv2.networks.network import Network

# The output of the encoder, h in the paper. The other layers are those of Network.endpoints.
REPRESENTATION = "final_avg_pool"
_TOP = 5


class Features(NamedTuple):
    """A layer's activations for a split of a data set, held in memory.

    Attributes:
      values: float32 [examples, dim].
      labels: int64 [examples].
    """

    values: np.ndarray
    labels: np.ndarray


def features(
    network: Network,
    batches: Iterable[Dict[str, tf.Tensor]],
    layer: str = REPRESENTATION,
    strategy: Optional[tf.distribute.Strategy] = None,
    jit_compile: bool = False,
) -> Features:
    """Computes one layer's activations for every image, without training anything.

    Args:
      network: the network, whose batch norm uses its moving statistics.
      batches: dicts of ``image``, float32 [batch, height, width, 3] in [0, 1], ``label``, int
        [batch], and ``weight``, float32 [batch], 0 for images that only fill a batch up; spread
        over the strategy's replicas.
      layer: a name among :meth:`Network.endpoints`, of a layer with one vector per image.
      strategy: what computes; by default a single device.
      jit_compile: whether to compile the steps with XLA, for a single device.

    Returns:
      The features of the images whose weight is not 0. With several replicas they come in an order
      of their own, but each with its label.

    Raises:
      ValueError: the network has no such layer.
    """
    values, labels = zip(*feature_batches(network, batches, layer, strategy, jit_compile))
    return Features(np.concatenate(values), np.concatenate(labels))


def feature_batches(
    network: Network,
    batches: Iterable[Dict[str, tf.Tensor]],
    layer: str = REPRESENTATION,
    strategy: Optional[tf.distribute.Strategy] = None,
    jit_compile: bool = False,
) -> Iterator[Features]:
    """Computes what :func:`features` does, batch by batch, so that memory never holds all.

    Args:
      network, batches, layer, strategy, jit_compile: see :func:`features`.

    Yields:
      The features of a batch's images whose weight is not 0.

    Raises:
      ValueError: the network has no such layer.
    """
    strategy = strategy or tf.distribute.get_strategy()

    def activations(batch: Dict[str, tf.Tensor]) -> Tuple[tf.Tensor, ...]:
        endpoints = network.endpoints(batch["image"], training=False)
        if layer not in endpoints:
            raise ValueError(f"layer must be one of {', '.join(endpoints)}, but is {layer}.")
        values = tf.cast(endpoints[layer], tf.float32)
        return values, tf.cast(batch["label"], tf.int64), batch["weight"]

    @tf.function(reduce_retracing=True, jit_compile=jit_compile)
    def step(batch: Dict[str, tf.Tensor]) -> Tuple[tf.Tensor, ...]:
        return tuple(strategy.gather(part, 0) for part in strategy.run(activations, (batch,)))

    for batch in batches:
        values, labels, weights = (part.numpy() for part in step(batch))
        yield Features(values[weights > 0], labels[weights > 0])


def accuracies(scores: np.ndarray, classes: np.ndarray, labels: np.ndarray) -> Dict[str, float]:
    """Counts how often the highest, and one of the five highest scores, is the label's.

    Args:
      scores: float [examples, classes]; of equal ones the first counts as the higher one.
      classes: int [classes], the class that each column is about.
      labels: int [examples]; one that is not among the classes counts as wrong.

    Returns:
      ``top_1_accuracy`` and ``top_5_accuracy`` in [0, 1], and ``num_examples``.
    """
    best = np.argsort(-scores, axis=1, kind="stable")[:, :_TOP]
    right = classes[best] == labels[:, np.newaxis]
    return {
        "top_1_accuracy": float(right[:, 0].mean()),
        "top_5_accuracy": float(right.any(axis=1).mean()),
        "num_examples": len(labels),
    }
