"""The layers that encoder and heads are made of, with the padding and epsilon of the paper's code.

The paper's code is google-research/simclr; what our layers compute is compared with it number by
number (docs/fidelity.md).
"""

import contextlib
import threading
from typing import Optional

from tf_simclrv2.keras2 import keras, tf

BATCH_NORM_EPSILON = 1e-5
# The kernel's gradient of a strided 1x1 convolution of fewer channels is wrong in oneDNN, which
# writes beyond its memory (uxlfoundation/oneDNN#6035). Its blocks have 8 channels with AVX2, the
# most 16.
_ONEDNN_CHANNEL_BLOCK = 16

# Replicas are traced in threads of their own.
_this_thread = threading.local()


@contextlib.contextmanager
def _recomputation():
    """Within it batch norm leaves its moving statistics, which the first computation updated."""
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
    """

    def __init__(
        self,
        decay: float = 0.9,
        center: bool = True,
        zero_gamma: bool = False,
        synchronized: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.decay = decay
        self.center = center
        self.zero_gamma = zero_gamma
        self.synchronized = synchronized

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
        if inputs.shape.rank == 4 and self._num_replicas() == 1:
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

    def _batch_statistics(self, inputs):
        axes = list(range(inputs.shape.rank - 1))
        if self._num_replicas() == 1:
            return tf.nn.moments(inputs, axes)
        # Two exchanges. One, of means and means of squares, would lose digits to cancellation.
        mean = _mean_over_replicas(tf.reduce_mean(inputs, axes))
        return mean, _mean_over_replicas(tf.reduce_mean(tf.square(inputs - mean), axes))


def _mean_over_replicas(values):
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, values)


class Conv(keras.layers.Layer):
    """A convolution without bias, padded by its kernel's size alone when it strides.

    TensorFlow's ``SAME`` pads a strided convolution by the input's size as well; the paper's
    networks pad the same on every image.

    Args:
      filters: output channels.
      kernel_size: height and width of the kernel.
      strides: stride in both directions.
    """

    def __init__(self, filters: int, kernel_size: int, strides: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self._skips_pixels_first = False

    def build(self, input_shape: tf.TensorShape) -> None:
        narrow = input_shape[-1] < _ONEDNN_CHANNEL_BLOCK
        self._skips_pixels_first = self.kernel_size == 1 and self.strides > 1 and narrow
        self.conv = keras.layers.Conv2D(
            self.filters,
            self.kernel_size,
            1 if self._skips_pixels_first else self.strides,
            padding="same" if self.strides == 1 else "valid",
            use_bias=False,
            kernel_initializer=keras.initializers.VarianceScaling(),
        )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolves ``inputs`` [batch, height, width, channels]."""
        if self._skips_pixels_first:
            inputs = inputs[:, :: self.strides, :: self.strides]
        elif self.strides > 1:
            inputs = pad_for_kernel(inputs, self.kernel_size)
        return self.conv(inputs)


def pad_for_kernel(inputs: tf.Tensor, kernel_size: int) -> tf.Tensor:
    """Pads height and width with ``kernel_size - 1`` zeros, the odd one at the end."""
    before = (kernel_size - 1) // 2
    padding = [before, kernel_size - 1 - before]
    return tf.pad(inputs, [[0, 0], padding, padding, [0, 0]])


class ConvBatchNorm(keras.layers.Layer):
    """A convolution, batch norm and, unless told otherwise, ReLU.

    Args:
      filters: output channels.
      kernel_size: height and width of the kernel.
      strides: stride in both directions.
      relu: whether to end with ReLU.
      zero_gamma: see :class:`BatchNorm`.
      batch_norm: further arguments of every :class:`BatchNorm` of the network.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        strides: int = 1,
        relu: bool = True,
        zero_gamma: bool = False,
        batch_norm: Optional[dict] = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.relu = relu
        self.conv = Conv(filters, kernel_size, strides)
        self.batch_norm = BatchNorm(zero_gamma=zero_gamma, **(batch_norm or {}))

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps ``inputs`` [batch, height, width, channels] to the same rank."""
        outputs = self.batch_norm(self.conv(inputs), training=training)
        return tf.nn.relu(outputs) if self.relu else outputs


def _mean_over_pixels(inputs):
    # Added up in half precision, a sum soon no longer grows.
    mean = tf.reduce_mean(tf.cast(inputs, tf.float32), axis=[1, 2], keepdims=True)
    return tf.cast(mean, inputs.dtype)


class SelectiveKernelConv(keras.layers.Layer):
    """Two 3x3 convolutions, mixed per channel by a softmax over the two (Li et al., 2019).

    The paper's variant (SimCLRv2, section 2): both streams are 3x3 and computed as one.

    Args:
      filters: output channels.
      strides: stride of the convolutions.
      sk_ratio: width of the mixing layer, of ``filters``; at least 32 channels.
      batch_norm: further arguments of every :class:`BatchNorm` of the network.
    """

    MIN_MIXING_CHANNELS = 32

    def __init__(
        self, filters: int, strides: int, sk_ratio: float, batch_norm: Optional[dict] = None, **kw
    ):
        super().__init__(**kw)
        mixing_channels = max(int(filters * sk_ratio), self.MIN_MIXING_CHANNELS)
        self.streams = ConvBatchNorm(2 * filters, 3, strides, batch_norm=batch_norm)
        self.squeeze = ConvBatchNorm(mixing_channels, 1, batch_norm=batch_norm)
        self.mix = Conv(2 * filters, 1)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps ``inputs`` [batch, height, width, channels] to ``filters`` channels."""
        first, second = tf.split(self.streams(inputs, training=training), 2, axis=-1)
        mixing = self.mix(self.squeeze(_mean_over_pixels(first + second), training=training))
        first_logits, second_logits = tf.split(tf.cast(mixing, tf.float32), 2, axis=-1)
        # A softmax over two logits is a sigmoid of their difference.
        weight = tf.cast(tf.sigmoid(first_logits - second_logits), first.dtype)
        return first * weight + second * (1 - weight)


class SqueezeExcite(keras.layers.Layer):
    """Scales each channel by a gate computed from all channels' means (Hu et al., 2018).

    Args:
      channels: channels of the input.
      reduced_channels: width of the gate's hidden layer.
    """

    def __init__(self, channels: int, reduced_channels: int, **kwargs):
        super().__init__(**kwargs)
        self.reduce, self.expand = (
            keras.layers.Conv2D(units, 1, kernel_initializer=keras.initializers.VarianceScaling())
            for units in (reduced_channels, channels)
        )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps ``inputs`` [batch, height, width, channels] to the same shape."""
        gate = self.expand(tf.nn.relu(self.reduce(_mean_over_pixels(inputs))))
        return inputs * tf.cast(tf.sigmoid(tf.cast(gate, tf.float32)), inputs.dtype)
