"""Batch norm with the paper's epsilon, and recomputation, in which it must not count twice."""

import contextlib
import threading
from typing import Any, Dict

from tf_simclrv2.keras2 import keras, registered, tf

BATCH_NORM_EPSILON = 1e-5

# Replicas are traced in threads of their own.
_this_thread = threading.local()


@contextlib.contextmanager
def _recomputation():
    """Keeps batch norm from updating its moving statistics, which the first computation did."""
    _this_thread.recomputes = True
    try:
        yield
    finally:
        _this_thread.recomputes = False


def rematerialized(layer: keras.layers.Layer, inputs: tf.Tensor) -> tf.Tensor:
    """Calls a layer in training mode; its activations are computed again for the gradient.

    Chen et al., "Training Deep Nets with Sublinear Memory Cost" (arXiv:1604.06174). Unlike
    ``tf.recompute_grad`` it updates batch norm's moving statistics once.

    Args:
      layer: with variables already created.
      inputs: its one input.

    Returns:
      What ``layer(inputs, training=True)`` returns, with the same gradients.
    """

    @tf.custom_gradient
    def call(inputs):
        def gradient(upstream, variables=()):
            # Without this order it would be computed at once, and kept. It has to be one of data:
            # XLA drops any other, and then makes one computation of the two.
            corner = tf.reshape(upstream, [-1])[0]
            zero = tf.where(tf.math.is_nan(corner), corner, tf.zeros_like(corner))
            again = inputs + tf.cast(zero, inputs.dtype)
            with tf.GradientTape() as tape, _recomputation():
                tape.watch(again)
                outputs = layer(again, training=True)
            flat = tape.gradient(outputs, [again, *variables], output_gradients=upstream)
            return (flat[0], flat[1:]) if variables else flat[0]

        return layer(inputs, training=True), gradient

    return call(inputs)


@registered
class BatchNorm(keras.layers.Layer):
    """Batch normalisation over all axes but the last, with statistics in float32.

    Unlike Keras's fused layer, it stores the population's variance (divided by n, not n - 1), as
    the paper's code does, so that one replica and many, which must sum over replicas, agree. In a
    frozen layer (``trainable = False``) it uses the moving statistics and leaves them as they are.

    Args:
      decay: decay of the moving statistics at each training step.
      center: whether to learn an offset ``beta``.
      zero_gamma: start the scale ``gamma`` from 0, so that a residual block starts as its shortcut.
      synchronized: take the statistics over all replicas of the strategy (global batch norm).
      parts: into how many parts of equal size to split a replica's batch while training, each with
        statistics of its own; above 1 replicas are not synchronized.
    """

    def __init__(
        self,
        decay: float = 0.9,
        center: bool = True,
        zero_gamma: bool = False,
        synchronized: bool = True,
        parts: int = 1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.decay = decay
        self.center = center
        self.zero_gamma = zero_gamma
        self.synchronized = synchronized
        self.parts = parts

    def build(self, input_shape: tf.TensorShape) -> None:
        channels = (input_shape[-1],)
        # Without autocast a mixed-precision policy leaves these variables in float32.
        float32 = {"shape": channels, "dtype": tf.float32, "experimental_autocast": False}
        statistics = {
            "trainable": False,
            "aggregation": tf.VariableAggregation.MEAN,
            "synchronization": tf.VariableSynchronization.ON_READ,
            **float32,
        }
        gamma_initializer = "zeros" if self.zero_gamma else "ones"
        self.gamma = self.add_weight("gamma", initializer=gamma_initializer, **float32)
        self.beta = None
        if self.center:
            self.beta = self.add_weight("beta", initializer="zeros", **float32)
        self.moving_mean = self.add_weight("moving_mean", initializer="zeros", **statistics)
        self.moving_variance = self.add_weight("moving_variance", initializer="ones", **statistics)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Normalises ``inputs`` [..., channels]; returns a tensor of the same shape and dtype."""
        beta = tf.zeros_like(self.gamma) if self.beta is None else self.beta
        if not (training and self.trainable):
            if inputs.shape.rank == 4:
                return self._fused(inputs, beta, self.moving_mean, self.moving_variance)[0]
            return self._normalize(inputs, beta, self.moving_mean, self.moving_variance)
        if self.parts > 1:
            outputs, mean, variance = self._normalize_parts(inputs, beta)
        elif inputs.shape.rank == 4 and self._num_replicas() == 1:
            outputs, mean, variance = self._fused(inputs, beta)
            count = tf.cast(tf.size(inputs) // tf.shape(inputs)[-1], tf.float32)
            # The fused kernel returns the sample's variance.
            variance *= tf.maximum(count - 1.0, 1.0) / count
        else:
            mean, variance = self._batch_statistics(tf.cast(inputs, tf.float32))
            outputs = self._normalize(inputs, beta, mean, variance)
        if getattr(_this_thread, "recomputes", False):
            return outputs
        self.moving_mean.assign_sub((self.moving_mean - mean) * (1.0 - self.decay))
        self.moving_variance.assign_sub((self.moving_variance - variance) * (1.0 - self.decay))
        return outputs

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "decay": self.decay,
            "center": self.center,
            "zero_gamma": self.zero_gamma,
            "synchronized": self.synchronized,
            "parts": self.parts,
        }

    @property
    def shared_arguments(self) -> Dict[str, Any]:
        """The constructor's arguments that all batch norms of a network have in common."""
        return {"decay": self.decay, "synchronized": self.synchronized}

    def _num_replicas(self) -> int:
        return tf.distribute.get_strategy().num_replicas_in_sync if self.synchronized else 1

    def _fused(self, inputs, beta, mean=None, variance=None):
        return tf.compat.v1.nn.fused_batch_norm(
            inputs,
            self.gamma,
            beta,
            mean,
            variance,
            BATCH_NORM_EPSILON,
            is_training=mean is None,
        )

    def _normalize(self, inputs, beta, mean, variance):
        outputs = tf.nn.batch_normalization(
            tf.cast(inputs, tf.float32), mean, variance, beta, self.gamma, BATCH_NORM_EPSILON
        )
        return tf.cast(outputs, inputs.dtype)

    def _normalize_parts(self, inputs, beta):
        """Each part by its own statistics; returns the means of these over the parts too."""
        shape = tf.shape(inputs)
        apart = tf.reshape(inputs, tf.concat([[self.parts, shape[0] // self.parts], shape[1:]], 0))
        axes = list(range(1, inputs.shape.rank))
        mean, variance = tf.nn.moments(tf.cast(apart, tf.float32), axes, keepdims=True)
        outputs = tf.reshape(self._normalize(apart, beta, mean, variance), shape)
        means = (tf.reduce_mean(part, [0, *axes]) for part in (mean, variance))
        return (tf.ensure_shape(outputs, inputs.shape), *means)

    def _batch_statistics(self, inputs):
        axes = list(range(inputs.shape.rank - 1))
        if self._num_replicas() == 1:
            return tf.nn.moments(inputs, axes)
        # Two exchanges. One, of means and means of squares, would lose digits to cancellation.
        mean = _mean_over_replicas(tf.reduce_mean(inputs, axes))
        return mean, _mean_over_replicas(tf.reduce_mean(tf.square(inputs - mean), axes))


def _mean_over_replicas(values):
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, values)
