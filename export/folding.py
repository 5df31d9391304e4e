"""Batch norm folded into the convolutions before it, for exports that only infer."""

from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.networks.layers import BATCH_NORM_EPSILON
from tf_simclrv2.networks.network import Network


class _Offset(keras.layers.Layer):
    """What is left of a folded batch norm: a number added to each channel.

    Args:
      offset: float32 [channels].
    """

    def __init__(self, offset: tf.Tensor, **kwargs):
        super().__init__(**kwargs)
        self.offset = tf.Variable(offset, trainable=False)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Adds the offset to ``inputs`` [..., channels]."""
        return tf.nn.bias_add(inputs, self.offset)


def fold_batch_norm(network: Network) -> None:
    """Multiplies each batch norm's scale into the kernel before it, and leaves an offset.

    With moving statistics batch norm is ``gamma * (x - mean) / sqrt(variance + epsilon) + beta``.

    Args:
      network: changed in place; it gives the same outputs as before with ``training=False``, and
        must not be trained any more.
    """
    for layer in list(network._flatten_layers()):
        batch_norm = getattr(layer, "batch_norm", None)
        if batch_norm is None:
            continue
        kernel = (layer.conv.conv if hasattr(layer, "conv") else layer.dense).kernel
        scale = batch_norm.gamma * tf.math.rsqrt(batch_norm.moving_variance + BATCH_NORM_EPSILON)
        offset = -batch_norm.moving_mean * scale
        if batch_norm.beta is not None:
            offset += batch_norm.beta
        kernel.assign(kernel * scale)
        layer.batch_norm = _Offset(offset)
