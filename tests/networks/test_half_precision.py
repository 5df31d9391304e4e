"""Means, gates and the classifier stay in float32 where activations are in half precision."""

import numpy as np
import pytest

from tf_simclrv2.config import NetworkConfig, ProjectionHeadConfig
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.networks.heads import ClassifierHead
from tf_simclrv2.networks.layers import SelectiveKernelConv, SqueezeExcite
from tf_simclrv2.networks.network import Network

RANDOM = np.random.RandomState(0)
# So many pixels that a mean in bfloat16 is wrong by 12%.
IMAGES = RANDOM.uniform(0.5, 1.5, size=(2, 56, 56, 8)).astype(np.float32)
# Relative to the outputs' norm: half precision's rounding of inputs, weights and outputs.
TOLERANCE = {"mixed_bfloat16": 0.01, "mixed_float16": 0.002}


@pytest.fixture(params=list(TOLERANCE))
def number_format(request):
    keras.mixed_precision.set_global_policy(request.param)
    yield request.param
    keras.mixed_precision.set_global_policy("float32")


def _in_float32(make, inputs, weights):
    policy = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("float32")
    layer = make()
    layer(inputs)
    layer.set_weights(weights)
    outputs = layer(inputs)
    keras.mixed_precision.set_global_policy(policy)
    return outputs.numpy()


@pytest.mark.parametrize(
    "make",
    [lambda: SelectiveKernelConv(4, 1, 0.25), lambda: SqueezeExcite(8, 4)],
    ids=["selective kernels", "squeeze-excite"],
)
def test_pooling_over_many_pixels_keeps_its_digits(make, number_format):
    layer = make()
    layer(IMAGES)
    # Weights of one sign make the gates depend on the mean, and large ones in a steep place.
    weights = [np.abs(w) if w.ndim == 4 else w for w in layer.get_weights()]
    if isinstance(layer, SqueezeExcite):
        weights[3] = -weights[2].sum(axis=(0, 1, 2))
    layer.set_weights(weights)
    outputs = layer(IMAGES)
    assert outputs.dtype == keras.mixed_precision.global_policy().compute_dtype
    expected = _in_float32(make, IMAGES, weights)
    distance = np.linalg.norm(tf.cast(outputs, tf.float32) - expected) / np.linalg.norm(expected)
    assert distance < TOLERANCE[number_format]


def test_the_classifier_reads_the_representation_in_float32(number_format):
    hidden = RANDOM.normal(size=(5, 16)).astype(np.float32)
    head = ClassifierHead(3)
    logits = head(hidden)
    kernel, bias = head.get_weights()
    np.testing.assert_allclose(logits, hidden @ kernel + bias, rtol=1e-5, atol=1e-7)

    network = Network(
        NetworkConfig(18, 0.03125, stem="cifar"), ProjectionHeadConfig("none"), 3
    ).build_for(8)
    endpoints = network.endpoints(RANDOM.uniform(size=(2, 8, 8, 3)).astype(np.float32))
    kernel, bias = network.supervised_head.get_weights()
    expected = endpoints["final_avg_pool"].numpy() @ kernel + bias
    np.testing.assert_allclose(endpoints["logits_sup"], expected, rtol=1e-5, atol=1e-7)
