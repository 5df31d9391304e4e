"""Where images come from: a folder, TensorFlow Datasets, or the digits that are built in."""

import abc
import dataclasses
import logging
import os
import sys
from typing import Dict, List, Optional, Tuple

import numpy as np
from tqdm import tqdm

from tf_simclrv2.config import SMALLEST_IMAGE, ConfigError, DataConfig, refuse
from tf_simclrv2.keras2 import tf

os.environ.setdefault("TFDS_LOGGING_LEVEL", "ERROR")

import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import downloader

from tf_simclrv2.data import digits  # noqa: F401  registers the builder of "digits"

# TensorFlow decodes WebP from some release on.
_DECODES_WEBP = hasattr(tf.io, "decode_webp")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif") + (".webp",) * _DECODES_WEBP
# The label of images without one, which stand beside labelled ones.
UNLABELLED = -1
# Encoded examples held for shuffling where they can't be told apart without being read.
SHUFFLE_BUFFER = 10_000
# Directories that are splits, not classes, where there is no other level.
_SPLIT_NAMES = {"train", "training", "validation", "valid", "val", "test", "unlabeled"}
_NAMES_SHOWN = 20
_RETRIES = 4


class Source(abc.ABC):
    """One data set: its splits, its classes, and its examples in a fixed order, undecoded.

    Attributes:
      name: what ``--dataset`` calls it.
      class_names: names of the classes; None for a data set without labels.
      shuffle_buffer: undecoded examples that may be held for shuffling; None is all of them.
    """

    name: str
    class_names: Optional[List[str]]
    shuffle_buffer: Optional[int] = SHUFFLE_BUFFER

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
    def index(self, split: str) -> tf.data.Dataset:
        """A split's examples in a fixed order, as far as they are known without opening files.

        Returns:
          Dicts of string scalars ``id``, ``file_name`` (the image's, as lists of examples name it)
          and either ``image``, the encoded image, or ``path``, its file; and of ``label``, int64
          scalar (-1 for a data set without labels).
        """

    def examples(self, split: str) -> tf.data.Dataset:
        """A split's examples in a fixed order, see :func:`read`."""
        return self.index(split).map(read, num_parallel_calls=tf.data.AUTOTUNE)

    def check_split(self, split: str, flag: str) -> None:
        """Raises ConfigError if there is no such split.

        Args:
          split: a split's name.
          flag: the flag to name in the error.
        """
        try:
            self.num_examples(split)
        except ConfigError:
            raise
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

    def index(self, split: str) -> tf.data.Dataset:
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


class FolderSource(Source):
    """A directory of image files; ids are the files' relative paths.

    It may be laid out as ``split/class/file``; as ``class/file``, of which a seeded part of each
    class is held out as the split ``validation``; or, for images without labels, as files right in
    it or in directories that are named like splits.

    A file that is no whole image is left out with a warning; each split's files are decoded once,
    when it is first asked for, to find them.

    Args:
      data: the directory, in ``data_dir``, what is held out, and how many files may be bad.
      labelled: False takes all images at any depth as one split, ``train``, without labels.

    Raises:
      ConfigError: there is no such directory, no images laid out like that in it, an empty class or
        a single one.
    """

    shuffle_buffer = None

    def __init__(self, data: DataConfig, labelled: bool = True):
        self.name = data.dataset
        self._data, self._flag = data, "data_dir" if labelled else "unlabeled_data_dir"
        if data.data_dir is None:
            raise refuse("data_dir", None, "must name the directory of images for --dataset=folder")
        self._root = os.path.expanduser(data.data_dir)
        if not os.path.isdir(self._root):
            raise self._refuse("must be an existing directory")
        self._checked: Dict[str, List[str]] = {}
        self.class_names = None
        files, empty = _image_files(self._root)
        if not labelled:
            if not files:
                raise self._refuse(f"must hold images ({', '.join(IMAGE_SUFFIXES)})")
            self._files = {"train": files}
            return
        depths = {file.count(os.sep) for file in files}
        if not files or len(depths) > 1 or max(depths) > 2:
            raise self._refuse(
                f"must hold images ({', '.join(IMAGE_SUFFIXES)}) in one of the layouts "
                "split/class/file (train/cat/1.jpg), class/file (cat/1.jpg) and, without labels, "
                f"file (1.jpg) or split/file (train/1.jpg), but {_what_is_there(files, depths)}"
            )
        (depth,) = depths
        if depth == 0 or (depth == 1 and set(map(_top, files)) <= _SPLIT_NAMES):
            split_of = (
                (lambda file: "train") if depth == 0 else (lambda file: file.split(os.sep)[0])
            )
            self._files = _grouped(files, split_of)
            return
        self.class_names = sorted({_class_of(file) for file in files})
        empty = [name for name in empty if name.count(os.sep) == depth - 1]
        if empty:
            raise self._refuse(
                f"has classes without an image ({', '.join(empty[:5])}); each must hold at least "
                "one, or the directory be removed"
            )
        if len(self.class_names) < 2:
            raise self._refuse(
                f"holds a single class, {self.class_names[0]}, but labels need two or more; images "
                "without labels belong right into the directory"
            )
        if depth == 2:
            self._files = _grouped(files, _top)
        else:
            self._files = self._hold_out(files)

    def _refuse(self, allowed: str) -> ConfigError:
        return refuse(self._flag, self._data.data_dir, allowed)

    def _hold_out(self, files: List[str]) -> Dict[str, List[str]]:
        """Splits ``class/file`` into train and validation, in each class the same fraction."""
        random = np.random.RandomState(self._data.holdout_seed)
        held_out = set()
        for name, own in sorted(_grouped(files, _class_of).items()):
            count = round(self._data.holdout_fraction * len(own))
            if self._data.holdout_fraction > 0:
                count = max(count, 1)
            if count >= len(own):
                raise self._refuse(
                    f"class {name} has {len(own)} images, of which "
                    f"--holdout_fraction={self._data.holdout_fraction} would leave none to train on"
                )
            held_out.update(own[index] for index in random.permutation(len(own))[:count])
        return _grouped(files, lambda file: "validation" if file in held_out else "train")

    @property
    def splits(self) -> List[str]:
        return list(self._files)

    def num_examples(self, split: str) -> int:
        return len(self._whole_files(split))

    def _whole_files(self, split: str) -> List[str]:
        """The files of a split that are whole images, checked once."""
        if split not in self._checked:
            files = self._files[split]
            shapes = _shapes(self._root, files)
            bad = [file for file in files if file not in shapes]
            self._judge(split, bad, len(files))
            smallest = min(shapes, key=lambda file: min(shapes[file]))
            if min(shapes[smallest]) < SMALLEST_IMAGE["cifar"]:
                height, width = shapes[smallest]
                raise self._refuse(
                    f"{smallest} has {height}x{width} pixels, too few to crop; height and width "
                    f"must be at least {SMALLEST_IMAGE['cifar']}"
                )
            self._checked[split] = [file for file in files if file in shapes]
        return self._checked[split]

    def _judge(self, split: str, bad: List[str], count: int) -> None:
        if not bad:
            return
        if self._data.strict_images:
            raise refuse(
                "strict_images", True, f"{os.path.join(self._root, bad[0])} is no whole image"
            )
        if len(bad) > self._data.max_bad_images * count or len(bad) == count:
            raise refuse(
                "max_bad_images",
                self._data.max_bad_images,
                f"{len(bad)} of the {count} files of {split} are no whole images, such as "
                f"{os.path.join(self._root, bad[0])}; remove them, or allow for as many",
            )
        for file in bad[:_NAMES_SHOWN]:
            print(f"warning: no whole image, left out: {file}", file=sys.stderr)
        print(
            f"warning: {len(bad)} of the {count} files of {self._root} {split} are no whole images "
            "and were left out",
            file=sys.stderr,
        )

    def index(self, split: str) -> tf.data.Dataset:
        files = self._whole_files(split)
        numbers = {name: number for number, name in enumerate(self.class_names or ())}
        columns = {
            "id": files,
            "file_name": [os.path.basename(file) for file in files],
            "path": [os.path.join(self._root, file) for file in files],
            "label": np.array([numbers.get(_class_of(file), UNLABELLED) for file in files]),
        }
        return tf.data.Dataset.from_tensor_slices(columns)


def _top(file: str) -> str:
    """The uppermost directory of a file's path."""
    return file.split(os.sep)[0]


def _class_of(file: str) -> str:
    """The class of a file, by its path: the directory that it is in."""
    return os.path.basename(os.path.dirname(file))


def _grouped(files: List[str], key) -> Dict[str, List[str]]:
    groups: Dict[str, List[str]] = {}
    for file in files:
        groups.setdefault(key(file), []).append(file)
    return groups


def _image_files(root: str) -> Tuple[List[str], List[str]]:
    """Image files under a directory, and directories without any file or directory of use."""
    files, empty = [], []
    for base, directories, names in os.walk(root, followlinks=True):
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        images = [name for name in names if name.lower().endswith(IMAGE_SUFFIXES)]
        relative = os.path.relpath(base, root)
        files += [os.path.normpath(os.path.join(relative, name)) for name in images]
        if not images and not directories:
            empty.append(relative)
    return sorted(files), empty


def _what_is_there(files: List[str], depths) -> str:
    if not files:
        return "it holds none"
    examples = [next(file for file in files if file.count(os.sep) == depth) for depth in depths]
    return f"it holds {' and '.join(examples[:3])}"


def _shapes(root: str, files: List[str]) -> Dict[str, Tuple[int, int]]:
    """Height and width of the files that are whole images, by file."""

    def shape_of(file):
        image = decode(tf.io.read_file(tf.strings.join([root, file], separator=os.sep)))
        return file, tf.shape(image)[:2]

    shapes = tf.data.Dataset.from_tensor_slices(files).map(shape_of, tf.data.AUTOTUNE)
    shapes = shapes.ignore_errors().as_numpy_iterator()
    shown = tqdm(shapes, "checking images", len(files), leave=False, delay=5, unit="image")
    return {file.decode(): tuple(shape) for file, shape in shown}


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


def open_unlabelled(directory: str, data: DataConfig) -> Source:
    """Opens a folder of images to be used without labels, beside a data set.

    Args:
      directory: image files in it, at any depth; its one split is ``train``.
      data: how many files may be bad.

    Raises:
      ConfigError: there are no images.
    """
    return FolderSource(dataclasses.replace(data, data_dir=directory), labelled=False)


def read(example: Dict[str, tf.Tensor]) -> Dict[str, tf.Tensor]:
    """Reads an example's file, unless its image is there already.

    Args:
      example: one of :meth:`Source.index`.

    Returns:
      ``id``, ``image`` and ``label`` of the example.
    """
    image = example.get("image")
    if "path" in example:
        of_file = lambda: tf.io.read_file(example["path"])  # noqa: E731
        is_file = tf.strings.length(example["path"]) > 0
        image = of_file() if image is None else tf.cond(is_file, of_file, lambda: image)
    return {"id": example["id"], "image": image, "label": example["label"]}


def decode(image: tf.Tensor) -> tf.Tensor:
    """Decodes an encoded image, string scalar, to RGB, uint8 [height, width, 3]."""
    return tf.io.decode_image(image, channels=3, expand_animations=False)
