"""NT-Xent, the contrastive loss of SimCLR (arXiv:2002.05709, equation 1)."""

from typing import NamedTuple

from tf_simclrv2.keras2 import tf

# Added to the logit of an image with itself, so that the softmax leaves it out.
MASKED_LOGIT = -1e9


class ContrastiveLoss(NamedTuple):
    """The loss and what is logged of it.

    Attributes:
      loss: scalar, the mean over images of the sum over their two views.
      accuracy: scalar, how often a view's other view is its nearest among the second views.
      entropy: scalar in nats, of the softmax over the second views.
    """

    loss: tf.Tensor
    accuracy: tf.Tensor
    entropy: tf.Tensor


def nt_xent(
    projections_1: tf.Tensor,
    projections_2: tf.Tensor,
    temperature: float = 0.1,
    hidden_norm: bool = True,
) -> ContrastiveLoss:
    """The normalised temperature-scaled cross entropy between two views of a batch of images.

    For each view, the other view of the same image is the positive; both views of all other
    images of the batch are negatives.

    Args:
      projections_1: [batch, dim], of the images' first views; any float type.
      projections_2: [batch, dim], of the second views, in the same order.
      temperature: divides the similarities; above 0.
      hidden_norm: whether to L2-normalise the projections, so that similarities are cosines.

    Returns:
      A :class:`ContrastiveLoss`, in float32.
    """
    hidden_1, hidden_2 = (tf.cast(z, tf.float32) for z in (projections_1, projections_2))
    if hidden_norm:
        hidden_1 = tf.math.l2_normalize(hidden_1, axis=-1)
        hidden_2 = tf.math.l2_normalize(hidden_2, axis=-1)
    batch = tf.shape(hidden_1)[0]
    labels = tf.range(batch)
    itself = MASKED_LOGIT * tf.eye(batch)

    logits_11 = tf.matmul(hidden_1, hidden_1, transpose_b=True) / temperature + itself
    logits_22 = tf.matmul(hidden_2, hidden_2, transpose_b=True) / temperature + itself
    logits_12 = tf.matmul(hidden_1, hidden_2, transpose_b=True) / temperature
    losses_1 = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels, tf.concat([logits_12, logits_11], axis=1)
    )
    losses_2 = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels, tf.concat([tf.transpose(logits_12), logits_22], axis=1)
    )
    nearest = tf.argmax(logits_12, axis=1, output_type=labels.dtype)
    probabilities = tf.nn.softmax(logits_12)
    entropies = -tf.reduce_sum(probabilities * tf.math.log(probabilities + 1e-8), axis=1)
    return ContrastiveLoss(
        loss=tf.reduce_mean(losses_1 + losses_2),
        accuracy=tf.reduce_mean(tf.cast(nearest == labels, tf.float32)),
        entropy=tf.reduce_mean(entropies),
    )
