"""What the three learners share: one optimization step and the metrics of it."""

from typing import Dict, Tuple

from tf_simclrv2.config import OptimizationConfig
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.networks.network import Network, variable_roles
from tf_simclrv2.optimization.optimizers import weight_decay_loss


class Learner(keras.Model):
    """A network that is trained by ``fit`` through a ``train_step`` of its own.

    Args:
      network: the network to train, with its variables created.
      optimization: decides on the weight decay in the loss.
    """

    def __init__(self, network: Network, optimization: OptimizationConfig, **kwargs):
        super().__init__(**kwargs)
        self.network = network
        self.optimization = optimization
        self.roles = variable_roles(network)
        self._means: Dict[str, keras.metrics.Mean] = {}

    def losses_of(self, batch: Dict[str, tf.Tensor]) -> Tuple[tf.Tensor, Dict[str, tf.Tensor]]:
        """Returns the loss of a training batch, and the scalars to log of it."""
        raise NotImplementedError

    def train_step(self, batch: Dict[str, tf.Tensor]) -> Dict[str, tf.Tensor]:
        """One step of optimization; returns the means since metrics were last reset."""
        with tf.GradientTape() as tape:
            loss, logged = self.losses_of(batch)
            decay = weight_decay_loss(self.optimization, self.roles)
            loss += decay
        variables = self.network.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        return self._update({"loss": loss, "weight_decay": decay, **logged})

    def _update(self, values: Dict[str, tf.Tensor]) -> Dict[str, tf.Tensor]:
        for name, value in values.items():
            if name not in self._means:
                self._means[name] = keras.metrics.Mean(name)
            self._means[name].update_state(value)
        return {name: self._means[name].result() for name in values}

    @property
    def metrics(self):
        """The means that ``fit`` resets."""
        return list(self._means.values())
