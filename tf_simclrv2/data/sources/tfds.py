"""Data sets of TensorFlow Datasets, downloaded where need be.

TensorFlow Datasets is imported when one of its data sets is opened: other sources do without.
"""

import hashlib
import importlib.util
import logging
import os
from typing import Any, Collection, Dict, List, Optional

import numpy as np

from tf_simclrv2.config import ConfigError, DataConfig, refuse
from tf_simclrv2.config.data import ARRAY_RECORD
from tf_simclrv2.config.user_files import printable
from tf_simclrv2.data.by_index import Columns
from tf_simclrv2.data.decoding import ANY, PLAIN, Decoder
from tf_simclrv2.data.listing import find_image
from tf_simclrv2.data.sources.preparing import foreign_entry, only_one
from tf_simclrv2.data.sources.records import ArrayRecords
from tf_simclrv2.data.sources.source import UNLABELLED, Source, digest
from tf_simclrv2.keras2 import tf

# Read when TensorFlow Datasets is imported; a user's own value wins.
os.environ.setdefault("TFDS_LOGGING_LEVEL", "ERROR")
_RETRIES = 4
# What TensorFlow Datasets raises for a name, version or configuration that it does not have, and
# for one that needs a package that is not installed.
_UNUSABLE = (ValueError, AssertionError, ImportError, TypeError)
_LONGEST_REASON = 200
_NO_INFO = "its dataset_info.json is missing or no such file"


class UnknownDataset(LookupError):
    """TensorFlow Datasets has no data set of this name."""


class TfdsSource(Source):
    """A data set of TensorFlow Datasets.

    Args:
      data: name and place of the data set.

    Raises:
      UnknownDataset: there is no such data set.
      ConfigError: the data set has no images, or there is no such directory.
    """

    # Whether it may be stored in a directory that also holds image files.
    may_lie_next_to_images = True
    _decoder: Decoder = ANY

    def __init__(self, data: DataConfig):
        import tensorflow_datasets as tfds

        self.name = data.dataset
        self._data_dir = None if data.data_dir is None else os.path.expanduser(data.data_dir)
        if self._data_dir is not None and not os.path.isdir(self._data_dir):
            raise refuse("data_dir", data.data_dir, "must be an existing directory")
        self._builder = self._open(data.file_format)
        self.file_format = self._builder.info.file_format.value
        self.directory = os.fspath(self._builder.data_dir)
        features = self._builder.info.features
        named = isinstance(features, tfds.features.FeaturesDict) and "image" in features
        image = features["image"] if named else None
        if not isinstance(image, tfds.features.Image) or np.dtype(image.np_dtype).kind == "f":
            raise refuse(
                "dataset",
                data.dataset,
                "must be a data set with a feature named image, which is an image of integers",
            )
        # Its images were made of pixels of 8 bits, without transparency or orientation.
        plain = image.encoding_format == "png" or (
            image.encoding_format is None and image.shape[-1] == 1
        )
        plain = plain and image.shape[-1] in (1, 3) and image.np_dtype == np.uint8
        decoder = Decoder(on_host=False, max_pixels=data.max_image_pixels)
        self._decoder = PLAIN if plain else decoder
        self.class_names = None
        if "label" in features and isinstance(features["label"], tfds.features.ClassLabel):
            self.class_names = list(features["label"].names)

    def _open(self, file_format: Optional[str]) -> Any:
        """Opens TensorFlow Datasets' builder, which knows what is prepared by now.

        Args:
          file_format: how it must be stored, or is to be; None leaves that open.
        """
        import tensorflow_datasets as tfds

        try:
            builder = tfds.builder(self.name, data_dir=self._data_dir)
            if file_format is not None and not builder.data_path.exists():
                builder = tfds.builder(self.name, data_dir=self._data_dir, file_format=file_format)
        except _UNUSABLE as error:
            raise UnknownDataset(_first_line(error)) from error
        except FileNotFoundError as error:
            raise self._damaged(_NO_INFO) from error
        stored = builder.info.file_format.value
        if file_format not in (None, stored):
            raise refuse(
                "file_format",
                file_format,
                f"{self.name} is stored in {builder.data_dir} as {stored}; leave it out of a new "
                "run, or name another --data_dir",
            )
        if stored == ARRAY_RECORD and importlib.util.find_spec("array_record") is None:
            raise ConfigError(
                f"--dataset={self.name}: as array_record it needs the package array_record, which "
                "is not installed."
            )
        return builder

    def is_prepared(self) -> bool:
        """Whether the data set is stored already, so that nothing will be written."""
        return self._builder.data_path.exists()

    def prepare(self) -> None:
        """Downloads and prepares the data set, unless that was done before.

        If another process prepares it at the same time, this one waits and uses what that makes.

        Raises:
          ConfigError: this failed, or files of what is stored are missing or empty.
        """
        self._check_no_images()
        if self.is_prepared():
            self._check_files()
            return
        root = str(self._builder.data_dir)[: -len(self._builder.info.full_name)]
        # Where no flag names it, it is the directory that TensorFlow Datasets is set up with.
        foreign = None if self._data_dir is None else foreign_entry(root)
        if foreign is not None:
            raise refuse(
                "data_dir",
                self._data_dir,
                f"{self.name} is not in it, and would be written next to {foreign}, which is not "
                "TensorFlow Datasets' own; name an empty directory, one that it made, or, for "
                "images of your own, --dataset=folder",
            )
        try:
            with only_one(root, self.name):
                # Another process may have prepared it meanwhile.
                self._builder = self._open(self.file_format)
                self._download()
        except Exception as error:
            self._builder = self._open(self.file_format)
            if self.is_prepared():
                return  # Another process was faster, where there are no locks.
            raise ConfigError(
                f"--dataset={self.name}: it is not in {self._builder.data_dir} and could not be "
                f"prepared ({type(error).__name__}: {_first_line(error)}); prepare "
                f"it on a machine with a network, with tfds build {self.name}, or, where it must "
                "be downloaded by hand, as https://www.tensorflow.org/datasets/catalog says, and "
                "name its place with --data_dir."
            ) from error

    def _check_files(self) -> None:
        """Refuses a data set of whose stored files one is missing or empty."""
        splits = self._builder.info.splits
        if not splits:  # Of later versions of TensorFlow Datasets; earlier ones raise an error.
            raise self._damaged(_NO_INFO)
        for split in splits.values():
            # A file that need not be there holds no example.
            for path in split.filepaths if split.num_examples else ():
                if not path.exists():
                    raise self._damaged(f"{path.name} is missing")
                if not path.stat().length:
                    raise self._damaged(f"{path.name} is empty")

    def _damaged(self, reason: str) -> ConfigError:
        place = "" if self._data_dir is None else f" in {self._data_dir}"
        return ConfigError(
            f"--dataset={self.name}: what is stored of it{place} is damaged ({reason}); delete it, "
            "and it is prepared again."
        )

    def _check_no_images(self) -> None:
        """Refuses a directory of images, which someone gave without ``--dataset=folder``."""
        if self._data_dir is None or (self.is_prepared() and self.may_lie_next_to_images):
            return
        image = find_image(self._data_dir)
        if image is not None:
            raise refuse(
                "data_dir",
                self._data_dir,
                f"holds images, such as {printable(image)}, which --dataset={self.name} does not "
                "read; give --dataset=folder to use them",
            )

    def _download(self) -> None:
        import tensorflow_datasets as tfds
        from tensorflow_datasets.core.download import downloader

        for name in ("absl", "urllib3"):
            logging.getLogger(name).setLevel(logging.ERROR)
        tfds.disable_progress_bar()
        # Its ten retries would take minutes where there is no network.
        downloader.MAX_RETRIES = _RETRIES
        self._builder.download_and_prepare()

    @property
    def splits(self) -> List[str]:
        return list(self._builder.info.splits)

    def num_examples(self, split: str) -> int:
        try:
            return self._builder.info.splits[split].num_examples
        except ValueError as error:  # A split or a part of one that there is not.
            raise KeyError(split) from error

    def decoder(self, split: str) -> Decoder:
        return self._decoder

    def content_key(self, split: str) -> str:
        directory = os.path.realpath(self._builder.data_dir)
        digest = hashlib.sha256(os.fsencode(f"{directory} {split}"))
        for folder, _, names in sorted(os.walk(directory)):
            for path in (os.path.join(folder, name) for name in sorted(names)):
                status = os.stat(path)
                digest.update(os.fsencode(f"{path} {status.st_size} {status.st_mtime_ns} "))
        return digest.hexdigest()

    def fingerprint(self, split: str, ids: Optional[Collection[str]] = None) -> str:
        info = self._builder.info
        return digest([info.full_name, split, str(self.num_examples(split)), *(ids or ())])

    def usual_side(self, split: str) -> Optional[int]:
        height, width, _ = self._builder.info.features["image"].shape
        return min(height, width) if height and width else None

    def columns(self, split: str) -> Optional[Columns]:
        if not self._is_by_index:
            return None
        records = self._records(split)
        ids = np.array(records.ids, object)
        # Labels are read with the images.
        none = np.full(len(ids), UNLABELLED, np.int64) if self.class_names is None else None
        return Columns(b"", ids, none, records, np.arange(len(ids)))

    def index(self, split: str) -> tf.data.Dataset:
        import tensorflow_datasets as tfds

        if self._is_by_index:
            records = self._records(split)
            numbered = tf.data.Dataset.from_tensor_slices(records.ids).enumerate()
            return numbered.map(
                lambda number, each: self._chosen({**records.features(number), "tfds_id": each}),
                tf.data.AUTOTUNE,
            )
        dataset = self._builder.as_dataset(
            split=split,
            shuffle_files=False,
            decoders={"image": tfds.decode.SkipDecoding()},
            read_config=tfds.ReadConfig(add_tfds_id=True, try_autocache=False),
        )
        return dataset.map(self._chosen, num_parallel_calls=1)

    @property
    def _is_by_index(self) -> bool:
        """Whether examples are stored so that each is reached by its number."""
        return self.file_format == ARRAY_RECORD

    def _records(self, split: str) -> ArrayRecords:
        return ArrayRecords(self._builder, split, self._chosen)

    def _chosen(self, example: Dict[str, tf.Tensor]) -> Dict[str, tf.Tensor]:
        """What is used of an example of TensorFlow Datasets."""
        label = example["label"] if self.class_names is not None else UNLABELLED
        return {
            "id": example["tfds_id"],
            "file_name": example.get("file_name", example["tfds_id"]),
            "image": example["image"],
            "label": tf.cast(label, tf.int64),
        }


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:_LONGEST_REASON] if lines else type(error).__name__
