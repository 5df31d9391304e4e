"""SimCLRv2's memory: a moving average of the network gives the keys, a queue keeps past ones.

Sources: SimCLRv2 (arXiv:2006.10029), section 2; MoCo (He et al., arXiv:1911.05722), which it refers
to. Equations, the choices that the paper leaves open and what we measured: docs/memory.md.
"""

from typing import Any, Dict

from tf_simclrv2.config import ContrastiveConfig, MemoryConfig, OptimizationConfig
from tf_simclrv2.keras2 import tf
from tf_simclrv2.learners.pretrainer import Pretrainer
from tf_simclrv2.networks.layers import BatchNorm
from tf_simclrv2.networks.network import Network
from tf_simclrv2.objectives.contrastive import (
    ContrastiveLoss,
    gather_replicas,
    normalize,
    nt_xent_with_memory,
)


class KeyQueue(tf.Module):
    """A ring buffer of the newest keys; adding to it takes the same time however large it is.

    Args:
      size: keys that it holds.
      dim: dimension of a key.

    Attributes:
      keys: variable, float32 [size, dim]; slots that were never written hold zeros.
      added: variable, int64 scalar, keys added so far; the next one goes to ``added % size``.
    """

    def __init__(self, size: int, dim: int):
        super().__init__()
        # Each replica writes its own copy, all of them the same keys; one of them is saved.
        replicated = {
            "trainable": False,
            "synchronization": tf.VariableSynchronization.ON_READ,
            "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA,
        }
        self.keys = tf.Variable(tf.zeros([size, dim]), name="keys", **replicated)
        self.added = tf.Variable(0, dtype=tf.int64, name="added", **replicated)

    @property
    def filled(self) -> tf.Tensor:
        """Which slots hold a key: bool [size]."""
        return tf.range(self.keys.shape[0], dtype=tf.int64) < self.added

    def enqueue(self, keys: tf.Tensor) -> None:
        """Writes ``keys``, float32 [count, dim] with count <= size, over the oldest ones."""
        count, size = tf.shape(keys, tf.int64)[0], self.keys.shape[0]
        slots = (self.added + tf.range(count)) % size
        # The handle is this replica's copy's; variables of a strategy have no scatter_update here.
        tf.raw_ops.ResourceScatterUpdate(resource=self.keys.handle, indices=slots, updates=keys)
        self.added.assign_add(count)


class Memory(tf.Module):
    """The memory network, which is a moving average of the trained one, and the queue of its keys.

    Args:
      network: the network that is trained.
      average: a network of the same architecture; it takes over ``network``'s weights and follows
        them from then on.
      config: size of the queue, decay of the average, mode of its batch norm.
    """

    def __init__(self, network: Network, average: Network, config: MemoryConfig):
        super().__init__()
        self.config = config
        self.network = average
        # A frozen batch norm would use the moving statistics.
        average.trainable = config.memory_batch_norm == "batch"
        for layer in average._flatten_layers():
            if isinstance(layer, BatchNorm):
                layer.decay = 1.0  # The moving statistics follow the trained network's instead.
        for variable, followed in self._pairs(network):
            variable.assign(followed)
        projections = network.projection_head.projections
        dim = projections[-1].dense.units if projections else network.encoder.representation_dim
        self.queue = KeyQueue(config.memory_size, dim)

    def keys(self, views: tf.Tensor) -> tf.Tensor:
        """Maps ``views`` [count, height, width, 3] to projections [count, dim], no gradients."""
        return tf.stop_gradient(self.network(views, training=True)["projection"])

    def decay(self, step: tf.Tensor) -> tf.Tensor:
        """The average's decay at the end of training step ``step`` (1, 2, ...), float32 scalar.

        With the ramp, the average reaches over about a ninth of the steps so far until it reaches
        over ``1 / (1 - memory_ema_decay)`` steps; without, it would keep the random weights and
        the untrained batch-norm statistics of the start for that long.
        """
        decay = tf.constant(self.config.memory_ema_decay)
        if self.config.memory_ema_ramp:
            step = tf.cast(step, tf.float32)
            decay = tf.minimum(decay, step / (step + 9.0))
        return decay

    def _pairs(self, network):
        return zip(_variables(self.network), _variables(network))

    def follow(self, network: Network, step: tf.Tensor) -> None:
        """Moves the average towards ``network``, at the end of training step ``step``.

        All weights follow, batch norm's moving statistics included.
        """
        rate = 1.0 - self.decay(step)

        def update_all(strategy, rate):
            for variable, followed in self._pairs(network):
                strategy.extended.update(variable, _move, args=(followed, rate), group=False)

        tf.distribute.get_replica_context().merge_call(update_all, args=(rate,))


def _variables(network):
    # By layer: the order of ``network.weights`` depends on what is frozen.
    return [
        variable
        for layer in network._flatten_layers()
        for variable in layer._trainable_weights + layer._non_trainable_weights
    ]


def _move(variable, followed, rate):
    variable.assign_sub(tf.cast(rate, variable.dtype) * (variable - followed))


class PretrainerWithMemory(Pretrainer):
    """Pretrains against the memory network's keys of the current and of past batches.

    A step of training does, in this order:

    1. The network maps both views to queries, in training mode; the memory network maps the same
       images to keys, without gradients. Queries and keys are normalised.
    2. The loss of :func:`nt_xent_with_memory` contrasts each query with the current keys of the
       other view and with the keys in the queue, which are all of earlier steps.
    3. The current keys of both views, 2 x batch, replace the oldest keys in the queue.
    4. The optimizer moves the network.
    5. The memory network follows the network: all weights, batch norm's moving statistics too.

    Args:
      network: encoder and projection head, with or without a linear probe.
      average: another network of the same architecture, to become the memory network.
      contrastive: temperature and normalisation.
      memory: size of the queue, decay of the average.
      optimization: decides on the weight decay in the loss.
    """

    def __init__(
        self,
        network: Network,
        average: Network,
        contrastive: ContrastiveConfig,
        memory: MemoryConfig,
        optimization: OptimizationConfig,
        **kwargs,
    ):
        super().__init__(network, contrastive, optimization, **kwargs)
        self.memory = Memory(network, average, memory)

    @property
    def saved_parts(self) -> Dict[str, Any]:
        """What a checkpoint of the run holds besides the optimizer, by name."""
        return {**super().saved_parts, "memory": self.memory}

    def contrast(self, views: tf.Tensor, projections: tf.Tensor) -> ContrastiveLoss:
        """Contrasts the views' queries with their keys and the queue, then adds the keys to it."""
        keys = normalize(self.memory.keys(views), self.contrastive.hidden_norm)
        keys, first = gather_replicas(tf.stack(tf.split(keys, 2), axis=1))
        keys_1, keys_2 = tf.unstack(keys, axis=1)
        queue = self.memory.queue
        contrast = nt_xent_with_memory(
            *tf.split(projections, 2),
            keys_1,
            keys_2,
            queue.keys,
            queue.filled,
            first_key=first,
            temperature=self.contrastive.temperature,
            hidden_norm=self.contrastive.hidden_norm,
        )
        queue.enqueue(tf.concat([keys_1, keys_2], axis=0))
        return contrast

    def train_step(self, batch: Dict[str, tf.Tensor]) -> Dict[str, tf.Tensor]:
        """One step of optimization; returns the means since metrics were last reset."""
        logs = super().train_step(batch)
        self.memory.follow(self.network, self.optimizer.iterations)
        return logs
