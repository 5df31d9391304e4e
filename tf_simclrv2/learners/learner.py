"""What all learners share: their parts, one step of optimization, and the metrics of it."""

import dataclasses
from typing import Any, Dict, List, Mapping, Tuple, Union

from tf_simclrv2.config import AugmentationConfig, OptimizationConfig
from tf_simclrv2.data.views import ready_for_network
from tf_simclrv2.keras2 import (
    declare_inputs,
    deserialize_part,
    keras,
    parts_of,
    serialize_part,
    tf,
    variable_key,
)
from tf_simclrv2.learners.health import Health, observed
from tf_simclrv2.networks.layers import as_config
from tf_simclrv2.networks.network import VariableRoles, variable_roles
from tf_simclrv2.optimization.optimizers import weight_decay_loss


class Learner(keras.Model):
    """A network and what else its loss needs, trained by ``fit`` through a step of its own.

    Everything that a subclass keeps in an attribute and that has weights is a part: a layer, a
    model, a list or dict of them, a variable. Every part is trained and saved. What must not be
    trained is frozen (``teacher.trainable = False``) or a :class:`MovingAverage`; what need not be
    saved is named in ``not_saved``.

    Args:
      network: the network to train, with its variables created.
      optimization: decides on the weight decay in the loss.
      augmentation: how to distort views that the pipeline left to the device, if it did.

    Raises:
      ValueError: the network has no variables yet.

    Example: BYOL (Grill et al., arXiv:2006.07733) in a few lines.

    ```python
    class Byol(Learner):
        logged = ("similarity",)

        def __init__(self, network, average, predictor, optimization, **kwargs):
            super().__init__(network, optimization, **kwargs)
            self.predictor = predictor
            self.target = MovingAverage(network, average, decay=0.996)

        def losses_of(self, batch, training=True):
            first = self.predictor(self.network(batch["view_1"], training=training))
            second = self.target(batch["view_2"], training=training)
            similarity = -tf.reduce_mean(keras.losses.cosine_similarity(first, second))
            return 2 - 2 * similarity, {"similarity": similarity}

        def train_step(self, batch):
            logs = super().train_step(batch)
            self.target.follow(self.network, self.optimizer.iterations)
            return logs
    ```
    """

    # Whether training is still finite; who watches it resets it.
    health: Health
    # Names of the scalars that ``losses_of`` returns.
    logged: Tuple[str, ...] = ()
    # Names of attributes that a checkpoint leaves out.
    not_saved: Tuple[str, ...] = ()

    def __init__(
        self,
        network: keras.Model,
        optimization: Union[OptimizationConfig, Mapping[str, Any]],
        augmentation: Union[AugmentationConfig, Mapping[str, Any], None] = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        # The results of metrics are means over all replicas already; Keras would add them up.
        self.distribute_reduction_method = "first"
        self.network = network
        self.optimization = as_config(OptimizationConfig, optimization)
        self.augmentation = as_config(AugmentationConfig, augmentation)
        names = ("loss", "weight_decay", *self.logged)
        self._means = {name: keras.metrics.Mean(name) for name in names}
        # Past Keras's tracking, since it is neither a part nor a metric that fit resets.
        object.__setattr__(self, "health", Health())
        if not network.built:
            raise ValueError(
                f"{type(self).__name__} needs a network with variables, but {network.name} has "
                "none yet: call it on a batch of images, or Network.build_for."
            )
        # So that Keras saves it whether it was called or not: the parts have their weights.
        self.built = True
        declare_inputs(self, network.save_spec()[0][0])

    @property
    def saved_parts(self) -> Dict[str, Any]:
        """What a checkpoint of the run holds besides the optimizer, by name."""
        parts = parts_of(self).items()
        return {name: part for name, part in parts if name not in self.not_saved}

    @property
    def roles(self) -> VariableRoles:
        """The trainable variables of all parts, by role."""
        return variable_roles(self)

    def losses_of(
        self, batch: Dict[str, tf.Tensor], training: bool = True
    ) -> Tuple[tf.Tensor, Dict[str, tf.Tensor]]:
        """Returns the loss of a batch, and the scalars to log of it.

        Args:
          batch: as the subclass documents it.
          training: False while evaluating: parts run in inference mode, and nothing is updated.
        """
        raise NotImplementedError

    def compile(self, optimizer: Any = "rmsprop", **kwargs) -> None:
        """Sets the optimizer, as Keras does, and creates its state for all trainable variables."""
        super().compile(optimizer=optimizer, **kwargs)
        build = getattr(self.optimizer, "build", None)  # Optimizers of Keras 2.10 have none.
        if build is not None:
            with self.distribute_strategy.scope():
                build(self.trainable_variables)

    def compile_from_config(self, config: Dict[str, Any]) -> None:
        """Compiles a learner that Keras loads as it was compiled."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Returns the network's outputs for images.

        Args:
          inputs: [batch, height, width, 3], float in [0, 1] or uint8; or a batch as for training,
            of which it takes ``image`` or, of two views, ``view_1``.
          training: whether batch norm uses the batch's statistics.
        """
        if isinstance(inputs, Mapping):
            inputs = inputs["image" if "image" in inputs else "view_1"]
        images = ready_for_network({"image": inputs})["image"]
        return self.network(images, training=training)

    def train_step(self, data: Any) -> Dict[str, tf.Tensor]:
        """One step of optimization; returns the means since metrics were last reset.

        Images of type uint8 are made float, see :func:`ready_for_network`.

        With several replicas a batch is this replica's part, and gradients are summed over them.

        Args:
          data: a batch, as a dict or as Keras's pair of images and labels.
        """
        batch = ready_for_network(_as_batch(data), self.augmentation)
        variables = self.trainable_variables
        total = [None] * len(variables)
        for part in _split(batch, self.optimization.gradient_accumulation_steps):
            # One part after the other, or they would be in memory at the same time.
            with tf.control_dependencies([g for g in total if g is not None]):
                gradients = self._gradients_of({k: tf.identity(v) for k, v in part.items()})
            total = [_add(a, b) for a, b in zip(total, gradients)]
        # The sum of the losses since the last row, which stays as it is once it is not finite.
        self.health.update_state(*observed(self._means["loss"].total, total, self._scales_loss))
        self.optimizer.apply_gradients(zip(total, variables))
        return {name: mean.result() for name, mean in self._means.items()}

    def test_step(self, data: Any) -> Dict[str, tf.Tensor]:
        """The losses of a batch in inference mode, for ``evaluate`` and ``validation_data``."""
        batch = ready_for_network(_as_batch(data), self.augmentation)
        self._loss_of(batch, training=False)
        return {name: mean.result() for name, mean in self._means.items()}

    def _loss_of(self, batch, training):
        """The whole loss, which is recorded in the means."""
        loss, logged = self.losses_of(batch) if training else self.losses_of(batch, training=False)
        decay = weight_decay_loss(self.optimization, self.roles)
        loss += decay
        for name, value in {"loss": loss, "weight_decay": decay, **logged}.items():
            self._means[name].update_state(value)
        return loss

    def _gradients_of(self, batch):
        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        scaled = self._scales_loss
        with tf.GradientTape() as tape:
            loss = self._loss_of(batch, training=True)
            # Gradients are summed over replicas and parts, so that each gives its share of a mean.
            share = loss / (replicas * self.optimization.gradient_accumulation_steps)
            if scaled:
                share = self.optimizer.get_scaled_loss(share)
        self._check_all_found(tape.watched_variables())
        gradients = tape.gradient(share, self.trainable_variables)
        return self.optimizer.get_unscaled_gradients(gradients) if scaled else gradients

    @property
    def _scales_loss(self) -> bool:
        return isinstance(self.optimizer, keras.mixed_precision.LossScaleOptimizer)

    def _check_all_found(self, used):
        """Refuses trainable variables of the loss that would be neither trained nor saved."""
        known = {variable_key(variable) for variable in self.variables}
        for variable in used:
            if variable_key(variable) not in known:
                raise ValueError(
                    f"The loss of {type(self).__name__} uses {variable.name}, which belongs to no "
                    "part of it and would be neither trained nor saved: keep its layer in an "
                    "attribute of the learner."
                )

    def get_config(self) -> Dict[str, Any]:
        """Returns the constructor's arguments, in types that JSON has.

        A subclass with further parts adds each under its argument's name, by
        :func:`serialize_part`.
        """
        return {
            **keras.layers.Layer.get_config(self),
            "network": serialize_part(self.network),
            "optimization": dataclasses.asdict(self.optimization),
            "augmentation": self.augmentation and dataclasses.asdict(self.augmentation),
        }

    @classmethod
    def from_config(cls, config: Dict[str, Any], custom_objects: Any = None) -> "Learner":
        """Makes the learner of which ``get_config`` returned ``config``; weights are random."""
        arguments = dict(config)
        for name, value in config.items():
            if isinstance(value, Mapping) and "build_config" in value:
                arguments[name] = deserialize_part(value, custom_objects)
        return cls(**arguments)

    @property
    def metrics(self) -> List[keras.metrics.Metric]:
        """The means that ``fit`` resets."""
        return list(self._means.values())


def _as_batch(data: Any) -> Dict[str, tf.Tensor]:
    inputs, labels, _ = keras.utils.unpack_x_y_sample_weight(data)
    batch = dict(inputs) if isinstance(inputs, Mapping) else {"image": inputs}
    return batch if labels is None else {**batch, "label": labels}


def _split(batch: Dict[str, tf.Tensor], parts: int) -> List[Dict[str, tf.Tensor]]:
    if parts == 1:
        return [batch]
    split = {name: tf.split(value, parts) for name, value in batch.items()}
    return [{name: split[name][part] for name in split} for part in range(parts)]


def _add(total, gradient):
    return gradient if total is None else total + gradient
