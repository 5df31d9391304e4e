"""Accuracy of a network's classifier head on a whole split."""

from typing import Dict, Iterable, Optional

import numpy as np

from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.networks.network import Network

_TOP = 5


def top_1_accuracy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """How often the largest of ``logits`` [batch, classes] is at the label, int [batch]."""
    return tf.reduce_mean(keras.metrics.sparse_categorical_accuracy(labels, logits))


def run(
    network: Network,
    batches: Iterable[Dict[str, tf.Tensor]],
    strategy: Optional[tf.distribute.Strategy] = None,
    jit_compile: bool = False,
) -> Dict[str, float]:
    """Top-1 and top-5 accuracy and mean cross entropy, each example counted once.

    Args:
      network: a network with a classifier head.
      batches: dicts of ``image``, float32 [batch, height, width, 3] in [0, 1], ``label``, int
        [batch], and ``weight``, float32 [batch], 0 for images that do not count; spread over the
        strategy's replicas.
      strategy: what computes; by default a single device.
      jit_compile: whether to compile the steps with XLA, for a single device.

    Returns:
      ``top_1_accuracy`` and ``top_5_accuracy`` in [0, 1], ``loss`` in nats, and ``num_examples``.
    """
    strategy = strategy or tf.distribute.get_strategy()

    @tf.function(reduce_retracing=True, jit_compile=jit_compile)
    def count(batch: Dict[str, tf.Tensor]) -> tf.Tensor:
        return strategy.reduce(
            tf.distribute.ReduceOp.SUM, strategy.run(weighted_counts, (network, batch)), axis=None
        )

    # In float64. Keras's metric objects add up in float32, so that result.json would hold
    # 0.9638888835906982 instead of 347/360, and they don't say how many examples there were.
    totals = np.zeros(4)
    for batch in batches:
        totals += count(batch).numpy()
    top_1, top_5, loss, num_examples = totals
    return {
        "top_1_accuracy": top_1 / max(num_examples, 1),
        "top_5_accuracy": top_5 / max(num_examples, 1),
        "loss": loss / max(num_examples, 1),
        "num_examples": round(num_examples),
    }


def weighted_counts(network: Network, batch: Dict[str, tf.Tensor]) -> tf.Tensor:
    """Sums over a batch: right in the first place, in the first five, loss, examples; float32 [4].

    Args:
      network: a network with a classifier head.
      batch: as in :func:`run`.
    """
    labels = tf.cast(batch["label"], tf.int32)
    logits = network(batch["image"], training=False)["logits"]
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    # XLA can't take the first five of fewer classes.
    top = min(_TOP, logits.shape[-1])
    values = [
        keras.metrics.sparse_categorical_accuracy(labels, logits),
        keras.metrics.sparse_top_k_categorical_accuracy(labels, logits, top),
        losses,
        tf.ones_like(losses),
    ]
    return tf.stack([tf.reduce_sum(value * batch["weight"]) for value in values])
