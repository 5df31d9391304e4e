"""Data sets of TensorFlow Datasets, downloaded where need be.

TensorFlow Datasets is imported when one of its data sets is opened: other sources do without.
"""

import logging
import os
from typing import List

from tf_simclrv2.config import ConfigError, DataConfig, refuse
from tf_simclrv2.data.sources.source import UNLABELLED, Source, digest
from tf_simclrv2.keras2 import tf

# Read when TensorFlow Datasets is imported; a user's own value wins.
os.environ.setdefault("TFDS_LOGGING_LEVEL", "ERROR")
_RETRIES = 4


class UnknownDataset(LookupError):
    """TensorFlow Datasets has no data set of this name."""


class TfdsSource(Source):
    """A data set of TensorFlow Datasets.

    Args:
      data: name and place of the data set.

    Raises:
      UnknownDataset: there is no such data set.
      ConfigError: the data set has no images.
    """

    def __init__(self, data: DataConfig):
        import tensorflow_datasets as tfds

        self.name = data.dataset
        try:
            self._builder = tfds.builder(data.dataset, data_dir=data.data_dir)
        except (tfds.core.registered.DatasetNotFoundError, ValueError) as error:
            raise UnknownDataset(data.dataset) from error
        self.directory = os.fspath(self._builder.data_dir)
        features = self._builder.info.features
        if "image" not in features:
            raise refuse("dataset", data.dataset, "must be a data set with a feature named image")
        self.class_names = None
        if "label" in features and isinstance(features["label"], tfds.features.ClassLabel):
            self.class_names = list(features["label"].names)

    def prepare(self) -> None:
        """Downloads and prepares the data set, unless that was done before.

        Raises:
          ConfigError: this failed.
        """
        import tensorflow_datasets as tfds
        from tensorflow_datasets.core.download import downloader

        for name in ("absl", "urllib3"):
            logging.getLogger(name).setLevel(logging.ERROR)
        tfds.disable_progress_bar()
        # Its ten retries would take minutes where there is no network.
        downloader.MAX_RETRIES = _RETRIES
        try:
            self._builder.download_and_prepare()
        except Exception as error:
            raise ConfigError(
                f"--dataset={self.name}: it is not in {self._builder.data_dir} and could not be "
                f"prepared ({type(error).__name__}: {str(error).splitlines()[0][:200]}); prepare "
                f"it on a machine with a network, with tfds build {self.name}, or, where it must "
                "be downloaded by hand, as https://www.tensorflow.org/datasets/catalog says, and "
                "name its place with --data_dir."
            ) from error

    @property
    def splits(self) -> List[str]:
        return list(self._builder.info.splits)

    def num_examples(self, split: str) -> int:
        return self._builder.info.splits[split].num_examples

    def fingerprint(self, split: str) -> str:
        info = self._builder.info
        return digest([info.full_name, split, str(self.num_examples(split))])

    def index(self, split: str) -> tf.data.Dataset:
        import tensorflow_datasets as tfds

        dataset = self._builder.as_dataset(
            split=split,
            shuffle_files=False,
            decoders={"image": tfds.decode.SkipDecoding()},
            read_config=tfds.ReadConfig(add_tfds_id=True, try_autocache=False),
        )

        def select(example):
            label = example["label"] if self.class_names is not None else UNLABELLED
            return {
                "id": example["tfds_id"],
                "file_name": example.get("file_name", example["tfds_id"]),
                "image": example["image"],
                "label": tf.cast(label, tf.int64),
            }

        return dataset.map(select, num_parallel_calls=1)
