"""NT-Xent against figures measured on the authors' code, and against its equation."""

import numpy as np
import pytest

from tests.reference import figures
from tf_simclrv2.keras2 import tf
from tf_simclrv2.objectives.contrastive import nt_xent

CASES = figures("losses_optimizer_schedule_images")["nt_xent"]


def _views(batch, dim):
    rows = np.random.RandomState(batch * dim).standard_normal((2 * batch, dim))
    return np.split(rows.astype(np.float32), 2)


@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case['n']}x{case['dim']}-{case['temperature']}"
)
def test_loss_gradient_accuracy_and_entropy_agree(case):
    hidden = tf.Variable(np.concatenate(_views(case["n"], case["dim"])))
    with tf.GradientTape() as tape:
        views = tf.split(hidden, 2)
        result = nt_xent(*views, case["temperature"], case["hidden_norm"])
    gradient = tf.convert_to_tensor(tape.gradient(result.loss, hidden)).numpy().ravel()
    assert float(result.loss) == pytest.approx(case["loss"], rel=1e-5)
    assert np.linalg.norm(gradient) == pytest.approx(case["grad_norm"], rel=1e-5)
    share = case["grad_norm"] / np.sqrt(gradient.size)
    np.testing.assert_allclose(gradient[:8], case["grad_first"], rtol=1e-5, atol=1e-5 * share)
    assert float(result.accuracy) == pytest.approx(case["contrast_accuracy"], rel=1e-5)
    assert float(result.entropy) == pytest.approx(case["contrast_entropy"], rel=1e-5)


def test_loss_is_that_of_the_equation():
    first, second = _views(5, 7)
    z = np.concatenate([first, second]).astype(np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    similarity = np.exp(z @ z.T / 0.2)
    np.fill_diagonal(similarity, 0)
    pairs = [(i, (i + 5) % 10) for i in range(10)]
    expected = -sum(np.log(similarity[i, j] / similarity[i].sum()) for i, j in pairs) / 5
    assert float(nt_xent(first, second, 0.2).loss) == pytest.approx(expected, rel=1e-5)


def test_accuracy_counts_views_whose_nearest_second_view_is_their_own():
    first = np.eye(4, dtype=np.float32)
    second = np.eye(4, dtype=np.float32)[[0, 1, 3, 2]]
    result = nt_xent(first, second, 0.1)
    assert float(result.accuracy) == 0.5


def test_everything_is_float32_under_mixed_precision():
    views = [tf.cast(view, tf.bfloat16) for view in _views(4, 8)]
    rounded = [tf.cast(view, tf.float32) for view in views]
    result, expected = nt_xent(*views), nt_xent(*rounded)
    assert {value.dtype for value in result} == {tf.float32}
    assert float(result.loss) == float(expected.loss)
