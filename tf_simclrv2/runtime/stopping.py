"""Training that a signal asks to end: after a step, and with all workers at the same one."""

from typing import Optional

from tf_simclrv2.keras2 import tf
from tf_simclrv2.runtime import signals
from tf_simclrv2.runtime.callbacks import Logs, StepCallback
from tf_simclrv2.runtime.devices import Devices


class StopAtSignal(StepCallback):
    """Ends training in order once a signal has arrived, as if its last step were done.

    Before the first step is over there is nothing to save, so that signals interrupt at once; from
    then on they wait for the end of a step. Several workers, which can only save together, ask each
    other at every row of ``metrics.csv`` whether one of them was asked to end. (TensorFlow's
    PreemptionCheckpointHandler needs a loop of one's own around each step instead of ``fit``, knows
    only SIGTERM, and would write checkpoints by rules of its own.)

    Args:
      devices: what computes.
      every_steps: steps between rows.
    """

    def __init__(self, devices: Devices, every_steps: int):
        super().__init__()
        self._devices = devices
        self._every_steps = every_steps

    def on_train_begin(self, logs: Optional[Logs] = None) -> None:
        self._start = self._step = int(self.model.optimizer.iterations.numpy())

    def on_train_batch_begin(self, batch: int, logs: Optional[Logs] = None) -> None:
        # One that arrived in the callbacks of the step before.
        if signals.received() and not self._devices.has_workers:
            raise KeyboardInterrupt

    def on_train_batch_end(self, batch: int, logs: Optional[Logs] = None) -> None:
        signals.wait()
        before, self._step = self._step, self._start + batch + 1
        due = self._step // self._every_steps > before // self._every_steps
        if self._devices.has_workers and due:
            self._ask_all()
        if signals.received() and (due or not self._devices.has_workers):
            self.model.stop_training = True

    def _ask_all(self) -> None:
        name, strategy = signals.received(), self._devices.strategy
        own = tf.constant([float(name in signals.ENDING), float(name in signals.PREEMPTING)])

        @tf.function
        def total() -> tf.Tensor:
            each = strategy.run(tf.identity, (own,))
            return strategy.reduce(tf.distribute.ReduceOp.SUM, each, axis=None)

        ending, preempting = total().numpy()
        if ending or preempting:
            signals.note((signals.ENDING if ending else signals.PREEMPTING)[0])
