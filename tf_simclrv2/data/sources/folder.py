"""A directory of image files as a data set."""

import logging
import os
from typing import Callable, Dict, List, Optional, Set

import numpy as np

from tf_simclrv2.config import SMALLEST_IMAGE, ConfigError, DataConfig, place, refuse
from tf_simclrv2.data.images import IMAGE_SUFFIXES, image_files, shapes_of
from tf_simclrv2.data.sources.source import UNLABELLED, Source, digest
from tf_simclrv2.keras2 import tf

logger = logging.getLogger(__name__)

# Directories that are splits, not classes, where there is no other level.
_SPLIT_NAMES = {"train", "training", "validation", "valid", "val", "test", "unlabeled"}
_NAMES_SHOWN = 20


class FolderSource(Source):
    """A directory of image files; ids are the files' relative paths.

    It may be laid out as ``split/class/file``; as ``class/file``, of which a seeded part of each
    class is held out as the split ``validation``; or, for images without labels, as files right in
    it or in directories that are named like splits.

    A corrupt file is left out with a warning. To find these, each split's files are decoded once,
    when the split is first asked for.

    Args:
      data: the directory, in ``data_dir``, what is held out, and how many files may be corrupt.
      labelled: False takes all images at any depth as one split, ``train``, without labels.
      classes: the classes of the network to evaluate: ``class/file`` is then one split, ``all``,
        and need not have each of these classes. A folder with other classes keeps its own.

    Raises:
      ConfigError: there is no such directory, no images laid out like that in it, an empty class or
        a single one.
    """

    shuffle_buffer = None

    evaluation_advice = (
        "put images into a directory validation, in class directories as in the others, or name "
        "one of these with --eval_split"
    )

    def __init__(
        self, data: DataConfig, labelled: bool = True, classes: Optional[List[str]] = None
    ):
        self.name = data.dataset
        self._data, self._flag = data, "data_dir" if labelled else "unlabeled_data_dir"
        if data.data_dir is None:
            raise refuse("data_dir", None, "must name the directory of images for --dataset=folder")
        self._root = os.path.expanduser(data.data_dir)
        if not os.path.isdir(self._root):
            raise self._refuse("must be an existing directory")
        self.directory = place(self._root)
        self._checked: Dict[str, List[str]] = {}
        self._classes = classes
        self.class_names = None
        files, empty = image_files(self._root)
        if labelled:
            self._files = self._split(files, empty)
        elif files:
            self._files = {"train": files}
        else:
            raise self._refuse(f"must hold images ({', '.join(IMAGE_SUFFIXES)})")

    def _split(self, files: List[str], empty: List[str]) -> Dict[str, List[str]]:
        """Finds out the layout; returns the files by split, and settles the names of the classes.

        Args:
          files: the images.
          empty: directories without any.
        """
        depths = {file.count(os.sep) for file in files}
        if not files or len(depths) > 1 or max(depths) > 2:
            raise self._refuse(
                f"must hold images ({', '.join(IMAGE_SUFFIXES)}) in one of the layouts "
                "split/class/file (train/cat/1.jpg), class/file (cat/1.jpg) and, without labels, "
                f"file (1.jpg) or split/file (train/1.jpg), but {_what_is_there(files, depths)}"
            )
        (depth,) = depths
        if depth == 0:
            return {"train": files}
        if depth == 1 and set(map(_top, files)) <= _SPLIT_NAMES:
            return _grouped(files, _top)
        self.class_names = sorted({_class_of(file) for file in files})
        if self._classes is not None and set(self.class_names) <= set(self._classes):
            self.class_names = self._classes
            return _grouped(files, _top) if depth == 2 else {"all": files}
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
        return _grouped(files, _top) if depth == 2 else self._hold_out(files)

    def _refuse(self, allowed: str) -> ConfigError:
        return refuse(self._flag, self._data.data_dir, allowed)

    def _hold_out(self, files: List[str]) -> Dict[str, List[str]]:
        """Splits ``class/file`` into train and validation, in each class the same fraction."""
        random = np.random.RandomState(self._data.holdout_seed)
        held_out: Set[str] = set()
        for name, own in sorted(_grouped(files, _class_of).items()):
            count = round(self._data.holdout_fraction * len(own))
            if self._data.holdout_fraction > 0:
                count = max(count, 1)
            if count >= len(own):
                raise self._refuse(
                    f"class {name} has {len(own)} image{'s' * (len(own) > 1)}, of which {count} "
                    "would be held out for validation and none be left to train on; add images, "
                    "lower --holdout_fraction, or hold out none with --holdout_fraction=0 and "
                    "--mode=train"
                )
            held_out.update(own[index] for index in random.permutation(len(own))[:count])
        return _grouped(files, lambda file: "validation" if file in held_out else "train")

    @property
    def splits(self) -> List[str]:
        return list(self._files)

    def num_examples(self, split: str) -> int:
        return len(self._decodable(split))

    def _decodable(self, split: str) -> List[str]:
        """The files of a split that are not corrupt, which are looked for once."""
        if split not in self._checked:
            files = self._files[split]
            shapes = shapes_of(self._root, files)
            self._judge(split, [file for file in files if file not in shapes], len(files))
            smallest = min(shapes, key=lambda file: min(shapes[file]))
            if min(shapes[smallest]) < SMALLEST_IMAGE["cifar"]:
                height, width = shapes[smallest]
                raise self._refuse(
                    f"{smallest} has {height}x{width} pixels, too few to crop; height and width "
                    f"must be at least {SMALLEST_IMAGE['cifar']}"
                )
            self._checked[split] = [file for file in files if file in shapes]
        return self._checked[split]

    def _judge(self, split: str, corrupt: List[str], count: int) -> None:
        """Warns of corrupt files, or refuses them if the settings say so."""
        if not corrupt:
            return
        first = os.path.join(self._root, corrupt[0])
        if self._data.strict_images:
            raise refuse("strict_images", True, f"{first} is corrupt")
        if len(corrupt) > self._data.max_bad_images * count or len(corrupt) == count:
            raise refuse(
                "max_bad_images",
                self._data.max_bad_images,
                f"{len(corrupt)} of the {count} files of {split} are corrupt, such as {first}; "
                "remove them, or allow for as many",
            )
        for file in corrupt[:_NAMES_SHOWN]:
            logger.warning("corrupt, left out: %s", file)
        logger.warning(
            "%d of the %d files of %s %s are corrupt and were left out",
            len(corrupt), count, self._root, split,
        )  # fmt: skip

    def fingerprint(self, split: str) -> str:
        # Without times, so that a copy of a folder is the same.
        sizes = ((f, os.path.getsize(os.path.join(self._root, f))) for f in self._files[split])
        return digest(f"{file}\0{size}" for file, size in sizes)

    @property
    def called(self) -> str:
        return f"--{self._flag}={self._data.data_dir}"

    @property
    def usual_evaluation_split(self) -> Optional[str]:
        # Of a folder to evaluate a network on.
        alone = self._classes is not None and len(self.splits) == 1
        whole = "all" if "all" in self.splits else (self.splits[0] if alone else None)
        return super().usual_evaluation_split or whole

    def index(self, split: str) -> tf.data.Dataset:
        files = self._decodable(split)
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


def _grouped(files: List[str], key: Callable[[str], str]) -> Dict[str, List[str]]:
    groups: Dict[str, List[str]] = {}
    for file in files:
        groups.setdefault(key(file), []).append(file)
    return groups


def _what_is_there(files: List[str], depths: Set[int]) -> str:
    if not files:
        return "it holds none"
    examples = [next(file for file in files if file.count(os.sep) == depth) for depth in depths]
    return f"it holds {' and '.join(examples[:3])}"
