"""Steps of training and evaluation compile under XLA, as for a TPU, with equal results."""

import numpy as np
import pytest

from tests.runtime import replicas
from tf_simclrv2.evaluation.metrics import weighted_counts
from tf_simclrv2.keras2 import tf

RANDOM = np.random.RandomState(0)
IMAGES, OTHERS = RANDOM.uniform(size=(2, 4, 8, 8, 3)).astype(np.float32)
LABELS = np.arange(4)


@pytest.mark.parametrize(
    "case",
    [
        "classify",
        pytest.param("pretrain", marks=pytest.mark.slow),
        pytest.param("distill", marks=pytest.mark.slow),
    ],
)
def test_a_compiled_step_computes_the_same(case):
    batch = {"label": LABELS, "image": IMAGES}
    if case == "pretrain":
        batch = {"label": LABELS, "view_1": IMAGES, "view_2": OTHERS}
    batch = {name: tf.constant(value) for name, value in batch.items()}
    plain, compiled = replicas.build_learner(case), replicas.build_learner(case)
    expected = plain.train_step(batch)
    logs = tf.function(compiled.train_step, jit_compile=True)(batch)
    for name, value in expected.items():
        np.testing.assert_allclose(logs[name], value, rtol=1e-4, err_msg=name)
    for variable, other in zip(compiled.network.variables, plain.network.variables):
        np.testing.assert_allclose(variable, other, rtol=1e-3, atol=1e-4, err_msg=variable.name)
    if case == "classify":
        weighted = {**batch, "weight": tf.constant([1.0, 1.0, 1.0, 0.0])}
        counts = tf.function(weighted_counts, jit_compile=True)(compiled.network, weighted)
        expected = weighted_counts(compiled.network, weighted)
        np.testing.assert_allclose(counts, expected, rtol=1e-4)
        assert counts[3] == 3
