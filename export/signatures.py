"""What every exported network computes: its inputs, its outputs, and the decoding of image files.

No class of this project or of Keras is in an export, so that any TensorFlow 2 loads it.
"""

from typing import Dict, Optional, Tuple

from tf_simclrv2.config.data import MAX_IMAGE_PIXELS
from tf_simclrv2.data.decoding import Decoder
from tf_simclrv2.data.views import evaluation_view
from tf_simclrv2.keras2 import tf
from tf_simclrv2.networks.network import Network

IMAGES = tf.TensorSpec([None, None, None, 3], tf.float32, "images")
IMAGE_BYTES = tf.TensorSpec([None], tf.string, "image_bytes")


def outputs_of(
    network: Network, images: tf.Tensor, temperature: float = 1.0
) -> Dict[str, tf.Tensor]:
    """The outputs of a serving signature.

    Args:
      network: with or without a classifier head.
      images: float32 [batch, height, width, 3] in [0, 1].
      temperature: what logits are divided by for ``probabilities``.

    Returns:
      ``representation`` [batch, dim] and, with a classifier, ``logits`` and ``probabilities``
      [batch, num_classes], and ``classes``, int64 [batch], the index of the likeliest class.
    """
    outputs = network(images, training=False)
    served = {"representation": outputs["representation"]}
    if "logits" in outputs:
        served["logits"] = outputs["logits"]
        served["probabilities"] = tf.nn.softmax(outputs["logits"] / temperature)
        served["classes"] = tf.argmax(outputs["logits"], axis=-1, output_type=tf.int64)
    return served


def decode_batch(
    image_bytes: tf.Tensor,
    image_size: int,
    max_pixels: int = MAX_IMAGE_PIXELS,
    max_side: Optional[int] = None,
) -> Tuple[tf.Tensor, tf.Tensor]:
    """Decodes, crops and resizes encoded images as evaluation does.

    Args:
      image_bytes: string [batch], contents of files.
      image_size: side in pixels.
      max_pixels: that a file may have.
      max_side: see :func:`evaluation_view`.

    Returns:
      The images, float32 [batch, image_size, image_size, 3] in [0, 1]; and whether each could be
      decoded, bool [batch]. Others are black.
    """
    decoder = Decoder(on_host=False, max_pixels=max_pixels)

    def view_of(number, contents):
        return number, evaluation_view(decoder(contents), image_size, max_side=max_side)

    # Only a data set goes on after an error. It needs at least one element.
    count, shape = tf.size(image_bytes, tf.int64), [image_size, image_size, 3]
    files = tf.data.Dataset.from_tensor_slices(image_bytes).enumerate()
    views = files.map(view_of, tf.data.AUTOTUNE).ignore_errors()
    views = views.concatenate(tf.data.Dataset.from_tensors((count, tf.zeros(shape))))
    numbers, images = views.batch(count + 1).get_single_element()
    places = tf.stack([count + 1, *shape])
    images = tf.scatter_nd(numbers[:, tf.newaxis], images, tf.cast(places, tf.int64))
    valid = tf.scatter_nd(numbers[:, tf.newaxis], tf.ones_like(numbers), [count + 1]) > 0
    return tf.ensure_shape(images[:-1], [None, *shape]), valid[:-1]


def marked(outputs: Dict[str, tf.Tensor], valid: tf.Tensor) -> Dict[str, tf.Tensor]:
    """Makes outputs of images that could not be decoded neutral, and adds which could.

    Args:
      outputs: of :func:`outputs_of`.
      valid: bool [batch].

    Returns:
      The outputs, of images that are not valid 0, equal probabilities and the class -1; and
      ``valid``.
    """
    neutral = {"classes": -1.0}
    if "probabilities" in outputs:
        neutral["probabilities"] = 1 / outputs["probabilities"].shape[-1]

    def chosen(name, value):
        mask = tf.reshape(valid, [-1] + [1] * (value.shape.rank - 1))
        return tf.where(mask, value, tf.cast(neutral.get(name, 0.0), value.dtype))

    return {**{name: chosen(name, value) for name, value in outputs.items()}, "valid": valid}
