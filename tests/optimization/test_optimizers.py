"""Where weight decay is applied, by optimizer and by a variable's role."""

import numpy as np
import pytest

from tf_simclrv2.config import OptimizationConfig
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.networks.network import VariableRoles
from tf_simclrv2.optimization.lars import LARS
from tf_simclrv2.optimization.optimizers import (
    build_optimizer,
    build_schedule,
    weight_decay_loss,
)

# Their sums of squares tell them apart.
ROLES = VariableRoles(
    kernels=[tf.Variable([1.0, 0.0]), tf.Variable([0.0, 3.0])],
    supervised=[tf.Variable([10.0, 10.0])],
    biases=[tf.Variable([100.0, 0.0])],
    batch_norm=[tf.Variable([1000.0, 0.0])],
)


def _config(optimizer, **settings):
    return OptimizationConfig(
        optimizer=optimizer,
        learning_rate=0.5,
        learning_rate_scaling="none",
        warmup_epochs=0,
        train_steps=10,
        **settings,
    )


def _optimizer(optimizer, **settings):
    config = _config(optimizer, **settings)
    return build_optimizer(config, build_schedule(config, 100), ROLES)


@pytest.mark.parametrize(
    "optimizer, sum_of_squares", [("lars", 200), ("momentum", 10210), ("adam", 10210)]
)
def test_the_loss_holds_the_decay_that_the_optimizer_leaves(optimizer, sum_of_squares):
    decay = weight_decay_loss(_config(optimizer, weight_decay=0.01), ROLES)
    assert float(decay) == pytest.approx(0.01 * sum_of_squares / 2)


@pytest.mark.parametrize("optimizer", ["lars", "momentum"])
def test_without_weight_decay_or_variables_there_is_none(optimizer):
    assert float(weight_decay_loss(_config(optimizer, weight_decay=0.0), ROLES)) == 0.0
    nothing = VariableRoles([], [], [], ROLES.batch_norm)
    assert float(weight_decay_loss(_config(optimizer, weight_decay=0.1), nothing)) == 0.0


def test_lars_decays_and_adapts_nothing_but_the_kernels_of_encoder_and_projection_head():
    optimizer = _optimizer("lars", momentum=0.8, weight_decay=0.01)
    assert isinstance(optimizer, LARS)
    variables = [variable for of_role in ROLES for variable in of_role]
    before = [variable.numpy() for variable in variables]
    gradient = np.float32([0.3, 0.4])
    optimizer.apply_gradients([(tf.constant(gradient), variable) for variable in variables])
    for index, (variable, start) in enumerate(zip(variables, before)):
        step = 0.5 * gradient
        if index < len(ROLES.kernels):
            decayed = gradient + 0.01 * start
            step = 0.5 * 0.001 * np.linalg.norm(start) / np.linalg.norm(decayed) * decayed
        np.testing.assert_allclose(variable.numpy(), start - step, rtol=1e-6)
        variable.assign(start)


def test_momentum_is_nesterovs_and_adam_is_adam():
    momentum = _optimizer("momentum", momentum=0.8)
    assert isinstance(momentum, keras.optimizers.SGD)
    assert (momentum.momentum, momentum.nesterov) == (0.8, True)
    assert isinstance(_optimizer("adam"), keras.optimizers.Adam)
