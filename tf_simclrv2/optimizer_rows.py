"""The optimizers that a run can ask for, a row each.

Plain data, so that the command line can list them without waiting for TensorFlow. A new optimizer
is a row here and a file in ``tf_simclrv2/optimization`` with its build function.
"""

import dataclasses
from typing import Dict, Tuple


@dataclasses.dataclass(frozen=True)
class OptimizerRow:
    """One optimizer.

    Attributes:
      build: its build function, as ``module:function``; called with an
        :class:`OptimizationConfig`, the learning-rate schedule and the :class:`VariableRoles`, it
        returns the optimizer. The module is imported when a run uses it.
      decayed_in_loss: roles, fields of :class:`VariableRoles`, whose weight decay is a term of the
        loss. What is not named here the optimizer decays itself, or nothing does.
      needs_addons: whether it is part of TensorFlow Addons, which Python 3.9 to 3.11 can have.
    """

    build: str
    decayed_in_loss: Tuple[str, ...]
    needs_addons: bool = False


OPTIMIZERS: Dict[str, OptimizerRow] = {
    # Decays kernels itself, before it takes the trust ratio.
    "lars": OptimizerRow(
        build="tf_simclrv2.optimization.lars:build_lars",
        decayed_in_loss=("supervised",),
    ),
    # Decay everything but batch norm, biases included, as in the paper's code.
    "momentum": OptimizerRow(
        build="tf_simclrv2.optimization.of_keras:build_momentum",
        decayed_in_loss=("kernels", "supervised", "biases"),
    ),
    "adam": OptimizerRow(
        build="tf_simclrv2.optimization.of_keras:build_adam",
        decayed_in_loss=("kernels", "supervised", "biases"),
    ),
    # Decay all kernels themselves.
    "lamb": OptimizerRow(
        build="tf_simclrv2.optimization.addons:build_lamb",
        decayed_in_loss=(),
        needs_addons=True,
    ),
    "sgdw": OptimizerRow(
        build="tf_simclrv2.optimization.addons:build_sgdw",
        decayed_in_loss=(),
        needs_addons=True,
    ),
}
ADDONS_OPTIMIZERS = tuple(name for name, row in OPTIMIZERS.items() if row.needs_addons)
