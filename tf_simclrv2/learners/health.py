"""Whether training is still finite, noted on the device at every step and read when it matters."""

from typing import NamedTuple, Sequence

from tf_simclrv2.keras2 import keras, tf


class Finite(NamedTuple):
    """What :class:`Health` has noted.

    Attributes:
      steps: steps since the start until loss or gradient was not finite for the first time.
      gradient_norm: of the step after these, else of the last one.
      norm_before: of the step before that.
    """

    steps: int
    gradient_norm: float
    norm_before: float


class Health(keras.metrics.Metric):
    """Counts the steps until loss or gradient is not finite, and keeps that step's gradient norm.

    It is updated by every step and reset only by who watches the training, so that nothing returns
    to the host meanwhile. All replicas note the same.
    """

    def __init__(self, name: str = "health", **kwargs):
        super().__init__(name=name, **kwargs)
        alike = {
            "initializer": "zeros",
            "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA,
        }
        self._steps = self.add_weight("steps", dtype=tf.int64, **alike)
        self._ended = self.add_weight("ended", dtype=tf.int64, **alike)
        self._norm = self.add_weight("norm", dtype=tf.float32, **alike)
        self._norm_before = self.add_weight("norm_before", dtype=tf.float32, **alike)

    def update_state(self, is_finite: tf.Tensor, norm: tf.Tensor) -> None:
        """Notes a step.

        Args:
          is_finite: bool scalar, whether its loss and its gradient are finite.
          norm: float32 scalar, of its gradient.
        """
        goes_on = self._ended == 0
        self._norm_before.assign(tf.where(goes_on, self._norm, self._norm_before))
        self._norm.assign(tf.where(goes_on, norm, self._norm))
        self._steps.assign_add(tf.cast(goes_on & is_finite, tf.int64))
        self._ended.assign(tf.maximum(self._ended, tf.cast(~is_finite, tf.int64)))

    def result(self) -> tf.Tensor:
        """How many steps were finite, int64 scalar."""
        return tf.identity(self._steps)

    def read(self) -> Finite:
        """Reads what was noted; this waits for the device."""
        values = (tf.convert_to_tensor(v) for v in (self._steps, self._norm, self._norm_before))
        steps, norm, before = (value.numpy() for value in values)
        return Finite(int(steps), float(norm), float(before))


def observed(loss: tf.Tensor, gradients: Sequence[tf.Tensor], scaled: bool) -> tuple:
    """What :meth:`Health.update_state` is given of a step, the same in all replicas.

    Args:
      loss: this replica's loss, a float32 scalar.
      gradients: of this replica.
      scaled: whether the optimizer scales the loss, and skips gradients that are not finite.

    Returns:
      Whether all replicas' losses and gradients are finite, and the norm of the gradients; with
      several replicas the root of the sum of their squared norms.
    """
    context = tf.distribute.get_replica_context()
    norm = tf.cast(tf.linalg.global_norm(gradients), tf.float32)
    is_finite = tf.math.is_finite(loss)
    if not scaled:
        is_finite &= tf.math.is_finite(norm)
    if context.num_replicas_in_sync > 1:
        sums = context.all_reduce(
            tf.distribute.ReduceOp.SUM, tf.stack([tf.cast(~is_finite, tf.float32), norm**2])
        )
        is_finite, norm = sums[0] == 0, tf.sqrt(sums[1])
    return is_finite, norm
