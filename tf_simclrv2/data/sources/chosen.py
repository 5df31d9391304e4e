"""Some examples of another source, such as the labelled ones."""

from typing import List

from tf_simclrv2.data.decoding import Decoder
from tf_simclrv2.data.sources.source import Source
from tf_simclrv2.data.stream import only
from tf_simclrv2.keras2 import tf


class Chosen(Source):
    """Some examples of a split.

    Args:
      source: whose they are.
      ids: of the examples.
    """

    def __init__(self, source: Source, ids: List[str]):
        self.name, self.class_names = source.name, source.class_names
        self._source, self._ids = source, ids

    @property
    def splits(self) -> List[str]:
        return self._source.splits

    def num_examples(self, split: str) -> int:
        return len(self._ids)

    def decoder(self, split: str) -> Decoder:
        return self._source.decoder(split)

    def index(self, split: str) -> tf.data.Dataset:
        return only(self._source.index(split), self._ids)
