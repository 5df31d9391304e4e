"""Metrics of classification, and the evaluation of a network on a whole split."""

from typing import Dict

from tf_simclrv2.keras2 import tf
from tf_simclrv2.networks.network import Network


def top_1_accuracy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """How often the largest of ``logits`` [batch, classes] is at the label, int [batch]."""
    predicted = tf.argmax(logits, axis=-1, output_type=labels.dtype)
    return tf.reduce_mean(tf.cast(predicted == labels, tf.float32))


def evaluate_classifier(network: Network, batches: tf.data.Dataset) -> Dict[str, float]:
    """Top-1 and top-5 accuracy and mean cross entropy, each example counted once.

    Args:
      network: a network with a classifier head.
      batches: dicts of ``image`` [batch, height, width, 3] and ``label`` [batch]; the last batch
        may be smaller.

    Returns:
      ``top_1_accuracy``, ``top_5_accuracy``, ``loss`` in nats, and ``num_examples``.
    """

    @tf.function(reduce_retracing=True)
    def count(images, labels):
        logits = network(images, training=False)["logits"]
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        top_1 = tf.argmax(logits, axis=-1, output_type=labels.dtype) == labels
        top_5 = tf.math.in_top_k(labels, logits, min(5, logits.shape[-1]))
        return [tf.reduce_sum(tf.cast(values, tf.float32)) for values in (top_1, top_5, losses)]

    totals, num_examples = [0.0, 0.0, 0.0], 0
    for batch in batches:
        counts = count(batch["image"], tf.cast(batch["label"], tf.int32))
        totals = [total + float(value) for total, value in zip(totals, counts)]
        num_examples += int(batch["label"].shape[0])
    top_1, top_5, loss = (total / max(num_examples, 1) for total in totals)
    return {
        "top_1_accuracy": top_1,
        "top_5_accuracy": top_5,
        "loss": loss,
        "num_examples": num_examples,
    }
