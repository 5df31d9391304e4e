"""Means of metrics that go on where an interrupted run has left them."""

from typing import Any, Dict, List, Optional

from tf_simclrv2.keras2 import keras


class KeepMeans(keras.callbacks.Callback):
    """Lets means that were restored with a checkpoint go on.

    ``fit`` resets them as it begins, so that the first row after a restart would be a mean of fewer
    steps than that of an undisturbed run.
    """

    def __init__(self) -> None:
        super().__init__()
        self._values: List[List[Any]] = []

    def on_train_begin(self, logs: Optional[Dict[str, float]] = None) -> None:
        self._values = [metric.get_weights() for metric in self.model.metrics]

    def on_epoch_begin(self, epoch: int, logs: Optional[Dict[str, float]] = None) -> None:
        for metric, values in zip(self.model.metrics, self._values):
            metric.set_weights(values)
        self._values = []
