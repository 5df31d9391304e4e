"""Examples of TensorFlow Datasets that are stored as ArrayRecord, each reached by its number."""

import os
from typing import Any, Callable, Dict, List, Optional

import numpy as np

from tf_simclrv2 import progress
from tf_simclrv2.keras2 import tf

# Labels that reach Python together.
_AT_ONCE = 1024
_Features = Dict[str, tf.Tensor]


class ArrayRecords:
    """A split's examples, in the order in which they are stored.

    Args:
      builder: of a data set that is stored as ArrayRecord.
      split: the split, or a part of one.
      chosen: takes the features of an example; returns its ``image`` and ``label`` among others.
    """

    def __init__(self, builder: Any, split: str, chosen: Callable[[_Features], _Features]):
        import tensorflow_datasets as tfds

        self._files = builder.info.splits[split].file_instructions
        # As they are stored: its examples are decoded by Python, one after the other.
        self._serialized = builder.as_data_source(split).data_source
        self._features = builder.info.features
        self._undecoded = {"image": tfds.decode.SkipDecoding()}
        self._chosen = chosen

    @property
    def ids(self) -> List[bytes]:
        """The ids that TensorFlow Datasets gives them, by file and place in it."""
        return [
            b"%s__%d" % (os.fsencode(os.path.basename(file.filename)), place)
            for file in self._files
            for place in range(file.skip, file.skip + file.take)
        ]

    def features(self, number: tf.Tensor) -> _Features:
        """Reads the features of an example by its number, int64 scalar; its image is encoded."""
        serialized = tf.numpy_function(self._read, [number], tf.string, stateful=False)
        return self._features.deserialize_example(
            tf.ensure_shape(serialized, []), decoders=self._undecoded
        )

    def _read(self, number: np.int64) -> bytes:
        reason: Optional[Exception] = None
        try:
            record: bytes = self._serialized[int(number)]
        except RuntimeError as error:
            record, reason = b"", error
        if not record:  # No example is empty, but what was cut off reads as if it were.
            name = self.ids[int(number)].decode()
            raise OSError(f"the corrupted record at {name} can't be read") from reason
        return record

    def example(self, number: tf.Tensor) -> _Features:
        """Reads an example by its number, int64 scalar: encoded ``image``, and ``label``."""
        chosen = self._chosen({**self.features(number), "tfds_id": ""})
        return {"image": chosen["image"], "label": chosen["label"]}

    def labels(self, numbers: np.ndarray) -> np.ndarray:
        """Reads the labels of some examples, int64 [numbers]."""
        labels = tf.data.Dataset.from_tensor_slices(np.asarray(numbers, np.int64)).map(
            lambda number: self.example(number)["label"], tf.data.AUTOTUNE
        )
        found = [np.zeros(0, np.int64)]
        with progress.bar(len(numbers), "reading labels", "image") as shown:
            for block in labels.batch(_AT_ONCE).as_numpy_iterator():
                found.append(block)
                shown.update(len(block))
        return np.concatenate(found)
