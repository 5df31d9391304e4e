"""Training that diverges: it ends at the first loss that is not finite, and good weights stay."""

import logging
import math
from typing import Any, Dict, Iterable, List, Optional

from tf_simclrv2.config import ConfigError
from tf_simclrv2.keras2 import tf
from tf_simclrv2.learners.learner import Learner
from tf_simclrv2.optimization.schedules import WarmupCosine
from tf_simclrv2.runtime.callbacks import Logs, StepCallback
from tf_simclrv2.runtime.run_directory import RunDirectory

logger = logging.getLogger(__name__)

# A loss so many times as large as at the start has left what training does. Losses below 1 count as
# 1, since late in a training a few hard images can multiply a small loss.
_EXPLODED = 10.0


class NotFiniteError(ConfigError):
    """A training whose loss or weights stopped being finite.

    Attributes:
      step: the first step of which loss or gradient was not finite, or that led to such weights.
    """

    def __init__(self, message: str, step: int):
        super().__init__(message)
        self.step = step


def not_finite(variables: Iterable[tf.Variable]) -> Optional[str]:
    """Returns the name of a variable that holds NaN or infinity; None if all are finite."""
    floating = [variable for variable in variables if variable.dtype.is_floating]
    if not floating:
        return None
    each = [tf.reduce_all(tf.math.is_finite(tf.convert_to_tensor(v))) for v in floating]
    # Read at once, so that the device is waited for once.
    finite = tf.stack(each).numpy()
    bad = [v.name.partition(":")[0] for v, good in zip(floating, finite) if not good]
    return bad[0] if bad else None


def check_restored(variables: Iterable[tf.Variable], checkpoint: str) -> None:
    """Refuses weights that are not finite.

    Args:
      variables: that were restored.
      checkpoint: from where, for the error.

    Raises:
      ConfigError: one of them holds NaN or infinity.
    """
    name = not_finite(variables)
    if name is not None:
        raise ConfigError(
            f"{checkpoint}: its weights must be finite, but {name} holds NaN or infinity, so the "
            "training had diverged when they were saved; take an earlier checkpoint, if the run "
            "has a good one, or train again with a lower --learning_rate."
        )


def check_finite_result(
    run: RunDirectory, metrics: Dict[str, float], num_classes: Optional[int]
) -> None:
    """Refuses the result of weights that compute no numbers, and warns of one beyond reason.

    Args:
      run: the run that was evaluated.
      metrics: ``loss`` and others.
      num_classes: of the data.

    Raises:
      ConfigError: the loss is not finite.
    """
    loss = metrics["loss"]
    if not math.isfinite(loss):
        raise ConfigError(
            f"{run.path}: the loss of the evaluation is {loss}, so that the weights are of no use; "
            "train again with a lower --learning_rate."
        )
    chance = math.log(max(num_classes or 2, 2))
    if loss > _EXPLODED * max(1.0, chance) and run.writable:
        logger.warning(
            f"{run.path}: a loss of {loss:.4g} is far above {chance:.2g}, that of guessing, so the "
            "training has probably diverged; a lower --learning_rate or a longer --warmup_epochs "
            "may help"
        )


def trained_variables(learner: Learner) -> List[tf.Variable]:
    """What a checkpoint of a training holds: variables of the learner's parts and the optimizer."""
    found: List[tf.Variable] = []
    for part in tf.nest.flatten(list(learner.saved_parts.values())):
        found += part.variables if hasattr(part, "variables") else [part]
    optimizer: Any = learner.optimizer  # Keras declares that it may be None.
    # A method of older optimizers.
    state = getattr(optimizer, "inner_optimizer", optimizer).variables
    return [*found, *(state() if callable(state) else state)]


class Watch(StepCallback):
    """Stops a training whose loss is not finite, and warns of one whose loss explodes.

    The loss is the mean since the last row of ``metrics.csv``, so it isn't finite from the first
    bad step on; it is read only when a row is due. It must come before what writes rows.

    Args:
      run: the run, for its checkpoints and for the messages.
      every_steps: steps between rows.
      schedule: the learning rate.
      advice: what the user can do, as the end of a sentence.
    """

    def __init__(self, run: RunDirectory, every_steps: int, schedule: WarmupCosine, advice: str):
        super().__init__()
        self._run = run
        self._every_steps = every_steps
        self._schedule = schedule
        self._advice = advice
        self._usual: Optional[float] = None
        self._warned = False

    def on_train_begin(self, logs: Optional[Logs] = None) -> None:
        self._start = self._step = int(self.model.optimizer.iterations.numpy())
        self.model.health.reset_state()

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        before, self._step = self._step, self._start + batch + 1
        if self._usual is None:
            self._usual = self._loss_at_start(float(logs["loss"]))
        due = self._step // self._every_steps > before // self._every_steps
        if due or self._step == self._schedule.total_steps:
            self._check_loss(float(logs["loss"]))

    def _loss_at_start(self, first: float) -> float:
        rows = self._run.metrics() if self._run.writable else []
        losses = [first, *(float(row["loss"]) for row in rows[:1])]
        return max(1.0, min([loss for loss in losses if math.isfinite(loss)], default=1.0))

    def _check_loss(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise self._error("the loss is not finite")
        if loss > _EXPLODED * (self._usual or 1.0) and not self._warned and self._run.writable:
            self._warned = True
            logger.warning(
                f"{self._run.path}: the loss has grown to {loss:.4g} by step {self._step}, more "
                f"than {_EXPLODED:g} times that of the start, so the training diverges; a lower "
                "--learning_rate or a longer --warmup_epochs, in another --model_dir, may help"
            )

    def check_weights(self) -> None:
        """Checks what a checkpoint would hold, before it is saved.

        Raises:
          NotFiniteError: it is not finite.
        """
        name = not_finite(trained_variables(self.model))
        if name is not None:
            raise self._error(f"{name} is not finite")

    def _error(self, what: str) -> NotFiniteError:
        noted = self.model.health.read()
        now = int(self.model.optimizer.iterations.numpy())
        step = min(self._start + noted.steps + 1, now)
        newest = self._run.latest_checkpoint()
        kept = "no checkpoint was saved before" if newest is None else f"{newest} is the last good"
        return NotFiniteError(
            f"{self._run.path}: {what} since step {step} (learning rate "
            f"{float(self._schedule(step - 1)):.3g}, norm of the gradient "
            f"{noted.gradient_norm:.3g}, a step before {noted.norm_before:.3g}); {kept}"
            f"{' checkpoint' if newest else ''}; {self._advice}.",
            step,
        )
