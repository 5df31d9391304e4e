"""Step 2: fine-tuning on labels, and the supervised baseline (SimCLRv2, section 2)."""

from typing import Dict, Tuple

from tf_simclrv2.keras2 import keras, registered, tf
from tf_simclrv2.learners.learner import Learner
from tf_simclrv2.objectives.distillation import cross_entropy


@registered
class Classifier(Learner):
    """Minimises the cross entropy of labelled images.

    A batch is a dict of ``image``, float [batch, height, width, 3] in [0, 1], and ``label``, int
    [batch]; or Keras's pair of the two.

    Args:
      network: a network with a classifier head, with its variables created.
      optimization: decides on the weight decay in the loss.
    """

    logged = ("supervised_loss", "supervised_accuracy")

    def losses_of(
        self, batch: Dict[str, tf.Tensor], training: bool = True
    ) -> Tuple[tf.Tensor, Dict[str, tf.Tensor]]:
        """Cross entropy of the labels."""
        logits = self.network(batch["image"], training=training)["logits"]
        loss = cross_entropy(batch["label"], logits)
        right = keras.metrics.sparse_categorical_accuracy(batch["label"], logits)
        return loss, {"supervised_loss": loss, "supervised_accuracy": tf.reduce_mean(right)}
