"""The heads on the encoder: projection head and classifier head (SimCLRv2, section 2)."""

from typing import List, Optional

from tf_simclrv2.config import NetworkConfig, ProjectionHeadConfig
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.networks.layers import BatchNorm


class ProjectionLayer(keras.layers.Layer):
    """A dense layer and batch norm; a middle layer has an offset and ReLU, the last has neither.

    Args:
      units: output dimension.
      last: whether it is the head's last layer.
      batch_norm: further arguments of :class:`BatchNorm`.
    """

    def __init__(self, units: int, last: bool, batch_norm: Optional[dict] = None, **kwargs):
        super().__init__(**kwargs)
        self.last = last
        self.dense = keras.layers.Dense(
            units,
            use_bias=False,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
        )
        self.batch_norm = BatchNorm(center=not last, **(batch_norm or {}))

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps ``inputs`` [batch, dim] to [batch, units]."""
        outputs = self.batch_norm(self.dense(inputs), training=training)
        return outputs if self.last else tf.nn.relu(outputs)


class ProjectionHead(keras.layers.Layer):
    """The projection head, or its first layers when fine-tuning starts from a middle layer.

    Args:
      config: the whole head.
      network: the encoder that it stands on.
      input_dim: dimension of the representation, which middle layers keep.
      layers_used: how many of the head's layers to build; None is all of them.
    """

    def __init__(
        self,
        config: ProjectionHeadConfig,
        network: NetworkConfig,
        input_dim: int,
        layers_used: Optional[int] = None,
        **kwargs,
    ):
        # The representation itself stays in float32; each layer casts what it gets.
        super().__init__(autocast=False, **kwargs)
        batch_norm = {"decay": network.batch_norm_decay, "synchronized": network.global_bn}
        used = config.num_layers if layers_used is None else layers_used
        self.projections = []
        for index in range(used):
            last = index == config.num_layers - 1
            units = config.proj_out_dim if last else input_dim
            self.projections.append(ProjectionLayer(units, last, batch_norm))

    def call(self, representation: tf.Tensor, training: bool = False) -> List[tf.Tensor]:
        """Maps ``representation`` [batch, dim] to the head's input and each layer's output."""
        hiddens = [representation]
        for layer in self.projections:
            hiddens.append(layer(hiddens[-1], training=training))
        return hiddens


class ClassifierHead(keras.layers.Layer):
    """A dense layer to logits, in float32.

    Args:
      num_classes: number of classes.
      zero_init: start from zeros instead of small random numbers.
    """

    def __init__(self, num_classes: int, zero_init: bool = False, **kwargs):
        # With autocast a mixed-precision policy would round the input.
        super().__init__(autocast=False, **kwargs)
        initializer = "zeros" if zero_init else keras.initializers.RandomNormal(stddev=0.01)
        self.dense = keras.layers.Dense(
            num_classes, kernel_initializer=initializer, dtype=tf.float32
        )

    def call(self, hidden: tf.Tensor) -> tf.Tensor:
        """Maps ``hidden`` [batch, dim] to logits [batch, num_classes]."""
        return self.dense(tf.cast(hidden, tf.float32))
