"""Memory that settings need at least, against what the machine has, before anything is allocated.

The estimates are far below what training takes, so that only what can't work is refused; what is
refused would otherwise hang, or be killed by the system without a word.
"""

import contextlib
import os
import resource
from typing import Dict, Iterator, Tuple

from tf_simclrv2.config.commands import PretrainConfig, TrainingConfig
from tf_simclrv2.config.network import NetworkConfig, ProjectionHeadConfig
from tf_simclrv2.config.settings import refuse

_GIB = 2**30
_FLOAT = 4
# Above this, an image's size is to blame rather than how many there are.
_LARGE_IMAGE = 1024
# Weights of an encoder of width 1, in millions; they grow with the square of the width.
_MILLIONS = {18: 11, 34: 21, 50: 23, 101: 42, 152: 58, 200: 62}
_CGROUP_LIMITS = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)

# A flag's name, its value, and the bytes that are needed because of it.
_Need = Tuple[str, object, float]


def machine_memory() -> int:
    """Bytes that this process may use: of the machine, of its container, or by its own limit."""
    return min(_limits())


def _limits() -> Iterator[int]:
    yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _CGROUP_LIMITS:
        # Neither is there outside of containers, and "max" is no number.
        with contextlib.suppress(OSError, ValueError), open(path, encoding="ascii") as file:
            yield int(file.read())
    for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY:
            yield soft


def check_memory(flag: str, value: object, needed: float, words: str) -> None:
    """Refuses a setting because of which more memory is needed than the machine has.

    Args:
      flag: the flag's name, without dashes.
      value: its value.
      needed: bytes that are needed at least.
      words: what needs them, as in "{words} need 5 GiB".

    Raises:
      ConfigError: there is less memory.
    """
    if needed > machine_memory():
        raise refuse(
            flag,
            value,
            f"{words} need at least {needed / _GIB:,.0f} GiB of memory, but this machine has "
            f"{machine_memory() / _GIB:,.0f} GiB",
        )


def check_weights(network: NetworkConfig, head: ProjectionHeadConfig, copies: int = 1) -> None:
    """Refuses a network whose weights don't fit into memory.

    Args:
      network: the encoder.
      head: the projection head.
      copies: how often the weights are held, such as 3 with their gradients and momentum.

    Raises:
      ConfigError: they don't fit.
    """
    encoder = 1e6 * _MILLIONS[network.resnet_depth] * network.width_multiplier**2
    features = (512 if network.resnet_depth < 50 else 2048) * network.width_multiplier
    hidden = features**2 * max(0, head.num_layers - 1)
    last = features * head.proj_out_dim * min(1, head.num_layers)
    weights: Dict[str, _Need] = {
        "encoder": ("width_multiplier", network.width_multiplier, encoder),
        "hidden": ("num_proj_layers", head.num_proj_layers, hidden),
        "last": ("proj_out_dim", head.proj_out_dim, last),
    }
    flag, value, _ = max(weights.values(), key=lambda need: need[2])
    total = sum(need[2] for need in weights.values())
    check_memory(flag, value, _FLOAT * copies * total, "the network's weights")


def check_images(flag: str, value: object, count: float, size: int, channel: int = _FLOAT) -> None:
    """Refuses a batch of images, [count, size, size, 3], beyond the memory.

    Args:
      flag: the flag to blame, without dashes.
      value: its value.
      count: images in the batch.
      size: their height and width in pixels.
      channel: bytes of a pixel's channel; 1 for uint8.

    Raises:
      ConfigError: it doesn't fit.
    """
    needed = 3 * channel * count * size**2
    check_memory(flag, value, needed, f"{count:,.0f} images of {size} pixels")


def check_training(config: TrainingConfig, pipelines: int = 1, on_cpu: bool = True) -> None:
    """Refuses a training run that can't fit into memory.

    Args:
      config: the run's config.
      pipelines: machines that share a batch.
      on_cpu: whether the CPU computes; what only an accelerator holds is not counted.

    Raises:
      ConfigError: weights, memory or a batch don't fit.
    """
    size, batch = config.data.resolved_image_size, config.optimization.train_batch_size
    head, views = ProjectionHeadConfig("none"), 1
    if isinstance(config, PretrainConfig):
        head, views, keys = config.projection_head, 2, config.memory.memory_size
        if config.memory.use_memory:
            dim = head.proj_out_dim
            check_memory("memory_size", keys, _FLOAT * keys * dim, f"keys of {dim} numbers")
    # Gradients and momentum are as large as the weights.
    check_weights(config.network, head, copies=3 if on_cpu else 1)
    blamed = ("image_size", size) if size > _LARGE_IMAGE else ("train_batch_size", batch)
    count: float = views * batch / pipelines
    check_images(*blamed, count, size, channel=1)
    if on_cpu:
        count /= config.optimization.gradient_accumulation_steps
        stride = 1 if config.network.resolved(size).stem == "cifar" else 2
        outputs = count * 64 * config.network.width_multiplier * (size / stride) ** 2
        each = _FLOAT if config.devices.mixed_precision in ("float32", "auto") else _FLOAT / 2
        # Each is held with its normalised form.
        words = f"the first layer's outputs for {count:,.0f} images"
        check_memory(*blamed, 2 * each * outputs, words)
