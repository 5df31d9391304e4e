"""The optimizer of a run, and where its weight decay is applied."""

from tf_simclrv2.config import OptimizationConfig
from tf_simclrv2.keras2 import keras, tf
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
    config: OptimizationConfig, schedule: WarmupCosine, roles
) -> keras.optimizers.Optimizer:
    """The optimizer that the config asks for.

    Args:
      config: optimizer, momentum and weight decay.
      schedule: the learning rate.
      roles: the trainable variables by role (``networks.network.VariableRoles``).

    Returns:
      LARS, SGD with Nesterov momentum, or Adam.
    """
    if config.optimizer == "momentum":
        return keras.optimizers.SGD(schedule, config.momentum, nesterov=True)
    if config.optimizer == "adam":
        return keras.optimizers.Adam(schedule)
    return LARS(
        schedule,
        momentum=config.momentum,
        l2=config.weight_decay,
        excluded=roles.excluded + roles.supervised,
    )


def weight_decay_loss(config: OptimizationConfig, roles) -> tf.Tensor:
    """The part of the weight decay that is a term of the loss, a float32 scalar.

    LARS decays the kernels of encoder and projection head itself, before it takes the trust ratio,
    so that only the classifier's kernel is left; the other optimizers leave all kernels.

    Args:
      config: optimizer and weight decay.
      roles: the trainable variables by role (``networks.network.VariableRoles``).
    """
    decayed = roles.supervised if config.optimizer == "lars" else roles.supervised + roles.kernels
    if not decayed or not config.weight_decay:
        return tf.constant(0.0)
    return config.weight_decay * tf.add_n([tf.nn.l2_loss(variable) for variable in decayed])
