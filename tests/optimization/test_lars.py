"""LARS against trajectories measured on the authors' code."""

import numpy as np
import pytest

from tests.reference import figures
from tf_simclrv2.keras2 import tf
from tf_simclrv2.optimization.lars import LARS
from tf_simclrv2.optimization.schedules import WarmupCosine

FIGURES = figures("losses_optimizer_schedule_images")["lars"]
# A decay of 1e-4 shows in no digit of float32, since the trust ratio makes the steps small.
MORE_FIGURES = figures("lars_views_blurs")


def _is_excluded(name):
    return any(part in name for part in ("batch_normalization", "bias", "head_supervised"))


@pytest.mark.parametrize(
    "case",
    [*FIGURES["cases"], MORE_FIGURES["lars"], *MORE_FIGURES["lars_with_large_decay"]],
    ids=lambda case: (
        f"nesterov={case['nesterov']}-classic={case['classic_momentum']}-{case['weight_decay']}"
    ),
)
def test_weights_follow_the_trajectory(case):
    random = np.random.RandomState(7)
    shapes = FIGURES["variables"]
    # Their own names tell nothing of their roles.
    weights = {
        name: tf.Variable(random.standard_normal(shape).astype(np.float32), name="bias")
        for name, shape in shapes.items()
    }
    optimizer = LARS(
        case["learning_rate"],
        momentum=case["momentum"],
        nesterov=case["nesterov"],
        l2=case["weight_decay"],
        classic_momentum=case["classic_momentum"],
        eeta=case["eeta"],
        excluded=[weight for name, weight in weights.items() if _is_excluded(name)],
    )
    for expected in case["after_each_step"]:
        gradients = [random.standard_normal(shape).astype(np.float32) for shape in shapes.values()]
        optimizer.apply_gradients(zip(map(tf.constant, gradients), weights.values()))
        for name, weight in weights.items():
            value, figure = weight.numpy().ravel(), expected[name]
            assert np.linalg.norm(value) == pytest.approx(figure["norm"], rel=1e-5), name
            np.testing.assert_allclose(value[:4], figure["first"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("classic_momentum", [True, False])
def test_weights_or_gradients_of_zero_take_a_plain_step(classic_momentum):
    """Without a norm to go by, the trust ratio is 1."""
    optimizer = LARS(0.5, momentum=0.9, classic_momentum=classic_momentum, excluded=())
    zero, still = tf.Variable([0.0, 0.0]), tf.Variable([1.0, 2.0])
    optimizer.apply_gradients([(tf.constant([1.0, -3.0]), zero), (tf.zeros([2]), still)])
    np.testing.assert_allclose(zero.numpy(), [-0.5, 1.5])
    np.testing.assert_allclose(still.numpy(), [1.0, 2.0])


def test_the_learning_rate_is_the_schedules_at_the_number_of_steps_taken():
    variable = tf.Variable([1.0])
    schedule = WarmupCosine(peak=0.4, warmup_steps=4, total_steps=10)
    optimizer = LARS(schedule, momentum=0.0, excluded=[variable])
    for step in range(6):
        before = variable.numpy()
        optimizer.apply_gradients([(tf.constant([1.0]), variable)])
        np.testing.assert_allclose(before - variable.numpy(), float(schedule(step)), atol=1e-6)


def test_weight_and_buffer_are_updated_in_one_operation_and_norms_taken_in_one_each():
    """Without XLA, as on several GPUs, each operation is a pass over all weights."""
    weights = [tf.Variable(tf.ones(shape)) for shape in ([3, 4], [4])]
    optimizer = LARS(0.1, l2=1e-4)
    optimizer.build(weights)

    @tf.function
    def step():
        optimizer.apply_gradients([(tf.ones(weight.shape), weight) for weight in weights])

    kinds = [each.type for each in step.get_concrete_function().graph.get_operations()]
    assert kinds.count("ResourceApplyMomentum") == len(weights)
    # The matrix's norm and its gradient's; a vector's step is not scaled.
    assert kinds.count("L2Loss") == 2
    # The number of steps alone.
    assert [kind for kind in kinds if kind.startswith("Assign")] == ["AssignAddVariableOp"]
