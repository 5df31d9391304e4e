"""The optimizers that Keras brings along."""

from tf_simclrv2.config import OptimizationConfig
from tf_simclrv2.keras2 import keras
from tf_simclrv2.networks.roles import VariableRoles
from tf_simclrv2.optimization.schedules import WarmupCosine


def build_momentum(
    config: OptimizationConfig, schedule: WarmupCosine, roles: VariableRoles
) -> keras.optimizers.Optimizer:
    """Builds SGD with Nesterov momentum."""
    return keras.optimizers.SGD(schedule, config.momentum, nesterov=True)


def build_adam(
    config: OptimizationConfig, schedule: WarmupCosine, roles: VariableRoles
) -> keras.optimizers.Optimizer:
    """Builds Adam."""
    return keras.optimizers.Adam(schedule)
