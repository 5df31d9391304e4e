"""The optimizer of a run, and where its weight decay is applied."""

import importlib
from typing import List

from tf_simclrv2.config import OptimizationConfig, refuse
from tf_simclrv2.config.extras import check_installed
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.networks.roles import VariableRoles
from tf_simclrv2.optimization.schedules import WarmupCosine
from tf_simclrv2.optimizer_rows import OPTIMIZERS


def build_schedule(config: OptimizationConfig, num_examples: int) -> WarmupCosine:
    """The learning rate that the config asks for, for ``num_examples`` images in an epoch."""
    return WarmupCosine(
        config.scaled_learning_rate,
        config.warmup_steps(num_examples),
        config.steps(num_examples),
    )


def build_optimizer(
    config: OptimizationConfig, schedule: WarmupCosine, roles: VariableRoles
) -> keras.optimizers.Optimizer:
    """The optimizer that the config asks for, by its row of ``OPTIMIZERS``.

    Args:
      config: optimizer, momentum and weight decay.
      schedule: the learning rate.
      roles: the trainable variables by role.

    Returns:
      LARS, SGD with Nesterov momentum, Adam, or LAMB or SGDW of TensorFlow Addons.
    """
    module, function = OPTIMIZERS[config.optimizer].build.split(":")
    return getattr(importlib.import_module(module), function)(config, schedule, roles)


def check_optimizer(config: OptimizationConfig, mixed_precision: str) -> None:
    """Refuses an optimizer that this machine doesn't have, or that a number format rules out.

    Args:
      config: names the optimizer.
      mixed_precision: the number format.

    Raises:
      ConfigError: it needs TensorFlow Addons, and they are not installed, or it can't scale losses.
    """
    if not OPTIMIZERS[config.optimizer].needs_addons:
        return
    if mixed_precision == "mixed_float16":
        raise refuse(
            "mixed_precision",
            mixed_precision,
            f"can't be combined with --optimizer={config.optimizer} of tensorflow-addons, which "
            "can't scale the loss as it needs; mixed_bfloat16 can",
        )
    check_installed("tensorflow-addons", "optimizer", config.optimizer)


def regularized(optimizer: str, roles: VariableRoles) -> List[tf.Variable]:
    """The variables whose weight decay is a term of the loss, because the optimizer leaves them.

    Args:
      optimizer: a name in ``OPTIMIZERS``.
      roles: the trainable variables by role.
    """
    of_roles = [getattr(roles, role) for role in OPTIMIZERS[optimizer].decayed_in_loss]
    return [variable for of_role in of_roles for variable in of_role]


def weight_decay_loss(config: OptimizationConfig, roles: VariableRoles) -> tf.Tensor:
    """The part of the weight decay that is a term of the loss, a float32 scalar.

    Args:
      config: optimizer and weight decay.
      roles: the trainable variables by role.
    """
    decayed = regularized(config.optimizer, roles)
    if not decayed or not config.weight_decay:
        return tf.constant(0.0)
    return config.weight_decay * tf.add_n([tf.nn.l2_loss(variable) for variable in decayed])
