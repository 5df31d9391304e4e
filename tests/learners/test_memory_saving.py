"""What trades time for memory or digits computes the same: recomputation, parts, number formats."""

import dataclasses

import numpy as np
import pytest

from tf_simclrv2.config import (
    ContrastiveConfig,
    DistillationConfig,
    NetworkConfig,
    OptimizationConfig,
    ProjectionHeadConfig,
)
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.learners.classifier import Classifier
from tf_simclrv2.learners.distiller import Distiller
from tf_simclrv2.learners.pretrainer import Pretrainer
from tf_simclrv2.networks.layers import BatchNorm
from tf_simclrv2.networks.network import Network
from tf_simclrv2.optimization.optimizers import build_optimizer

NETWORK = NetworkConfig(resnet_depth=18, width_multiplier=1 / 16, stem="cifar")
HEAD = ProjectionHeadConfig(proj_out_dim=8)
RANDOM = np.random.RandomState(0)
IMAGES, OTHERS = RANDOM.uniform(size=(2, 8, 8, 8, 3)).astype(np.float32)
LABELS = np.arange(8) % 3
PLAIN = OptimizationConfig(train_batch_size=8, optimizer="momentum", weight_decay=0.01)


def _network(network=NETWORK, **arguments):
    keras.utils.set_random_seed(0)
    network = Network(network, HEAD, 3, **arguments).build_for(8)
    for variable in network.trainable_variables:
        if not tf.reduce_any(variable != 0):
            variable.assign(tf.fill(variable.shape, 0.5))
    return network


def _stepped(learner, batch, steps=1):
    """The gradients (as momentum), statistics and metrics after some steps in graph mode."""
    learner.compile(build_optimizer(learner.optimization, 0.1, learner.roles))
    learner.optimizer.build(learner.network.trainable_variables)
    step = tf.function(learner.train_step)
    for _ in range(steps):
        logs = step(batch)
    momentums = [m.numpy() for m in getattr(learner.optimizer, "inner_optimizer",
                                            learner.optimizer).momentums]  # fmt: skip
    statistics = [variable.numpy() for variable in learner.network.non_trainable_variables]
    return momentums, statistics, {name: float(value) for name, value in logs.items()}


def _assert_close(values, others, tolerance):
    assert len(values) == len(others) > 0
    for value, other in zip(values, others):
        assert np.linalg.norm(value - other) <= tolerance * np.linalg.norm(other) + 1e-9


@pytest.mark.parametrize("kind", ["resnet", "selective kernels"])
def test_recomputed_activations_give_the_same_gradients_and_statistics(kind):
    config = NETWORK
    if kind != "resnet":
        config = NetworkConfig(
            resnet_depth=50, width_multiplier=1 / 32, sk_ratio=0.25, stem="cifar"
        )
    batch = {"view_1": tf.constant(IMAGES), "view_2": tf.constant(OTHERS), "label": LABELS}
    outcomes = []
    for rematerialize in (False, True):
        learner = Pretrainer(_network(config, probe=True), ContrastiveConfig(), PLAIN)
        learner.network.encoder.rematerialize = rematerialize
        if kind == "resnet":
            outcomes.append(_stepped(learner, batch))
            continue
        with tf.GradientTape() as tape:
            loss, _ = learner.losses_of(batch)
        variables = learner.network.trainable_variables
        gradients = [gradient.numpy() for gradient in tape.gradient(loss, variables)]
        statistics = [variable.numpy() for variable in learner.network.non_trainable_variables]
        outcomes.append((gradients, statistics, {}))
    (kept, statistics, logs), (recomputed, other_statistics, other_logs) = outcomes
    _assert_close(recomputed, kept, 1e-5)
    _assert_close(other_statistics, statistics, 1e-6)
    assert other_logs == pytest.approx(logs, rel=1e-5)


def _num_convolutions(rematerialize):
    """Convolutions of a training step as XLA has optimized it."""
    # Of narrower shortcuts, which leave pixels out instead of striding, XLA makes products.
    wide = dataclasses.replace(NETWORK, width_multiplier=1 / 4)
    learner = Classifier(_network(wide, ft_proj_selector=1), PLAIN)
    learner.network.encoder.rematerialize = rematerialize
    learner.compile(build_optimizer(PLAIN, 0.1, learner.roles))
    learner.optimizer.build(learner.network.trainable_variables)
    step = tf.function(learner.train_step, jit_compile=True)
    batch = {"image": tf.constant(IMAGES), "label": tf.constant(LABELS)}
    return step.experimental_get_compiler_ir(batch)(stage="optimized_hlo").count(" convolution(")


@pytest.mark.slow
def test_xla_computes_activations_again_as_it_is_told():
    convolutions = _num_convolutions(False), _num_convolutions(True)
    # Once more the two of each of the 8 blocks, and the shortcuts of 3 groups.
    assert convolutions == (60, 60 + 2 * 8 + 3)


@pytest.mark.parametrize("step_of_method", ["finetune", "distill"])
def test_parts_of_a_batch_add_up_to_the_whole_where_batch_norm_is_frozen(step_of_method):
    outcomes = []
    for parts in (1, 2):
        optimization = OptimizationConfig(
            train_batch_size=8, optimizer="momentum", weight_decay=0.01,
            gradient_accumulation_steps=parts,
        )  # fmt: skip
        network = _network(ft_proj_selector=1)
        for layer in network._flatten_layers():
            if isinstance(layer, BatchNorm):
                layer.trainable = False
        batch = {"image": tf.constant(IMAGES), "label": tf.constant(LABELS)}
        if step_of_method == "finetune":
            learner = Classifier(network, optimization)
        else:
            config = DistillationConfig(teacher="x", distillation_alpha=0.7)
            learner = Distiller(network, _network(ft_proj_selector=1), config, optimization)
            batch["labelled_image"] = tf.constant(OTHERS)
        outcomes.append(_stepped(learner, batch))
    (whole, _, logs), (added, _, other_logs) = outcomes
    _assert_close(added, whole, 1e-5)
    assert other_logs == pytest.approx(logs, rel=1e-5)


@pytest.fixture
def number_format(request):
    keras.mixed_precision.set_global_policy(request.param)
    yield request.param
    keras.mixed_precision.set_global_policy("float32")


def _pretrained(steps):
    optimization = OptimizationConfig(train_batch_size=8, optimizer="lars", weight_decay=1e-4)
    learner = Pretrainer(_network(probe=True), ContrastiveConfig(temperature=0.5), optimization)
    batch = {"view_1": tf.constant(IMAGES), "view_2": tf.constant(OTHERS), "label": LABELS}
    return learner, _stepped(learner, batch, steps)


@pytest.mark.parametrize("number_format", ["mixed_bfloat16", "mixed_float16"], indirect=True)
def test_half_precision_keeps_weights_statistics_and_losses_in_float32(number_format):
    learner, (_, statistics, _) = _pretrained(2)
    assert {variable.dtype for variable in learner.network.variables} == {tf.float32}
    scaled = isinstance(learner.optimizer, keras.mixed_precision.LossScaleOptimizer)
    assert scaled == (number_format == "mixed_float16")
    endpoints = learner.network.endpoints(tf.constant(IMAGES), training=True)
    half = tf.float16 if number_format == "mixed_float16" else tf.bfloat16
    assert endpoints["block_group1"].dtype == endpoints["block_group4"].dtype == half
    assert endpoints["final_avg_pool"].dtype == endpoints["logits_sup"].dtype == tf.float32
    assert all(np.isfinite(value).all() for value in statistics)


class _FaintClassifier(Classifier):
    """Its loss is so small that its gradients are, too: below float16's smallest number, 6e-8."""

    FAINT = 1e-6

    def losses_of(self, batch):
        loss, logged = super().losses_of(batch)
        return self.FAINT * loss, logged


def _gradient_of_classifier(kind, scale=None):
    """The gradient, as momentum, of a step in the current number format."""
    optimization = OptimizationConfig(train_batch_size=8, optimizer="momentum", weight_decay=0.0)
    learner = kind(_network(ft_proj_selector=1), optimization)
    optimizer = build_optimizer(optimization, 0.1, learner.roles)
    if scale:
        optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer, False, scale)
    learner.compile(optimizer)
    tf.function(learner.train_step)({"image": tf.constant(IMAGES), "label": tf.constant(LABELS)})
    momentums = (learner.optimizer.inner_optimizer if scale else learner.optimizer).momentums
    return np.concatenate([momentum.numpy().ravel() for momentum in momentums])


@pytest.mark.parametrize("number_format", ["mixed_float16"], indirect=True)
@pytest.mark.parametrize(("kind", "scale"), [(Classifier, 64.0), (_FaintClassifier, 2.0**20)])
def test_scaling_the_loss_leaves_the_gradient_as_it_is_in_float32(number_format, kind, scale):
    scaled = _gradient_of_classifier(kind, scale)
    keras.mixed_precision.set_global_policy("float32")
    expected = _gradient_of_classifier(kind)
    assert np.linalg.norm(scaled - expected) < 0.05 * np.linalg.norm(expected)


@pytest.mark.slow
def test_a_hundred_steps_in_bfloat16_follow_those_in_float32():
    losses = []
    for name in ("float32", "mixed_bfloat16"):
        keras.mixed_precision.set_global_policy(name)
        try:
            losses.append(_pretrained(100)[1][2]["contrast_loss"])
        finally:
            keras.mixed_precision.set_global_policy("float32")
    # The mean over the hundred steps; chance is 2 log 15 = 5.4, and training halves that.
    assert losses[0] < 4.5
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
