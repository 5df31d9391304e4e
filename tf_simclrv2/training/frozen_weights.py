"""Networks that aren't trained, whoever stored their weights: a run's, and an export's."""

import abc
import functools
import hashlib
import os
from typing import Dict, Iterable, Iterator, Optional

import numpy as np

from tf_simclrv2.config import ComputeConfig, refuse
from tf_simclrv2.config.labelling import FrozenSection
from tf_simclrv2.evaluation.features import REPRESENTATION, feature_batches
from tf_simclrv2.keras2 import tf
from tf_simclrv2.networks.network import Network
from tf_simclrv2.runtime.checkpoint import Checkpoint
from tf_simclrv2.runtime.devices import Devices
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.runtime.served import (
    Embedder,
    damaged_refused,
    describe_embedder,
    load_embed,
)

Batches = Iterable[Dict[str, tf.Tensor]]


class FrozenWeights(abc.ABC):
    """A layer of a network that isn't trained.

    Attributes:
      path: of the directory that holds it, in which its features are kept.
    """

    path: str

    @property
    @abc.abstractmethod
    def layer_name(self) -> str:
        """The name of the layer."""

    @property
    @abc.abstractmethod
    def dim(self) -> int:
        """Features per image."""

    @abc.abstractmethod
    def named(self, image_size: int) -> str:
        """A name for all that features depend on besides the images.

        Args:
          image_size: side in pixels of what images are resized to.
        """

    @abc.abstractmethod
    def features(self, batches: Batches) -> Iterator[np.ndarray]:
        """The features of images, batch by batch.

        Args:
          batches: see :func:`tf_simclrv2.evaluation.features.features`.

        Yields:
          float32 [images of the batch, dim].

        Raises:
          ConfigError: the weights are damaged.
        """


class RunWeights(FrozenWeights):
    """The weights of a run's checkpoint.

    Args:
      checkpoint: the weights.
      layer: output of the projection head whose features are used; 0 is its input, -1 its last;
        None is the one that suits the run.
      use_ema_weights: take those of the memory network.

    Raises:
      ConfigError: there is no such layer.
    """

    def __init__(
        self, checkpoint: Checkpoint, layer: Optional[int] = None, use_ema_weights: bool = False
    ):
        self.checkpoint, self.use_ema_weights = checkpoint, use_ema_weights
        self.path = checkpoint.run.path
        self._declared = checkpoint.declare_network()
        self.layer = _layer(layer, checkpoint.run, self._declared)

    @classmethod
    def open(cls, section: FrozenSection) -> "RunWeights":
        """Opens a run.

        Args:
          section: which run, and which layer.

        Raises:
          ConfigError: there is no such run, or it has no checkpoint or no such layer.
        """
        checkpoint = Checkpoint.open(section.model_dir, "model_dir")
        if section.use_ema_weights:
            checkpoint.check_memory()
        return cls(checkpoint, section.layer, section.use_ema_weights)

    @property
    def run(self) -> RunDirectory:
        """The run."""
        return self.checkpoint.run

    @property
    def layer_name(self) -> str:
        return self._declared.hidden(self.layer)

    @property
    def dim(self) -> int:
        return self._declared.hidden_dim(self.layer)

    def named(self, image_size: int) -> str:
        # It holds the checksums of all weights.
        with open(f"{self.checkpoint.path}.index", "rb") as file:
            checksum = hashlib.sha256(file.read()).hexdigest()[:8]
        parts = [
            f"ckpt-{self.checkpoint.step}",
            *(["ema"] if self.use_ema_weights else []),
            self.layer_name,
            f"{image_size}px",
            checksum,
        ]
        return "_".join(parts)

    @functools.cached_property
    def _restored(self) -> Network:
        return self.checkpoint.restore_network(self.use_ema_weights)

    def features(self, batches: Batches) -> Iterator[np.ndarray]:
        devices = Devices.open(ComputeConfig(strategy="one_device"))
        network = self._restored
        compiles = devices.compiles
        for batch in feature_batches(network, batches, self.layer_name, jit_compile=compiles):
            yield batch.values


class ExportedWeights(FrozenWeights):
    """The weights of an export, whose features are the head's input.

    Args:
      path: of the export.
      saved_model: the directory of its SavedModel.
      embedder: what it says of itself.
    """

    def __init__(self, path: str, saved_model: str, embedder: Embedder):
        self.path, self._saved_model, self._embedder = path, saved_model, embedder

    @classmethod
    def open(cls, section: FrozenSection, saved_model: str) -> "ExportedWeights":
        """Opens an export.

        Args:
          section: which one, and which layer.
          saved_model: the directory of its SavedModel.

        Raises:
          ConfigError: it is damaged, or has no such layer.
        """
        if section.layer not in (None, 0):
            raise refuse(
                "layer",
                section.layer,
                f"the export in {section.model_dir} has only 0, the head's input",
            )
        if section.use_ema_weights:
            raise refuse(
                "use_ema_weights",
                True,
                f"{section.model_dir} must hold a pretraining run with --use_memory, but holds an "
                "export",
            )
        with damaged_refused(section.model_dir, "model_dir"):
            embedder = describe_embedder(saved_model)
        return cls(os.path.expanduser(section.model_dir), saved_model, embedder)

    @property
    def image_size(self) -> int:
        """Side in pixels of the images that the network was trained on."""
        return self._embedder.image_size

    @property
    def layer_name(self) -> str:
        return REPRESENTATION

    @property
    def dim(self) -> int:
        return self._embedder.dim

    def named(self, image_size: int) -> str:
        return f"export_{image_size}px_{self._embedder.identity}"

    def features(self, batches: Batches) -> Iterator[np.ndarray]:
        with damaged_refused(self.path, "model_dir"):
            embed = load_embed(self._saved_model)
        for batch in batches:
            weights: np.ndarray = batch["weight"].numpy()
            yield embed(batch["image"]).numpy()[weights > 0]


def _layer(layer: Optional[int], run: RunDirectory, network: Network) -> int:
    """Which output of the projection head to use; None is the one that suits the run."""
    kept = network.num_projections
    if layer is None:
        usual = 1 if kept > 1 else 0
        return usual if run.step_of_method == "pretrain" else network.selected_layer
    if layer > kept:
        only = "0, the head's input" if kept == 0 else f"0 (the head's input) to {kept}"
        raise refuse(
            "layer",
            layer,
            f"the run in {run.path} has kept only {only}; or -1 for the last",
        )
    return kept if layer == -1 else layer
