"""How long a run trains: for longer than before, and long enough for its warmup."""

import logging

from tf_simclrv2.config import refuse
from tf_simclrv2.optimization.optimizers import build_schedule
from tf_simclrv2.optimization.schedules import WarmupCosine
from tf_simclrv2.runtime.run_directory import RunDirectory

logger = logging.getLogger(__name__)


def check_length(run: RunDirectory, schedule: WarmupCosine, num_examples: int, step: int) -> None:
    """Refuses a training shorter than it was, and says what a longer one or a warmup means.

    Args:
      run: the run, claimed.
      schedule: the learning rate that was asked for.
      num_examples: images in an epoch.
      step: training steps done so far.

    Raises:
      ConfigError: the run was to train for more steps.
    """
    settings, total = run.config.optimization, schedule.total_steps
    flag = "train_steps" if settings.train_steps else "train_epochs"
    if run.before is not None:
        before = build_schedule(run.before.optimization, num_examples)
        if total < before.total_steps:
            raise refuse(
                flag,
                getattr(settings, flag),
                f"the run in {run.path} trains for {before.total_steps} steps, so that it can be "
                f"continued for as many or more, but not for {total}",
            )
        if total > before.total_steps and run.writable:
            logger.info(
                f"{run.path}: goes on from step {step} to {total} instead of {before.total_steps}; "
                f"the learning rate follows the schedule of {total} steps from there on, with "
                f"{_rate(schedule, step)} at the next step instead of {_rate(before, step)}"
            )
    if settings.warmup_epochs and schedule.warmup_steps >= total and run.writable:
        logger.warning(
            f"--warmup_epochs={settings.warmup_epochs:g}: the warmup of {schedule.warmup_steps} "
            f"steps is as long as the training of {total} steps or longer, so the learning rate "
            f"only reaches {_rate(schedule, total - 1)} of {schedule.peak:.3g}"
        )


def _rate(schedule: WarmupCosine, step: int) -> str:
    return f"{float(schedule(step)):.3g}"
