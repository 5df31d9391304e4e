"""The optimizer of a run, and where its weight decay is applied."""

import importlib.util

from tf_simclrv2.config import ADDONS_OPTIMIZERS, OptimizationConfig, refuse
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.networks.network import VariableRoles
from tf_simclrv2.optimization.lars import LARS
from tf_simclrv2.optimization.schedules import WarmupCosine


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
    """The optimizer that the config asks for.

    Args:
      config: optimizer, momentum and weight decay.
      schedule: the learning rate.
      roles: the trainable variables by role.

    Returns:
      LARS, SGD with Nesterov momentum, Adam, or LAMB or SGDW of TensorFlow Addons.
    """
    if config.optimizer in ADDONS_OPTIMIZERS:
        # Only now: it isn't to be had for every Python, see check_optimizer.
        from tf_simclrv2.optimization import addons

        decayed = roles.kernels + roles.supervised
        if config.optimizer == "lamb":
            return addons.LAMB(schedule, config.weight_decay, decayed)
        return addons.SGDW(schedule, config.momentum, config.weight_decay, decayed)
    if config.optimizer == "momentum":
        return keras.optimizers.SGD(schedule, config.momentum, nesterov=True)
    if config.optimizer == "adam":
        return keras.optimizers.Adam(schedule)
    return LARS(
        schedule,
        momentum=config.momentum,
        l2=config.weight_decay,
        excluded=roles.supervised + roles.biases + roles.batch_norm,
    )


def check_optimizer(config: OptimizationConfig, mixed_precision: str) -> None:
    """Refuses an optimizer that this machine has not, or that can't work in a number format.

    Args:
      config: names the optimizer.
      mixed_precision: the number format.

    Raises:
      ConfigError: it needs TensorFlow Addons, and they are not installed, or it can't scale losses.
    """
    if config.optimizer not in ADDONS_OPTIMIZERS:
        return
    if mixed_precision == "mixed_float16":
        raise refuse(
            "mixed_precision",
            mixed_precision,
            f"can't be combined with --optimizer={config.optimizer} of tensorflow-addons, which "
            "can't scale the loss as it needs; mixed_bfloat16 can",
        )
    if not importlib.util.find_spec("tensorflow_addons"):
        raise refuse(
            "optimizer",
            config.optimizer,
            "needs tensorflow-addons, which is not installed and is to be had for Python 3.9 to "
            "3.11 alone",
        )


def weight_decay_loss(config: OptimizationConfig, roles: VariableRoles) -> tf.Tensor:
    """The part of the weight decay that is a term of the loss, a float32 scalar.

    LARS decays the kernels of encoder and projection head itself, before it takes the trust ratio,
    so that only the classifier's kernel is left; momentum and Adam leave everything but batch norm,
    biases included, as in the paper's code; LAMB and SGDW decay all kernels themselves.

    Args:
      config: optimizer and weight decay.
      roles: the trainable variables by role.
    """
    decayed = []
    if config.optimizer == "lars":
        decayed = roles.supervised
    elif config.optimizer not in ADDONS_OPTIMIZERS:
        decayed = roles.kernels + roles.supervised + roles.biases
    if not decayed or not config.weight_decay:
        return tf.constant(0.0)
    return config.weight_decay * tf.add_n([tf.nn.l2_loss(variable) for variable in decayed])
