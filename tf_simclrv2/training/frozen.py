"""What a frozen network makes of a data set: features of its images, with their labels."""

import dataclasses
import functools
import os
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np

from tf_simclrv2.config import ConfigError, DataConfig, LabelsConfig, refuse
from tf_simclrv2.config.labelling import FrozenSection
from tf_simclrv2.data.batches import evaluation_batches
from tf_simclrv2.data.labels import labelled_ids
from tf_simclrv2.data.sources import Source, open_source
from tf_simclrv2.data.sources.chosen import Chosen
from tf_simclrv2.evaluation.features import Features
from tf_simclrv2.keras2 import tf
from tf_simclrv2.runtime.feature_store import FeatureStore, Images
from tf_simclrv2.runtime.served import find_saved_model
from tf_simclrv2.training.frozen_weights import ExportedWeights, FrozenWeights, RunWeights
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

    @property
    def classes(self) -> Dict[str, int]:
        """The classes of all images that have a label, by id."""
        return {each: int(label) for each, label in zip(self.ids, self.labels) if label >= 0}

    def labelled(self) -> Features:
        """The features of all images that have a label."""
        return self.of(self.classes)


@dataclasses.dataclass(frozen=True)
class Frozen:
    """A network that isn't trained, and the data to use it on.

    Attributes:
      weights: of the network.
      source: the data set, with the labels that are known.
      data: the settings of the data.
      feature_type: number format of the features.
    """

    weights: FrozenWeights
    source: Source
    data: DataConfig
    feature_type: str = "float32"
    _indexed: Dict[str, Tuple[Images, np.ndarray]] = dataclasses.field(default_factory=dict)

    @classmethod
    def open(cls, section: FrozenSection) -> "Frozen":
        """Opens a run or an export, and the data.

        Args:
          section: which run or export, which layer and which data.

        Raises:
          ConfigError: there is none, or it has no checkpoint or no such layer; or the data can't
            be used.
        """
        saved_model = find_saved_model(section.model_dir)
        if saved_model is None:
            of_run = RunWeights.open(section)
            weights: FrozenWeights = of_run
            data = section.applied_to(of_run.run.config.data)
        else:
            exported = ExportedWeights.open(section, saved_model)
            weights, data = exported, section.applied_to(_data_for(exported, section))
        source = open_source(data)
        source.check_split(data.train_split, "train_split")
        if section.eval_split is not None:
            source.check_split(section.eval_split, "eval_split")
        return cls(weights, source, data, section.feature_type)

    @property
    def path(self) -> str:
        """The directory of the run or export."""
        return self.weights.path

    @property
    def of_run(self) -> RunWeights:
        """The run's weights.

        Raises:
          ConfigError: they are those of an export.
        """
        if not isinstance(self.weights, RunWeights):
            raise refuse(
                "model_dir", self.path, "is an export, but --run_dir needs the run that it is of"
            )
        return self.weights

    def place_for(self, name: str) -> str:
        """The directory of what a command writes if no flag names one: in the run.

        Args:
          name: of the directory in the run's.

        Raises:
          ConfigError: there is no run, and an export is not written into.
        """
        if not isinstance(self.weights, RunWeights):
            raise ConfigError(
                f"--output_dir must name a directory for the results, since "
                f"--model_dir={self.path} is an export."
            )
        return os.path.join(self.path, name)

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
        """Returns the features of a split; computes what ``features/`` doesn't hold.

        Args:
          split: a split of the source.

        Raises:
          ConfigError: they can't be stored, or an image can't be read any more.
        """
        images, labels = self._images_of(split)
        name = self.weights.named(self.data.resolved_image_size)
        if self.data.cache_max_side is not None:
            name += f"_of_{self.data.cache_max_side}px"
        store = FeatureStore(self.path, name, self.weights.dim, self.feature_type)
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

    def images_of(self, split: str) -> Tuple[List[str], np.ndarray]:
        """The ids of a split's images, and their labels, -1 where there is none; computes nothing.

        Args:
          split: a split of the source.

        Raises:
          ConfigError: an image can't be read any more.
        """
        images, labels = self._images_of(split)
        return images.ids, labels

    def _images_of(self, split: str) -> Tuple[Images, np.ndarray]:
        if split not in self._indexed:
            self._indexed[split] = _indexed(self.source, split)
        return self._indexed[split]

    def _compute(self, split: str, count: int, ids: List[str]) -> Iterator[np.ndarray]:
        """The features of some images of a split, batch by batch."""
        if not ids:
            return
        chosen = Chosen(self.source, None if len(ids) == count else ids, labelled=False)
        with reading(self.source):
            yield from self.weights.features(evaluation_batches(chosen, self.data, split))


def _data_for(weights: ExportedWeights, section: FrozenSection) -> DataConfig:
    """The settings of data for an export, which knows the size of its images alone."""
    if section.dataset is None:
        raise ConfigError(
            f"--dataset must name the images, which --model_dir={section.model_dir}, an export, "
            "does not say; folder takes those of --data_dir."
        )
    return DataConfig(section.dataset, image_size=weights.image_size)


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
