"""TensorFlow Lite models, for phones and other small machines."""

import os
import tempfile

from export.modules import IMAGES, outputs_of
from tf_simclrv2.keras2 import silent, tf
from tf_simclrv2.networks.network import Network

_OPTIMIZED = [tf.lite.Optimize.DEFAULT]
# Settings of the converter by file name. int8 is the dynamic-range kind, which needs no images.
KINDS = {"float32": ([], []), "float16": (_OPTIMIZED, [tf.float16]), "int8": (_OPTIMIZED, [])}


def save_tflite(network: Network, image_size: int, directory: str) -> None:
    """Writes ``float32.tflite``, ``float16.tflite`` (weights) and ``int8.tflite`` (dynamic range).

    Each takes ``images``, float32 [1, image_size, image_size, 3] in [0, 1], and gives the outputs
    of ``serving_default`` in a signature of the same name.

    Args:
      network: the network of a run.
      image_size: height and width in pixels.
      directory: to write; it must not exist.
    """
    module = tf.__internal__.tracking.AutoTrackable()
    module.variables = list(network.variables)

    # Of one shape, since the runtime's fast kernels need to know it.
    shape = [1, image_size, image_size, 3]

    @tf.function(input_signature=[tf.TensorSpec(shape, IMAGES.dtype, IMAGES.name)])
    def serve(images):
        return outputs_of(network, images)

    os.makedirs(directory)
    with tempfile.TemporaryDirectory() as saved:
        tf.saved_model.save(module, saved, signatures={"serving_default": serve})
        for kind, (optimizations, types) in KINDS.items():
            converter = tf.lite.TFLiteConverter.from_saved_model(saved)
            converter.optimizations = optimizations
            converter.target_spec.supported_types = types
            with silent():
                model = converter.convert()
            with open(os.path.join(directory, f"{kind}.tflite"), "wb") as file:
                file.write(model)
