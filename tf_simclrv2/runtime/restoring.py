"""From a run directory back to its network."""

import os
from typing import Any, Optional, Tuple

from tf_simclrv2.config import (
    ConfigError,
    DistillConfig,
    FinetuneConfig,
    PretrainConfig,
    ProjectionHeadConfig,
    refuse,
)
from tf_simclrv2.keras2 import tf
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
    size = config.data.resolved_image_size
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
    return network.build_for(size)


def split_checkpoint(path: str) -> Tuple[str, Optional[str]]:
    """Returns the run directory and, if ``path`` names one checkpoint in it, that checkpoint."""
    if os.path.isfile(f"{path}.index"):
        return os.path.dirname(os.path.dirname(os.path.abspath(path))), path
    return path, None


def _restore(checkpoint: tf.train.Checkpoint, path: str) -> None:
    try:
        checkpoint.restore(path).assert_existing_objects_matched().expect_partial()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        raise ConfigError(
            f"{path}: the checkpoint doesn't fit the network that its config.json describes "
            f"({str(error).splitlines()[0]})."
        ) from error


def restore_network(run: RunDirectory, checkpoint: Optional[str] = None) -> Network:
    """Rebuilds a run's network with the weights of its newest, or the named, checkpoint.

    Raises:
      ConfigError: the checkpoint doesn't fit.
    """
    class_names = run.class_names
    network = build_network(run.config, None if class_names is None else len(class_names))
    _restore(tf.train.Checkpoint(network=network), checkpoint or run.latest_checkpoint())
    return network


def restore_pretrained(network: Network, run: RunDirectory, checkpoint: Optional[str]) -> None:
    """Loads a pretraining run's encoder and as many of its projection layers as are used.

    Args:
      network: the network to fine-tune.
      run: the pretraining run.
      checkpoint: a checkpoint in it; None is the newest.

    Raises:
      ConfigError: the checkpoint doesn't fit.
    """
    parts = tf.train.Checkpoint(encoder=network.encoder, projection_head=network.projection_head)
    _restore(tf.train.Checkpoint(network=parts), checkpoint or run.latest_checkpoint())


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
