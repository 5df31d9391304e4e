"""Step 1: contrastive pretraining without labels (SimCLRv2, section 2)."""

from typing import Dict, Tuple

from tf_simclrv2.config import ContrastiveConfig, OptimizationConfig
from tf_simclrv2.keras2 import tf
from tf_simclrv2.learners.learner import Learner
from tf_simclrv2.networks.network import Network
from tf_simclrv2.objectives.contrastive import ContrastiveLoss, nt_xent


class Pretrainer(Learner):
    """Pulls two views of an image together and pushes the views of other images away.

    A batch is a dict of ``view_1`` and ``view_2``, float [batch, height, width, 3] in [0, 1], and,
    for the linear probe, ``label``, int [batch], below 0 for images without a label.

    Args:
      network: encoder and projection head; a classifier head is trained as a linear probe.
      contrastive: temperature and normalisation.
      optimization: decides on the weight decay in the loss.
    """

    def __init__(
        self,
        network: Network,
        contrastive: ContrastiveConfig,
        optimization: OptimizationConfig,
        **kwargs,
    ):
        super().__init__(network, optimization, **kwargs)
        self.contrastive = contrastive

    @property
    def logged(self) -> Tuple[str, ...]:
        """Names of the scalars that ``losses_of`` returns."""
        probed = ("supervised_loss", "supervised_accuracy")
        names = ("contrast_loss", "contrast_accuracy", "contrast_entropy")
        return names if self.network.supervised_head is None else names + probed

    def contrast(self, views: tf.Tensor, projections: tf.Tensor) -> ContrastiveLoss:
        """The contrastive loss of a batch.

        Args:
          views: [2 * batch, height, width, 3], the images' first views, then their second ones.
          projections: [2 * batch, dim], of the views.
        """
        return nt_xent(
            *tf.split(projections, 2),
            temperature=self.contrastive.temperature,
            hidden_norm=self.contrastive.hidden_norm,
        )

    def losses_of(self, batch: Dict[str, tf.Tensor]) -> Tuple[tf.Tensor, Dict[str, tf.Tensor]]:
        """NT-Xent of the two views, plus the probe's cross entropy, which trains only the probe."""
        views = tf.concat([batch["view_1"], batch["view_2"]], axis=0)
        outputs = self.network(views, training=True)
        contrast = self.contrast(views, outputs["projection"])
        logged = {
            "contrast_loss": contrast.loss,
            "contrast_accuracy": contrast.accuracy,
            "contrast_entropy": contrast.entropy,
        }
        loss = contrast.loss
        if "logits" in outputs:
            labels = tf.concat([batch["label"], batch["label"]], axis=0)
            logits = tf.cast(outputs["logits"], tf.float32)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(labels, 0), logits)
            right = tf.argmax(logits, axis=-1, output_type=labels.dtype) == labels
            logged["supervised_loss"] = supervised_loss = _mean_of_labelled(losses, labels)
            logged["supervised_accuracy"] = _mean_of_labelled(tf.cast(right, tf.float32), labels)
            loss += supervised_loss
        return loss, logged


def _mean_of_labelled(values, labels):
    """The mean over those with a label, so scaled that the mean over replicas is the global one."""
    labelled = tf.cast(labels >= 0, tf.float32)
    context, count = tf.distribute.get_replica_context(), tf.reduce_sum(labelled)
    if context.num_replicas_in_sync > 1:
        count = context.all_reduce(tf.distribute.ReduceOp.MEAN, count)
    return tf.math.divide_no_nan(tf.reduce_sum(values * labelled), count)
