"""A model that follows another: MoCo's momentum encoder, BYOL's target network."""

from typing import Any

from tf_simclrv2.config.steps import KEY_PARTS
from tf_simclrv2.keras2 import keras, layers_of, tf, weights_by_layer
from tf_simclrv2.networks.layers import BatchNorm


class MovingAverage(keras.layers.Layer):
    """Follows a model that is trained: all its weights, batch norm's moving statistics included.

    MoCo (He et al., arXiv:1911.05722), equation 2; BYOL (Grill et al., arXiv:2006.07733), equation
    1. No gradient flows through it, and no variable of it is trained.

    Args:
      network: the model that is trained, with its variables created: any Keras model or layer.
      average: another one of the same architecture, with or without variables; it takes over
        ``network``'s weights and follows them from then on.
      decay: share of itself that the average keeps at each step, in [0, 1).
      ramp: whether the decay is bounded by ``t / (t + 9)`` at step ``t``, see :meth:`decay`.
      batch_norm: ``batch``, ``split`` or ``moving``: what batch norm of the average uses while
        training, the batch's statistics, those of each eighth of the batch, or the average of the
        trained network's moving statistics.

    Raises:
      ValueError: the two don't have the same architecture, or with ``split`` a batch norm is not
        this package's.

    Example:

    ```python
    target = MovingAverage(network, keras.models.clone_model(network), decay=0.996)
    targets = target(images, training=True)
    ...  # a step of training moves network
    target.follow(network, step)
    ```
    """

    def __init__(
        self,
        network: keras.layers.Layer,
        average: keras.layers.Layer,
        decay: float = 0.999,
        ramp: bool = True,
        batch_norm: str = "batch",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not weights_by_layer(average) and network.get_build_config() is not None:
            average.build_from_config(network.get_build_config())
        self.final_decay = decay
        self.ramp = ramp
        normalize_by(average, batch_norm)
        self.network = average
        shapes, others = ([v.shape for v in weights_by_layer(each)] for each in (average, network))
        if shapes != others or len(shapes) != len(network.weights):
            raise ValueError(
                f"The average of {network.name} must have the same layers as it, with their "
                f"variables created; {average.name} has {len(shapes)} weights of its layers, and "
                f"{network.name} {len(network.weights)}, or their shapes differ."
            )
        for variable, followed in self._pairs(network):
            variable.assign(followed)

    @property
    def trainable_weights(self) -> list:
        """None: the average follows, it isn't trained."""
        return []

    @property
    def non_trainable_weights(self) -> list:
        """All weights."""
        return super().trainable_weights + super().non_trainable_weights

    def call(self, inputs: tf.Tensor, training: bool = False) -> Any:
        """Returns what the average maps ``inputs`` to, in the network's structure, no gradients."""
        return tf.nest.map_structure(tf.stop_gradient, self.network(inputs, training=training))

    def decay(self, step: tf.Tensor) -> tf.Tensor:
        """The average's decay at the end of training step ``step`` (1, 2, ...), float32 scalar.

        With the ramp, the average reaches over about a ninth of the steps so far until it reaches
        over ``1 / (1 - decay)`` steps; without, it would keep the random weights and the untrained
        batch-norm statistics of the start for that long.
        """
        decay = tf.constant(self.final_decay)
        if self.ramp:
            step = tf.cast(step, tf.float32)
            decay = tf.minimum(decay, step / (step + 9.0))
        return decay

    def follow(self, network: keras.layers.Layer, step: tf.Tensor) -> None:
        """Moves the average towards ``network``, at the end of training step ``step``."""
        rate = 1.0 - self.decay(step)

        def update_all(strategy, rate):
            for variable, followed in self._pairs(network):
                strategy.extended.update(variable, _move, args=(followed, rate), group=False)

        tf.distribute.get_replica_context().merge_call(update_all, args=(rate,))

    def _pairs(self, network):
        return zip(weights_by_layer(self.network), weights_by_layer(network))


def normalize_by(average: keras.layers.Layer, batch_norm: str) -> None:
    """Sets what batch norm of an average uses while training, and leaves its statistics alone.

    Args:
      average: see :class:`MovingAverage`.
      batch_norm: likewise.

    Raises:
      ValueError: with ``split``, a batch norm is not this package's.
    """
    # A frozen batch norm uses the moving statistics.
    average.trainable = batch_norm != "moving"
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    parts = max(1, KEY_PARTS // replicas) if batch_norm == "split" else 1
    for layer in layers_of(average):
        # The moving statistics follow the trained network's instead.
        if isinstance(layer, BatchNorm):
            layer.decay = 1.0
            layer.parts = parts
        elif hasattr(layer, "moving_mean"):
            layer.momentum = 1.0
            if batch_norm == "split":
                raise ValueError(
                    "batch_norm=split needs the batch norm of tf_simclrv2.networks.batch_norm, but "
                    f"{layer.name} is a {type(layer).__name__}."
                )


def _move(variable, followed, rate):
    variable.assign_sub(tf.cast(rate, variable.dtype) * (variable - followed))
