"""Where images come from: any data set of TensorFlow Datasets, and the digits that are built in."""

import logging
import os
from typing import List, Optional

from tf_simclrv2.config import ConfigError, DataConfig, refuse
from tf_simclrv2.keras2 import tf

os.environ.setdefault("TFDS_LOGGING_LEVEL", "ERROR")

import tensorflow_datasets as tfds

from tf_simclrv2.data import digits  # noqa: F401  registers the builder of "digits"


class Source:
    """One data set: its splits, its classes, and its examples in a fixed order, undecoded.

    Args:
      data: name and place of the data set.

    Raises:
      ConfigError: there is no such data set, it has no images, or it can't be prepared.
    """

    def __init__(self, data: DataConfig):
        self.name = data.dataset
        if data.data_dir is not None and not os.path.isdir(os.path.expanduser(data.data_dir)):
            raise refuse("data_dir", data.data_dir, "must be an existing directory")
        try:
            self._builder = tfds.builder(data.dataset, data_dir=data.data_dir)
        except (tfds.core.registered.DatasetNotFoundError, ValueError) as error:
            raise refuse(
                "dataset",
                data.dataset,
                "must be digits or a data set of TensorFlow Datasets "
                "(https://www.tensorflow.org/datasets/catalog)",
            ) from error
        features = self._builder.info.features
        if "image" not in features:
            raise refuse("dataset", data.dataset, "must be a data set with a feature named image")
        self.class_names: Optional[List[str]] = None
        if "label" in features and isinstance(features["label"], tfds.features.ClassLabel):
            self.class_names = list(features["label"].names)

    @property
    def num_classes(self) -> Optional[int]:
        """Number of classes, or None for a data set without labels."""
        return None if self.class_names is None else len(self.class_names)

    def prepare(self) -> "Source":
        """Downloads and prepares the data set where that was not done yet; returns the source.

        Raises:
          ConfigError: it could not be downloaded.
        """
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
        return self

    def check_split(self, split: str, flag: str) -> None:
        """Raises ConfigError if there is no such split.

        Args:
          split: a split's name, or an expression such as ``train[:10%]``.
          flag: the flag to name in the error.
        """
        try:
            self._builder.info.splits[split]
        except (KeyError, ValueError) as error:
            names = ", ".join(sorted(self._builder.info.splits))
            raise refuse(flag, split, f"{self.name} has the splits {names}") from error

    def evaluation_split(self, requested: Optional[str]) -> str:
        """The split to evaluate on: the one requested, else validation, else test.

        Raises:
          ConfigError: there is no such split.
        """
        if requested is None:
            candidates = [s for s in ("validation", "test") if s in self._builder.info.splits]
            requested = candidates[0] if candidates else "validation"
        self.check_split(requested, "eval_split")
        return requested

    def num_examples(self, split: str) -> int:
        """Number of examples in a split."""
        return self._builder.info.splits[split].num_examples

    def examples(self, split: str) -> tf.data.Dataset:
        """A split's examples in a fixed order, with images still encoded.

        Returns:
          Dicts of ``id``, string scalar, ``image``, string scalar, and ``label``, int64 scalar (0
          for a data set without labels).
        """
        dataset = self._builder.as_dataset(
            split=split,
            shuffle_files=False,
            decoders={"image": tfds.decode.SkipDecoding()},
            read_config=tfds.ReadConfig(add_tfds_id=True, try_autocache=False),
        )

        def select(example):
            label = example["label"] if self.class_names is not None else tf.constant(0, tf.int64)
            return {
                "id": example["tfds_id"],
                "image": example["image"],
                "label": tf.cast(label, tf.int64),
            }

        return dataset.map(select, num_parallel_calls=1)


def decode(image: tf.Tensor) -> tf.Tensor:
    """Decodes an encoded image, string scalar, to RGB, uint8 [height, width, 3]."""
    return tf.io.decode_image(image, channels=3, expand_animations=False)
