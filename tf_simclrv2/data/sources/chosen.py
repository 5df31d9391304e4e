"""Some examples of another source, such as the labelled ones."""

from typing import Collection, List, Optional

from tf_simclrv2.data.decoding import Decoder
from tf_simclrv2.data.sources.source import Source
from tf_simclrv2.data.stream import only
from tf_simclrv2.keras2 import tf


class Chosen(Source):
    """Some examples of a split.

    Args:
      source: whose they are.
      ids: of the examples; None is all.
      labelled: False leaves the labels out of account, as some may have none.
    """

    def __init__(self, source: Source, ids: Optional[List[str]] = None, labelled: bool = True):
        self.name, self.class_names = source.name, source.class_names if labelled else None
        self._source, self._ids = source, ids

    @property
    def splits(self) -> List[str]:
        return self._source.splits

    def num_examples(self, split: str) -> int:
        return self._source.num_examples(split) if self._ids is None else len(self._ids)

    def decoder(self, split: str) -> Decoder:
        return self._source.decoder(split)

    def is_checked(self, split: str) -> bool:
        return self._source.is_checked(split)

    def damaged(self, split: str, ids: Collection[str]) -> List[str]:
        return self._source.damaged(split, ids)

    def first_damaged(self, ids: Optional[Collection[str]] = None) -> Optional[str]:
        return self._source.first_damaged(self._ids if ids is None else ids)

    def index(self, split: str) -> tf.data.Dataset:
        examples = self._source.index(split)
        return examples if self._ids is None else only(examples, self._ids)
