"""Encoder, projection head and classifier head as one network."""

import dataclasses
from typing import Any, Dict, List, Mapping, Optional, Union

from tf_simclrv2.config import SMALLEST_IMAGE, NetworkConfig, ProjectionHeadConfig
from tf_simclrv2.keras2 import declare_inputs, keras, layers_of, registered, tf
from tf_simclrv2.networks.heads import ClassifierHead, ProjectionHead
from tf_simclrv2.networks.layers import IMAGES, BatchNorm, as_config, inherited
from tf_simclrv2.networks.resnet import Encoder
from tf_simclrv2.networks.roles import VariableRoles, variable_roles


@registered
class Network(keras.Model):
    """What is trained, saved and exported: an encoder with a projection and a classifier head.

    For pretraining it holds the whole projection head, and the classifier head is a linear probe
    that leaves the features alone (``probe=True``). For fine-tuning it holds only the projection
    layers below the classifier, so that no variable is out of use. SimCLRv2 (Chen et al.,
    arXiv:2006.10029), section 2.

    Args:
      network: the encoder, with a resolved stem; or a dict of its fields.
      projection_head: the head of pretraining; or a dict of its fields.
      num_classes: classes of the classifier head; None is without.
      ft_proj_selector: output of the projection head that the classifier reads; 0 is its input.
      probe: whether gradients stop before the classifier, and the whole head is built.
      zero_init_logits: start the classifier from zeros.

    Raises:
      ConfigError: the projection head has no layer ``ft_proj_selector``; a ValueError.

    Example:

    ```python
    config = NetworkConfig(resnet_depth=50).resolved(image_size=224)
    network = Network(config, ProjectionHeadConfig(), num_classes=1000, probe=True).build_for(224)
    outputs = network(tf.zeros([1, 224, 224, 3]))
    outputs["representation"]  # float32 [1, 2048]
    outputs["projection"]  # float32 [1, 128]
    outputs["logits"]  # float32 [1, 1000]
    ```
    """

    def __init__(
        self,
        network: Union[NetworkConfig, Mapping[str, Any]],
        projection_head: Union[ProjectionHeadConfig, Mapping[str, Any]],
        num_classes: Optional[int] = None,
        ft_proj_selector: int = 0,
        probe: bool = False,
        zero_init_logits: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        declare_inputs(self, IMAGES)
        projection_head = as_config(ProjectionHeadConfig, projection_head)
        self.selected_layer = projection_head.layer_of(ft_proj_selector)
        self.probe = probe
        own = inherited(self)
        self.encoder = Encoder(network, **own)
        self.projection_head = ProjectionHead(
            projection_head,
            self.encoder.config,
            self.encoder.representation_dim,
            layers_used=None if probe else self.selected_layer,
            **own,
        )
        self.supervised_head = None
        if num_classes is not None:
            self.supervised_head = ClassifierHead(num_classes, zero_init_logits, **own)

    def get_config(self) -> Dict[str, Any]:
        """Returns the constructor's arguments, and what of the encoder is frozen or recomputed."""
        classifier = self.supervised_head
        return {
            **keras.layers.Layer.get_config(self),
            "network": dataclasses.asdict(self.encoder.config),
            "projection_head": dataclasses.asdict(self.projection_head.config),
            "num_classes": None if classifier is None else classifier.dense.units,
            "ft_proj_selector": self.selected_layer,
            "probe": self.probe,
            "zero_init_logits": classifier is not None and classifier.zero_init,
            "frozen_through": self.encoder.frozen_through,
            "rematerialize": self.encoder.rematerialize,
        }

    @classmethod
    def from_config(cls, config: Dict[str, Any], custom_objects: Any = None) -> "Network":
        """Makes the network of which ``get_config`` returned ``config``; weights are random."""
        config = dict(config)
        frozen_through, rematerialize = config.pop("frozen_through"), config.pop("rematerialize")
        network = super().from_config(config, custom_objects)
        network.encoder.freeze_through(frozen_through)
        network.encoder.rematerialize = rematerialize
        return network

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
            endpoints[self.hidden(index)] = hidden
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
    def num_projections(self) -> int:
        """Layers of the projection head that the network has."""
        return len(self.projection_head.projections)

    @property
    def classifier_input(self) -> str:
        """The endpoint that the classifier reads."""
        return self.hidden(self.selected_layer)

    @staticmethod
    def hidden(layer: int) -> str:
        """The endpoint of an output of the projection head: 0 is its input, k its k-th layer."""
        return f"proj_layer_{layer}" if layer else "proj_head_input"

    def hidden_dim(self, layer: int) -> int:
        """Numbers per image of :meth:`hidden`."""
        if layer == 0:
            return self.encoder.representation_dim
        return self.projection_head.projections[layer - 1].dense.units

    @property
    def num_classifier_parameters(self) -> int:
        """Weights that classification runs through, batch norm's statistics not counted."""
        projections = self.projection_head.projections[: self.selected_layer]
        parts: List[keras.layers.Layer] = [self.encoder, *projections, self.supervised_head]
        weights = {variable.ref(): variable for part in parts for variable in part.weights}
        for layer in layers_of(self):
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


__all__ = ["Network", "VariableRoles", "variable_roles"]
