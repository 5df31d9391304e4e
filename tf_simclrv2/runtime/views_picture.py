"""Pairs of augmented views in TensorBoard, so that people look at what they train on."""

from typing import Callable, Optional

from tf_simclrv2.config import AugmentationConfig
from tf_simclrv2.data.views import ready_for_network
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.runtime.callbacks import Logs
from tf_simclrv2.runtime.run_directory import RunDirectory

_PAIRS_SHOWN = 16


class DrawViews(keras.callbacks.Callback):
    """Writes pairs of views to TensorBoard before the first step.

    Args:
      run: where to write.
      batches: makes batches of so many of the run's images, in their order, for a device to
        distort. On the host these would need a program of their own for XLA to compile.
      augmentation: how views are distorted.
    """

    def __init__(
        self,
        run: RunDirectory,
        batches: Callable[[int], tf.data.Dataset],
        augmentation: AugmentationConfig,
    ):
        super().__init__()
        self._run = run
        self._batches = batches
        self._augmentation = augmentation

    def on_train_begin(self, logs: Optional[Logs] = None) -> None:
        # A run that goes on has drawn them already.
        if not self._run.writable or int(self.model.optimizer.iterations.numpy()):
            return
        batch = ready_for_network(next(iter(self._batches(_PAIRS_SHOWN))), self._augmentation)
        pairs = tf.concat([batch["view_1"], batch["view_2"]], axis=2)
        with tf.summary.create_file_writer(self._run.file("events")).as_default():
            tf.summary.image("views", pairs, step=0, max_outputs=_PAIRS_SHOWN)
