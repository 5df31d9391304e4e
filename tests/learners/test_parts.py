"""A learner trains, decays and saves all its parts; BYOL's predictor stands for them."""

import json
import os

import numpy as np
import pytest

from tests.learners.test_memory import _batch, _learner
from tf_simclrv2.config import OptimizationConfig
from tf_simclrv2.keras2 import keras, registered, serialize_part, tf
from tf_simclrv2.learners.learner import Learner
from tf_simclrv2.learners.moving_average import MovingAverage
from tf_simclrv2.optimization.optimizers import build_optimizer

DIM = 3
VIEWS = np.random.RandomState(0).uniform(size=(2, 5, 4, 4, 3)).astype(np.float32)
BATCH = {"view_1": tf.constant(VIEWS[0]), "view_2": tf.constant(VIEWS[1])}


def _backbone():
    return keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            keras.layers.Conv2D(2, 3),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(DIM),
        ]
    )


def _predictor():
    return keras.Sequential([keras.Input((DIM,)), keras.layers.Dense(DIM)])


@registered
class Byol(Learner):
    """BYOL (arXiv:2006.07733), one view predicts the other."""

    logged = ("similarity",)

    def __init__(self, network, average, predictor, optimization, **kwargs):
        super().__init__(network, optimization, **kwargs)
        self.predictor = predictor
        self.target = MovingAverage(network, average, decay=0.5, ramp=False)
        self.scale = tf.Variable(1.0, name="scale")

    def losses_of(self, batch, training=True):
        first = self.predictor(self.network(batch["view_1"], training=training))
        second = self.target(batch["view_2"], training=training)
        similarity = -tf.reduce_mean(keras.losses.cosine_similarity(first, second))
        return self.scale * (2 - 2 * similarity), {"similarity": similarity}

    def train_step(self, data):
        logs = super().train_step(data)
        self.target.follow(self.network, self.optimizer.iterations)
        return logs

    def get_config(self):
        return {
            **super().get_config(),
            "average": serialize_part(self.target.network),
            "predictor": serialize_part(self.predictor),
        }


def _byol(optimizer="momentum", weight_decay=0.1, kind=Byol):
    keras.utils.set_random_seed(1)
    optimization = OptimizationConfig(
        train_batch_size=5, optimizer=optimizer, weight_decay=weight_decay
    )
    learner = kind(_backbone(), _backbone(), _predictor(), optimization)
    learner.compile(build_optimizer(optimization, 0.1, learner.roles))
    return learner


def _values(variables):
    return [variable.numpy() for variable in variables]


def _state(learner):
    """All variables but those of metrics."""
    of_metrics = {variable.ref() for metric in learner.metrics for variable in metric.variables}
    own = [variable for variable in learner.variables if variable.ref() not in of_metrics]
    return [*own, *learner.optimizer.variables]


def _checkpoint(learner):
    return tf.train.Checkpoint(optimizer=learner.optimizer, **learner.saved_parts)


def test_every_part_is_trained():
    learner = _byol(weight_decay=0.0)
    parts = [*learner.network.trainable_variables, *learner.predictor.variables, learner.scale]
    assert [v.ref() for v in learner.trainable_variables] == [v.ref() for v in parts]
    before = _values(parts)
    with tf.GradientTape() as tape:
        loss, _ = learner.losses_of(BATCH)
    gradients = _values(tape.gradient(loss, parts))
    learner.train_step(BATCH)
    for variable, start, gradient in zip(parts, before, gradients):
        # Nesterov's first step with a momentum of 0.9.
        np.testing.assert_allclose(variable, start - 0.19 * gradient, rtol=1e-4, atol=1e-6)
    of_predictor = gradients[len(learner.network.trainable_variables)]
    assert np.any(of_predictor != 0)


def test_every_part_is_decayed_by_its_role():
    learner = _byol(optimizer="lars", weight_decay=0.1)
    network, predictor = learner.network, learner.predictor
    kernels = [network.layers[0].kernel, network.layers[3].kernel, predictor.layers[0].kernel]
    biases = [network.layers[0].bias, network.layers[3].bias, predictor.layers[0].bias]
    norm = [network.layers[1].gamma, network.layers[1].beta]
    roles = learner.roles
    assert [v.ref() for v in roles.kernels] == [v.ref() for v in kernels]
    assert [v.ref() for v in roles.biases] == [v.ref() for v in [*biases, learner.scale]]
    assert [v.ref() for v in roles.batch_norm] == [v.ref() for v in norm]
    decay = _byol(optimizer="momentum").train_step(BATCH)["weight_decay"]
    decayed = [*kernels, *biases, learner.scale]
    assert float(decay) == pytest.approx(0.1 * sum(float(tf.nn.l2_loss(v)) for v in decayed))


def test_every_part_is_saved_and_restored(tmp_path):
    learner, other = _byol(), _byol()
    assert list(learner.saved_parts) == ["network", "predictor", "target", "scale"]
    learner.train_step(BATCH)
    path = _checkpoint(learner).write(str(tmp_path / "ckpt"))
    names = tf.train.load_checkpoint(path).get_variable_to_shape_map()
    assert any(name.startswith("predictor/") and "kernel" in name for name in names)
    _checkpoint(other).read(path).assert_consumed()
    for _ in range(2):
        for one, another in zip(_state(learner), _state(other)):
            np.testing.assert_array_equal(one, another, err_msg=one.name)
        learner.train_step(BATCH)
        other.train_step(BATCH)


def test_a_part_in_a_list_is_found():
    class Several(Byol):
        def __init__(self, network, average, predictor, optimization, **kwargs):
            super().__init__(network, average, predictor, optimization, **kwargs)
            self.heads = [_predictor(), _predictor()]

        def losses_of(self, batch, training=True):
            loss, logged = super().losses_of(batch, training)
            hidden = self.network(batch["view_1"], training=training)
            return loss + sum(tf.reduce_sum(head(hidden)) for head in self.heads), logged

    learner = _byol(kind=Several)
    before = [head.get_weights()[0] for head in learner.heads]
    learner.train_step(BATCH)
    assert all(np.any(old != h.get_weights()[0]) for old, h in zip(before, learner.heads))
    assert "heads" in learner.saved_parts


def test_a_layer_that_no_part_holds_is_refused():
    hidden = _predictor()

    class Forgetful(Byol):
        def losses_of(self, batch, training=True):
            loss, logged = super().losses_of(batch, training)
            return loss + tf.reduce_sum(hidden(self.network(batch["view_1"]))), logged

    with pytest.raises(ValueError, match=r"belongs to no part of it .* attribute of the learner"):
        _byol(kind=Forgetful).train_step(BATCH)


def test_an_average_and_a_frozen_part_are_not_trained():
    learner = _byol()
    assert learner.target.trainable_variables == []
    trained = {v.ref() for v in learner.trainable_variables}
    assert not trained & {v.ref() for v in learner.target.variables}
    learner.predictor.trainable = False
    learner.compile(keras.optimizers.SGD(0.1))
    before = _values(learner.predictor.variables)
    learner.train_step(BATCH)
    for old, new in zip(before, learner.predictor.variables):
        np.testing.assert_array_equal(old, new)


def test_a_network_without_variables_is_refused():
    unbuilt = keras.Sequential([keras.layers.Dense(DIM)])
    with pytest.raises(ValueError, match="needs a network with variables"):
        Byol(unbuilt, _backbone(), _predictor(), OptimizationConfig())


def test_keras_saves_and_loads_such_a_learner(tmp_path):
    learner = _byol(optimizer="lars")
    learner.fit(tf.data.Dataset.from_tensors(BATCH), verbose=0)
    learner.save(str(tmp_path / "byol.keras"))
    loaded = keras.models.load_model(str(tmp_path / "byol.keras"))
    learner.train_step(BATCH)
    loaded.train_step(BATCH)
    for one, other in zip(_state(learner), _state(loaded)):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6, err_msg=one.name)


def test_checkpoints_have_the_keys_that_they_had_before_there_were_parts(tmp_path):
    with open(os.path.join(os.path.dirname(__file__), "checkpoint_keys.json")) as file:
        expected = json.load(file)
    learner = _learner()
    learner.train_step(_batch(0))
    path = _checkpoint(learner).write(str(tmp_path / "ckpt"))
    shapes = tf.train.load_checkpoint(path).get_variable_to_shape_map()
    shapes.pop("_CHECKPOINTABLE_OBJECT_GRAPH")
    assert {name.replace("/.ATTRIBUTES/VARIABLE_VALUE", ""): s for name, s in shapes.items()} == (
        expected
    )
