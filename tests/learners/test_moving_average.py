"""A moving average follows any Keras model, batch norm's statistics included."""

import numpy as np
import pytest

from tf_simclrv2.config import MemoryConfig
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.learners.memory import Memory
from tf_simclrv2.learners.moving_average import MovingAverage

IMAGES = np.random.RandomState(0).uniform(size=(6, 4, 4, 3)).astype(np.float32)


def _model(*last, synchronized=False):
    return keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            keras.layers.Conv2D(2, 3),
            keras.layers.BatchNormalization(synchronized=synchronized),
            keras.layers.Flatten(),
            *last,
        ]
    )


class Plain(keras.layers.Layer):
    """A layer, not a model, that has a variable of its own next to another layer's."""

    def __init__(self):
        super().__init__()
        self.scale = self.add_weight("scale", [], initializer="ones")
        self.model = _model()

    def call(self, inputs, training=False):
        return self.scale * self.model(inputs, training=training)


@pytest.mark.parametrize("make", [_model, lambda: _model(synchronized=True), Plain])
def test_it_follows_all_weights(make):
    network, average = make(), make()
    network(IMAGES), average(IMAGES)
    follower = MovingAverage(network, average, decay=0.75, ramp=False)
    for one, other in zip(network.get_weights(), average.get_weights()):
        np.testing.assert_array_equal(one, other)
    start = network.get_weights()
    network(IMAGES, training=True)
    for variable in network.trainable_variables:
        variable.assign_add(tf.ones_like(variable))
    moved = network.get_weights()
    assert all(np.any(one != other) for one, other in zip(start, moved))
    follower.follow(network, tf.constant(1))
    for value, old, new in zip(average.get_weights(), start, moved):
        np.testing.assert_allclose(value, 0.75 * old + 0.25 * new, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch_norm", ["batch", "moving"])
def test_its_batch_norm_works_as_told_and_updates_nothing(batch_norm):
    network, average = _model(), _model()
    follower = MovingAverage(network, average, batch_norm=batch_norm)
    before = average.get_weights()
    outputs = follower(IMAGES, training=True)
    same = np.allclose(follower(IMAGES[:2], training=True), outputs[:2], rtol=1e-3, atol=1e-4)
    assert same == (batch_norm == "moving")
    for old, new in zip(before, average.get_weights()):
        np.testing.assert_array_equal(old, new)


def test_no_gradient_flows_through_it_and_nothing_of_it_is_trained():
    follower = MovingAverage(_model(), _model())
    with tf.GradientTape() as tape:
        tape.watch(follower.variables)
        outputs = tf.reduce_sum(follower(IMAGES, training=True))
    assert tape.gradient(outputs, follower.variables) == [None] * 6
    assert follower.trainable_variables == []


def test_another_architecture_is_refused():
    with pytest.raises(ValueError, match="must have the same layers"):
        MovingAverage(_model(), _model(keras.layers.Dense(3)))
    with pytest.raises(ValueError, match="must have the same layers"):
        MovingAverage(_model(), keras.Sequential([keras.layers.Dense(3)]))


class Subclassed(keras.Model):
    """A model of which only a call shows the shape of its outputs."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(5)

    def call(self, images):
        return self.dense(tf.reduce_mean(images, axis=[1, 2]))


def test_memory_works_with_any_model_that_maps_images_to_vectors():
    config = MemoryConfig(use_memory=True, memory_size=7)
    memory = Memory(_model(keras.layers.Dense(3)), _model(keras.layers.Dense(3)), config)
    assert memory.queue.keys.shape == [7, 3]
    np.testing.assert_array_equal(memory.keys(IMAGES), memory.network(IMAGES, training=True))
    network, average = Subclassed(), Subclassed()
    network(IMAGES), average(IMAGES)
    assert Memory(network, average, config).queue.keys.shape == [7, 5]
    assert Memory(network, average, config, dim=5).queue.keys.shape == [7, 5]
