"""Real handwritten digits that need no download, as a data set of TensorFlow Datasets."""

import functools
from typing import Any, Dict, Iterator, Tuple

import numpy as np

from tf_simclrv2.config import DataConfig
from tf_simclrv2.data.sources.tfds import TfdsSource

_SIDE = 8
_NUM_TEST = 360


class DigitsSource(TfdsSource):
    """The 1,797 handwritten digits of 8x8 pixels that scikit-learn's wheel ships.

    They are the test set of the UCI "Optical Recognition of Handwritten Digits" data (Alpaydin and
    Kaynak, 1998, CC BY 4.0), written by 13 people. The writers follow each other in the file, so
    its last 360 digits, the test split, hold writers that the train split hardly does.

    Args:
      data: where to store them.
    """

    # They need no directory: one that holds images was given to be used.
    may_lie_next_to_images = False

    def __init__(self, data: DataConfig):
        _register()
        super().__init__(data)


@functools.cache
def _register() -> None:
    """Defines the digits' builder, which makes TensorFlow Datasets know them by name.

    The builder stands in a function since its base class needs TensorFlow Datasets imported.
    """
    import tensorflow_datasets as tfds

    class Digits(tfds.core.GeneratorBasedBuilder):
        """The digits that scikit-learn ships."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return self.dataset_info_from_configs(
                features=tfds.features.FeaturesDict(
                    {
                        "image": tfds.features.Image(shape=(_SIDE, _SIDE, 1)),
                        "label": tfds.features.ClassLabel(num_classes=10),
                    }
                ),
                supervised_keys=("image", "label"),
                homepage="https://scikit-learn.org/stable/datasets/toy_dataset.html",
            )

        def _split_generators(self, dl_manager) -> Dict[str, Iterator]:
            from sklearn.datasets import load_digits

            digits = load_digits()
            # Values 0 to 16 count the pixels set in a 4x4 cell of the scan.
            images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
            examples = list(zip(images, digits.target))
            return {
                "train": self._generate_examples(examples[:-_NUM_TEST]),
                "test": self._generate_examples(examples[-_NUM_TEST:]),
            }

        def _generate_examples(self, examples) -> Iterator[Tuple[int, Dict[str, Any]]]:
            for index, (image, label) in enumerate(examples):
                yield index, {"image": image, "label": int(label)}
