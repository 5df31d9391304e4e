"""LAMB and SGDW of TensorFlow Addons take the steps of their papers, on the right variables."""

import importlib.util

import numpy as np
import pytest

from tests.optimization.test_optimizers import ROLES, _config, _optimizer
from tf_simclrv2.keras2 import tf
from tf_simclrv2.optimization.optimizers import weight_decay_loss
from tf_simclrv2.runtime.checkpoint import Checkpoint, saved_step

installed = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_addons") is None,
    reason="tensorflow-addons does not exist for this Python",
)
VARIABLES = [variable for of_role in ROLES for variable in of_role]
DECAYED = len(ROLES.kernels) + len(ROLES.supervised)
GRADIENTS = [np.float32([0.3, -0.4]), np.float32([-0.1, 0.2])]


def steps(optimizer):
    """The variables before and after two steps, which are undone."""
    before = [variable.numpy() for variable in VARIABLES]
    optimizer.build(VARIABLES)
    for gradient in GRADIENTS:
        optimizer.apply_gradients([(tf.constant(gradient), v) for v in VARIABLES])
    after = [variable.numpy() for variable in VARIABLES]
    for variable, start in zip(VARIABLES, before):
        variable.assign(start)
    return before, after


@installed
def test_lamb():
    rates = [0.5 * 0.5 * (1 + np.cos(np.pi * step / 10)) for step in range(2)]
    for index, (start, end) in enumerate(zip(*steps(_optimizer("lamb", weight_decay=0.01)))):
        weights, m, v = start.astype(np.float64), 0.0, 0.0
        for step, gradient in enumerate(GRADIENTS):
            m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
            correct = m / (1 - 0.9 ** (step + 1)), v / (1 - 0.999 ** (step + 1))
            update = correct[0] / (np.sqrt(correct[1]) + 1e-6)
            if index < DECAYED:
                update += 0.01 * weights
                update *= np.linalg.norm(weights) / np.linalg.norm(update)
            weights = weights - rates[step] * update
        np.testing.assert_allclose(end, weights, rtol=1e-4, atol=1e-5)


@installed
def test_sgdw():
    optimizer = _optimizer("sgdw", weight_decay=0.01, momentum=0.8)
    for index, (start, end) in enumerate(zip(*steps(optimizer))):
        weights, velocity = start.astype(np.float64), 0.0
        for step, gradient in enumerate(GRADIENTS):
            rate = 0.5 * (1 + np.cos(np.pi * step / 10))
            if index < DECAYED:
                weights = weights - 0.01 * rate * weights
            velocity = 0.8 * velocity - 0.5 * rate * gradient
            weights = weights + 0.8 * velocity - 0.5 * rate * gradient
        np.testing.assert_allclose(end, weights, rtol=1e-5)


@pytest.mark.parametrize("optimizer", ["lamb", "sgdw"])
def test_they_decay_by_themselves(optimizer):
    assert float(weight_decay_loss(_config(optimizer, weight_decay=0.1), ROLES)) == 0


@installed
@pytest.mark.parametrize("name", ["lamb", "sgdw"])
def test_a_checkpoint_keeps_their_state(name, tmp_path):
    optimizer = _optimizer(name)
    before, _ = steps(optimizer)
    path = tf.train.Checkpoint(optimizer=optimizer, variables=VARIABLES).save(
        str(tmp_path / "ckpt")
    )
    assert saved_step(path) == 2
    continued = _optimizer(name)
    continued.build(VARIABLES)
    tf.train.Checkpoint(optimizer=continued, variables=VARIABLES).restore(path)
    assert int(continued.iterations) == 2
    for one, other in zip(optimizer.variables(), continued.variables()):
        np.testing.assert_array_equal(one, other)
    for variable, start in zip(VARIABLES, before):
        np.testing.assert_array_equal(variable, start)


SUPERVISED = [
    "finetune", "--from_scratch", "--resnet_depth=18", "--width_multiplier=0.03125",
    "--image_size=8", "--train_steps=2", "--train_batch_size=8", "--optimizer=lamb",
]  # fmt: skip


@pytest.mark.slow
@installed
def test_a_run_trains_with_them(command, tmp_path):
    assert command(*SUPERVISED, f"--model_dir={tmp_path}/run").code == 0
    path = str(tmp_path / "run" / "checkpoints" / "ckpt-2")
    assert Checkpoint.open(path, "model_dir").step == 2


def test_where_addons_are_missing_a_sentence_says_so(command, monkeypatch, tmp_path):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "tensorflow_addons" else find(name),
    )
    outcome = command(*SUPERVISED, f"--model_dir={tmp_path}/run")
    assert outcome.code == 1
    assert outcome.err == (
        "error: --optimizer=lamb: needs tensorflow-addons, which is not installed; on Python 3.9 "
        "to 3.11, pip install 'tf-simclrv2[addons]' installs it.\n"
    )
    assert not (tmp_path / "run").exists()


def test_they_do_not_scale_losses(command, tmp_path):
    precision = "--mixed_precision=mixed_float16"
    outcome = command(*SUPERVISED, precision, f"--model_dir={tmp_path}/run")
    assert outcome.code == 1
    assert outcome.err.startswith(f"error: {precision}: can't be combined with --optimizer=lamb")
    assert not (tmp_path / "run").exists()
