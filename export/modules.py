"""What an export computes: functions and variables on a plain trackable object.

No class of this project or of Keras is in an export, so that any TensorFlow 2 loads it whole. The
attributes that TF-Hub's Reusable SavedModel interface asks for
(https://www.tensorflow.org/hub/reusable_saved_models) are set on an object that has no properties
of the same names: a ``tf.Module``'s own would not be saved.
"""

from typing import Any, Dict, Optional, Tuple

from tf_simclrv2.data.augmentation import evaluation_view
from tf_simclrv2.data.sources import decode
from tf_simclrv2.keras2 import tf
from tf_simclrv2.networks.network import Network, variable_roles

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


def serving_module(
    network: Network, image_size: int, class_names_file: Optional[str] = None
) -> Tuple[Any, Dict[str, Any]]:
    """Builds the module with the serving signatures.

    Args:
      network: the network of a run, with its variables.
      image_size: side in pixels to which encoded images are resized.
      class_names_file: a text file with a class name on each line, to travel along.

    Returns:
      The object to save, and its signatures by name: ``serving_default`` and ``embed`` take
      ``images``, float32 [batch, height, width, 3] in [0, 1]; ``serving_bytes`` takes
      ``image_bytes``, string [batch]. ``embed`` returns ``representation`` alone, the others what
      :func:`outputs_of` does.
    """
    module = tf.__internal__.tracking.AutoTrackable()
    module.variables = list(network.variables)
    if class_names_file is not None:
        module.class_names = tf.saved_model.Asset(class_names_file)

    # The signatures call this one function, so that the network is in the file once.
    @tf.function(input_signature=[IMAGES])
    def serve(images):
        return outputs_of(network, images)

    @tf.function(input_signature=[IMAGE_BYTES])
    def serve_bytes(image_bytes):
        return serve(decode_batch(image_bytes, image_size))

    @tf.function(input_signature=[IMAGES])
    def embed(images):
        return {"representation": serve(images)["representation"]}

    return module, {"serving_default": serve, "serving_bytes": serve_bytes, "embed": embed}


class HubFunctions:
    """The functions of a run's TF-Hub modules, which share their traces.

    What froze a layer during fine-tuning, or kept a linear probe's gradient from the features, is
    of no concern to those who train the module on: here everything is trained.

    Args:
      network: the network of a run, with its variables.
    """

    def __init__(self, network: Network):
        network.trainable = True
        network.probe = False
        self.network = network
        self.encode = tf.function(network.encoder.endpoints)
        self.classifier_layers = []
        if network.supervised_head is not None:
            projections = network.projection_head.projections[: network.selected_layer]
            self.classifier_layers = [*projections, network.supervised_head]

    def representation(self, inputs: tf.Tensor, training: bool) -> tf.Tensor:
        """Maps ``inputs`` [batch, height, width, 3] in [0, 1] to [batch, dim]."""
        return self.encode(inputs, training=training)["final_avg_pool"]

    def logits(self, inputs: tf.Tensor, training: bool) -> tf.Tensor:
        """Maps ``inputs`` [batch, height, width, 3] in [0, 1] to [batch, num_classes]."""
        hidden = self.representation(inputs, training)
        for layer in self.classifier_layers[:-1]:
            hidden = layer(hidden, training=training)
        return self.classifier_layers[-1](hidden)

    def endpoints(self, inputs: tf.Tensor, trainable: bool) -> Dict[str, tf.Tensor]:
        """Maps ``inputs`` [batch, height, width, 3] in [0, 1] to every activation by name."""
        endpoints = self.encode(inputs, training=trainable)
        heads = self.network.head_endpoints(endpoints["final_avg_pool"], training=trainable)
        return {**endpoints, **heads}


def hub_module(functions: HubFunctions, output: str, weight_decay: float) -> Any:
    """Builds a TF-Hub module: a Reusable SavedModel that maps images to one tensor.

    Args:
      functions: of the network.
      output: ``feature_vector`` or ``classification``.
      weight_decay: of the run; above 0 it is the module's regularization loss.

    Returns:
      The object to save. Its ``__call__`` takes ``inputs``, float32 [batch, height, width, 3] in
      [0, 1], and ``training``; it has ``variables``, ``trainable_variables`` and
      ``regularization_losses``. ``endpoints`` takes ``inputs`` and ``trainable`` and returns a dict
      of every activation, named as in the modules of the paper's authors.
    """
    network = functions.network
    module = tf.__internal__.tracking.AutoTrackable()
    parts = [network.encoder]
    compute = functions.representation
    if output == "classification":
        parts += functions.classifier_layers
        compute = functions.logits

    @tf.function
    def call(inputs, training=False):
        return compute(inputs, training)

    @tf.function
    def endpoints(inputs, trainable=False):
        return functions.endpoints(inputs, trainable)

    images = tf.TensorSpec(IMAGES.shape, IMAGES.dtype, "inputs")
    for training in (True, False):
        call.get_concrete_function(images, training=training)
        endpoints.get_concrete_function(images, trainable=training)
    module.__call__ = call
    module.endpoints = endpoints
    module.variables = [v for part in parts for v in part.variables]
    module.trainable_variables = [v for part in parts for v in part.trainable_variables]
    # What only endpoints read.
    own = {variable.ref() for variable in module.variables}
    module.endpoints_variables = [v for v in network.variables if v.ref() not in own]
    module.regularization_losses = []
    if weight_decay:
        trained = {variable.ref() for variable in module.trainable_variables}
        roles = variable_roles(network)
        kernels = [v for v in roles.kernels + roles.supervised if v.ref() in trained]

        @tf.function(input_signature=[])
        def weight_decay_loss():
            return weight_decay * tf.add_n([tf.nn.l2_loss(kernel) for kernel in kernels])

        module.regularization_losses.append(weight_decay_loss)
    return module
