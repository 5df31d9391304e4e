"""Opening the strategy that a config asks for: devices of this machine, workers, a TPU."""

import contextlib
import functools
import json
import os
import re
import socket
from typing import Any, Dict, List, Tuple

from tf_simclrv2.config import ComputeConfig, ConfigError, refuse
from tf_simclrv2.config.words import shown
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.runtime.number_format import fastest_format

_SECONDS_TO_CONNECT = 10.0


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
    name = _resolve(devices)
    keras.mixed_precision.set_global_policy(_number_format(devices, name))
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


def _number_format(devices: ComputeConfig, strategy: str) -> str:
    if devices.mixed_precision != "auto":
        return devices.mixed_precision
    if strategy == "multi_worker":
        raise refuse("mixed_precision", "auto", "must be named where several machines compute")
    return fastest_format(strategy == "tpu")


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
        return len(_tasks(_tf_config()))
    # Only tasks that srun started are in a step; a batch script is a process of the allocation.
    return _number_of_slurm("SLURM_STEP_NUM_TASKS", 1)


# Any, since JSON has no types; what is used of it is checked.
def _tf_config() -> Dict[str, Any]:
    """TF_CONFIG, which names the addresses of all workers and says which of them this is.

    Raises:
      ConfigError: it names no workers.
    """
    text = os.environ["TF_CONFIG"]
    allowed = "must be JSON with cluster.worker, a list of host:port, and task"
    try:
        content = json.loads(text)
        cluster = content["cluster"]
        addresses = [address for kind in {*cluster, "worker"} for address in cluster[kind]]
        # A chief is a worker too, the one that writes.
        named = [address for kind in ("chief", "worker") for address in cluster.get(kind, [])]
        well_formed = all(re.fullmatch(r"\S+:[0-9]{1,5}", address) for address in addresses)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"TF_CONFIG={shown(text)}: {allowed}.") from error
    if not named or not well_formed or len({*addresses}) < len(addresses):
        raise ConfigError(f"TF_CONFIG={shown(text)}: {allowed}; each address may stand there once.")
    return content


def _tasks(tf_config: Dict[str, Any]) -> List[Tuple[str, int]]:
    """The tasks that train: their types and their numbers."""
    cluster = tf_config["cluster"]
    return [
        (kind, index) for kind in ("chief", "worker") for index in range(len(cluster.get(kind, [])))
    ]


def _check_task(tf_config: Dict[str, Any]) -> None:
    """Refuses a TF_CONFIG by which this process is none of the workers.

    Raises:
      ConfigError: it is none.
    """
    task, tasks = tf_config.get("task"), _tasks(tf_config)
    own = (task.get("type"), task.get("index")) if isinstance(task, dict) else task
    # An index may be a text, as TensorFlow takes it too.
    if own not in tasks and own not in [(kind, str(index)) for kind, index in tasks]:
        kinds = " or ".join(dict.fromkeys(kind for kind, _ in tasks))
        raise ConfigError(
            f"TF_CONFIG={shown(os.environ['TF_CONFIG'])}: task must have the type {kinds} and the "
            f"index of one in cluster, of which there are {len(tasks)}, counted from 0."
        )


def _number_of_slurm(name: str, default: int) -> int:
    """A variable of Slurm's that must be a number.

    Raises:
      ConfigError: it is none.
    """
    text = os.environ.get(name, str(default))
    if not re.fullmatch("[0-9]{1,6}", text):
        raise ConfigError(f"{name}={shown(text)}: must be a whole number, as srun sets it.")
    return int(text)


def _local_devices(devices: ComputeConfig) -> List[str]:
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
    if "TF_CONFIG" in os.environ:
        _check_task(_tf_config())
        resolver = None
    else:
        resolver = _slurm_cluster()
    return tf.distribute.MultiWorkerMirroredStrategy(resolver)


def _slurm_cluster() -> tf.distribute.cluster_resolver.ClusterResolver:
    """The workers that srun started, and which of them this process is."""
    rank, count = _number_of_slurm("SLURM_PROCID", 0), _num_workers()
    if rank >= count:
        raise ConfigError(f"SLURM_PROCID={rank}: must be less than SLURM_STEP_NUM_TASKS={count}.")
    try:
        # Without these numbers it would count GPUs with nvidia-smi, and fail without GPUs.
        slurm = tf.distribute.cluster_resolver.SlurmClusterResolver(
            gpus_per_node=count, gpus_per_task=1, auto_set_gpu=False
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
    # With --gpus-per-task each task sees only its own GPUs.
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
        _check_reachable(resolver.master())
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except Exception as error:
        raise refuse(
            "tpu_name",
            devices.tpu_name,
            f"no TPU answers ({type(error).__name__}: {str(error).partition(chr(10))[0][:200]})",
        ) from error
    return tf.distribute.TPUStrategy(resolver)


def _check_reachable(address: str) -> None:
    """Connects to a TPU's host once, since TensorFlow waits for ever for one that is not there.

    Raises:
      OSError: nothing listens there.
    """
    remote = re.fullmatch(r"grpc://\[?(.+?)\]?:([0-9]+)", address)
    if remote:
        place = remote.group(1), int(remote.group(2))
        socket.create_connection(place, timeout=_SECONDS_TO_CONNECT).close()
