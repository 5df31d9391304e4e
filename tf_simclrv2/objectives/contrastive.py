"""NT-Xent, the contrastive loss of SimCLR (arXiv:2002.05709, equation 1), also with a memory."""

from typing import NamedTuple, Sequence, Tuple, Union

from tf_simclrv2.keras2 import keras, tf

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


def normalize(projections: tf.Tensor, hidden_norm: bool) -> tf.Tensor:
    """Casts ``projections`` [batch, dim] to float32 and, with ``hidden_norm``, normalises each."""
    projections = tf.cast(projections, tf.float32)
    return tf.math.l2_normalize(projections, axis=-1) if hidden_norm else projections


def gather_replicas(rows: tf.Tensor) -> Tuple[tf.Tensor, Union[int, tf.Tensor]]:
    """Collects rows of all replicas; the gradient of each row flows back to its replica.

    Args:
      rows: [batch, ...], this replica's; all replicas have as many.

    Returns:
      All replicas' rows, [replicas * batch, ...], in the replicas' order, and the row at which this
      replica's begin.
    """
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return rows, 0
    batch = tf.shape(rows)[0]
    first = context.replica_id_in_sync_group * batch
    # Gathering forgets the shape, which XLA and what follows need.
    count = rows.shape[0] and rows.shape[0] * context.num_replicas_in_sync
    gathered_shape = [count, *rows.shape[1:]]

    @tf.custom_gradient
    def gather(rows):
        def gradient(upstream):
            summed = context.all_reduce(tf.distribute.ReduceOp.SUM, upstream)
            return tf.ensure_shape(summed[first : first + batch], rows.shape)

        return tf.ensure_shape(context.all_gather(rows, axis=0), gathered_shape), gradient

    return gather(rows), first


def nt_xent(
    projections_1: tf.Tensor,
    projections_2: tf.Tensor,
    temperature: float = 0.1,
    hidden_norm: bool = True,
) -> ContrastiveLoss:
    """The normalised temperature-scaled cross entropy between two views of a batch of images.

    SimCLR (Chen et al., arXiv:2002.05709), equation 1. For each view, the other view of the same
    image is the positive; both views of all other images of the global batch, that of all replicas,
    are negatives.

    Args:
      projections_1: [batch, dim], of this replica's images' first views; any float type.
      projections_2: [batch, dim], of the second views, in the same order.
      temperature: divides the similarities; above 0.
      hidden_norm: whether to L2-normalise the projections, so that similarities are cosines.

    Returns:
      A :class:`ContrastiveLoss` of this replica's images, in float32; the mean over replicas is
      that of the global batch.

    Example:

    ```python
    projections_1, projections_2 = tf.random.normal([2, 8, 128])
    nt_xent(projections_1, projections_2, temperature=0.5).loss  # float32 scalar
    ```
    """
    hidden_1, hidden_2 = (normalize(z, hidden_norm) for z in (projections_1, projections_2))
    everything, first = gather_replicas(tf.stack([hidden_1, hidden_2], axis=1))
    all_1, all_2 = tf.unstack(everything, axis=1)
    labels = first + tf.range(tf.shape(hidden_1)[0])
    itself = MASKED_LOGIT * tf.one_hot(labels, tf.shape(all_1)[0])

    def similarities(hidden, others):
        return tf.matmul(hidden, others, transpose_b=True) / temperature

    logits_12 = similarities(hidden_1, all_2)
    losses_1 = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels, tf.concat([logits_12, similarities(hidden_1, all_1) + itself], axis=1)
    )
    losses_2 = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels,
        tf.concat([similarities(hidden_2, all_1), similarities(hidden_2, all_2) + itself], axis=1),
    )
    return _with_metrics(losses_1 + losses_2, labels, logits_12)


def nt_xent_with_memory(
    queries: Sequence[tf.Tensor],
    keys: Sequence[tf.Tensor],
    queue: tf.Tensor,
    filled: tf.Tensor,
    first_key: Union[int, tf.Tensor] = 0,
    temperature: float = 0.1,
) -> ContrastiveLoss:
    """NT-Xent against keys of a memory network (SimCLRv2, section 2; docs/memory.md).

    For the first view ``q`` of image ``i``, with ``k_j`` the keys of the second views and ``b_m``
    those in the queue, the loss is

        -log exp(q.k_i / T) / (sum_j exp(q.k_j / T) + sum_m exp(q.b_m / T))

    and for the second view likewise with the keys of the first views. The key of the image's other
    view is the positive and stands in the denominator once; keys of the query's own view, the
    image's own among them, and slots of the queue that are not filled stand nowhere.

    Args:
      queries: two of float32 [batch, dim]: projections of the images' first views and, in the same
        order, of their second views, as :func:`normalize` returns them.
      keys: two of float32 [keys, dim]: the memory network's projections of the first and the second
        views, likewise; keys of other replicas' images may be among them.
      queue: float32 [size, dim], keys of past batches, likewise.
      filled: bool [size], which slots of the queue hold a key.
      first_key: the row in the keys that belongs to the first query.
      temperature: divides the similarities; above 0.

    Returns:
      A :class:`ContrastiveLoss`, in float32; accuracy and entropy are those of the first views
      among the current keys of the second ones. No gradient flows into keys and queue.
    """
    query_1, query_2 = (query / temperature for query in queries)
    keys_1, keys_2, queue = (tf.stop_gradient(each) for each in (*keys, queue))
    labels = first_key + tf.range(tf.shape(query_1)[0])
    logits_12 = tf.matmul(query_1, keys_2, transpose_b=True)
    logits_21 = tf.matmul(query_2, keys_1, transpose_b=True)
    past = tf.matmul(tf.concat([query_1, query_2], axis=0), queue, transpose_b=True)
    past = tf.where(filled, past, MASKED_LOGIT)
    losses_1, losses_2 = tf.split(
        tf.nn.sparse_softmax_cross_entropy_with_logits(
            tf.tile(labels, [2]),
            tf.concat([tf.concat([logits_12, logits_21], axis=0), past], axis=1),
        ),
        2,
    )
    return _with_metrics(losses_1 + losses_2, labels, logits_12)


def _with_metrics(losses, labels, logits) -> ContrastiveLoss:
    right = keras.metrics.sparse_categorical_accuracy(labels, logits)
    probabilities = tf.nn.softmax(logits)
    entropies = -tf.reduce_sum(probabilities * tf.math.log(probabilities + 1e-8), axis=1)
    return ContrastiveLoss(
        loss=tf.reduce_mean(losses),
        accuracy=tf.reduce_mean(right),
        entropy=tf.reduce_mean(entropies),
    )
