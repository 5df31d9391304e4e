"""The layers that encoder and heads are made of, with the padding and epsilon of the paper's code.

The paper's code is google-research/simclr; what our layers compute is compared with it number by
number (docs/fidelity.md).
"""

from typing import Any, Dict, Mapping, Optional, Type, TypeVar, Union

from tf_simclrv2.keras2 import keras, registered, tf
from tf_simclrv2.networks.batch_norm import BATCH_NORM_EPSILON, BatchNorm

IMAGES = tf.TensorSpec([None, None, None, 3], tf.float32, "images")

# The kernel's gradient of a strided 1x1 convolution of fewer channels is wrong in oneDNN, which
# writes beyond its memory (uxlfoundation/oneDNN#6035). Its blocks have 8 channels with AVX2, the
# most 16.
_ONEDNN_CHANNEL_BLOCK = 16

Config = TypeVar("Config")


def as_config(kind: Type[Config], value: Union[Config, Mapping[str, Any]]) -> Config:
    """Returns a config; a mapping of its fields, as a layer's get_config holds, becomes one."""
    return kind(**value) if isinstance(value, Mapping) else value


def inherited(layer: keras.layers.Layer) -> Dict[str, Any]:
    """What a layer's parts take over from it: its number format, and whether it trains."""
    return {"dtype": layer.dtype_policy, "trainable": layer.trainable}


@registered
class Conv(keras.layers.Layer):
    """A convolution without bias, padded only by its kernel's size when it strides.

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
            **inherited(self),
        )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolves ``inputs`` [batch, height, width, channels]."""
        if self._skips_pixels_first:
            inputs = inputs[:, :: self.strides, :: self.strides]
        elif self.strides > 1:
            inputs = pad_for_kernel(inputs, self.kernel_size)
        return self.conv(inputs)

    def get_config(self) -> Dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
        }


def pad_for_kernel(inputs: tf.Tensor, kernel_size: int) -> tf.Tensor:
    """Pads height and width with ``kernel_size - 1`` zeros, the odd one at the end."""
    before = (kernel_size - 1) // 2
    padding = [before, kernel_size - 1 - before]
    return tf.pad(inputs, [[0, 0], padding, padding, [0, 0]])


@registered
class ConvBatchNorm(keras.layers.Layer):
    """A convolution, batch norm and, by default, ReLU.

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
        self.conv = Conv(filters, kernel_size, strides, **inherited(self))
        self.batch_norm = BatchNorm(zero_gamma=zero_gamma, **(batch_norm or {}), **inherited(self))

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps ``inputs`` [batch, height, width, channels] to the same rank."""
        outputs = self.batch_norm(self.conv(inputs), training=training)
        return tf.nn.relu(outputs) if self.relu else outputs

    def get_config(self) -> Dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "filters": self.conv.filters,
            "kernel_size": self.conv.kernel_size,
            "strides": self.conv.strides,
            "relu": self.relu,
            "zero_gamma": self.batch_norm.zero_gamma,
            "batch_norm": self.batch_norm.shared_arguments,
        }


def _mean_over_pixels(inputs):
    # Added up in half precision, a sum soon no longer grows.
    mean = tf.reduce_mean(tf.cast(inputs, tf.float32), axis=[1, 2], keepdims=True)
    return tf.cast(mean, inputs.dtype)


@registered
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
        self.filters = filters
        self.sk_ratio = sk_ratio
        mixing_channels = max(int(filters * sk_ratio), self.MIN_MIXING_CHANNELS)
        own = inherited(self)
        self.streams = ConvBatchNorm(2 * filters, 3, strides, batch_norm=batch_norm, **own)
        self.squeeze = ConvBatchNorm(mixing_channels, 1, batch_norm=batch_norm, **own)
        self.mix = Conv(2 * filters, 1, **own)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps ``inputs`` [batch, height, width, channels] to ``filters`` channels."""
        first, second = tf.split(self.streams(inputs, training=training), 2, axis=-1)
        mixing = self.mix(self.squeeze(_mean_over_pixels(first + second), training=training))
        first_logits, second_logits = tf.split(tf.cast(mixing, tf.float32), 2, axis=-1)
        # A softmax over two logits is a sigmoid of their difference.
        weight = tf.cast(tf.sigmoid(first_logits - second_logits), first.dtype)
        return first * weight + second * (1 - weight)

    def get_config(self) -> Dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "strides": self.streams.conv.strides,
            "sk_ratio": self.sk_ratio,
            "batch_norm": self.streams.batch_norm.shared_arguments,
        }


@registered
class SqueezeExcite(keras.layers.Layer):
    """Scales each channel by a gate computed from all channels' means (Hu et al., 2018).

    Args:
      channels: channels of the input.
      reduced_channels: width of the gate's hidden layer.
    """

    def __init__(self, channels: int, reduced_channels: int, **kwargs):
        super().__init__(**kwargs)
        self.reduce, self.expand = (
            keras.layers.Conv2D(
                units,
                1,
                kernel_initializer=keras.initializers.VarianceScaling(),
                **inherited(self),
            )
            for units in (reduced_channels, channels)
        )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps ``inputs`` [batch, height, width, channels] to the same shape."""
        gate = self.expand(tf.nn.relu(self.reduce(_mean_over_pixels(inputs))))
        return inputs * tf.cast(tf.sigmoid(tf.cast(gate, tf.float32)), inputs.dtype)

    def get_config(self) -> Dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "channels": self.expand.filters,
            "reduced_channels": self.reduce.filters,
        }


__all__ = [
    "BATCH_NORM_EPSILON",
    "IMAGES",
    "BatchNorm",
    "Conv",
    "ConvBatchNorm",
    "SelectiveKernelConv",
    "SqueezeExcite",
    "as_config",
    "inherited",
    "pad_for_kernel",
]
