"""A data set of noise for TensorFlow Datasets, so that nothing has to be downloaded."""

import numpy as np

_CLASSES = 10


def define(images: int, side: int) -> None:
    """Makes TensorFlow Datasets know a data set called noise.

    Args:
      images: how many its splits train and test have.
      side: of the images, in pixels; they are PNGs.
    """
    import tensorflow_datasets as tfds

    class Noise(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return self.dataset_info_from_configs(
                features=tfds.features.FeaturesDict(
                    {
                        "image": tfds.features.Image(shape=(side, side, 3)),
                        "label": tfds.features.ClassLabel(num_classes=_CLASSES),
                    }
                ),
                supervised_keys=("image", "label"),
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(0), "test": self._generate_examples(1)}

        def _generate_examples(self, seed):
            drawn = np.random.RandomState(seed)
            for number in range(images):
                image = drawn.randint(0, 256, (side, side, 3)).astype(np.uint8)
                yield number, {"image": image, "label": number % _CLASSES}
