"""Optimizers of TensorFlow Addons that take the variables to decay, instead of their names.

Only Python 3.9 to 3.11 has TensorFlow Addons, so that this module must be imported where needed.
"""

import warnings
from typing import List

from tf_simclrv2.config import OptimizationConfig
from tf_simclrv2.keras2 import tf
from tf_simclrv2.networks.roles import VariableRoles
from tf_simclrv2.optimization.schedules import WarmupCosine

with warnings.catch_warnings():
    # It says that its development has ended.
    warnings.simplefilter("ignore")
    import tensorflow_addons as tfa


class LAMB(tfa.optimizers.LAMB):
    """Adam whose step in each layer is scaled by the layer's own norm (You et al., 1904.00962).

    Args:
      schedule: the learning rate.
      weight_decay: factor of the decay, which is part of the step that is scaled.
      adapted: variables that are decayed and scaled.
    """

    def __init__(self, schedule: WarmupCosine, weight_decay: float, adapted: List[tf.Variable]):
        super().__init__(schedule, weight_decay=weight_decay)
        self._adapted = {variable.ref() for variable in adapted}

    def build(self, variables: List[tf.Variable]) -> None:
        """Creates the optimizer's own variables, as newer optimizers of Keras do by this name."""
        self._create_all_weights(variables)

    def _do_use_weight_decay(self, variable) -> bool:
        return variable.ref() in self._adapted

    _do_layer_adaptation = _do_use_weight_decay


class SGDW(tfa.optimizers.SGDW):
    """SGD with Nesterov momentum and decoupled weight decay (Loshchilov and Hutter, 1711.05101).

    A step subtracts ``weight_decay * s`` times the weights, where ``s``, from 0 to 1, is the
    learning rate in proportion to its peak.

    Args:
      schedule: the learning rate.
      momentum: decay of the momentum buffer.
      weight_decay: factor of the decay.
      decayed: variables that are decayed.
    """

    def __init__(
        self,
        schedule: WarmupCosine,
        momentum: float,
        weight_decay: float,
        decayed: List[tf.Variable],
    ):
        decay = WarmupCosine(weight_decay, schedule.warmup_steps, schedule.total_steps)
        super().__init__(decay, learning_rate=schedule, momentum=momentum, nesterov=True)
        self._decayed = {variable.ref() for variable in decayed}

    def build(self, variables: List[tf.Variable]) -> None:
        """Creates the optimizer's own variables, as newer optimizers of Keras do by this name."""
        self._create_all_weights(variables)

    def _do_use_weight_decay(self, variable) -> bool:
        return variable.ref() in self._decayed


def build_lamb(config: OptimizationConfig, schedule: WarmupCosine, roles: VariableRoles) -> LAMB:
    """Builds LAMB, which decays and scales all kernels."""
    return LAMB(schedule, config.weight_decay, roles.kernels + roles.supervised)


def build_sgdw(config: OptimizationConfig, schedule: WarmupCosine, roles: VariableRoles) -> SGDW:
    """Builds SGDW, which decays all kernels."""
    decayed = roles.kernels + roles.supervised
    return SGDW(schedule, config.momentum, config.weight_decay, decayed)
