"""SimCLRv2's memory: a moving average of the network gives the keys, a queue keeps past ones.

Sources: SimCLRv2 (arXiv:2006.10029), section 2; MoCo (He et al., arXiv:1911.05722), which it refers
to. Equations, the choices that the paper leaves open and what we measured: docs/memory.md.
"""

import dataclasses
from typing import Any, Dict, Mapping, Optional, Union

from tf_simclrv2.config import ContrastiveConfig, MemoryConfig, OptimizationConfig
from tf_simclrv2.keras2 import keras, registered, serialize_part, tf
from tf_simclrv2.learners.moving_average import MovingAverage
from tf_simclrv2.learners.pretrainer import Pretrainer, projection_of
from tf_simclrv2.networks.layers import as_config
from tf_simclrv2.objectives.contrastive import (
    ContrastiveLoss,
    gather_replicas,
    normalize,
    nt_xent_with_memory,
)


class KeyQueue(keras.layers.Layer):
    """A ring buffer of the newest keys; adding to it takes the same time however large it is.

    Args:
      size: keys that it holds.
      dim: dimension of a key.

    Attributes:
      keys: variable, float32 [size, dim]; slots that were never written hold zeros.
      added: variable, int64 scalar, keys added so far; the next one goes to ``added % size``.
    """

    def __init__(self, size: int, dim: int, **kwargs):
        super().__init__(**kwargs)
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


class Memory(MovingAverage):
    """The memory network, a moving average of the trained one, and the queue of its keys.

    Args:
      network: the network that is trained: any model that maps images to vectors, or to a dict with
        a ``projection``, with its variables created.
      average: a network of the same architecture; it takes over ``network``'s weights and follows
        them from then on.
      config: size of the queue, decay of the average, mode of its batch norm.
      dim: dimension of a key; by default that of what ``average`` returns.

    Raises:
      ValueError: the networks don't match, or the dimension isn't known.
    """

    def __init__(
        self,
        network: keras.Model,
        average: keras.Model,
        config: MemoryConfig,
        dim: Optional[int] = None,
        **kwargs,
    ):
        super().__init__(
            network,
            average,
            decay=config.memory_ema_decay,
            ramp=config.memory_ema_ramp,
            batch_norm=config.memory_batch_norm,
            **kwargs,
        )
        self.config = config
        self.queue = KeyQueue(config.memory_size, _output_dim(average) if dim is None else dim)

    def keys(self, views: tf.Tensor, training: bool = True) -> tf.Tensor:
        """Maps ``views`` [count, height, width, 3] to projections [count, dim], no gradients.

        Args:
          views: float, in [0, 1].
          training: whether batch norm works as in training, see ``memory_batch_norm``.
        """
        return tf.stop_gradient(projection_of(self.network(views, training=training)))


def _output_dim(network: keras.Model) -> int:
    shape = network.get_build_config()
    if shape is None:
        raise ValueError(
            f"What dimension {network.name}'s outputs have isn't known before it was called: call "
            "it, or give the memory its dim."
        )
    return projection_of(network.compute_output_shape(shape["input_shape"]))[-1]


@registered
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
      network: see :class:`Pretrainer`.
      average: another network of the same architecture, to become the memory network.
      contrastive: temperature and normalisation.
      memory: size of the queue, decay of the average.
      optimization: decides on the weight decay in the loss.

    Example:

    ```python
    network, average = (Network(config, head).build_for(224) for _ in range(2))
    learner = PretrainerWithMemory(
        network, average, ContrastiveConfig(), MemoryConfig(use_memory=True), OptimizationConfig()
    )
    ```
    """

    def __init__(
        self,
        network: keras.Model,
        average: keras.Model,
        contrastive: Union[ContrastiveConfig, Mapping[str, Any]],
        memory: Union[MemoryConfig, Mapping[str, Any]],
        optimization: Union[OptimizationConfig, Mapping[str, Any]],
        **kwargs,
    ):
        super().__init__(network, contrastive, optimization, **kwargs)
        self.memory = Memory(network, average, as_config(MemoryConfig, memory))

    def get_config(self) -> Dict[str, Any]:
        """Returns the constructor's arguments, in types that JSON has."""
        return {
            **super().get_config(),
            "average": serialize_part(self.memory.network),
            "memory": dataclasses.asdict(self.memory.config),
        }

    def contrast(
        self, views: tf.Tensor, projections: tf.Tensor, training: bool = True
    ) -> ContrastiveLoss:
        """Contrasts the views' queries with their keys and the queue.

        In training the keys are then added to the queue.
        """
        hidden_norm = self.contrastive.hidden_norm
        queries = tf.split(normalize(projections, hidden_norm), 2)
        keys = normalize(self.memory.keys(views, training), hidden_norm)
        keys, first = gather_replicas(tf.stack(tf.split(keys, 2), axis=1))
        keys_1, keys_2 = tf.unstack(keys, axis=1)
        queue = self.memory.queue
        contrast = nt_xent_with_memory(
            queries,
            (keys_1, keys_2),
            queue.keys,
            queue.filled,
            first_key=first,
            temperature=self.contrastive.temperature,
        )
        if training:
            queue.enqueue(tf.concat([keys_1, keys_2], axis=0))
        return contrast

    def train_step(self, batch: Dict[str, tf.Tensor]) -> Dict[str, tf.Tensor]:
        """One step of optimization; returns the means since metrics were last reset."""
        logs = super().train_step(batch)
        self.memory.follow(self.network, self.optimizer.iterations)
        return logs
