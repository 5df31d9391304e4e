"""What every source of images offers: splits, classes, and examples in a fixed order."""

import abc
import hashlib
import os
from typing import Collection, Dict, Iterable, List, Mapping, Optional

from tf_simclrv2.config import ConfigError, DataConfig, refuse
from tf_simclrv2.config.user_files import printable
from tf_simclrv2.data.by_index import Columns
from tf_simclrv2.data.decoding import ANY, Decoder
from tf_simclrv2.data.images import read
from tf_simclrv2.keras2 import tf

# The label of images that have none.
UNLABELLED = -1
# Encoded examples held for shuffling where they can't be told apart without being read.
SHUFFLE_BUFFER = 10_000
# Names of splits to evaluate on, the first that is there.
EVALUATION_SPLITS = ("validation", "valid", "val", "dev", "test", "testing")


def digest(lines: Iterable[str]) -> str:
    """A short hexadecimal text that tells lists of lines apart."""
    joined = "\0".join(lines).encode("utf-8", "surrogateescape")
    return hashlib.sha256(joined).hexdigest()[:16]


class Source(abc.ABC):
    """One data set: its splits, its classes, and its examples in a fixed order, undecoded.

    A subclass takes a :class:`DataConfig` and raises ConfigError for settings that it can't use.

    Attributes:
      name: what ``--dataset`` calls it.
      class_names: names of the classes; None for a data set without labels.
      shuffle_buffer: undecoded examples that may be held for shuffling; None is all of them.
      directory: where its files are; None if there are none.
      file_format: how TensorFlow Datasets stores it; None if it does not.
      evaluation_advice: what to do if there is no split to evaluate on.
      chosen_by: how images were chosen to be labelled, by id, as far as that is known.
      must_hold_out: whether training is refused if there is no split to evaluate on.
    """

    name: str
    class_names: Optional[List[str]]
    shuffle_buffer: Optional[int] = SHUFFLE_BUFFER
    directory: Optional[str] = None
    file_format: Optional[str] = None
    evaluation_advice = (
        "name one with --eval_split, such as --eval_split=train[90%:] next to "
        "--train_split=train[:90%]"
    )

    must_hold_out = True
    chosen_by: Mapping[str, str] = {}

    def prepare(self) -> None:  # noqa: B027  most sources have nothing to prepare
        """Makes the images ready to read, for example by downloading them.

        Raises:
          ConfigError: this is not possible.
        """

    def usual_side(self, split: str) -> Optional[int]:
        """Pixels of the shorter side that half of a split's images don't exceed, where known."""
        return None

    @property
    def num_classes(self) -> Optional[int]:
        """Number of classes, or None for a data set without labels."""
        return None if self.class_names is None else len(self.class_names)

    @property
    @abc.abstractmethod
    def splits(self) -> List[str]:
        """Names of the splits."""

    @property
    def split_advice(self) -> str:
        """What to tell someone who asks for another split, behind the names of those there are."""
        return ""

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

    def columns(self, split: str) -> Optional[Columns]:
        """Ids and labels of :meth:`index` as arrays, if images are reached by index; else None."""
        return None

    def is_checked(self, split: str) -> bool:
        """Whether each of a split's examples is known to decode."""
        return True

    def damaged(self, split: str, ids: Collection[str]) -> List[str]:
        """Those of some examples of a split that do not decode; says so, as of corrupt files.

        Raises:
          ConfigError: they are more than the settings allow.
        """
        return []

    def first_damaged(self, ids: Optional[Collection[str]] = None) -> Optional[str]:
        """An example, perhaps among ``ids``, that was not checked and does not decode, or None."""
        return None

    def listed(self, split: str) -> Dict[str, str]:
        """File names of a split's examples by id, of a folder also those of corrupt files.

        This reads the whole split. Subclasses know a faster way.
        """
        named = self.index(split).map(lambda example: (example["id"], example["file_name"]))
        pairs = named.as_numpy_iterator()
        return {os.fsdecode(example_id): os.fsdecode(name) for example_id, name in pairs}

    def labelled(self, split: str) -> Optional[Dict[str, int]]:
        """Classes of a split's labelled examples by id, where others of it may have none.

        None where no table says which are labelled: all of the split are then, or none.
        """
        return None

    def without_labels(self, what: str) -> ConfigError:
        """The error for a use that needs labels, of a data set that has none.

        Args:
          what: what needs them.
        """
        return refuse("dataset", self.name, f"has no labels, which {what} needs")

    def decoder(self, split: str) -> Decoder:
        """What decodes a split's images; a subclass that knows their kinds saves operations."""
        return ANY

    def content_key(self, split: str) -> str:
        """A text that differs if the examples of a split, their order or their labels do.

        This reads all of them. Subclasses know a faster way.
        """
        hashed = hashlib.sha256(f"{self.name} {split}".encode())
        for example in self.examples(split).as_numpy_iterator():
            for part in (example["id"], example["image"], str(example["label"]).encode()):
                hashed.update(b"%d %s" % (len(part), part))
        return hashed.hexdigest()

    def examples(self, split: str) -> tf.data.Dataset:
        """A split's examples in a fixed order, read by :func:`tf_simclrv2.data.images.read`."""
        return self.index(split).map(read, num_parallel_calls=tf.data.AUTOTUNE)

    def check_split(self, split: str, flag: str) -> None:
        """Raises ConfigError if there is no such split.

        Args:
          split: a split's name.
          flag: the flag to name in the error.
        """
        try:
            count = self.num_examples(split)
        except KeyError as error:
            there = ", ".join(map(printable, sorted(self.splits)))
            if (flag, split) == ("train_split", DataConfig().train_split):
                # Perhaps nobody gave this flag.
                raise ConfigError(
                    f"{self.called}: has no split {split}, but {there}; --train_split=NAME trains "
                    f"on another one{self.split_advice}."
                ) from error
            raise refuse(
                flag, split, f"{self.name} has the splits {there}{self.split_advice}"
            ) from error
        if count < 1:
            raise refuse(flag, split, f"has no image of {self.name}")

    @property
    def called(self) -> str:
        """How a message begins that is about the whole data set."""
        return f"--dataset={self.name}"

    @property
    def usual_evaluation_split(self) -> Optional[str]:
        """The split to evaluate on where none is named, or None if there is none."""
        found = [each for name in EVALUATION_SPLITS for each in self.splits
                 if each.lower() == name]  # fmt: skip
        return found[0] if found else None

    def fingerprint(self, split: str, ids: Optional[Collection[str]] = None) -> str:
        """A short text that is another one if a split holds other examples, as far as is known.

        Args:
          split: the split.
          ids: those of its examples that it is about; None is all of them.

        Raises:
          KeyError: there is no such split.
        """
        return digest([self.name, split, str(self.num_examples(split)), *(ids or ())])

    def holds_out_nothing(self, requested: Optional[str]) -> bool:
        """Whether a training goes without evaluation, as nobody asked for it and nothing is for it.

        Args:
          requested: the split that was asked for.
        """
        usual = self.usual_evaluation_split
        return not self.must_hold_out and requested is None and usual is None

    def evaluation_split(self, requested: Optional[str]) -> str:
        """The split to evaluate on: the one requested, else validation (or val), else test.

        Raises:
          ConfigError: there is no such split.
        """
        if requested is None:
            usual = self.usual_evaluation_split
            if usual is None:
                there = ", ".join(map(printable, sorted(self.splits)))
                raise ConfigError(
                    f"{self.called}: has no split validation or test to evaluate on, but {there}; "
                    f"{self.evaluation_advice}, or leave the evaluation out of the training with "
                    "--mode=train."
                )
            requested = usual
        self.check_split(requested, "eval_split")
        return requested
