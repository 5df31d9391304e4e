"""What a run's frozen network makes of a data set: features of its images, with their labels."""

import dataclasses
import functools
import hashlib
import os
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np

from tf_simclrv2.config import ComputeConfig, DataConfig, LabelsConfig, refuse
from tf_simclrv2.config.labelling import FrozenSection
from tf_simclrv2.data.batches import evaluation_batches
from tf_simclrv2.data.labels import labelled_ids
from tf_simclrv2.data.sources import Source, open_source
from tf_simclrv2.data.sources.chosen import Chosen
from tf_simclrv2.evaluation.features import Features, feature_batches
from tf_simclrv2.keras2 import tf
from tf_simclrv2.networks.network import Network
from tf_simclrv2.runtime.checkpoint import Checkpoint
from tf_simclrv2.runtime.devices import Devices
from tf_simclrv2.runtime.feature_store import FeatureStore, Images
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.training.pictures import reading

_INDEXED_AT_ONCE = 1024
_LARGEST_HASH = 2**63 - 1


class Stored(NamedTuple):
    """The features of a split's images, in the order of the source.

    Attributes:
      ids: of the images.
      values: float32 or float16 [images, dim], memory-mapped.
      labels: int64 [images], -1 where an image has no label.
    """

    ids: List[str]
    values: np.ndarray
    labels: np.ndarray

    def of(self, labels: Mapping[str, int]) -> Features:
        """The features of images that have these labels, by id, in the order of the source.

        They are held in memory unless the images are all.
        """
        rows = [row for row, each in enumerate(self.ids) if each in labels]
        values = self.values if len(rows) == len(self.ids) else self.values[rows]
        return Features(values, np.array([labels[self.ids[row]] for row in rows], np.int64))

    def labelled(self) -> Features:
        """The features of all images that have a label."""
        names = {each: int(label) for each, label in zip(self.ids, self.labels) if label >= 0}
        return self.of(names)


@dataclasses.dataclass(frozen=True)
class Frozen:
    """A run's network, which is not trained, and the data to use it on.

    Attributes:
      checkpoint: the weights.
      source: the data set, with the labels that are known.
      data: the settings of the data.
      layer: output of the projection head whose features are used; 0 is its input.
      network: the network without variables.
      use_ema_weights: whether the weights are those of the memory network.
      feature_type: number format of the features.
    """

    checkpoint: Checkpoint
    source: Source
    data: DataConfig
    layer: int
    network: Network
    use_ema_weights: bool = False
    feature_type: str = "float32"
    _indexed: Dict[str, Tuple[Images, np.ndarray]] = dataclasses.field(default_factory=dict)

    @classmethod
    def open(cls, section: FrozenSection) -> "Frozen":
        """Opens a run and the data.

        Args:
          section: which run, which layer and which data.

        Raises:
          ConfigError: there is no such run, or it has no checkpoint or no such layer; or the data
            can't be used.
        """
        checkpoint = Checkpoint.open(section.model_dir, "model_dir")
        if section.use_ema_weights:
            checkpoint.check_memory()
        network = checkpoint.declare_network()
        layer = _layer(section, checkpoint.run, network)
        data = section.applied_to(checkpoint.run.config.data)
        source = open_source(data)
        source.check_split(data.train_split, "train_split")
        if section.eval_split is not None:
            source.check_split(section.eval_split, "eval_split")
        return cls(
            checkpoint, source, data, layer, network, section.use_ema_weights, section.feature_type
        )

    @property
    def run(self) -> RunDirectory:
        """The run."""
        return self.checkpoint.run

    @property
    def eval_split(self) -> Optional[str]:
        """The split to evaluate on: the one asked for, else the run's, else the usual one."""
        split = self.data.eval_split
        if split is not None:
            try:
                self.source.num_examples(split)
                return split
            except KeyError:  # Of the run's data, which were divided in another way.
                pass
        return self.source.usual_evaluation_split

    def features(self, split: str) -> Stored:
        """Returns the features of a split; computes what is not stored in the run's ``features/``.

        Args:
          split: a split of the source.

        Raises:
          ConfigError: they can't be stored, or an image can't be read any more.
        """
        images, labels = self._images_of(split)
        store = FeatureStore(
            self.run.path, self._weights, self.network.hidden_dim(self.layer), self.feature_type
        )
        called = [split, self.source.name, str(self.source.directory)]
        compute = functools.partial(self._compute, split, len(images.ids))
        return Stored(images.ids, store.features(called, images, compute), labels)

    def labelled(self, choice: LabelsConfig) -> Dict[str, int]:
        """Returns the classes of the training split's labelled images by id; computes nothing.

        Args:
          choice: which of those that have a label.

        Raises:
          ConfigError: none has a label, or none can be chosen like that.
        """
        split = self.data.train_split
        if self.source.num_classes is None:
            raise self.source.without_labels("this command")
        # Else a class without an example, which a table may have, would be refused.
        chosen = None if choice.is_everything else labelled_ids(self.source, split, choice)
        images, labels = self._images_of(split)
        return {
            each: int(label)
            for each, label in zip(images.ids, labels)
            if label >= 0 and (chosen is None or each in chosen)
        }

    def has_labels(self, split: str) -> bool:
        """Whether an image of a split has a label; computes nothing."""
        return bool((self._images_of(split)[1] >= 0).any())

    def _images_of(self, split: str) -> Tuple[Images, np.ndarray]:
        if split not in self._indexed:
            self._indexed[split] = _indexed(self.source, split)
        return self._indexed[split]

    @property
    def _weights(self) -> str:
        """A name for all that the features depend on besides the images."""
        # It holds the checksums of all weights.
        with open(f"{self.checkpoint.path}.index", "rb") as file:
            checksum = hashlib.sha256(file.read()).hexdigest()[:8]
        parts = [
            f"ckpt-{self.checkpoint.step}",
            *(["ema"] if self.use_ema_weights else []),
            self.network.hidden(self.layer),
            f"{self.data.resolved_image_size}px",
            checksum,
        ]
        return "_".join(parts)

    @functools.cached_property
    def _restored(self) -> Network:
        return self.checkpoint.restore_network(self.use_ema_weights)

    def _compute(self, split: str, count: int, ids: List[str]) -> Iterator[np.ndarray]:
        """The features of some images of a split, batch by batch."""
        if not ids:
            return
        devices = Devices.open(ComputeConfig(strategy="one_device"))
        network = self._restored
        chosen = Chosen(self.source, None if len(ids) == count else ids, labelled=False)
        batches = evaluation_batches(chosen, self.data, split)
        layer = network.hidden(self.layer)
        with reading(self.source):
            for batch in feature_batches(network, batches, layer, jit_compile=devices.compiles):
                yield batch.values


def _layer(section: FrozenSection, run: RunDirectory, network: Network) -> int:
    """Which output of the projection head to use."""
    kept = network.num_projections
    if section.layer is None:
        if run.step_of_method == "pretrain":
            return 1 if kept > 1 else 0
        return network.selected_layer
    if section.layer > kept:
        only = "0, the head's input" if kept == 0 else f"0 (the head's input) to {kept}"
        raise refuse(
            "layer",
            section.layer,
            f"the run in {run.path} has kept only {only}; or -1 for the last",
        )
    return kept if section.layer == -1 else section.layer


def _indexed(source: Source, split: str) -> Tuple[Images, np.ndarray]:
    """A split's images, and their labels."""

    def select(example: Dict[str, tf.Tensor]) -> Dict[str, tf.Tensor]:
        columns = {"id": example["id"], "label": tf.cast(example["label"], tf.int64)}
        if "path" in example:
            return {**columns, "path": example["path"]}
        content = tf.strings.to_hash_bucket_fast(example["image"], _LARGEST_HASH)
        return {**columns, "content": content}

    ids: List[str] = []
    contents: List[str] = []
    labels: List[np.ndarray] = []
    batches = source.index(split).map(select).batch(_INDEXED_AT_ONCE).as_numpy_iterator()
    with reading(source):
        for batch in batches:
            ids += map(os.fsdecode, batch["id"])
            is_file = "path" in batch
            contents += map(_content, batch["path"]) if is_file else map(str, batch["content"])
            labels.append(batch["label"])
    return Images(ids, contents), np.concatenate(labels)


def _content(path: bytes) -> str:
    status = os.stat(os.fsdecode(path))
    return f"{status.st_size} {status.st_mtime_ns}"
