"""NT-Xent, the contrastive loss of SimCLR (arXiv:2002.05709, equation 1), also with a memory."""

import math
from typing import NamedTuple, Optional, Sequence, Tuple, Union

from tf_simclrv2.keras2 import keras, tf

# Added to the logit of an image with itself, so that the softmax leaves it out.
MASKED_LOGIT = -1e9
# Of a batch that has more, similarities are computed some images at a time: 8 MiB stay in caches.
_MOST_SIMILARITIES = 1 << 21


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


def loss_of_guessing(images: int, keys_of_past: int = 0) -> float:
    """The loss if all similarities are the same, so that every candidate is as likely.

    Args:
      images: in the batch.
      keys_of_past: in the queue of a memory; 0 is :func:`nt_xent`, without a memory.
    """
    candidates = images + keys_of_past if keys_of_past else 2 * images - 1
    return 2 * math.log(candidates)


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
    scaled = tf.stack([hidden_1, hidden_2]) / temperature
    sums = _sums(scaled, tf.concat([all_1, all_2], axis=0), tf.convert_to_tensor(first))
    count = tf.cast(tf.shape(hidden_1)[0], tf.float32)
    return ContrastiveLoss(*(each / count for each in sums))


@tf.custom_gradient
def _sums(views: tf.Tensor, others: tf.Tensor, first: tf.Tensor):
    """Sums of losses, right answers and entropies over images, and how to get gradients.

    The gradient is computed along with the loss, some images at a time, so that similarities are
    computed once and never all held: of 4,096 images they are 256 MiB.

    Args:
      views: float32 [2, batch, dim], projections of both views, divided by the temperature.
      others: float32 [2 * all, dim], projections of the first, then of the second views of all.
      first: int, the row of the first image's first view among ``others``.
    """
    batch, dim = views.shape[1:]
    parts = _parts(batch, others.shape[0])

    def part(number: tf.Tensor) -> Tuple[Tuple[tf.Tensor, ...], tf.Tensor, tf.Tensor]:
        """The sums, and the gradients to the part's own views and to the others."""
        size = tf.shape(views)[1] if batch is None else batch // parts
        own = tf.slice(views, [0, number * size, 0], [2, size, dim])
        rows = first + number * size + tf.range(size)
        half = tf.shape(others)[0] // 2
        of_first, logits = _cross_entropy(own[0], others, rows, rows + half)
        of_second, _ = _cross_entropy(own[1], others, rows + half, rows)
        among_second = tf.ensure_shape(logits[:, half:], [own.shape[1], None])
        right, entropy = _metrics(rows, among_second)
        losses = tf.reduce_sum(of_first[0]) + tf.reduce_sum(of_second[0])
        to_own = tf.stack([tf.matmul(each[1], others) for each in (of_first, of_second)])
        to_others = tf.add_n(
            [tf.matmul(each[1], view, transpose_a=True)
             for each, view in zip((of_first, of_second), tf.unstack(own))]
        )  # fmt: skip
        return (losses, tf.reduce_sum(right), tf.reduce_sum(entropy)), to_own, to_others

    if parts == 1:
        sums, to_views, to_others = part(tf.constant(0))
    else:
        gathered = tf.TensorArray(tf.float32, parts, element_shape=[2, batch // parts, dim])

        def body(number, sums, gathered, to_others):
            more, to_own, further = part(number)
            sums = tuple(one + other for one, other in zip(sums, more))
            return number + 1, sums, gathered.write(number, to_own), to_others + further

        _, sums, gathered, to_others = tf.while_loop(
            lambda number, *_: number < parts, body,
            (tf.constant(0), (tf.zeros([]),) * 3, gathered, tf.zeros_like(others)),
            parallel_iterations=1,
        )  # fmt: skip
        # [parts, 2, size, dim] to [2, batch, dim].
        to_views = tf.reshape(tf.transpose(gathered.stack(), [1, 0, 2, 3]), [2, batch, dim])

    def gradient(upstream: tf.Tensor, *_: tf.Tensor):
        return upstream * to_views, upstream * to_others, None

    return sums, gradient


def _parts(batch: Optional[int], others: Optional[int]) -> int:
    """Into how many equal parts to divide a batch; 1 if its size is not known."""
    if batch is None or others is None:
        return 1
    enough = -(-batch * others // _MOST_SIMILARITIES)
    return next((n for n in range(enough, 4 * enough) if batch % n == 0), 1)


def _cross_entropy(
    own: tf.Tensor, others: tf.Tensor, itself: tf.Tensor, positives: tf.Tensor
) -> Tuple[Tuple[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Losses of views, their gradients to the similarities, and the similarities."""
    logits = tf.matmul(own, others, transpose_b=True)
    columns = tf.range(tf.shape(others)[0])
    masked = tf.where(columns == itself[:, tf.newaxis], MASKED_LOGIT, logits)
    found = tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(features=masked, labels=positives)
    return (found.loss, found.backprop), logits


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


def _with_metrics(losses: tf.Tensor, labels: tf.Tensor, logits: tf.Tensor) -> ContrastiveLoss:
    right, entropies = _metrics(labels, tf.stop_gradient(logits))
    return ContrastiveLoss(
        loss=tf.reduce_mean(losses),
        accuracy=tf.reduce_mean(right),
        entropy=tf.reduce_mean(entropies),
    )


def _metrics(labels: tf.Tensor, logits: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
    """Whether the highest logit is the label's, 1 or 0, and the entropy of the softmax."""
    right = keras.metrics.sparse_categorical_accuracy(labels, logits)
    probabilities = tf.nn.softmax(logits)
    return right, -tf.reduce_sum(probabilities * tf.math.log(probabilities + 1e-8), axis=1)
