"""Steps of training and evaluation compile under XLA, as for a TPU, with equal results."""

import re

import numpy as np
import pytest

from tests.runtime import replicas
from tf_simclrv2.config import AugmentationConfig
from tf_simclrv2.data.views import DRAWS
from tf_simclrv2.evaluation.classifier import answered
from tf_simclrv2.keras2 import keras, tf

RANDOM = np.random.RandomState(0)
PIXELS = RANDOM.randint(256, size=(2, 8, 8, 8, 3)).astype(np.uint8)
NUMBERS = RANDOM.uniform(size=(2, 8, 22)).astype(np.float32)
LABELS = np.arange(8)
CASES = ["pretrain", "memory", "classify", "distill"]


def _batch(case, with_draws=False):
    """Images as the pipeline makes them; with draws the learner is to distort them itself."""
    names = ["view_1", "view_2"] if case in ("pretrain", "memory") else ["image"]
    batch = dict(zip(names, PIXELS))
    if with_draws:
        batch.update({name + DRAWS: draws for name, draws in zip(names, NUMBERS)})
    return {name: tf.constant(value) for name, value in {**batch, "label": LABELS}.items()}


def _learner(case, rematerialize=False, **optimization):
    learner = replicas.build_learner(case, **optimization)
    learner.network.encoder.rematerialize = rematerialize
    learner.augmentation = AugmentationConfig()
    return learner


def _gradient(learner):
    # After one step from zero, momentum is the gradient times a constant.
    return np.concatenate([momentum.numpy().ravel() for momentum in learner.optimizer.momentums])


def _assert_compiles_to_the_same(case, batch, of_gradient=1e-3, only="", **arguments):
    """Gradients to a part of their norm, metrics and statistics to a tenth of that."""
    plain, compiled = _learner(case, **arguments), _learner(case, **arguments)
    expected = tf.function(plain.train_step)(batch)
    logs = tf.function(compiled.train_step, jit_compile=True)(batch)
    for name in [only] if only else expected:
        np.testing.assert_allclose(logs[name], expected[name], of_gradient / 10, err_msg=name)
    gradient, other = _gradient(plain), _gradient(compiled)
    assert np.linalg.norm(gradient - other) < of_gradient * np.linalg.norm(gradient) != 0
    statistics = plain.network.non_trainable_variables
    for variable, other in zip(statistics, compiled.network.non_trainable_variables):
        distance = tf.norm(variable - other) / tf.norm(variable)
        assert distance < of_gradient / 10, variable.name


@pytest.mark.parametrize(
    ("case", "optimizer"),
    [
        ("classify", "lars"),
        *(
            pytest.param(c, "lars", marks=pytest.mark.slow)
            for c in ("pretrain", "memory", "distill")
        ),
        pytest.param("classify", "momentum", marks=pytest.mark.slow),
        pytest.param("pretrain", "momentum", marks=pytest.mark.slow),
    ],
)
def test_a_compiled_step_computes_the_same(case, optimizer):
    _assert_compiles_to_the_same(case, _batch(case), optimizer=optimizer)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_compiled_step_distorts_views_the_same(case):
    _assert_compiles_to_the_same(case, _batch(case, with_draws=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "arguments"),
    [
        ("pretrain", {"rematerialize": True}),
        ("distill", {"rematerialize": True, "gradient_accumulation_steps": 2}),
        ("classify", {"gradient_accumulation_steps": 2}),
    ],
)
def test_a_compiled_step_saves_memory_with_the_same_result(case, arguments):
    _assert_compiles_to_the_same(case, _batch(case), **arguments)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_compiled_step_in_bfloat16_computes_nearly_the_same(case):
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        # XLA leaves out some of the roundings to bfloat16's 8 bits.
        _assert_compiles_to_the_same(case, _batch(case), of_gradient=0.2, only="loss")
    finally:
        keras.mixed_precision.set_global_policy("float32")


@pytest.mark.parametrize("case", ["pretrain", "classify"])
def test_a_compiled_evaluation_step_computes_the_same(case):
    network = replicas.build_learner(case).network
    images = tf.constant(PIXELS[0] / np.float32(255))
    batch = {"image": images, "label": tf.constant(LABELS), "weight": [1.0] * 7 + [0.0]}
    found = tf.function(answered, jit_compile=True)(network, batch)
    expected = answered(network, batch)
    np.testing.assert_allclose(found["logits"], expected["logits"], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found["weight"], batch["weight"])


_ON_HOST = re.compile("PyFunc|String|Print|Summary|Regex|Assert|Iterator|Lookup|Decode|Barrier")


def _on_host(step, batch):
    """Operations of a step, and of the functions that it calls, that only a host can do."""
    graph = tf.function(step).get_concrete_function(batch).graph
    definition = graph.as_graph_def()
    nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
    found = {node.op for node in nodes if _ON_HOST.search(node.op)}
    strings = [op for op in graph.get_operations() if any(t.dtype == tf.string for t in op.outputs)]
    return found | {op.type for op in strings}


@pytest.mark.parametrize("with_draws", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_nothing_in_a_step_needs_the_host(case, with_draws):
    learner = _learner(case)
    assert _on_host(learner.train_step, _batch(case, with_draws)) == set()


def test_what_needs_the_host_is_found():
    @tf.function
    def inner(x):
        return tf.numpy_function(np.sin, [x], tf.float32)

    def step(x):
        return tf.strings.length(tf.strings.as_string(inner(x)))

    assert _on_host(step, tf.zeros([])) == {"PyFunc", "AsString", "StringLength"}
