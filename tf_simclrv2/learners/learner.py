"""What the three learners share: one optimization step and the metrics of it."""

from typing import Any, Dict, List, Optional, Tuple

from tf_simclrv2.config import AugmentationConfig, OptimizationConfig
from tf_simclrv2.data.augmentation import ready_for_network
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.networks.network import Network, variable_roles
from tf_simclrv2.optimization.optimizers import weight_decay_loss


class Learner(keras.Model):
    """A network that is trained by ``fit`` through a ``train_step`` of its own.

    Args:
      network: the network to train, with its variables created.
      optimization: decides on the weight decay in the loss.
    """

    # Names of the scalars that ``losses_of`` returns.
    logged: Tuple[str, ...] = ()

    def __init__(self, network: Network, optimization: OptimizationConfig, **kwargs):
        super().__init__(**kwargs)
        # The results of metrics are means over all replicas already; Keras would add them up.
        self.distribute_reduction_method = "first"
        self.network = network
        self.optimization = optimization
        self.roles = variable_roles(network)
        # How views are distorted that come with draws, which the pipeline left to the device.
        self.augmentation: Optional[AugmentationConfig] = None
        names = ("loss", "weight_decay", *self.logged)
        self._means = {name: keras.metrics.Mean(name) for name in names}

    @property
    def saved_parts(self) -> Dict[str, Any]:
        """What a checkpoint of the run holds besides the optimizer, by name."""
        return {"network": self.network}

    def losses_of(self, batch: Dict[str, tf.Tensor]) -> Tuple[tf.Tensor, Dict[str, tf.Tensor]]:
        """Returns the loss of a training batch, and the scalars to log of it."""
        raise NotImplementedError

    def train_step(self, batch: Dict[str, tf.Tensor]) -> Dict[str, tf.Tensor]:
        """One step of optimization; returns the means since metrics were last reset.

        Images of type uint8 are made float, see :func:`ready_for_network`.

        With several replicas a batch is this replica's part, and gradients are summed over them.
        """
        batch = ready_for_network(batch, self.augmentation)
        total = [None] * len(self.network.trainable_variables)
        for part in _split(batch, self.optimization.gradient_accumulation_steps):
            # One part after the other, or they would be in memory at the same time.
            with tf.control_dependencies([g for g in total if g is not None]):
                gradients = self._gradients_of({k: tf.identity(v) for k, v in part.items()})
            total = [_add(a, b) for a, b in zip(total, gradients)]
        self.optimizer.apply_gradients(zip(total, self.network.trainable_variables))
        return {name: mean.result() for name, mean in self._means.items()}

    def _gradients_of(self, batch):
        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        scaled = isinstance(self.optimizer, keras.mixed_precision.LossScaleOptimizer)
        with tf.GradientTape() as tape:
            loss, logged = self.losses_of(batch)
            decay = weight_decay_loss(self.optimization, self.roles)
            loss += decay
            # Gradients are summed over replicas and parts, and shall be means.
            share = loss / (replicas * self.optimization.gradient_accumulation_steps)
            if scaled:
                share = self.optimizer.get_scaled_loss(share)
        gradients = tape.gradient(share, self.network.trainable_variables)
        for name, value in {"loss": loss, "weight_decay": decay, **logged}.items():
            self._means[name].update_state(value)
        return self.optimizer.get_unscaled_gradients(gradients) if scaled else gradients

    @property
    def metrics(self) -> List[keras.metrics.Metric]:
        """The means that ``fit`` resets."""
        return list(self._means.values())


def _split(batch: Dict[str, tf.Tensor], parts: int) -> List[Dict[str, tf.Tensor]]:
    if parts == 1:
        return [batch]
    split = {name: tf.split(value, parts) for name, value in batch.items()}
    return [{name: split[name][part] for name in split} for part in range(parts)]


def _add(total, gradient):
    return gradient if total is None else total + gradient
