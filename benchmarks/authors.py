"""The authors' code for TensorFlow 2, google-research/simclr, beside which ours is measured."""

import os
import sys
from typing import Sequence

from benchmarks.step import cpu_seconds


def make_importable(simclr: str) -> None:
    """Lets its modules be imported, with the optimizers that they were written for.

    Args:
      simclr: directory of the checkout.
    """
    import tensorflow as tf

    tf.keras.optimizers.Optimizer = tf.keras.optimizers.legacy.Optimizer
    tf.train.CheckpointManager.save = lambda *_, **__: None
    sys.path.insert(0, os.path.join(simclr, "tf2"))


def measure_step(simclr: str, depth: int, image_size: int, batch: int) -> Sequence[float]:
    """Measures a step of pretraining on random images, without blur, as ours is measured.

    Args:
      simclr: directory of the checkout.
      depth: of the ResNet.
      image_size: in pixels.
      batch: images, each with two views.

    Returns:
      CPU seconds of a step, and of its update alone.
    """
    make_importable(simclr)
    import model as networks
    import objective
    import run  # It defines the flags.
    import tensorflow as tf

    run.FLAGS(
        ["run.py", "--train_mode=pretrain", "--optimizer=lars", f"--resnet_depth={depth}",
         f"--image_size={image_size}", "--use_blur=false"]
    )  # fmt: skip
    network, optimizer = networks.Model(10), networks.build_optimizer(0.1)
    images = tf.random.stateless_uniform([batch, image_size, image_size, 6], [0, 0])
    labels = tf.one_hot(tf.zeros([batch], tf.int64), 10)
    network(images, training=False)
    variables = network.trainable_variables

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            projections, logits = network(images, training=True)
            loss, *_ = objective.add_contrastive_loss(projections, temperature=0.1)
            loss += objective.add_supervised_loss(tf.concat([labels, labels], 0), logits)
            loss += networks.add_weight_decay(network, adjust_per_optimizer=True)
        gradients = tape.gradient(loss, variables)
        optimizer.apply_gradients(zip(gradients, variables))

    constant = [tf.fill(each.shape, 1e-3) for each in variables]

    @tf.function
    def update() -> None:
        optimizer.apply_gradients(zip(constant, variables))

    return cpu_seconds(step), cpu_seconds(update)
