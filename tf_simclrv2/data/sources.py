"""Where images come from: a folder, TensorFlow Datasets, or the digits that are built in."""

import abc
import glob
import logging
import os
from typing import Dict, List, Optional

from tf_simclrv2.config import ConfigError, DataConfig, refuse
from tf_simclrv2.keras2 import tf

os.environ.setdefault("TFDS_LOGGING_LEVEL", "ERROR")

import tensorflow_datasets as tfds

from tf_simclrv2.data import digits  # noqa: F401  registers the builder of "digits"

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")


class Source(abc.ABC):
    """One data set: its splits, its classes, and its examples in a fixed order, undecoded.

    Attributes:
      name: what ``--dataset`` calls it.
      class_names: names of the classes; None for a data set without labels.
    """

    name: str
    class_names: Optional[List[str]]

    @property
    def num_classes(self) -> Optional[int]:
        """Number of classes, or None for a data set without labels."""
        return None if self.class_names is None else len(self.class_names)

    @property
    @abc.abstractmethod
    def splits(self) -> List[str]:
        """Names of the splits."""

    @abc.abstractmethod
    def num_examples(self, split: str) -> int:
        """Number of examples in a split.

        Raises:
          KeyError: there is no such split.
        """

    @abc.abstractmethod
    def examples(self, split: str) -> tf.data.Dataset:
        """A split's examples in a fixed order, with images still encoded.

        Returns:
          Dicts of ``id``, string scalar, ``image``, string scalar, and ``label``, int64 scalar (0
          for a data set without labels).
        """

    def check_split(self, split: str, flag: str) -> None:
        """Raises ConfigError if there is no such split.

        Args:
          split: a split's name.
          flag: the flag to name in the error.
        """
        try:
            self.num_examples(split)
        except (KeyError, ValueError) as error:
            raise refuse(
                flag, split, f"{self.name} has the splits {', '.join(sorted(self.splits))}"
            ) from error

    def evaluation_split(self, requested: Optional[str]) -> str:
        """The split to evaluate on: the one requested, else validation, else test.

        Raises:
          ConfigError: there is no such split.
        """
        if requested is None:
            candidates = [split for split in ("validation", "test") if split in self.splits]
            requested = candidates[0] if candidates else "validation"
        self.check_split(requested, "eval_split")
        return requested


class TfdsSource(Source):
    """A data set of TensorFlow Datasets, or the built-in digits; downloaded where need be.

    Args:
      data: name and place of the data set.
      prepare: whether to prepare its images; what it is can be told without.

    Raises:
      ConfigError: there is no such data set, it has no images, or it can't be prepared.
    """

    def __init__(self, data: DataConfig, prepare: bool = True):
        self.name = data.dataset
        try:
            self._builder = tfds.builder(data.dataset, data_dir=data.data_dir)
        except (tfds.core.registered.DatasetNotFoundError, ValueError) as error:
            raise refuse(
                "dataset",
                data.dataset,
                "must be digits, folder, or a data set of TensorFlow Datasets "
                "(https://www.tensorflow.org/datasets/catalog)",
            ) from error
        features = self._builder.info.features
        if "image" not in features:
            raise refuse("dataset", data.dataset, "must be a data set with a feature named image")
        self.class_names = None
        if "label" in features and isinstance(features["label"], tfds.features.ClassLabel):
            self.class_names = list(features["label"].names)
        if prepare:
            self._prepare()

    def _prepare(self) -> None:
        logging.getLogger("absl").setLevel(logging.ERROR)
        tfds.disable_progress_bar()
        try:
            self._builder.download_and_prepare()
        except Exception as error:
            raise ConfigError(
                f"--dataset={self.name}: it is not in {self._builder.data_dir} and could not be "
                f"prepared ({type(error).__name__}: {str(error).splitlines()[0]}); prepare it on a "
                f"machine with a network, with tfds build {self.name}, and name its place with "
                "--data_dir."
            ) from error

    @property
    def splits(self) -> List[str]:
        return list(self._builder.info.splits)

    def num_examples(self, split: str) -> int:
        return self._builder.info.splits[split].num_examples

    def examples(self, split: str) -> tf.data.Dataset:
        dataset = self._builder.as_dataset(
            split=split,
            shuffle_files=False,
            decoders={"image": tfds.decode.SkipDecoding()},
            read_config=tfds.ReadConfig(add_tfds_id=True, try_autocache=False),
        )

        def select(example):
            label = example["label"] if self.class_names is not None else 0
            return {
                "id": example["tfds_id"],
                "image": example["image"],
                "label": tf.cast(label, tf.int64),
            }

        return dataset.map(select, num_parallel_calls=1)


class FolderSource(Source):
    """A directory of image files, ``split/class/file``; ids are the files' relative paths.

    Args:
      data: the directory, in ``data_dir``.

    Raises:
      ConfigError: there is no such directory, or no images laid out like that in it.
    """

    def __init__(self, data: DataConfig):
        self.name = data.dataset
        if data.data_dir is None:
            raise refuse("data_dir", None, "must name the directory of images for --dataset=folder")
        self._root = os.path.expanduser(data.data_dir)
        files: Dict[str, List[str]] = {}
        for path in sorted(glob.glob(os.path.join(glob.escape(self._root), "*", "*", "*"))):
            if path.lower().endswith(IMAGE_SUFFIXES):
                relative = os.path.relpath(path, self._root)
                files.setdefault(relative.split(os.sep)[0], []).append(relative)
        if not files:
            raise refuse(
                "data_dir",
                data.data_dir,
                f"must hold images ({', '.join(IMAGE_SUFFIXES)}) as split/class/file, such as "
                "train/cat/1.jpg",
            )
        self._files = files
        names = {file.split(os.sep)[1] for split in files.values() for file in split}
        self.class_names = sorted(names)

    @property
    def splits(self) -> List[str]:
        return list(self._files)

    def num_examples(self, split: str) -> int:
        return len(self._files[split])

    def examples(self, split: str) -> tf.data.Dataset:
        files = self._files[split]
        labels = [self.class_names.index(file.split(os.sep)[1]) for file in files]

        def read(file, label):
            image = tf.io.read_file(tf.strings.join([self._root, file], separator=os.sep))
            return {"id": file, "image": image, "label": label}

        labels = tf.constant(labels, tf.int64)
        return tf.data.Dataset.from_tensor_slices((files, labels)).map(read)


def open_source(data: DataConfig, prepare: bool = True) -> Source:
    """Opens the data set that a config names: a folder of images, the digits, or one of TFDS.

    Args:
      data: name and place of the data set.
      prepare: whether to prepare its images; without, it only tells its classes.

    Raises:
      ConfigError: it can't be used.
    """
    if data.data_dir is not None and not os.path.isdir(os.path.expanduser(data.data_dir)):
        raise refuse("data_dir", data.data_dir, "must be an existing directory")
    return FolderSource(data) if data.dataset == "folder" else TfdsSource(data, prepare)


def decode(image: tf.Tensor) -> tf.Tensor:
    """Decodes an encoded image, string scalar, to RGB, uint8 [height, width, 3]."""
    return tf.io.decode_image(image, channels=3, expand_animations=False)
