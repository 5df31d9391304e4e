"""The encoder: a ResNet with variable depth and width, selective kernels and squeeze-excite.

Sources: He et al. 2015 (arXiv:1512.03385); ResNet-D, He et al. 2018 (arXiv:1812.01187); SimCLRv2,
section 2 and appendix A.
"""

import dataclasses
from typing import Any, Dict, List, Mapping, Optional, Union

from tf_simclrv2.config import NetworkConfig
from tf_simclrv2.keras2 import declare_inputs, keras, registered, tf
from tf_simclrv2.networks.batch_norm import rematerialized
from tf_simclrv2.networks.layers import (
    IMAGES,
    BatchNorm,
    Conv,
    ConvBatchNorm,
    SelectiveKernelConv,
    SqueezeExcite,
    as_config,
    inherited,
    pad_for_kernel,
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

# A config, or a dict of its fields, as get_config returns it.
_NetworkConfig = Union[NetworkConfig, Mapping[str, Any]]


def _batch_norm_arguments(config: NetworkConfig) -> dict:
    return {"decay": config.batch_norm_decay, "synchronized": config.global_bn}


@registered
class Shortcut(keras.layers.Layer):
    """A block's shortcut where the shape changes: a 1x1 convolution and batch norm.

    With selective kernels it is ResNet-D's: the average over 2x2 pixels strides, not the
    convolution, so that no pixel is left out.

    Args:
      filters: output channels.
      strides: stride of the block.
      config: the network.
    """

    def __init__(self, filters: int, strides: int, config: _NetworkConfig, **kwargs):
        super().__init__(**kwargs)
        self.config = config = as_config(NetworkConfig, config)
        self.filters = filters
        self.strides = strides
        self.average = config.sk_ratio > 0
        self.pool = keras.layers.AveragePooling2D(
            2, strides, "same" if strides == 1 else "valid", **inherited(self)
        )
        self.projection = ConvBatchNorm(
            filters,
            1,
            1 if self.average else strides,
            relu=False,
            batch_norm=_batch_norm_arguments(config),
            **inherited(self),
        )

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps ``inputs`` [batch, height, width, channels] to the shape of the block's output."""
        if self.average:
            if self.strides > 1:
                inputs = pad_for_kernel(inputs, 2)
            inputs = self.pool(inputs)
        return self.projection(inputs, training=training)

    def get_config(self) -> Dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "strides": self.strides,
            "config": dataclasses.asdict(self.config),
        }


@registered
class Block(keras.layers.Layer):
    """A residual block: two 3x3 convolutions, or a bottleneck's 1x1, 3x3, 1x1.

    Args:
      filters: channels inside the block; a bottleneck has four times as many at its end.
      strides: stride of the 3x3 convolution (of the first one, if there are two).
      projected: whether the shortcut is a projection; otherwise it is the input itself.
      config: the network.
    """

    def __init__(
        self, filters: int, strides: int, projected: bool, config: _NetworkConfig, **kwargs
    ):
        super().__init__(**kwargs)
        self.config = config = as_config(NetworkConfig, config)
        self.filters = filters
        self.strides = strides
        batch_norm, own = _batch_norm_arguments(config), inherited(self)
        bottleneck = config.resnet_depth >= SMALLEST_BOTTLENECK_DEPTH
        out_filters = 4 * filters if bottleneck else filters
        self.shortcut = Shortcut(out_filters, strides, config, **own) if projected else None
        self.convolutions: List[keras.layers.Layer]
        if bottleneck:
            middle: keras.layers.Layer
            if config.sk_ratio > 0:
                middle = SelectiveKernelConv(filters, strides, config.sk_ratio, batch_norm, **own)
            else:
                middle = ConvBatchNorm(filters, 3, strides, batch_norm=batch_norm, **own)
            self.convolutions = [ConvBatchNorm(filters, 1, batch_norm=batch_norm, **own), middle]
        else:
            self.convolutions = [ConvBatchNorm(filters, 3, strides, batch_norm=batch_norm, **own)]
        self.convolutions.append(
            ConvBatchNorm(
                out_filters,
                1 if bottleneck else 3,
                relu=False,
                zero_gamma=True,
                batch_norm=batch_norm,
                **own,
            )
        )
        self.squeeze_excite = None
        if config.se_ratio > 0:
            reduced = max(1, int(filters * config.se_ratio))
            self.squeeze_excite = SqueezeExcite(out_filters, reduced, **own)

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

    def get_config(self) -> Dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "strides": self.strides,
            "projected": self.shortcut is not None,
            "config": dataclasses.asdict(self.config),
        }


@registered
class Stem(keras.layers.Layer):
    """The first layers: CIFAR's 3x3 convolution, or ImageNet's strided one and max pooling.

    With selective kernels ImageNet's is ResNet-D's: three 3x3 convolutions instead of one 7x7.

    Args:
      config: the network, with a resolved stem.
    """

    def __init__(self, config: _NetworkConfig, **kwargs):
        super().__init__(**kwargs)
        self.config = config = as_config(NetworkConfig, config)
        batch_norm, own = _batch_norm_arguments(config), inherited(self)
        filters = int(64 * config.width_multiplier)
        self.deep = []
        if config.stem == "cifar":
            self.conv = Conv(filters, 3, **own)
        elif config.sk_ratio > 0:
            self.deep = [
                ConvBatchNorm(filters // 2, 3, 2, batch_norm=batch_norm, **own),
                ConvBatchNorm(filters // 2, 3, batch_norm=batch_norm, **own),
            ]
            self.conv = Conv(filters, 3, **own)
        else:
            self.conv = Conv(filters, 7, 2, **own)
        self.batch_norm = BatchNorm(**batch_norm, **own)
        self.pool = None
        if config.stem == "imagenet":
            self.pool = keras.layers.MaxPooling2D(3, 2, "same", **own)

    def call(self, inputs: tf.Tensor, training: bool = False) -> Dict[str, tf.Tensor]:
        """Maps images to ``initial_conv`` and, normalised and pooled, ``initial_max_pool``."""
        for layer in self.deep:
            inputs = layer(inputs, training=training)
        initial_conv = self.conv(inputs)
        outputs = tf.nn.relu(self.batch_norm(initial_conv, training=training))
        if self.pool is not None:
            outputs = self.pool(outputs)
        return {"initial_conv": initial_conv, "initial_max_pool": outputs}

    def get_config(self) -> Dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "config": dataclasses.asdict(self.config)}


@registered
class Encoder(keras.Model):
    """A ResNet without a classifier: images to representations ``h``.

    SimCLRv2 (Chen et al., arXiv:2006.10029), section 2: ResNet (He et al., arXiv:1512.03385) of
    variable depth and width with selective kernels (Li et al., arXiv:1903.06586).

    Args:
      config: depth, width, selective kernels and so on; without it, what ``kwargs`` say.
      image_size: height and width of the images in pixels. Only needed if the config's ``stem`` is
        ``auto``: small images take CIFAR's first layers, others ImageNet's.
      **kwargs: fields of :class:`NetworkConfig`, such as ``resnet_depth=50``, which override the
        config's; and what any ``keras.Model`` takes, such as ``name``.

    Attributes:
      config: the :class:`NetworkConfig`, with its stem resolved.
      rematerialize: whether training computes each block's activations again for the gradient
        instead of keeping them, which saves memory and costs about a third of the step.

    Raises:
      ConfigError: a field that no encoder can have, or images that are too small; a ValueError.
      ValueError: the config's stem is ``auto`` and no image size is given.

    Example:

    ```python
    encoder = Encoder(resnet_depth=50, sk_ratio=0.0625, image_size=224)
    representations = encoder(tf.zeros([1, 224, 224, 3]))  # float32 [1, 2048]

    classifier = keras.Sequential([encoder, keras.layers.Dense(10)])
    ```
    """

    def __init__(
        self,
        config: Optional[_NetworkConfig] = None,
        image_size: Optional[int] = None,
        **kwargs,
    ):
        names = {field.name for field in dataclasses.fields(NetworkConfig)} & set(kwargs)
        settings = {name: kwargs.pop(name) for name in names}
        super().__init__(**kwargs)
        config = as_config(NetworkConfig, NetworkConfig() if config is None else config)
        config = dataclasses.replace(config, **settings)
        if image_size is not None:
            config = config.resolved(image_size)
        if config.stem == "auto":
            raise ValueError(
                "Encoder needs image_size to choose its first layers, or stem='cifar' or "
                "stem='imagenet', got stem='auto'."
            )
        declare_inputs(self, IMAGES)
        self.config = config
        self.rematerialize = False
        own = inherited(self)
        self.stem = Stem(config, **own)
        self.groups = []
        for group, blocks in enumerate(BLOCKS[config.resnet_depth]):
            filters = int(64 * 2**group * config.width_multiplier)
            strides = 1 if group == 0 else 2
            self.groups.append(
                [
                    Block(filters, strides if block == 0 else 1, block == 0, config, **own)
                    for block in range(blocks)
                ]
            )

    def get_config(self) -> Dict[str, Any]:
        """Returns the config's fields, what is frozen, and whether activations are recomputed."""
        return {
            **keras.layers.Layer.get_config(self),
            **dataclasses.asdict(self.config),
            "frozen_through": self.frozen_through,
            "rematerialize": self.rematerialize,
        }

    @classmethod
    def from_config(cls, config: Dict[str, Any], custom_objects: Any = None) -> "Encoder":
        """Makes the encoder of which ``get_config`` returned ``config``; weights are random."""
        config = dict(config)
        frozen_through, rematerialize = config.pop("frozen_through"), config.pop("rematerialize")
        encoder = super().from_config(config, custom_objects)
        encoder.freeze_through(frozen_through)
        encoder.rematerialize = rematerialize
        return encoder

    @property
    def representation_dim(self) -> int:
        """Channels of the representation."""
        expansion = 4 if self.config.resnet_depth >= SMALLEST_BOTTLENECK_DEPTH else 1
        return int(512 * self.config.width_multiplier) * expansion

    def freeze_through(self, block_group: int) -> None:
        """Freezes the stem and block groups 1 to ``block_group``; -1 freezes nothing.

        Frozen layers keep their weights and run batch norm with moving statistics. A saved model
        keeps them frozen, except in TensorFlow's SavedModel format, of which Keras makes all layers
        trainable that are inside another one.
        """
        if block_group < 0:
            return
        self.stem.trainable = False
        for group in self.groups[:block_group]:
            for block in group:
                block.trainable = False

    @property
    def frozen_through(self) -> int:
        """The block group through which the encoder is frozen, as :meth:`freeze_through` counts."""
        parts: List[List[keras.layers.Layer]] = [[self.stem], *self.groups]
        frozen = [not any(layer.trainable for layer in part) for part in parts]
        return frozen.index(False) - 1 if False in frozen else len(parts) - 1

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
