"""What every source of images offers: splits, classes, and examples in a fixed order."""

import abc
from typing import List, Optional

from tf_simclrv2.config import ConfigError, refuse
from tf_simclrv2.data.images import read
from tf_simclrv2.keras2 import tf

# The label of images that have none.
UNLABELLED = -1
# Encoded examples held for shuffling where they can't be told apart without being read.
SHUFFLE_BUFFER = 10_000


class Source(abc.ABC):
    """One data set: its splits, its classes, and its examples in a fixed order, undecoded.

    A subclass takes a :class:`DataConfig` and raises ConfigError for settings that it can't use.

    Attributes:
      name: what ``--dataset`` calls it.
      class_names: names of the classes; None for a data set without labels.
      shuffle_buffer: undecoded examples that may be held for shuffling; None is all of them.
    """

    name: str
    class_names: Optional[List[str]]
    shuffle_buffer: Optional[int] = SHUFFLE_BUFFER

    def prepare(self) -> None:  # noqa: B027  most sources have nothing to prepare
        """Makes the images ready to read, for example by downloading them.

        Raises:
          ConfigError: this is not possible.
        """

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
        """A split's examples in a fixed order, read by :func:`tf_simclrv2.data.images.read`."""
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
            # Of a split that is there, but whose images can't be used.
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
