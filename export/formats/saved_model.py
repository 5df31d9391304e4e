"""A SavedModel for serving, or for inference in Python."""

import json
import logging
import os
import tempfile
from typing import Any, Dict, Mapping, Optional, Tuple

from tf_simclrv2.keras2 import tf
from tf_simclrv2.runtime import graph_checksum
from tf_simclrv2.runtime.calibration_file import CALIBRATION
from tf_simclrv2.runtime.served import ABOUT_IMAGES

from ..model import Model
from ..signatures import IMAGE_BYTES, IMAGES, decode_batch, marked, outputs_of

# By its name in the library, which it has only where it is installed.
logger = logging.getLogger("tf_simclrv2.export")

SNIPPET = """
## Serve it, or use it in Python

`1/` has the layout that TensorFlow Serving expects. It needs no code of tf-simclrv2.

| signature | takes | gives |
|---|---|---|
| `serving_default` | `images` | all outputs |
| `serving_bytes` | `image_bytes`: string [batch], the contents of JPEG, PNG, GIF or BMP files | all outputs, and `valid`: bool [batch] |
| `embed` | `images` | `representation` |

`serving_bytes` decodes, crops and resizes to ${size} pixels, as our evaluation does. The outputs of
a file that can't be decoded are 0, equal probabilities and the class -1, and its `valid` is false; the
other files of the batch are answered.

```python
import tensorflow as tf

model = tf.saved_model.load("1")
images = tf.zeros([4, ${size}, ${size}, 3])  # your images, RGB in [0, 1]
outputs = model.signatures["serving_default"](images=images)
print({name: value.shape for name, value in outputs.items()})

image_bytes = [tf.io.encode_png(tf.zeros([50, 40, 3], tf.uint8)).numpy()]  # your files' contents
outputs = model.signatures["serving_bytes"](image_bytes=tf.constant(image_bytes))
representation = model.signatures["embed"](images=images)["representation"]
${class_names}```

On the command line:

```sh
python -c 'import numpy; numpy.save("/tmp/images", numpy.zeros([1, ${size}, ${size}, 3], "float32"))'
saved_model_cli run --dir 1 --tag_set serve --signature_def embed --inputs images=/tmp/images.npy
```

In Keras 3 (TensorFlow 2.16 and newer):

```python keras3
import keras

layer = keras.layers.TFSMLayer("1", call_endpoint="serving_default")
outputs = layer(keras.ops.zeros([4, ${size}, ${size}, 3]))
```
"""  # noqa: E501  a command that can be copied


def write(model: Model, directory: str) -> None:
    """Writes the SavedModel ``1``, laid out for TensorFlow Serving.

    Args:
      model: what to write.
      directory: of the export.
    """
    with tempfile.TemporaryDirectory() as folder:
        names_file = None
        if model.class_names:
            names_file = os.path.join(folder, "class_names.txt")
            with open(names_file, "w", encoding="utf-8") as file:
                file.write("".join(f"{_in_a_line(name)}\n" for name in model.class_names))
        module, signatures = serving_module(model, names_file)
        module.images = _asset(folder, ABOUT_IMAGES, {"image_size": model.image_size})
        if model.calibration is not None:
            module.calibration = _asset(folder, CALIBRATION, model.calibration.as_json())
        saved = os.path.join(directory, "1")
        tf.saved_model.save(module, saved, signatures=signatures)
        graph_checksum.write(saved)


def _asset(folder: str, name: str, value: Mapping[str, Any]) -> tf.saved_model.Asset:
    """A file that travels along."""
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, allow_nan=False)
    return tf.saved_model.Asset(path)


def _in_a_line(name: str) -> str:
    """A class name without what readers of the list may take for the end of its line."""
    line = " ".join(name.splitlines()).encode("utf-8", "backslashreplace").decode("utf-8")
    if line != name:
        logger.warning("class %r stands in class_names.txt as %r, in one line", name, line)
    return line


def serving_module(
    model: Model, class_names_file: Optional[str] = None
) -> Tuple[Any, Dict[str, Any]]:
    """Builds the module with the serving signatures.

    Args:
      model: the network with its variables, and how encoded images are read.
      class_names_file: a text file with a class name on each line, to travel along.

    Returns:
      The object to save, and its signatures by name: ``serving_default`` and ``embed`` take
      ``images``, float32 [batch, height, width, 3] in [0, 1]; ``serving_bytes`` takes
      ``image_bytes``, string [batch]. ``embed`` returns only ``representation``, the others what
      :func:`outputs_of` does, and ``serving_bytes`` also ``valid``.
    """
    network = model.network
    module = tf.__internal__.tracking.AutoTrackable()
    module.variables = list(network.variables)
    if class_names_file is not None:
        module.class_names = tf.saved_model.Asset(class_names_file)

    # The signatures call this one function, so that the network is in the file once.
    @tf.function(input_signature=[IMAGES])
    def serve(images):
        count = tf.shape(images)[0]
        # TensorFlow's fused convolutions fail where there is no image.
        images = tf.cond(count > 0, lambda: images, lambda: tf.zeros([1, 32, 32, 3]))
        outputs = outputs_of(network, images, model.temperature)
        return {name: value[:count] for name, value in outputs.items()}

    @tf.function(input_signature=[IMAGE_BYTES])
    def serve_bytes(image_bytes):
        images, valid = decode_batch(
            image_bytes, model.image_size, model.max_image_pixels, model.max_side
        )
        return marked(serve(images), valid)

    @tf.function(input_signature=[IMAGES])
    def embed(images):
        return {"representation": serve(images)["representation"]}

    return module, {"serving_default": serve, "serving_bytes": serve_bytes, "embed": embed}
