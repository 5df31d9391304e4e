"""Step 2: fine-tuning on labels, and the supervised baseline (SimCLRv2, section 2)."""

from typing import Dict, Tuple

from tf_simclrv2.evaluation.metrics import top_1_accuracy
from tf_simclrv2.keras2 import tf
from tf_simclrv2.learners.learner import Learner
from tf_simclrv2.objectives.distillation import cross_entropy


class Classifier(Learner):
    """Minimises the cross entropy of labelled images.

    A batch is a dict of ``image``, float [batch, height, width, 3] in [0, 1], and ``label``, int
    [batch].
    """

    logged = ("supervised_loss", "supervised_accuracy")

    def losses_of(self, batch: Dict[str, tf.Tensor]) -> Tuple[tf.Tensor, Dict[str, tf.Tensor]]:
        """Cross entropy of the labels."""
        logits = self.network(batch["image"], training=True)["logits"]
        loss = cross_entropy(batch["label"], logits)
        accuracy = top_1_accuracy(batch["label"], logits)
        return loss, {"supervised_loss": loss, "supervised_accuracy": accuracy}
