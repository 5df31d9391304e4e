"""The heads on the encoder: projection head and classifier head (SimCLRv2, section 2)."""

import dataclasses
from typing import Any, Dict, List, Mapping, Optional, Union

from tf_simclrv2.config import NetworkConfig, ProjectionHeadConfig
from tf_simclrv2.keras2 import keras, registered, tf
from tf_simclrv2.networks.layers import BatchNorm, as_config, inherited


@registered
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
            **inherited(self),
        )
        self.batch_norm = BatchNorm(center=not last, **(batch_norm or {}), **inherited(self))

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps ``inputs`` [batch, dim] to [batch, units]."""
        outputs = self.batch_norm(self.dense(inputs), training=training)
        return outputs if self.last else tf.nn.relu(outputs)

    def get_config(self) -> Dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "units": self.dense.units,
            "last": self.last,
            "batch_norm": self.batch_norm.shared_arguments,
        }


@registered
class ProjectionHead(keras.layers.Layer):
    """The projection head, or its first layers when fine-tuning starts from a middle layer.

    SimCLRv2 (arXiv:2006.10029), section 2: three layers; fine-tuning starts from the first.

    Args:
      config: the whole head, or a dict of its fields.
      network: the encoder that it stands on, or a dict of its fields; it says how batch norm works.
      input_dim: dimension of the representation, which middle layers keep.
      layers_used: how many of the head's layers to build; None is all of them.
    """

    def __init__(
        self,
        config: Union[ProjectionHeadConfig, Mapping[str, Any]],
        network: Union[NetworkConfig, Mapping[str, Any]],
        input_dim: int,
        layers_used: Optional[int] = None,
        **kwargs,
    ):
        # The representation itself stays in float32; each layer casts what it gets.
        super().__init__(autocast=False, **kwargs)
        self.config = config = as_config(ProjectionHeadConfig, config)
        self.network = network = as_config(NetworkConfig, network)
        self.input_dim = input_dim
        batch_norm = {"decay": network.batch_norm_decay, "synchronized": network.global_bn}
        used = config.num_layers if layers_used is None else layers_used
        self.projections = []
        for index in range(used):
            last = index == config.num_layers - 1
            units = config.proj_out_dim if last else input_dim
            self.projections.append(ProjectionLayer(units, last, batch_norm, **inherited(self)))

    def call(self, representation: tf.Tensor, training: bool = False) -> List[tf.Tensor]:
        """Maps ``representation`` [batch, dim] to the head's input and each layer's output."""
        hiddens = [representation]
        for layer in self.projections:
            hiddens.append(layer(hiddens[-1], training=training))
        return hiddens

    def get_config(self) -> Dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "config": dataclasses.asdict(self.config),
            "network": dataclasses.asdict(self.network),
            "input_dim": self.input_dim,
            "layers_used": len(self.projections),
        }


@registered
class ClassifierHead(keras.layers.Layer):
    """A dense layer to logits, in float32.

    Args:
      num_classes: number of classes.
      zero_init: start from zeros instead of small random numbers.
    """

    def __init__(self, num_classes: int, zero_init: bool = False, **kwargs):
        # With autocast a mixed-precision policy would round the input.
        super().__init__(autocast=False, **kwargs)
        self.zero_init = zero_init
        initializer = "zeros" if zero_init else keras.initializers.RandomNormal(stddev=0.01)
        self.dense = keras.layers.Dense(
            num_classes,
            kernel_initializer=initializer,
            dtype=tf.float32,
            trainable=self.trainable,
        )

    def call(self, hidden: tf.Tensor) -> tf.Tensor:
        """Maps ``hidden`` [batch, dim] to logits [batch, num_classes]."""
        return self.dense(tf.cast(hidden, tf.float32))

    def get_config(self) -> Dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "num_classes": self.dense.units,
            "zero_init": self.zero_init,
        }
