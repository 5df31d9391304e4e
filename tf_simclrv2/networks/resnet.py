"""The encoder: a ResNet with variable depth and width, selective kernels and squeeze-excite.

Sources: He et al. 2015 (arXiv:1512.03385); ResNet-D, He et al. 2018 (arXiv:1812.01187); SimCLRv2,
section 2 and appendix A.
"""

from typing import Dict

from tf_simclrv2.config import NetworkConfig
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.networks.layers import (
    BatchNorm,
    Conv,
    ConvBatchNorm,
    SelectiveKernelConv,
    SqueezeExcite,
    pad_for_kernel,
    rematerialized,
)

BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
SMALLEST_BOTTLENECK_DEPTH = 50


def _batch_norm_arguments(config: NetworkConfig) -> dict:
    return {"decay": config.batch_norm_decay, "synchronized": config.global_bn}


class Shortcut(keras.layers.Layer):
    """A block's shortcut where the shape changes: a 1x1 convolution and batch norm.

    With selective kernels it is ResNet-D's: the average over 2x2 pixels strides, not the
    convolution, so that no pixel is left out.

    Args:
      filters: output channels.
      strides: stride of the block.
      config: the network.
    """

    def __init__(self, filters: int, strides: int, config: NetworkConfig, **kwargs):
        super().__init__(**kwargs)
        self.strides = strides
        self.average = config.sk_ratio > 0
        self.pool = keras.layers.AveragePooling2D(2, strides, "same" if strides == 1 else "valid")
        self.projection = ConvBatchNorm(
            filters,
            1,
            1 if self.average else strides,
            relu=False,
            batch_norm=_batch_norm_arguments(config),
        )

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps ``inputs`` [batch, height, width, channels] to the shape of the block's output."""
        if self.average:
            if self.strides > 1:
                inputs = pad_for_kernel(inputs, 2)
            inputs = self.pool(inputs)
        return self.projection(inputs, training=training)


class Block(keras.layers.Layer):
    """A residual block: two 3x3 convolutions, or a bottleneck's 1x1, 3x3, 1x1.

    Args:
      filters: channels inside the block; a bottleneck has four times as many at its end.
      strides: stride of the 3x3 convolution (of the first one, if there are two).
      projected: whether the shortcut is a projection; otherwise it is the input itself.
      config: the network.
    """

    def __init__(
        self, filters: int, strides: int, projected: bool, config: NetworkConfig, **kwargs
    ):
        super().__init__(**kwargs)
        batch_norm = _batch_norm_arguments(config)
        bottleneck = config.resnet_depth >= SMALLEST_BOTTLENECK_DEPTH
        out_filters = 4 * filters if bottleneck else filters
        self.shortcut = Shortcut(out_filters, strides, config) if projected else None
        if bottleneck:
            if config.sk_ratio > 0:
                middle = SelectiveKernelConv(filters, strides, config.sk_ratio, batch_norm)
            else:
                middle = ConvBatchNorm(filters, 3, strides, batch_norm=batch_norm)
            self.convolutions = [ConvBatchNorm(filters, 1, batch_norm=batch_norm), middle]
        else:
            self.convolutions = [ConvBatchNorm(filters, 3, strides, batch_norm=batch_norm)]
        self.convolutions.append(
            ConvBatchNorm(
                out_filters,
                1 if bottleneck else 3,
                relu=False,
                zero_gamma=True,
                batch_norm=batch_norm,
            )
        )
        self.squeeze_excite = None
        if config.se_ratio > 0:
            reduced = max(1, int(filters * config.se_ratio))
            self.squeeze_excite = SqueezeExcite(out_filters, reduced)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps ``inputs`` [batch, height, width, channels] to [..., out_filters]."""
        shortcut = inputs
        if self.shortcut is not None:
            shortcut = self.shortcut(inputs, training=training)
        outputs = inputs
        for layer in self.convolutions:
            outputs = layer(outputs, training=training)
        if self.squeeze_excite is not None:
            outputs = self.squeeze_excite(outputs)
        return tf.nn.relu(outputs + shortcut)


class Stem(keras.layers.Layer):
    """The first layers: CIFAR's 3x3 convolution, or ImageNet's strided one and max pooling.

    With selective kernels ImageNet's is ResNet-D's: three 3x3 convolutions instead of one 7x7.

    Args:
      config: the network, with a resolved stem.
    """

    def __init__(self, config: NetworkConfig, **kwargs):
        super().__init__(**kwargs)
        batch_norm = _batch_norm_arguments(config)
        filters = int(64 * config.width_multiplier)
        self.deep = []
        if config.stem == "cifar":
            self.conv = Conv(filters, 3)
        elif config.sk_ratio > 0:
            self.deep = [
                ConvBatchNorm(filters // 2, 3, 2, batch_norm=batch_norm),
                ConvBatchNorm(filters // 2, 3, batch_norm=batch_norm),
            ]
            self.conv = Conv(filters, 3)
        else:
            self.conv = Conv(filters, 7, 2)
        self.batch_norm = BatchNorm(**batch_norm)
        self.pool = None
        if config.stem == "imagenet":
            self.pool = keras.layers.MaxPooling2D(3, 2, "same")

    def call(self, inputs: tf.Tensor, training: bool = False) -> Dict[str, tf.Tensor]:
        """Maps images to ``initial_conv`` and, normalised and pooled, ``initial_max_pool``."""
        for layer in self.deep:
            inputs = layer(inputs, training=training)
        initial_conv = self.conv(inputs)
        outputs = tf.nn.relu(self.batch_norm(initial_conv, training=training))
        if self.pool is not None:
            outputs = self.pool(outputs)
        return {"initial_conv": initial_conv, "initial_max_pool": outputs}


class Encoder(keras.Model):
    """A ResNet without a classifier: images to representations ``h`` (SimCLRv2, section 2).

    Args:
      config: depth, width, selective kernels and so on, with a resolved stem.

    Attributes:
      rematerialize: whether training computes each block's activations again for the gradient
        instead of keeping them, which saves memory and costs about a third of the step.

    Raises:
      ValueError: the config's stem is still ``auto``.

    Example:
      encoder = Encoder(NetworkConfig(resnet_depth=50).resolved(image_size=224))
      representation = encoder(tf.zeros([1, 224, 224, 3]))  # [1, 2048]
    """

    def __init__(self, config: NetworkConfig, **kwargs):
        super().__init__(**kwargs)
        if config.stem == "auto":
            raise ValueError("Encoder needs a config whose stem is resolved, got stem=auto.")
        self.config = config
        self.rematerialize = False
        self.stem = Stem(config)
        self.groups = []
        for group, blocks in enumerate(BLOCKS[config.resnet_depth]):
            filters = int(64 * 2**group * config.width_multiplier)
            strides = 1 if group == 0 else 2
            self.groups.append(
                [
                    Block(filters, strides if block == 0 else 1, block == 0, config)
                    for block in range(blocks)
                ]
            )

    @property
    def representation_dim(self) -> int:
        """Channels of the representation."""
        expansion = 4 if self.config.resnet_depth >= SMALLEST_BOTTLENECK_DEPTH else 1
        return int(512 * self.config.width_multiplier) * expansion

    def freeze_through(self, block_group: int) -> None:
        """Freezes the stem and block groups 1 to ``block_group``; -1 freezes nothing.

        Frozen layers keep their weights and run batch norm with moving statistics.
        """
        if block_group < 0:
            return
        self.stem.trainable = False
        for group in self.groups[:block_group]:
            for block in group:
                block.trainable = False

    def endpoints(self, images: tf.Tensor, training: bool = False) -> Dict[str, tf.Tensor]:
        """The activations of every stage, named as in the paper's published modules.

        Args:
          images: float [batch, height, width, 3] in [0, 1].
          training: whether batch norm uses the batch's statistics.

        Returns:
          ``initial_conv``, ``initial_max_pool``, ``block_group1`` to ``block_group4``, each
          [batch, height, width, channels], and ``final_avg_pool`` [batch, representation_dim].
        """
        endpoints = self.stem(images, training=training)
        outputs = endpoints["initial_max_pool"]
        for index, group in enumerate(self.groups):
            for block in group:
                if training and self.rematerialize:
                    outputs = rematerialized(block, outputs)
                else:
                    outputs = block(outputs, training=training)
            endpoints[f"block_group{index + 1}"] = outputs
        # The mean over pixels is a normalisation: float32 also under mixed precision.
        endpoints["final_avg_pool"] = tf.reduce_mean(tf.cast(outputs, tf.float32), axis=[1, 2])
        return endpoints

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps ``images`` [batch, height, width, 3] in [0, 1] to [batch, representation_dim]."""
        return self.endpoints(images, training=training)["final_avg_pool"]
