"""Metrics of classification, and the evaluation of a network on a whole split."""

from typing import Dict, Iterable, Optional

import numpy as np

from tf_simclrv2.keras2 import tf
from tf_simclrv2.networks.network import Network


def top_1_accuracy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """How often the largest of ``logits`` [batch, classes] is at the label, int [batch]."""
    predicted = tf.argmax(logits, axis=-1, output_type=labels.dtype)
    return tf.reduce_mean(tf.cast(predicted == labels, tf.float32))


def evaluate_classifier(
    network: Network,
    batches: Iterable,
    strategy: Optional[tf.distribute.Strategy] = None,
    jit_compile: bool = False,
) -> Dict[str, float]:
    """Top-1 and top-5 accuracy and mean cross entropy, each example counted once.

    Args:
      network: a network with a classifier head.
      batches: dicts of ``image`` [batch, height, width, 3], ``label`` [batch] and ``weight``
        [batch], 0 for images that do not count; spread over the strategy's replicas.
      strategy: what computes; by default a single device.
      jit_compile: whether to compile the steps with XLA, for a single device.

    Returns:
      ``top_1_accuracy``, ``top_5_accuracy``, ``loss`` in nats, and ``num_examples``.
    """
    strategy = strategy or tf.distribute.get_strategy()

    @tf.function(reduce_retracing=True, jit_compile=jit_compile)
    def count(batch):
        return strategy.reduce(
            tf.distribute.ReduceOp.SUM, strategy.run(weighted_counts, (network, batch)), axis=None
        )

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
      batch: as in :func:`evaluate_classifier`.
    """
    labels = tf.cast(batch["label"], tf.int32)
    logits = network(batch["image"], training=False)["logits"]
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    top_1 = tf.argmax(logits, axis=-1, output_type=labels.dtype) == labels
    top_5 = tf.math.in_top_k(labels, logits, min(5, logits.shape[-1]))
    values = [tf.cast(top_1, tf.float32), tf.cast(top_5, tf.float32), losses]
    values.append(tf.ones_like(losses))
    return tf.stack([tf.reduce_sum(value * batch["weight"]) for value in values])
