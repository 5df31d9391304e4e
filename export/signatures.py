"""What every exported network computes: its inputs, its outputs, and the decoding of image files.

No class of this project or of Keras is in an export, so that any TensorFlow 2 loads it.
"""

from typing import Dict

from tf_simclrv2.data.images import decode
from tf_simclrv2.data.views import evaluation_view
from tf_simclrv2.keras2 import tf
from tf_simclrv2.networks.network import Network

IMAGES = tf.TensorSpec([None, None, None, 3], tf.float32, "images")
IMAGE_BYTES = tf.TensorSpec([None], tf.string, "image_bytes")


def outputs_of(network: Network, images: tf.Tensor) -> Dict[str, tf.Tensor]:
    """The outputs of a serving signature.

    Args:
      network: with or without a classifier head.
      images: float32 [batch, height, width, 3] in [0, 1].

    Returns:
      ``representation`` [batch, dim] and, with a classifier, ``logits`` and ``probabilities``
      [batch, num_classes], and ``classes``, int64 [batch], the index of the likeliest class.
    """
    outputs = network(images, training=False)
    served = {"representation": outputs["representation"]}
    if "logits" in outputs:
        served["logits"] = outputs["logits"]
        served["probabilities"] = tf.nn.softmax(outputs["logits"])
        served["classes"] = tf.argmax(outputs["logits"], axis=-1, output_type=tf.int64)
    return served


def decode_batch(image_bytes: tf.Tensor, image_size: int) -> tf.Tensor:
    """Decodes, crops and resizes encoded images as evaluation does.

    Args:
      image_bytes: string [batch], JPEG, PNG, GIF or BMP files.
      image_size: side in pixels.

    Returns:
      float32 [batch, image_size, image_size, 3] in [0, 1].
    """
    return tf.map_fn(
        lambda contents: evaluation_view(decode(contents), image_size),
        image_bytes,
        fn_output_signature=tf.TensorSpec([image_size, image_size, 3], tf.float32),
    )
