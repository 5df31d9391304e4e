"""From a run directory back to its network."""

import contextlib
import os
from typing import Any, Callable, Iterator, Optional, Tuple

from tf_simclrv2.config import (
    ConfigError,
    DistillConfig,
    FinetuneConfig,
    PretrainConfig,
    ProjectionHeadConfig,
    refuse,
)
from tf_simclrv2.keras2 import READ_ERRORS, tf
from tf_simclrv2.networks.network import Network
from tf_simclrv2.runtime.run_directory import RunDirectory, open_run


def build_network(config: Any, num_classes: Optional[int]) -> Network:
    """Builds the network of a run, with random weights and all its variables.

    Args:
      config: the run's config, of any of the method's three steps, with a resolved stem.
      num_classes: classes of the data, or None without labels.

    Raises:
      TypeError: the config is of another kind.
    """
    return _declare_network(config, num_classes).build_for(config.data.resolved_image_size)


def _declare_network(config: Any, num_classes: Optional[int]) -> Network:
    """The network of :func:`build_network`, without variables yet."""
    if isinstance(config, PretrainConfig):
        contrastive = config.contrastive
        network = Network(
            config.network,
            config.projection_head,
            num_classes if contrastive.lineareval_while_pretraining else None,
            contrastive.ft_proj_selector,
            probe=True,
        )
    elif isinstance(config, FinetuneConfig):
        network = Network(
            config.network,
            config.projection_head,
            num_classes,
            config.fine_tuning.ft_proj_selector,
            zero_init_logits=config.fine_tuning.zero_init_logits_layer,
        )
        network.encoder.freeze_through(config.fine_tuning.fine_tune_after_block)
    elif isinstance(config, DistillConfig):
        network = Network(config.network, ProjectionHeadConfig("none"), num_classes)
    else:
        raise TypeError(f"No network belongs to a {type(config).__name__}.")
    return network


def split_checkpoint(path: str) -> Tuple[str, Optional[str]]:
    """Returns the run directory and, if ``path`` names one checkpoint in it, that checkpoint."""
    if os.path.isfile(f"{path}.index"):
        return os.path.dirname(os.path.dirname(os.path.abspath(path))), path
    return path, None


@contextlib.contextmanager
def reading(path: str) -> Iterator[None]:
    """Within it, a checkpoint of a run that can't be read, or not into the run, is refused.

    Args:
      path: the checkpoint.

    Raises:
      ConfigError: it is damaged or does not fit.
    """
    try:
        yield
    except (AssertionError, *READ_ERRORS) as error:
        # Keras wraps what went wrong in lines about the layer that it was called from.
        lines = str(error).splitlines() or [type(error).__name__]
        reason = next((line.strip() for line in lines if "shape" in line), lines[0])
        raise ConfigError(
            f"{path}: the checkpoint is damaged, or doesn't fit the network that its config.json "
            f"describes ({reason.rstrip('.')})."
        ) from error


def _restore(
    checkpoint: tf.train.Checkpoint, path: str, create: Callable[[], Any] = lambda: None
) -> None:
    with reading(path):
        status = checkpoint.restore(path)
        create()
        status.assert_existing_objects_matched().expect_partial()


def trained_steps(checkpoint: str) -> int:
    """The number of training steps after which a run's checkpoint was saved.

    Raises:
      ConfigError: the checkpoint is damaged.
    """
    with reading(checkpoint):
        reader = tf.train.load_checkpoint(checkpoint)
        # Optimizers of tensorflow-addons have their own name for it.
        names = [f"optimizer/{name}/.ATTRIBUTES/VARIABLE_VALUE" for name in ("_iterations", "iter")]
        return int(reader.get_tensor(next(name for name in names if reader.has_tensor(name))))


def check_memory(run: RunDirectory) -> None:
    """Refuses ``use_ema_weights`` unless the run has a memory network.

    Raises:
      ConfigError: it has none.
    """
    config = run.config
    if not (isinstance(config, PretrainConfig) and config.memory.use_memory):
        raise refuse(
            "use_ema_weights",
            True,
            f"{run.path} must hold a pretraining run with --use_memory, but holds none",
        )


def _restore_from(run, checkpoint, network, use_ema_weights, **create) -> None:
    """Restores a network, or a checkpoint of some of its parts, from the run's checkpoint."""
    parts = tf.train.Checkpoint(network=network)
    if use_ema_weights:
        parts = tf.train.Checkpoint(memory=parts)
    _restore(parts, checkpoint or run.latest_checkpoint(), **create)


def restore_network(
    run: RunDirectory, checkpoint: Optional[str] = None, use_ema_weights: bool = False
) -> Network:
    """Rebuilds a run's network with the weights of its newest, or the named, checkpoint.

    Args:
      run: the run.
      checkpoint: a checkpoint in it; None is the newest.
      use_ema_weights: take the weights of the memory network, see :func:`check_memory`.

    Raises:
      ConfigError: the checkpoint doesn't fit.
    """
    class_names = run.class_names
    config = run.config
    network = _declare_network(config, None if class_names is None else len(class_names))
    # Variables that don't exist yet take their values one by one when they are created; those that
    # do would take theirs from a second copy of all of them in memory.
    size = config.data.resolved_image_size
    _restore_from(run, checkpoint, network, use_ema_weights, create=lambda: network.build_for(size))
    return network


def restore_pretrained(
    network: Network,
    run: RunDirectory,
    checkpoint: Optional[str],
    use_ema_weights: bool = False,
) -> None:
    """Loads a pretraining run's encoder and as many of its projection layers as are used.

    Args:
      network: the network to fine-tune.
      run: the pretraining run.
      checkpoint: a checkpoint in it; None is the newest.
      use_ema_weights: take the weights of the memory network, see :func:`check_memory`.

    Raises:
      ConfigError: the checkpoint doesn't fit.
    """
    parts = tf.train.Checkpoint(encoder=network.encoder, projection_head=network.projection_head)
    _restore_from(run, checkpoint, parts, use_ema_weights)


def open_classifier(path: str, flag: str) -> Tuple[RunDirectory, Optional[str]]:
    """Opens a run whose network classifies, and returns it with the checkpoint named, if any.

    Raises:
      ConfigError: it is no such run.
    """
    directory, checkpoint = split_checkpoint(path)
    run = open_run(directory, flag)
    if run.step_of_method == "pretrain" and not (
        run.config.contrastive.lineareval_while_pretraining and run.class_names
    ):
        raise refuse(
            flag,
            path,
            "holds a pretraining run without a linear probe, but must hold one with a classifier",
        )
    return run, checkpoint
