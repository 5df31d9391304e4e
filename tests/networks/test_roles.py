"""Roles of the variables of anyone's models."""

import numpy as np
import pytest

from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.networks.heads import ClassifierHead
from tf_simclrv2.networks.network import variable_roles
from tf_simclrv2.optimization.lars import LARS


def _names(variables):
    return [variable.name.split(":")[0] for variable in variables]


@pytest.fixture
def backbone():
    """Someone's own backbone, of Keras's layers."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 4)),
            layers.Conv2D(4, 3, name="conv"),
            layers.BatchNormalization(name="batch"),
            layers.SeparableConv2D(4, 3, use_bias=False, name="separable"),
            layers.LayerNormalization(name="layer"),
            keras.Sequential([layers.GroupNormalization(2, name="group")]),
            layers.Flatten(),
            layers.Dense(3, name="dense"),
        ]
    )


def test_normalisation_and_biases_of_keras_are_known(backbone):
    roles = variable_roles(backbone)
    assert _names(roles.kernels) == [
        "conv/kernel",
        "separable/depthwise_kernel",
        "separable/pointwise_kernel",
        "dense/kernel",
    ]
    assert _names(roles.biases) == ["conv/bias", "dense/bias"]
    layers = ("batch", "layer", "group")
    assert _names(roles.batch_norm) == [f"{n}/{v}" for n in layers for v in ("gamma", "beta")]
    assert roles.supervised == []


def test_the_classifier_is_the_one_that_is_named(backbone):
    roles = variable_roles(backbone, classifiers=[backbone.get_layer("dense")])
    assert _names(roles.supervised) == ["dense/kernel"]
    assert _names(roles.biases) == ["conv/bias", "dense/bias"]


def test_several_layers_are_sorted_together_and_each_variable_once(backbone):
    head, projection = ClassifierHead(2), keras.layers.Dense(4, name="projection")
    head(tf.zeros([1, 3])), projection(tf.zeros([1, 3]))
    projection.bias.assign(tf.ones([4]))
    roles = variable_roles(backbone, projection, head, backbone)
    assert roles.supervised == [head.dense.kernel]
    assert [v.ref() for v in roles.biases[-2:]] == [projection.bias.ref(), head.dense.bias.ref()]
    assert len(roles.kernels) == 5 and len(roles.batch_norm) == 6
    backbone.get_layer("batch").trainable = False
    assert len(variable_roles(backbone).batch_norm) == 4


def test_what_a_layer_does_not_name_is_told_by_its_shape():
    class Scale(keras.layers.Layer):
        def build(self, shape):
            self.scale = self.add_weight("scale", [shape[-1]])
            self.matrix = self.add_weight("matrix", [shape[-1], 2])

    layer = Scale()
    layer(tf.zeros([1, 3]))
    roles = variable_roles(layer)
    assert (_names(roles.biases), _names(roles.kernels)) == (["scale"], ["matrix"]) or (
        _names(roles.biases)[0].endswith("scale") and _names(roles.kernels)[0].endswith("matrix")
    )


def test_lars_leaves_gammas_betas_and_biases_of_such_a_backbone_alone(backbone):
    roles = variable_roles(backbone)
    for optimizer in (
        LARS(1.0, l2=0.1),
        LARS(1.0, l2=0.1, excluded=roles.biases + roles.batch_norm),
    ):
        variables = backbone.trainable_variables
        for variable in variables:
            variable.assign(tf.fill(variable.shape, 2.0))
        gradients = [tf.ones_like(variable) for variable in variables]
        optimizer.apply_gradients(zip(gradients, variables))
        kernels = {variable.ref() for variable in roles.kernels}
        for variable in variables:
            # With the trust ratio a step is a thousandth of the weight.
            step = 0.001 * 2 if variable.ref() in kernels else 1.0
            np.testing.assert_allclose(variable, 2.0 - step, rtol=1e-5, err_msg=variable.name)
