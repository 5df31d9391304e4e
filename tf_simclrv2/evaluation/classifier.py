"""A network's classifier head on a whole split: its answers, and their accuracy."""

from typing import Dict, Iterable, List, Optional

import numpy as np

from tf_simclrv2.evaluation.features import accuracies
from tf_simclrv2.evaluation.measures import Answers
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.networks.network import Network


def top_1_accuracy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """How often the largest of ``logits`` [batch, classes] is at the label, int [batch]."""
    return tf.reduce_mean(keras.metrics.sparse_categorical_accuracy(labels, logits))


def answers(
    network: Network,
    batches: Iterable[Dict[str, tf.Tensor]],
    strategy: Optional[tf.distribute.Strategy] = None,
    jit_compile: bool = False,
) -> Answers:
    """What a network's classifier makes of images, each counted once.

    Args:
      network: a network with a classifier head.
      batches: dicts of ``image``, float32 [batch, height, width, 3] in [0, 1], ``label``, int
        [batch], and ``weight``, float32 [batch], 0 for images that do not count; spread over the
        strategy's replicas. Where several replicas share a batch, ``number``, int64 [batch], says
        in which order the images are.
      strategy: what computes; by default a single device.
      jit_compile: whether to compile the steps with XLA, for a single device.

    Returns:
      The logits, float32, and the labels, in the order of the images.
    """
    strategy = strategy or tf.distribute.get_strategy()

    @tf.function(reduce_retracing=True, jit_compile=jit_compile)
    def step(batch: Dict[str, tf.Tensor]) -> Dict[str, tf.Tensor]:
        parts = strategy.run(answered, (network, batch))
        return {name: strategy.gather(part, 0) for name, part in parts.items()}

    found: List[Dict[str, np.ndarray]] = []
    for batch in batches:
        parts = {name: part.numpy() for name, part in step(batch).items()}
        counts = parts.pop("weight") > 0
        found.append({name: part[counts] for name, part in parts.items()})
    joined = {name: np.concatenate([each[name] for each in found]) for name in found[0]}
    order = np.argsort(joined.get("number", np.arange(len(joined["label"]))))
    return Answers(joined["logits"][order], joined["label"][order])


def answered(network: Network, batch: Dict[str, tf.Tensor]) -> Dict[str, tf.Tensor]:
    """A batch's logits, and what it says of their images.

    Args:
      network: a network with a classifier head.
      batch: as in :func:`answers`.
    """
    logits = network(batch["image"], training=False)["logits"]
    kept = {name: part for name, part in batch.items() if name in ("weight", "number")}
    return {"logits": logits, "label": tf.cast(batch["label"], tf.int64), **kept}


def run(
    network: Network,
    batches: Iterable[Dict[str, tf.Tensor]],
    strategy: Optional[tf.distribute.Strategy] = None,
    jit_compile: bool = False,
) -> Dict[str, float]:
    """Top-1 and top-5 accuracy and mean cross entropy, each example counted once.

    Args:
      network, batches, strategy, jit_compile: see :func:`answers`.

    Returns:
      See :func:`totals`.
    """
    return totals(answers(network, batches, strategy, jit_compile))


def totals(given: Answers) -> Dict[str, float]:
    """Top-1 and top-5 accuracy in [0, 1], ``loss`` in nats, and ``num_examples``.

    Args:
      given: of a classifier.
    """
    classes = np.arange(given.num_classes)
    counted = accuracies(given.logits, classes, given.labels)
    return {**counted, "loss": given.loss}
