"""A directory of image files as a data set."""

import hashlib
import os
from typing import Callable, Collection, Dict, List, Optional, Set

import numpy as np

from tf_simclrv2.config import ConfigError, DataConfig, place, refuse
from tf_simclrv2.config.user_files import printable
from tf_simclrv2.data.by_index import Columns
from tf_simclrv2.data.checking import Check, Usable
from tf_simclrv2.data.decoding import Decoder
from tf_simclrv2.data.images import IMAGE_SUFFIXES
from tf_simclrv2.data.listing import list_images
from tf_simclrv2.data.sources.source import UNLABELLED, Source, digest
from tf_simclrv2.keras2 import tf
from tf_simclrv2.progress import progress

# Directories with images without labels, which are never a class, in any spelling.
_UNLABELLED_NAMES = {"unlabeled", "unlabelled"}
# Directories that are splits, not classes, where there is no other level.
SPLIT_NAMES = {
    *("train", "training", "validation", "valid", "val", "dev", "test", "testing"),
    *("labeled", "labelled"),
    *_UNLABELLED_NAMES,
}


class FolderSource(Source):
    """A directory of image files; ids are the files' relative paths.

    It may be laid out as ``split/class/file``; as ``class/file``, of which a seeded part of each
    class is held out as the split ``validation``; or, for images without labels, as files right in
    it or in directories that are named like splits. Directories named ``unlabelled`` next to the
    others are a split of that name, at any depth. With ``class_level`` the class is the name of the
    directory of that level, whatever is below it.

    A corrupt file is left out with a warning. To find these, each split's files are decoded once,
    when the split is first asked for, or those to train on are checked as ``check_images`` says.

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
        if labelled and data.file_format is not None:
            raise refuse(
                "file_format",
                data.file_format,
                "is about what TensorFlow Datasets stores; leave it out with --dataset=folder",
            )
        self.directory = place(self._root)
        self._checked: Dict[str, Usable] = {}
        self._classes = classes
        self._content_keys: Dict[str, str] = {}
        self.class_names = None
        self._class_depth = 0
        listing = list_images(self._root)
        listing.warn_of_left_out()
        self._check = Check(self._root, data, self._refuse, listing.unreadable)
        if labelled and data.class_level != 0:
            self._files = self._split(listing.files, listing.empty)
        elif listing.files:
            self._files = {"train": listing.files}
        else:
            raise self._refuse(f"must hold images ({', '.join(IMAGE_SUFFIXES)})")

    def _split(self, files: List[str], empty: List[str]) -> Dict[str, List[str]]:
        """Finds out the layout; returns the files by split, and settles the names of the classes.

        Args:
          files: the images.
          empty: directories without any.
        """
        tops = _grouped(files, _top)
        apart = {top: own for top, own in tops.items() if top.lower() in _UNLABELLED_NAMES}
        if apart and len(apart) == len(tops):
            return apart
        others = [file for file in files if _top(file) not in apart] if apart else files
        return {**self._split_others(others, empty), **apart}

    def _split_others(self, files: List[str], empty: List[str]) -> Dict[str, List[str]]:
        """Does the same for the files outside of directories named ``unlabelled``."""
        level = self._data.class_level
        depths = {file.count(os.sep) for file in files}
        usable = bool(files) and (
            min(depths) >= level if level else len(depths) == 1 and max(depths) <= 2
        )
        if not usable:
            raise self._refuse(
                f"must hold images ({', '.join(IMAGE_SUFFIXES)}) in one of the layouts "
                "split/class/file (train/cat/1.jpg), class/file (cat/1.jpg) and, without labels, "
                f"file (1.jpg) or split/file (train/1.jpg), but {_what_is_there(files, depths)}; "
                "--class_level=1 takes class/any/file, 2 split/class/any/file, 0 any, as --labels"
            )
        depth = level or max(depths)
        if depth == 0:
            return {"train": files}
        if depth == 1 and {_top(file).lower() for file in files} <= SPLIT_NAMES:
            if level:
                raise refuse("class_level", level, f"{_top(files[0])} is a split, not a class")
            return _grouped(files, _top)
        self._class_depth = depth
        self.class_names = sorted({self._class_of(file) for file in files})
        if self._classes is not None and set(self.class_names) <= set(self._classes):
            self.class_names = self._classes
            return _grouped(files, _top) if depth == 2 else {"all": files}
        self._check_classes([name for name in empty if name.count(os.sep) == depth - 1])
        return _grouped(files, _top) if depth == 2 else self._hold_out(files)

    def _check_classes(self, empty: List[str]) -> None:
        """Refuses classes that can't be used.

        Args:
          empty: directories of classes that hold no image.
        """
        assert self.class_names is not None
        for name in self.class_names:
            if printable(name) != name:
                raise self._refuse(
                    f"has a class named {printable(name)}; names of classes must be UTF-8, "
                    "without line breaks"
                )
            if name.lower() in _UNLABELLED_NAMES:
                raise self._refuse(
                    f"has a directory {name} among its classes; move it next to the splits, or "
                    "out of the folder and name it with --unlabeled_data_dir"
                )
        if empty:
            raise self._refuse(
                f"has classes without an image ({', '.join(map(printable, empty[:5]))}); each "
                "must hold at least one, or the directory be removed"
            )
        if len(self.class_names) < 2:
            raise self._refuse(
                f"holds a single class, {self.class_names[0]}, but labels need two or more; images "
                "without labels must be directly in the directory"
            )

    def _refuse(self, allowed: str) -> ConfigError:
        return refuse(self._flag, self._data.data_dir, allowed)

    def _class_of(self, file: str) -> str:
        """The class of a file: the name of the directory at the classes' depth."""
        return file.split(os.sep)[self._class_depth - 1]

    def _hold_out(self, files: List[str]) -> Dict[str, List[str]]:
        """Splits ``class/file`` into train and validation, in each class the same fraction.

        Of ``class/patient/file`` the same fraction of patients is held out, as images of one are
        alike.
        """
        random = np.random.RandomState(self._data.holdout_seed)
        held_out: Set[str] = set()
        for name, own in sorted(_grouped(files, self._class_of).items()):
            units = list(_grouped(own, _unit_of).values())
            count = round(self._data.holdout_fraction * len(units))
            if self._data.holdout_fraction > 0:
                count = max(count, 1)
            if count >= len(units):
                what = "image" if len(units) == len(own) else "directory of images"
                if len(units) > 1:
                    what = "images" if len(units) == len(own) else "directories of images"
                raise self._refuse(
                    f"class {name} has {len(units)} {what}, of which {count} would be held out "
                    "for validation and none be left to train on; add images, lower "
                    "--holdout_fraction, or hold out none with --holdout_fraction=0 and "
                    "--mode=train"
                )
            for index in random.permutation(len(units))[:count]:
                held_out.update(units[index])
        return _grouped(files, lambda file: "validation" if file in held_out else "train")

    @property
    def splits(self) -> List[str]:
        return list(self._files)

    @property
    def split_advice(self) -> str:
        known = {split.lower() for split in self._files} & SPLIT_NAMES
        if known or self._class_depth != 2 or self._data.class_level:
            return ""
        return "; if these are classes, as in class/patient/file, give --class_level=1"

    def num_examples(self, split: str) -> int:
        return len(self._usable(split).files)

    def usual_side(self, split: str) -> Optional[int]:
        return self._usable(split).side

    def decoder(self, split: str) -> Decoder:
        return self._usable(split).decoder

    def is_checked(self, split: str) -> bool:
        return self._usable(split).is_checked

    def _usable(self, split: str) -> Usable:
        """The files of a split that are not corrupt, which are looked for once."""
        if split not in self._checked:
            # What is evaluated on must be whole, whatever it costs to know.
            trained = self._flag != "data_dir" or split == self._data.train_split
            how = self._data.check_images if trained else "full"
            self._checked[split] = self._check.of(split, self._files[split], how)
        return self._checked[split]

    def damaged(self, split: str, ids: Collection[str]) -> List[str]:
        return self._check.damaged(split, list(ids), len(self._files[split]))

    def first_damaged(self, ids: Optional[Collection[str]] = None) -> Optional[str]:
        unchecked = [usable for usable in self._checked.values() if not usable.is_checked]
        files = [file for usable in unchecked for file in usable.files]
        if ids is not None:
            wanted = set(ids)
            files = [file for file in files if file in wanted]
        return self._check.first_damaged(files)

    def listed(self, split: str) -> Dict[str, str]:
        return {file: os.path.basename(file) for file in self._files[split]}

    def fingerprint(self, split: str, ids: Optional[Collection[str]] = None) -> str:
        # Without times, so that a copy of a folder is the same; and a link may lead nowhere.
        files = progress(self._files[split] if ids is None else ids, "sizes of images", "image")
        there = {f: path for f in files if os.path.exists(path := os.path.join(self._root, f))}
        return digest(f"{file}\0{os.path.getsize(path)}" for file, path in there.items())

    @property
    def called(self) -> str:
        return f"--{self._flag}={self._data.data_dir}"

    @property
    def usual_evaluation_split(self) -> Optional[str]:
        # Of a folder to evaluate a network on.
        alone = self._classes is not None and len(self.splits) == 1
        whole = "all" if "all" in self.splits else (self.splits[0] if alone else None)
        return super().usual_evaluation_split or whole

    def content_key(self, split: str) -> str:
        if split in self._content_keys:
            return self._content_keys[split]
        root = os.path.realpath(self._root)
        digest = hashlib.sha256(os.fsencode(f"{root} {split} {self.class_names}"))
        for file in progress(self._usable(split).files, "times of images", "image"):
            status = os.stat(os.path.join(root, file))
            digest.update(os.fsencode(f"{file}\0{status.st_size} {status.st_mtime_ns} "))
        self._content_keys[split] = digest.hexdigest()
        return self._content_keys[split]

    def columns(self, split: str) -> Columns:
        files = self._usable(split).files
        numbers = {name: number for number, name in enumerate(self.class_names or ())}
        labels = [self._label_of(file, numbers) for file in files]
        # Names as bytes, since they need not be UTF-8.
        ids = np.array([os.fsencode(file) for file in files], object)
        return Columns(os.fsencode(self._root), ids, np.array(labels, np.int64))

    def index(self, split: str) -> tf.data.Dataset:
        columns = self.columns(split)
        return tf.data.Dataset.from_tensor_slices(
            {
                "id": columns.ids,
                "file_name": [os.path.basename(each) for each in columns.ids],
                "path": columns.paths,
                "label": columns.labels,
            }
        )

    def _label_of(self, file: str, numbers: Dict[str, int]) -> int:
        if not numbers or _top(file).lower() in _UNLABELLED_NAMES:
            return UNLABELLED
        return numbers[self._class_of(file)]


def _top(file: str) -> str:
    """The uppermost directory of a file's path."""
    return file.partition(os.sep)[0]


def _unit_of(file: str) -> str:
    """What is held out together of a class: a file, or all files of a directory in the class."""
    second = file.find(os.sep, file.find(os.sep) + 1)
    return file if second < 0 else file[:second]


def _grouped(files: List[str], key: Callable[[str], str]) -> Dict[str, List[str]]:
    groups: Dict[str, List[str]] = {}
    for file in files:
        groups.setdefault(key(file), []).append(file)
    return groups


def _what_is_there(files: List[str], depths: Set[int]) -> str:
    if not files:
        return "it holds none"
    examples = [next(file for file in files if file.count(os.sep) == depth) for depth in depths]
    return f"it holds {' and '.join(map(printable, examples[:3]))}"
