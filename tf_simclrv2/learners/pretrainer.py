"""Step 1: contrastive pretraining without labels (SimCLRv2, section 2)."""

import dataclasses
from typing import Any, Dict, Mapping, Tuple, TypeVar, Union

from tf_simclrv2.config import ContrastiveConfig, OptimizationConfig
from tf_simclrv2.keras2 import keras, registered, tf
from tf_simclrv2.learners.learner import Learner
from tf_simclrv2.networks.layers import as_config
from tf_simclrv2.objectives.contrastive import ContrastiveLoss, nt_xent

_Output = TypeVar("_Output")


def projection_of(outputs: Union[_Output, Mapping[str, _Output]]) -> _Output:
    """Picks the projection from a network's outputs; a network may return nothing else."""
    return outputs["projection"] if isinstance(outputs, Mapping) else outputs


@registered
class Pretrainer(Learner):
    """Pulls two views of an image together and pushes the views of other images away.

    SimCLR (Chen et al., arXiv:2002.05709); SimCLRv2 (Chen et al., arXiv:2006.10029), section 2.

    A batch is a dict of ``view_1`` and ``view_2``, float [batch, height, width, 3] in [0, 1], and,
    for the linear probe, ``label``, int [batch], below 0 for images without a label.

    Args:
      network: a :class:`Network`, whose classifier head, if it has one, is trained as a linear
        probe; or any model that maps images to vectors. Its variables must have been created.
      contrastive: temperature and normalisation.
      optimization: decides on the weight decay in the loss.

    Example:

    ```python
    config = NetworkConfig(resnet_depth=18).resolved(image_size=32)
    network = Network(config, ProjectionHeadConfig()).build_for(32)
    learner = Pretrainer(network, ContrastiveConfig(), OptimizationConfig())
    learner.compile(LARS(0.3, l2=1e-6))
    learner.fit(batches, epochs=100)  # a tf.data.Dataset of dicts of view_1 and view_2
    representations = learner.predict(images)["representation"]
    ```
    """

    def __init__(
        self,
        network: keras.Model,
        contrastive: Union[ContrastiveConfig, Mapping[str, Any]],
        optimization: Union[OptimizationConfig, Mapping[str, Any]],
        **kwargs,
    ):
        super().__init__(network, optimization, **kwargs)
        self.contrastive = as_config(ContrastiveConfig, contrastive)

    def get_config(self) -> Dict[str, Any]:
        """Returns the constructor's arguments, in types that JSON has."""
        return {**super().get_config(), "contrastive": dataclasses.asdict(self.contrastive)}

    @property
    def logged(self) -> Tuple[str, ...]:  # type: ignore[override]
        """Names of the scalars that ``losses_of`` returns."""
        probed = ("supervised_loss", "supervised_accuracy")
        names = ("contrast_loss", "contrast_accuracy", "contrast_entropy")
        has_probe = getattr(self.network, "supervised_head", None) is not None
        return names + probed if has_probe else names

    def contrast(
        self, views: tf.Tensor, projections: tf.Tensor, training: bool = True
    ) -> ContrastiveLoss:
        """The contrastive loss of a batch.

        Args:
          views: [2 * batch, height, width, 3], the images' first views, then their second ones.
          projections: [2 * batch, dim], of the views.
          training: whether it is the loss of a training step.
        """
        first, second = tf.split(projections, 2)
        return nt_xent(
            first,
            second,
            temperature=self.contrastive.temperature,
            hidden_norm=self.contrastive.hidden_norm,
        )

    def losses_of(
        self, batch: Dict[str, tf.Tensor], training: bool = True
    ) -> Tuple[tf.Tensor, Dict[str, tf.Tensor]]:
        """NT-Xent of the two views, plus the probe's cross entropy, which trains only the probe."""
        views = tf.concat([batch["view_1"], batch["view_2"]], axis=0)
        outputs = self.network(views, training=training)
        contrast = self.contrast(views, projection_of(outputs), training)
        logged = {
            "contrast_loss": contrast.loss,
            "contrast_accuracy": contrast.accuracy,
            "contrast_entropy": contrast.entropy,
        }
        loss = contrast.loss
        if "supervised_loss" in self.logged:
            labels = tf.concat([batch["label"], batch["label"]], axis=0)
            logits = tf.cast(outputs["logits"], tf.float32)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(labels, 0), logits)
            right = keras.metrics.sparse_categorical_accuracy(labels, logits)
            logged["supervised_loss"] = supervised_loss = _mean_of_labelled(losses, labels)
            logged["supervised_accuracy"] = _mean_of_labelled(right, labels)
            loss += supervised_loss
        return loss, logged


def _mean_of_labelled(values, labels):
    """The mean over those with a label, so scaled that the mean over replicas is the global one."""
    labelled = tf.cast(labels >= 0, tf.float32)
    context, count = tf.distribute.get_replica_context(), tf.reduce_sum(labelled)
    if context.num_replicas_in_sync > 1:
        count = context.all_reduce(tf.distribute.ReduceOp.MEAN, count)
    return tf.math.divide_no_nan(tf.reduce_sum(values * labelled), count)
