"""Learning-rate schedules (SimCLRv2, appendix B)."""

from typing import Any, Dict

from tf_simclrv2.keras2 import keras, registered


@registered
class WarmupCosine(keras.optimizers.schedules.CosineDecay):
    """Linear warmup from 0 to the peak, then cosine decay to 0.

    SimCLR (arXiv:2002.05709), appendix B.6; Keras's CosineDecay with our runs' arguments.

    Args:
      peak: learning rate at the end of the warmup.
      warmup_steps: steps of the warmup; 0 is without.
      total_steps: step at which the rate reaches 0.

    Example:

    ```python
    schedule = WarmupCosine(peak=4.8, warmup_steps=3_000, total_steps=30_000)
    schedule(1_500)  # 2.4
    optimizer = LARS(schedule)
    ```
    """

    def __init__(self, peak: float, warmup_steps: int, total_steps: int):
        super().__init__(
            initial_learning_rate=0.0 if warmup_steps else float(peak),
            decay_steps=max(total_steps - warmup_steps, 1),
            warmup_target=float(peak) if warmup_steps else None,
            warmup_steps=warmup_steps,
        )
        self.peak = peak
        self.total_steps = total_steps

    def get_config(self) -> Dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
        }
