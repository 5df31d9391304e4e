"""The distillation loss (SimCLRv2, section 2, equations 2 and 3)."""

from typing import Optional

from tf_simclrv2.keras2 import tf


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Mean cross entropy of integer ``labels`` [batch] and ``logits`` [batch, classes]."""
    logits = tf.cast(logits, tf.float32)
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


def distillation_loss(
    student_logits: tf.Tensor,
    teacher_logits: tf.Tensor,
    temperature: float = 1.0,
    alpha: float = 1.0,
    labels: Optional[tf.Tensor] = None,
    labelled_logits: Optional[tf.Tensor] = None,
) -> tf.Tensor:
    """Cross entropy of the student's predictions under the teacher's, mixed with true labels.

    ``-alpha * mean_i sum_y P_T(y|x_i; t) log P_S(y|x_i; t) - (1 - alpha) * mean log P_S(y_i|x_i)``
    where ``P(y|x; t) = softmax(logits / t)``; the second mean is over the labelled examples.

    Args:
      student_logits: [batch, classes], of images that need no labels.
      teacher_logits: [batch, classes], of the same images; no gradient flows into them.
      temperature: t, above 0.
      alpha: weight of the teacher's predictions; with 1 labels are not used.
      labels: int [labelled], classes of labelled examples; needed if ``alpha < 1``.
      labelled_logits: [labelled, classes], the student's logits of the labelled examples.

    Returns:
      Scalar, float32.

    Raises:
      ValueError: ``alpha < 1`` without labels.
    """
    student = tf.cast(student_logits, tf.float32) / temperature
    teacher = tf.stop_gradient(tf.cast(teacher_logits, tf.float32)) / temperature
    loss = alpha * tf.reduce_mean(
        tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(teacher), student)
    )
    if alpha < 1:
        if labels is None or labelled_logits is None:
            raise ValueError(f"alpha={alpha} weighs in true labels, but none were given.")
        loss += (1 - alpha) * cross_entropy(labels, labelled_logits)
    return loss
