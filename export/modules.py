"""What an export computes: functions and variables on a plain trackable object.

No class of this project or of Keras is in an export, so that any TensorFlow 2 loads it whole. The
attributes that TF-Hub's Reusable SavedModel interface asks for
(https://www.tensorflow.org/hub/reusable_saved_models) are set on an object that has no properties
of the same names: a ``tf.Module``'s own would not be saved.
"""

from typing import Dict, Optional

from tf_simclrv2.data.augmentation import evaluation_view
from tf_simclrv2.data.sources import decode
from tf_simclrv2.keras2 import tf
from tf_simclrv2.networks.network import Network


def outputs_of(network: Network, images: tf.Tensor) -> Dict[str, tf.Tensor]:
    """The outputs of a serving signature.

    Args:
      network: with or without a classifier head.
      images: float32 [batch, height, width, 3] in [0, 1].

    Returns:
      ``representation`` [batch, dim] and, with a classifier, ``logits`` and ``probabilities``
      [batch, num_classes].
    """
    outputs = network(images, training=False)
    served = {"representation": outputs["representation"]}
    if "logits" in outputs:
        served["logits"] = outputs["logits"]
        served["probabilities"] = tf.nn.softmax(outputs["logits"])
    return served


def serving_module(network: Network, image_size: int, class_names_file: Optional[str]):
    """Builds the module with the serving signatures.

    Args:
      network: the network of a run, with its variables.
      image_size: side in pixels to which encoded images are resized.
      class_names_file: a text file with a class name on each line, to travel along.

    Returns:
      The object to save, and its signatures by name: ``serving_default`` takes ``images``, float32
      [batch, height, width, 3] in [0, 1]; ``serving_bytes`` takes ``image_bytes``, string [batch],
      of JPEG, PNG, GIF or BMP files.
    """
    module = tf.__internal__.tracking.AutoTrackable()
    module.network_variables = list(network.variables)
    if class_names_file is not None:
        module.class_names = tf.saved_model.Asset(class_names_file)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32, "images")])
    def serve(images):
        return outputs_of(network, images)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def serve_bytes(image_bytes):
        images = tf.map_fn(
            lambda contents: evaluation_view(decode(contents), image_size),
            image_bytes,
            fn_output_signature=tf.TensorSpec([image_size, image_size, 3], tf.float32),
        )
        return outputs_of(network, images)

    return module, {"serving_default": serve, "serving_bytes": serve_bytes}


def hub_module(network: Network, output: str):
    """Builds a TF-Hub module: a Reusable SavedModel that maps images to one tensor.

    Args:
      network: the network of a run, with its variables.
      output: ``representation`` for a feature vector, ``logits`` for a classification module.

    Returns:
      The object to save. Its ``__call__`` takes ``inputs``, float32 [batch, height, width, 3] in
      [0, 1], and ``training``; it has ``variables``, ``trainable_variables`` and
      ``regularization_losses``.
    """
    module = tf.__internal__.tracking.AutoTrackable()
    # What froze a layer during fine-tuning is of no concern to those who train the module on.
    network.trainable = True
    parts = [network.encoder]
    if output == "logits":
        parts += [
            *network.projection_head.projections[: network.selected_layer],
            network.supervised_head,
        ]

    @tf.function
    def call(inputs, training=False):
        if output == "logits":
            return network(inputs, training=training)["logits"]
        return network.encoder(inputs, training=training)

    images = tf.TensorSpec([None, None, None, 3], tf.float32, "inputs")
    for training in (True, False):
        call.get_concrete_function(images, training=training)
    call.get_concrete_function(images)
    module.__call__ = call
    module.variables = [v for part in parts for v in part.variables]
    module.trainable_variables = [v for part in parts for v in part.trainable_variables]
    module.regularization_losses = []
    return module
