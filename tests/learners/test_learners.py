"""A training step of each learner, against the same step put together by hand."""

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
from tf_simclrv2.networks.network import Network

SMALL = NetworkConfig(resnet_depth=18, width_multiplier=0.03125, stem="cifar")
HEAD = ProjectionHeadConfig(proj_out_dim=8)
NO_HEAD = ProjectionHeadConfig("none")
CLASSES = 3
OPTIMIZATION = OptimizationConfig(optimizer="momentum", weight_decay=0.01)
RANDOM = np.random.RandomState(0)
IMAGES, OTHER_IMAGES = RANDOM.uniform(size=(2, 6, 8, 8, 3)).astype(np.float32)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def _network(head, seed=0, **arguments):
    keras.utils.set_random_seed(seed)
    network = Network(SMALL, head, CLASSES, **arguments).build_for(8)
    for variable in network.trainable_variables:
        # Residual branches start from a scale of 0, behind which no gradient would show.
        variable.assign_add(tf.random.stateless_normal(variable.shape, [seed, 1], stddev=0.1))
    return network


def _softmax_cross_entropy(targets, logits):
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -(targets * log_probabilities).sum(axis=1).mean()


def _is_decayed(network, variable):
    """Kernels are the variables of rank 2 and more; the one bias is the classifier's."""
    return variable.shape.rank > 1 or variable is network.supervised_head.dense.bias


def _l2(network):
    decayed = [v.numpy() for v in network.trainable_variables if _is_decayed(network, v)]
    return sum((variable**2).sum() for variable in decayed) / 2


def _nt_xent(first, second, temperature):
    z = np.concatenate([first, second]).astype(np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    n, total = len(first), 0.0
    for i in range(2 * n):
        others = [np.exp(z[i] @ z[k] / temperature) for k in range(2 * n) if k != i]
        total -= np.log(np.exp(z[i] @ z[(i + n) % (2 * n)] / temperature) / sum(others))
    return total / n


def test_pretraining_adds_a_probe_that_leaves_the_features_alone():
    network = _network(HEAD, probe=True)
    config = ContrastiveConfig(temperature=0.5)
    learner = Pretrainer(network, config, OPTIMIZATION)
    batch = {"view_1": IMAGES, "view_2": OTHER_IMAGES, "label": LABELS}
    with tf.GradientTape(persistent=True) as tape:
        loss, logged = learner.losses_of(batch)
    outputs = network(np.concatenate([IMAGES, OTHER_IMAGES]), training=True)
    projections = outputs["projection"].numpy()
    contrast_loss = _nt_xent(projections[:6], projections[6:], 0.5)
    targets = np.eye(CLASSES)[np.concatenate([LABELS, LABELS])]
    probe_loss = _softmax_cross_entropy(targets, outputs["logits"].numpy())
    assert float(logged["contrast_loss"]) == pytest.approx(contrast_loss, rel=1e-4)
    assert float(logged["supervised_loss"]) == pytest.approx(probe_loss, rel=1e-4)
    assert float(loss) == pytest.approx(contrast_loss + probe_loss, rel=1e-4)

    encoder_and_head = [*network.encoder.trainable_variables,
                        *network.projection_head.trainable_variables]  # fmt: skip
    probe = network.supervised_head.trainable_variables
    assert all(g is None for g in tape.gradient(logged["supervised_loss"], encoder_and_head))
    assert all(g is None for g in tape.gradient(logged["contrast_loss"], probe))
    for gradient in tape.gradient(logged["contrast_loss"], encoder_and_head):
        assert float(tf.norm(gradient)) > 0
    for gradient in tape.gradient(logged["supervised_loss"], probe):
        assert float(tf.norm(gradient)) > 0


def test_a_training_step_moves_all_weights_along_the_gradient_of_loss_and_decay():
    network = _network(HEAD, ft_proj_selector=1)
    learner = Classifier(network, OPTIMIZATION)
    learner.compile(optimizer=keras.optimizers.SGD(0.1))
    variables = network.trainable_variables
    before = [variable.numpy() for variable in variables]
    with tf.GradientTape() as tape:
        logits = network(IMAGES, training=True)["logits"]
        loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(LABELS, logits, True))
    gradients = [g.numpy() for g in tape.gradient(loss, variables)]
    decay = 0.01 * _l2(network)

    logs = learner.train_step({"image": tf.constant(IMAGES), "label": tf.constant(LABELS)})
    assert float(logs["supervised_loss"]) == pytest.approx(float(loss), rel=1e-5)
    assert float(logs["weight_decay"]) == pytest.approx(decay, rel=1e-5)
    assert float(logs["loss"]) == pytest.approx(float(loss) + decay, rel=1e-5)
    for variable, start, gradient in zip(variables, before, gradients):
        decayed = 0.01 * start if _is_decayed(network, variable) else 0.0
        expected = start - 0.1 * (gradient + decayed)
        np.testing.assert_allclose(variable.numpy(), expected, atol=1e-5, err_msg=variable.name)


@pytest.mark.parametrize("blocks", [-1, 0, 2, 4])
def test_frozen_blocks_keep_weights_and_statistics(blocks):
    network = _network(NO_HEAD)
    network.encoder.freeze_through(blocks)
    learner = Classifier(network, OPTIMIZATION)
    learner.compile(optimizer=keras.optimizers.SGD(0.1))
    encoder = network.encoder
    parts = [encoder.stem, *encoder.groups, network.supervised_head]
    layers = [part if isinstance(part, list) else [part] for part in parts]
    before = [[v.numpy() for layer in part for v in layer.variables] for part in layers]
    learner.train_step({"image": tf.constant(IMAGES), "label": tf.constant(LABELS)})
    for index, (part, old) in enumerate(zip(layers, before)):
        new = [v.numpy() for layer in part for v in layer.variables]
        same = [np.array_equal(a, b) for a, b in zip(old, new)]
        frozen = index < len(layers) - 1 and index <= blocks
        assert all(same) if frozen else not any(same), f"part {index}"


@pytest.mark.parametrize("alpha", [1.0, 0.6])
def test_distillation_teaches_the_student_and_leaves_the_teacher_alone(alpha):
    student, teacher = _network(NO_HEAD, seed=1), _network(HEAD, seed=2, ft_proj_selector=1)
    config = DistillationConfig(teacher="x", distillation_temperature=0.5, distillation_alpha=alpha)
    learner = Distiller(student, teacher, config, OPTIMIZATION)
    learner.compile(optimizer=keras.optimizers.SGD(0.1))
    batch = {"image": tf.constant(IMAGES)}
    seen = IMAGES
    if alpha < 1:
        batch.update(labelled_image=tf.constant(OTHER_IMAGES), label=tf.constant(LABELS))
        seen = np.concatenate([IMAGES, OTHER_IMAGES])
    logits = student(seen, training=True)["logits"].numpy()
    taught = teacher(IMAGES, training=False)["logits"].numpy() / 0.5
    targets = np.exp(taught) / np.exp(taught).sum(axis=1, keepdims=True)
    expected = alpha * _softmax_cross_entropy(targets, logits[:6] / 0.5)
    if alpha < 1:
        expected += (1 - alpha) * _softmax_cross_entropy(np.eye(CLASSES)[LABELS], logits[6:])
    agreement = np.mean(logits[:6].argmax(axis=1) == targets.argmax(axis=1))

    before = [variable.numpy() for variable in teacher.variables]
    start = [variable.numpy() for variable in student.trainable_variables]
    logs = learner.train_step(batch)
    assert float(logs["distillation_loss"]) == pytest.approx(expected, rel=1e-4)
    assert float(logs["teacher_agreement"]) == pytest.approx(agreement)
    assert teacher.trainable_variables == []
    for variable, old in zip(teacher.variables, before):
        np.testing.assert_array_equal(variable.numpy(), old)
    assert not any(
        np.array_equal(v.numpy(), old) for v, old in zip(student.trainable_variables, start)
    )


def test_fine_tuning_builds_only_the_projection_layers_below_the_classifier():
    for selector, layers in ((0, 0), (1, 1), (3, 3)):
        network = Network(SMALL, HEAD, CLASSES, ft_proj_selector=selector)
        assert len(network.projection_head.projections) == layers
