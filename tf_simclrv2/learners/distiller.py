"""Step 3: distillation with unlabelled images (SimCLRv2, section 2)."""

import dataclasses
from typing import Any, Dict, Mapping, Tuple, Union

from tf_simclrv2.config import DistillationConfig, OptimizationConfig
from tf_simclrv2.keras2 import keras, registered, serialize_part, tf
from tf_simclrv2.learners.learner import Learner
from tf_simclrv2.networks.layers import as_config
from tf_simclrv2.objectives.distillation import distillation_loss


@registered
class Distiller(Learner):
    """Teaches a student network the predictions of a frozen teacher on the same augmented images.

    SimCLRv2 (Chen et al., arXiv:2006.10029), section 2, equations 2 and 3.

    A batch is a dict of ``image``, float [batch, height, width, 3] in [0, 1], and, where
    ``distillation_alpha < 1``, ``labelled_image`` and ``label``, int [labelled].

    Args:
      network: the student.
      teacher: the fine-tuned network; it is frozen and runs in inference mode.
      distillation: temperature and weight of the teacher.
      optimization: decides on the weight decay in the loss.
    """

    logged = ("distillation_loss", "teacher_agreement")
    # A run of its own holds it.
    not_saved = ("teacher",)

    def __init__(
        self,
        network: keras.Model,
        teacher: keras.Model,
        distillation: Union[DistillationConfig, Mapping[str, Any]],
        optimization: Union[OptimizationConfig, Mapping[str, Any]],
        **kwargs,
    ):
        super().__init__(network, optimization, **kwargs)
        teacher.trainable = False
        self.teacher = teacher
        self.distillation = as_config(DistillationConfig, distillation)

    def get_config(self) -> Dict[str, Any]:
        """Returns the constructor's arguments, in types that JSON has."""
        return {
            **super().get_config(),
            "teacher": serialize_part(self.teacher),
            "distillation": dataclasses.asdict(self.distillation),
        }

    def losses_of(
        self, batch: Dict[str, tf.Tensor], training: bool = True
    ) -> Tuple[tf.Tensor, Dict[str, tf.Tensor]]:
        """The distillation loss, and how often the student agrees with the teacher."""
        images, labels, labelled_logits = batch["image"], None, None
        teacher_logits = self.teacher(images, training=False)["logits"]
        if "labelled_image" in batch:
            # One pass over both, so that batch norm sees them as one batch.
            count = tf.shape(images)[0]
            images = tf.concat([images, batch["labelled_image"]], axis=0)
            logits = self.network(images, training=training)["logits"]
            student_logits, labelled_logits = logits[:count], logits[count:]
            labels = batch["label"]
        else:
            student_logits = self.network(images, training=training)["logits"]
        loss = distillation_loss(
            student_logits,
            teacher_logits,
            temperature=self.distillation.distillation_temperature,
            alpha=self.distillation.distillation_alpha,
            labels=labels,
            labelled_logits=labelled_logits,
        )
        agrees = keras.metrics.sparse_categorical_accuracy(
            tf.argmax(teacher_logits, axis=-1), student_logits
        )
        return loss, {"distillation_loss": loss, "teacher_agreement": tf.reduce_mean(agrees)}
