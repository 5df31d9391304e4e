"""What computes: how batches are spread over devices, and how a step is compiled."""

from typing import Callable, ContextManager, Iterable, Optional

from tf_simclrv2.config import AugmentationConfig, ComputeConfig, DevicesConfig, refuse
from tf_simclrv2.data.stream import WHOLE, Part
from tf_simclrv2.keras2 import keras, start_xla, tf
from tf_simclrv2.runtime.strategy import open_strategy

# On a TPU each return to the host stops the device; on CPU and GPU it costs next to nothing.
TPU_STEPS_PER_EXECUTION = 50
# TensorFlow's names for its strategies, where users know them under another name.
_NAMES = {
    "_DefaultDistributionStrategy": "one device",
    "CollectiveAllReduceStrategy": "MultiWorkerMirroredStrategy",
}


class Devices:
    """The devices of a run, and everything that follows from them, decided once.

    Args:
      strategy: what computes; None is TensorFlow's default one, a single device.
      config: how steps are compiled and how many run between returns to the host.

    Attributes:
      strategy: what computes.
      num_replicas: replicas that share a batch.
      has_workers: whether this process is one of several that compute together.
      num_pipelines: machines, each of which reads its share of a batch, at most.
      is_chief: whether this process is the one that writes the run directory.
      has_accelerator: whether GPUs or TPUs compute.
      compiles: whether steps are compiled with XLA.
      steps_per_execution: steps between returns to the host.
      mixed_precision: the number format in which networks are made.

    Raises:
      ConfigError: XLA is asked for where its programs can't communicate with other replicas.
    """

    def __init__(
        self,
        strategy: Optional[tf.distribute.Strategy] = None,
        config: Optional[ComputeConfig] = None,
    ):
        config = config or DevicesConfig()
        self.strategy = strategy or tf.distribute.get_strategy()
        self.num_replicas: int = self.strategy.num_replicas_in_sync
        self.has_workers = isinstance(self.strategy, tf.distribute.MultiWorkerMirroredStrategy)
        self.is_chief = not self.has_workers or _leads(self.strategy.cluster_resolver)
        self._is_tpu = isinstance(self.strategy, tf.distribute.TPUStrategy)
        self.num_pipelines: int = self.num_replicas if self.has_workers or self._is_tpu else 1
        self.has_accelerator = self._is_tpu or bool(tf.config.list_physical_devices("GPU"))
        self.mixed_precision: str = keras.mixed_precision.global_policy().name
        self.compiles = self._compiles(config.jit_compile)
        self.steps_per_execution = TPU_STEPS_PER_EXECUTION if self._is_tpu else 1
        if isinstance(config, DevicesConfig) and config.steps_per_execution:
            self.steps_per_execution = config.steps_per_execution

    @classmethod
    def open(cls, config: ComputeConfig) -> "Devices":
        """Opens the devices that a config asks for, and sets the number format.

        Must be called before anything is computed if it is to split the CPU or join a cluster.

        Raises:
          ConfigError: the devices don't exist or can't work as asked.
        """
        return cls(open_strategy(config), config)

    def _compiles(self, jit_compile: str) -> bool:
        # A TPU compiles everything by itself.
        if self._is_tpu:
            return False
        single = self.num_replicas == 1
        if jit_compile == "true" and not single:
            raise refuse(
                "jit_compile",
                "true",
                f"must be auto or false with {self.num_replicas} replicas, since XLA can't compile "
                "their exchange outside of TPUs",
            )
        compiles = jit_compile == "true"
        if jit_compile == "auto":
            compiles = single and self.has_accelerator
        if compiles:
            start_xla()
        return compiles

    def scope(self) -> ContextManager:
        """The scope in which variables are to be created."""
        return self.strategy.scope()

    def check_batch(self, batch_size: int, parts: int = 1) -> None:
        """Refuses a batch that replicas can't share equally, or would have to split.

        Args:
          batch_size: the global batch.
          parts: parts into which the batch is split, one after the other.

        Raises:
          ConfigError: it can't be shared.
        """
        replicas = self.num_replicas
        if batch_size % replicas:
            raise refuse(
                "train_batch_size", batch_size, f"must be a multiple of {replicas} replicas"
            )
        if parts > 1 and replicas > 1:
            # Batch norm's exchanges of two parts would meet each other.
            raise refuse(
                "gradient_accumulation_steps", parts, f"must be 1 with {replicas} replicas"
            )

    def describe(self, batch_size: Optional[int] = None) -> str:
        """What computes, in a line, with the global and the per-replica batch."""
        replicas = self.num_replicas
        kind = type(self.strategy).__name__
        line = f"{_NAMES.get(kind, kind)}, {replicas} replica{'s' if replicas > 1 else ''}"
        if self.mixed_precision != "float32":
            line += f", {self.mixed_precision}"
        if batch_size is not None:
            line += f", batch {batch_size} ({-(-batch_size // replicas)} per replica)"
        return line

    def distribute(self, batches_of: Callable[[Part], tf.data.Dataset]) -> Iterable:
        """Spreads batches over replicas, so that together they see what one device would.

        Args:
          batches_of: makes one part's share of the batches.

        Returns:
          An iterable of batches, for ``fit`` or ``strategy.run``.
        """
        if self.num_replicas == 1:
            return batches_of(WHOLE)
        return self.strategy.distribute_datasets_from_function(
            lambda context: batches_of(
                Part(
                    context.input_pipeline_id,
                    context.num_input_pipelines,
                    context.num_replicas_in_sync,
                )
            )
        )

    def agreed(self, number: int) -> int:
        """Returns the chief's number; all workers must call this."""
        if not self.has_workers:
            return number

        @tf.function
        def chiefs() -> tf.Tensor:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            return tf.where(replica == 0, tf.constant(number, tf.int64), 0)

        return int(self.strategy.reduce("sum", self.strategy.run(chiefs), axis=None))

    def augments(self, augmentation: AugmentationConfig) -> bool:
        """Whether the devices distort views, rather than the host; see ``augment_on``."""
        if augmentation.augment_on == "auto":
            return self.has_accelerator
        return augmentation.augment_on == "device"


def _leads(resolver: tf.distribute.cluster_resolver.ClusterResolver) -> bool:
    if "chief" in resolver.cluster_spec().jobs:
        return resolver.task_type == "chief"
    return resolver.task_id == 0
