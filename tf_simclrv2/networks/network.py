"""Encoder, projection head and classifier head as one network, and the roles of its variables."""

from typing import Dict, List, NamedTuple, Optional

from tf_simclrv2.config import SMALLEST_IMAGE, NetworkConfig, ProjectionHeadConfig
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.networks.heads import ClassifierHead, ProjectionHead
from tf_simclrv2.networks.layers import BatchNorm
from tf_simclrv2.networks.resnet import Encoder


class Network(keras.Model):
    """What is trained, saved and exported: an encoder with a projection and a classifier head.

    For pretraining it holds the whole projection head, and the classifier head is a linear probe
    that leaves the features alone (``probe=True``). For fine-tuning it holds only the projection
    layers below the classifier, so that no variable is out of use.

    Args:
      network: the encoder, with a resolved stem.
      projection_head: the head of pretraining.
      num_classes: classes of the classifier head; None is without.
      ft_proj_selector: output of the projection head that the classifier reads; 0 is its input.
      probe: whether gradients stop before the classifier, and the whole head is built.
      zero_init_logits: start the classifier from zeros.
    """

    def __init__(
        self,
        network: NetworkConfig,
        projection_head: ProjectionHeadConfig,
        num_classes: Optional[int] = None,
        ft_proj_selector: int = 0,
        probe: bool = False,
        zero_init_logits: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.selected_layer = projection_head.layer_of(ft_proj_selector)
        self.probe = probe
        self.encoder = Encoder(network)
        self.projection_head = ProjectionHead(
            projection_head,
            network,
            self.encoder.representation_dim,
            layers_used=None if probe else self.selected_layer,
        )
        self.supervised_head = None
        if num_classes is not None:
            self.supervised_head = ClassifierHead(num_classes, zero_init_logits)

    def endpoints(self, images: tf.Tensor, training: bool = False) -> Dict[str, tf.Tensor]:
        """Every activation by name: the encoder's, the projection head's and the classifier's.

        Args:
          images: float [batch, height, width, 3] in [0, 1].
          training: whether batch norm uses the batch's statistics.

        Returns:
          The endpoints of :meth:`Encoder.endpoints`, ``proj_head_input`` [batch, dim],
          ``proj_layer_1`` and so on, ``proj_head_output`` [batch, proj_out_dim] and, with a
          classifier, ``logits_sup`` [batch, num_classes].
        """
        endpoints = self.encoder.endpoints(images, training=training)
        return {**endpoints, **self.head_endpoints(endpoints["final_avg_pool"], training=training)}

    def head_endpoints(
        self, representation: tf.Tensor, training: bool = False
    ) -> Dict[str, tf.Tensor]:
        """The part of :meth:`endpoints` that follows on ``representation`` [batch, dim]."""
        hiddens = self.projection_head(representation, training=training)
        endpoints = {"proj_head_input": hiddens[0]}
        for index, hidden in enumerate(hiddens[1:], start=1):
            endpoints[f"proj_layer_{index}"] = hidden
        endpoints["proj_head_output"] = hiddens[-1]
        if self.supervised_head is not None:
            features = hiddens[self.selected_layer]
            if self.probe:
                features = tf.stop_gradient(features)
            endpoints["logits_sup"] = self.supervised_head(features)
        return endpoints

    def call(self, images: tf.Tensor, training: bool = False) -> Dict[str, tf.Tensor]:
        """Maps images to ``representation``, ``projection`` and, with a classifier, ``logits``.

        Args:
          images: float [batch, height, width, 3] in [0, 1].
          training: whether batch norm uses the batch's statistics.

        Returns:
          ``representation`` h [batch, dim], ``projection`` z [batch, proj_out_dim] and ``logits``
          [batch, num_classes], float32.
        """
        endpoints = self.endpoints(images, training=training)
        outputs = {
            "representation": endpoints["final_avg_pool"],
            "projection": tf.cast(endpoints["proj_head_output"], tf.float32),
        }
        if self.supervised_head is not None:
            outputs["logits"] = endpoints["logits_sup"]
        return outputs

    @property
    def num_classifier_parameters(self) -> int:
        """Weights that classification runs through, batch norm's statistics not counted."""
        projections = self.projection_head.projections[: self.selected_layer]
        parts = [self.encoder, *projections, self.supervised_head]
        weights = {variable.ref(): variable for part in parts for variable in part.weights}
        for layer in self._flatten_layers():
            if isinstance(layer, BatchNorm):
                weights.pop(layer.moving_mean.ref(), None)
                weights.pop(layer.moving_variance.ref(), None)
        return sum(variable.shape.num_elements() for variable in weights.values())

    def build_for(self, image_size: int) -> "Network":
        """Creates all variables, for images of ``image_size`` pixels; returns the network."""
        # No variable depends on the image's size, and one small image takes less time than a trace.
        size = min(image_size, SMALLEST_IMAGE["imagenet"])
        self(tf.zeros([1, size, size, 3]))
        return self


class VariableRoles(NamedTuple):
    """A network's trainable variables by what they do, which decides on weight decay and LARS.

    Attributes:
      kernels: weights of encoder and projection head: decayed, adapted by LARS.
      supervised: the classifier's kernel: decayed through the loss, not adapted by LARS.
      biases: of the classifier and of squeeze-and-excitation: not adapted by LARS, and decayed
        only by the other optimizers.
      batch_norm: scales and offsets of batch norm: never decayed, not adapted.
    """

    kernels: List[tf.Variable]
    supervised: List[tf.Variable]
    biases: List[tf.Variable]
    batch_norm: List[tf.Variable]


def variable_roles(network: Network) -> VariableRoles:
    """Sorts a network's trainable variables by the layer that owns them, not by their names."""
    roles = VariableRoles([], [], [], [])
    role_of = {}
    head = network.supervised_head
    if head is not None:
        role_of[head.dense.kernel.ref()] = roles.supervised
    for layer in network._flatten_layers():
        if isinstance(layer, BatchNorm):
            role_of.update({v.ref(): roles.batch_norm for v in layer.trainable_variables})
        elif getattr(layer, "bias", None) is not None:
            role_of[layer.bias.ref()] = roles.biases
    for variable in network.trainable_variables:
        role_of.get(variable.ref(), roles.kernels).append(variable)
    return roles
