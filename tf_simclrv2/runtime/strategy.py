"""Which devices compute, how batches are spread over them, and how a step is compiled."""

import contextlib
import functools
import json
import os
from typing import Callable, Optional, Tuple

from tf_simclrv2.config import ComputeConfig, ConfigError, DevicesConfig, refuse
from tf_simclrv2.data.pipeline import WHOLE, Part
from tf_simclrv2.keras2 import keras, start_xla, tf

# On a TPU each return to the host stops the device; on CPU and GPU it costs next to nothing.
TPU_STEPS_PER_EXECUTION = 50
# What TensorFlow's classes are called inside and what people call them.
_NAMES = {
    "_DefaultDistributionStrategy": "one device",
    "CollectiveAllReduceStrategy": "MultiWorkerMirroredStrategy",
}


def open_strategy(devices: ComputeConfig) -> tf.distribute.Strategy:
    """Opens the strategy that the config asks for, and sets the number format.

    Must be called before anything is computed where it is to split the CPU or to join a cluster.

    Args:
      devices: strategy, TPU, virtual devices and number format.

    Returns:
      The strategy; TensorFlow's default one for a single device.

    Raises:
      ConfigError: what it asks for is not there.
    """
    keras.mixed_precision.set_global_policy(devices.mixed_precision)
    name = _resolve(devices)
    if devices.virtual_devices > 1 and name != "mirrored":
        raise refuse(
            "virtual_devices", devices.virtual_devices, f"is for --strategy=mirrored, not {name}"
        )
    if name == "tpu":
        return _tpu(devices)
    if name == "multi_worker":
        return _multi_worker()
    if name == "mirrored":
        return _mirrored(tuple(_local_devices(devices)))
    return tf.distribute.get_strategy()


@functools.cache
def _mirrored(names: Tuple[str, ...]) -> tf.distribute.Strategy:
    # One for a process: each numbers its exchanges from 100 on, and those of a second one are taken
    # for the first one's with the same number, of other shapes.
    return tf.distribute.MirroredStrategy(names)


def _resolve(devices: ComputeConfig) -> str:
    if devices.strategy != "auto":
        return devices.strategy
    if devices.use_tpu or devices.tpu_name:
        return "tpu"
    if _num_workers() > 1:
        return "multi_worker"
    if devices.virtual_devices > 1 or len(tf.config.list_physical_devices("GPU")) > 1:
        return "mirrored"
    return "one_device"


def _num_workers() -> int:
    """Workers that TF_CONFIG or Slurm name; 1 without either."""
    if "TF_CONFIG" in os.environ:
        try:
            cluster = json.loads(os.environ["TF_CONFIG"])["cluster"]
            # A chief is a worker too, the one that writes.
            return len(cluster.get("chief", [])) + len(cluster["worker"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"TF_CONFIG={os.environ['TF_CONFIG']}: must be JSON with cluster.worker, a list of "
                "host:port, and task."
            ) from error
    # Only tasks that srun started are in a step; a batch script is a process of the allocation.
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))


def _local_devices(devices: ComputeConfig) -> list:
    if not devices.virtual_devices:
        gpus = tf.config.list_logical_devices("GPU")
        if not gpus:
            raise refuse(
                "strategy",
                "mirrored",
                "this machine has no GPU; --virtual_devices=2 splits its CPU to try it",
            )
        return [gpu.name for gpu in gpus]
    count = devices.virtual_devices
    # Once TensorFlow has started, the devices are what they are.
    with contextlib.suppress(RuntimeError):
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0],
            [tf.config.LogicalDeviceConfiguration()] * count,
        )
    names = [device.name for device in tf.config.list_logical_devices("CPU")]
    if len(names) < count:
        raise refuse("virtual_devices", count, f"TensorFlow started with {len(names)} already")
    return names[:count]


def _multi_worker() -> tf.distribute.Strategy:
    if _num_workers() < 2:
        raise refuse(
            "strategy",
            "multi_worker",
            "TF_CONFIG must name the workers, or srun must start two tasks or more",
        )
    resolver = None if "TF_CONFIG" in os.environ else _slurm_cluster()
    return tf.distribute.MultiWorkerMirroredStrategy(resolver)


def _slurm_cluster() -> tf.distribute.cluster_resolver.ClusterResolver:
    """The workers that srun started, and which of them this process is."""
    try:
        # It would look for GPUs with nvidia-smi, and fail without. Told of one for each task it
        # only finds the addresses.
        slurm = tf.distribute.cluster_resolver.SlurmClusterResolver(
            gpus_per_node=_num_workers(), gpus_per_task=1, auto_set_gpu=False
        )
        cluster = slurm.cluster_spec()
    except (RuntimeError, ValueError) as error:
        raise refuse(
            "strategy", "multi_worker", f"Slurm's variables don't fit ({error})"
        ) from error
    task_type, task_id = slurm.get_task_info()
    workers = cluster.job_tasks(task_type)
    host = workers[task_id].rpartition(":")[0]
    on_host = [index for index, worker in enumerate(workers) if worker.startswith(f"{host}:")]
    gpus = tf.config.list_physical_devices("GPU")
    # With --gpus-per-task each task sees but its own.
    if len(on_host) > 1 and "SLURM_GPUS_PER_TASK" not in os.environ:
        share, place = len(gpus) // len(on_host), on_host.index(task_id)
        gpus = gpus[place * share : (place + 1) * share]
        tf.config.set_visible_devices(gpus, "GPU")
    return tf.distribute.cluster_resolver.SimpleClusterResolver(
        cluster, "", task_type, task_id, num_accelerators={"GPU": len(gpus)}, rpc_layer="grpc"
    )


def _tpu(devices: ComputeConfig) -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
            devices.tpu_name or "local", devices.tpu_zone, devices.gcp_project
        )
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except Exception as error:
        raise refuse(
            "tpu_name",
            devices.tpu_name,
            f"no TPU answers ({type(error).__name__}: {str(error).splitlines()[0][:200]})",
        ) from error
    return tf.distribute.TPUStrategy(resolver)


def has_workers(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is one of several that compute together."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes the run directory."""
    if not has_workers(strategy):
        return True
    resolver = strategy.cluster_resolver
    if "chief" in resolver.cluster_spec().jobs:
        return resolver.task_type == "chief"
    return resolver.task_id == 0


def check_batch(strategy: tf.distribute.Strategy, batch_size: int, parts: int = 1) -> None:
    """Refuses a batch that replicas can't have equal parts of, or that they would have to split.

    Args:
      strategy: what computes.
      batch_size: the global batch.
      parts: parts into which the batch is split, one after the other.

    Raises:
      ConfigError: it can't be shared.
    """
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise refuse("train_batch_size", batch_size, f"must be a multiple of {replicas} replicas")
    if parts > 1 and replicas > 1:
        # Batch norm's exchanges of two parts would meet each other.
        raise refuse("gradient_accumulation_steps", parts, f"must be 1 with {replicas} replicas")


def describe(strategy: tf.distribute.Strategy, batch_size: Optional[int] = None) -> str:
    """What computes, in a line, with the global and the per-replica batch."""
    replicas = strategy.num_replicas_in_sync
    kind = type(strategy).__name__
    kind = _NAMES.get(kind, kind)
    line = f"{kind}, {replicas} replica{'s' if replicas > 1 else ''}"
    if batch_size is not None:
        line += f", batch {batch_size} ({-(-batch_size // replicas)} per replica)"
    return line


def distribute(
    strategy: tf.distribute.Strategy, batches_of: Callable[[Part], tf.data.Dataset]
) -> tf.data.Dataset:
    """Spreads batches over replicas, so that together they have the batches of a single one.

    Args:
      strategy: what computes.
      batches_of: the batches of one part of the replicas.

    Returns:
      An iterable of batches, for ``fit`` or ``strategy.run``.
    """
    if strategy.num_replicas_in_sync == 1:
        return batches_of(WHOLE)
    return strategy.distribute_datasets_from_function(
        lambda context: batches_of(
            Part(
                context.input_pipeline_id,
                context.num_input_pipelines,
                context.num_replicas_in_sync,
            )
        )
    )


def has_accelerator(strategy: tf.distribute.Strategy) -> bool:
    """Whether GPUs or TPUs compute."""
    is_tpu = isinstance(strategy, tf.distribute.TPUStrategy)
    return is_tpu or bool(tf.config.list_physical_devices("GPU"))


def jit_compile(devices: ComputeConfig, strategy: tf.distribute.Strategy) -> bool:
    """Whether to compile steps with XLA.

    Raises:
      ConfigError: XLA is asked for where its programs can't talk to other replicas.
    """
    # A TPU compiles everything by itself.
    if isinstance(strategy, tf.distribute.TPUStrategy):
        return False
    single = strategy.num_replicas_in_sync == 1
    if devices.jit_compile == "true" and not single:
        raise refuse(
            "jit_compile",
            "true",
            f"must be auto or false with {strategy.num_replicas_in_sync} replicas, since XLA can't "
            "compile their exchange outside of TPUs",
        )
    compiles = devices.jit_compile == "true"
    if devices.jit_compile == "auto":
        compiles = single and has_accelerator(strategy)
    if compiles:
        start_xla()
    return compiles


def steps_per_execution(devices: DevicesConfig, strategy: tf.distribute.Strategy) -> int:
    """Steps between returns to the host."""
    is_tpu = isinstance(strategy, tf.distribute.TPUStrategy)
    return devices.steps_per_execution or (TPU_STEPS_PER_EXECUTION if is_tpu else 1)
