"""TensorFlow Lite models, for phones and other small machines."""

import os
import tempfile

from tf_simclrv2.keras2 import silent, tf

from ..model import Model
from ..signatures import IMAGES, outputs_of

SNIPPET = """
## Run it on a phone

`tflite/float32.tflite` has the weights as trained, `tflite/float16.tflite` has them in half
precision, and `tflite/int8.tflite` is quantized by dynamic range. Each takes one image.

```python
import tensorflow as tf

interpreter = tf.lite.Interpreter("tflite/int8.tflite")
serve = interpreter.get_signature_runner("serving_default")
outputs = serve(images=tf.zeros([1, ${size}, ${size}, 3]).numpy())
print(outputs["representation"].shape)
```
"""

_OPTIMIZED = [tf.lite.Optimize.DEFAULT]
# Settings of the converter by file name. int8 is the dynamic-range kind, which needs no images.
KINDS = {"float32": ([], []), "float16": (_OPTIMIZED, [tf.float16]), "int8": (_OPTIMIZED, [])}


def write(model: Model, directory: str) -> None:
    """Writes ``float32.tflite``, ``float16.tflite`` (weights) and ``int8.tflite`` (dynamic range).

    They go into ``tflite``. Each takes ``images``, float32 [1, image_size, image_size, 3] in
    [0, 1], and gives the outputs of ``serving_default`` in a signature of the same name.

    Args:
      model: what to write.
      directory: of the export.
    """
    module = tf.__internal__.tracking.AutoTrackable()
    module.variables = list(model.network.variables)

    # Of one shape, since the runtime's fast kernels need to know it.
    shape = [1, model.image_size, model.image_size, 3]

    @tf.function(input_signature=[tf.TensorSpec(shape, IMAGES.dtype, IMAGES.name)])
    def serve(images):
        return outputs_of(model.network, images, model.temperature)

    folder = os.path.join(directory, "tflite")
    os.makedirs(folder)
    with tempfile.TemporaryDirectory() as saved:
        tf.saved_model.save(module, saved, signatures={"serving_default": serve})
        for kind, (optimizations, types) in KINDS.items():
            converter = tf.lite.TFLiteConverter.from_saved_model(saved)
            converter.optimizations = optimizations
            converter.target_spec.supported_types = types
            with silent():
                content = converter.convert()
            with open(os.path.join(folder, f"{kind}.tflite"), "wb") as file:
                file.write(content)
