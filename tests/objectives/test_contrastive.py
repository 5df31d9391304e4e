"""NT-Xent against figures measured on the authors' code, and against its equation."""

import numpy as np
import pytest

from tests.reference import figures
from tf_simclrv2.keras2 import tf
from tf_simclrv2.objectives import contrastive
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
    assert float(result.loss) == pytest.approx(case["loss"], rel=1e-6)
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
    assert float(nt_xent(first, second, 0.2).loss) == pytest.approx(expected, rel=1e-6)


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


def _gradients(views, **settings):
    with tf.GradientTape() as tape:
        tape.watch(views)
        result = nt_xent(*views, **settings)
    return [*result, *tape.gradient(result.loss, views)]


@pytest.mark.parametrize("jit_compile", [False, True])
def test_in_parts_it_is_the_same(jit_compile, monkeypatch):
    views = [tf.constant(view) for view in _views(24, 5)]
    whole = _gradients(views, temperature=0.2)
    # 24 * 48 similarities of each view are 4 parts of 6 images.
    monkeypatch.setattr(contrastive, "_MOST_SIMILARITIES", 24 * 48 // 4)
    function = tf.function(_gradients, jit_compile=jit_compile)
    graph = tf.function(_gradients).get_concrete_function(views, temperature=0.2).graph
    assert any(each.type in ("While", "StatelessWhile") for each in graph.get_operations())
    for one, other in zip(function(views, temperature=0.2), whole):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("batch", "others", "parts"),
    [(256, 512, 1), (4096, 8192, 16), (4099, 8198, 1), (1500, 3000, 3), (None, None, 1)],
)
def test_a_large_batch_is_divided_into_equal_parts(batch, others, parts):
    assert contrastive._parts(batch, others) == parts


def test_similarities_are_computed_once_and_their_gradient_with_them():
    step = tf.function(_gradients)
    specs = [tf.TensorSpec([32, 8])] * 2
    graph = step.get_concrete_function(specs).graph
    kinds = [operation.type for operation in graph.get_operations()]
    # Of both views: similarities, and the gradients to either side.
    assert kinds.count("MatMul") == 2 * 3
    assert "OneHot" not in kinds
