"""Learning-rate schedules (SimCLRv2, appendix B)."""

import math

from tf_simclrv2.keras2 import keras, tf


class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warmup from 0 to the peak, then cosine decay to 0.

    Args:
      peak: learning rate at the end of the warmup.
      warmup_steps: steps of the warmup; 0 is without.
      total_steps: step at which the rate reaches 0.
    """

    def __init__(self, peak: float, warmup_steps: int, total_steps: int):
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the learning rate, a float32 scalar, at an integer ``step``."""
        step = tf.cast(step, tf.float32)
        decay_steps = max(self.total_steps - self.warmup_steps, 1)
        progress = tf.clip_by_value((step - self.warmup_steps) / decay_steps, 0.0, 1.0)
        decayed = self.peak * 0.5 * (1.0 + tf.cos(math.pi * progress))
        warming = self.peak * step / max(self.warmup_steps, 1)
        return tf.where(step < self.warmup_steps, warming, decayed)

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
        }
