"""Sizes, starting values and roles of the network's variables."""

import functools

import numpy as np
import pytest

from tests.reference import figures
from tf_simclrv2.config import NetworkConfig, ProjectionHeadConfig
from tf_simclrv2.interop.google import google_names
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.networks.heads import ClassifierHead, ProjectionHead
from tf_simclrv2.networks.layers import Conv
from tf_simclrv2.networks.network import Network, variable_roles
from tf_simclrv2.networks.resnet import BLOCKS, Encoder

TABLE_1 = figures("encoder_parameters")["rows"]


def _config_of(row):
    depth, width, sk_ratio = row[:3]
    return NetworkConfig(depth, width, sk_ratio).resolved(224)


def _num_trainable(layer):
    return sum(variable.shape.num_elements() for variable in layer.trainable_variables)


@functools.cache
def _sizes(width, sk_ratio):
    """Parameters of the stem, of each group's first and other blocks, and of the heads."""
    config = _config_of([50, width, sk_ratio])
    # In a graph of its own no variable takes memory.
    with tf.Graph().as_default():
        encoder = Encoder(config)
        hidden = encoder.stem(tf.zeros([1, 32, 32, 3]))["initial_max_pool"]
        for first, second, *_ in encoder.groups:
            hidden = second(first(hidden))
        heads = (
            ProjectionHead(ProjectionHeadConfig(), config, hidden.shape[-1]),
            ClassifierHead(1000),
        )
        for head in heads:
            head(tf.reduce_mean(hidden, axis=[1, 2]))
    blocks = [[_num_trainable(block) for block in group[:2]] for group in encoder.groups]
    return _num_trainable(encoder.stem), blocks, [_num_trainable(head) for head in heads]


@pytest.mark.parametrize("row", TABLE_1, ids=lambda row: "-".join(map(str, row[:3])))
def test_models_of_table_1_have_as_many_parameters_as_the_authors(row):
    depth, width, sk_ratio = row[:3]
    size, blocks, heads = _sizes(width, sk_ratio)
    for (first, other), num_blocks in zip(blocks, BLOCKS[depth]):
        size += first + (num_blocks - 1) * other
    assert [size, *heads] == row[3:6]


@pytest.mark.slow
@pytest.mark.parametrize("row", TABLE_1, ids=lambda row: "-".join(map(str, row[:3])))
def test_whole_models_of_table_1_have_as_many_parameters_as_the_authors(row):
    with tf.Graph().as_default():
        network = Network(_config_of(row), ProjectionHeadConfig(), 1000, 1, probe=True)
        network.build_for(224)
    parts = network.encoder, network.projection_head, network.supervised_head
    assert list(map(_num_trainable, parts)) == row[3:6]


@pytest.fixture(scope="module")
def network():
    """Narrow, with every kind of variable; its name would mislead whoever goes by names."""
    keras.utils.set_random_seed(1)
    return Network(
        NetworkConfig(
            resnet_depth=50, width_multiplier=0.25, sk_ratio=0.0625, se_ratio=0.25, stem="imagenet"
        ),
        ProjectionHeadConfig(proj_out_dim=64),
        num_classes=5,
        ft_proj_selector=1,
        probe=True,
        name="batch_normalization_bias",
    ).build_for(32)


def test_variables_start_as_in_the_authors_code(network):
    last_batch_norms = [
        block.convolutions[-1].batch_norm for g in network.encoder.groups for block in g
    ]
    zero_gammas = {batch_norm.gamma.ref() for batch_norm in last_batch_norms}
    assert len(zero_gammas) == 16
    for name, variable in google_names(network, "tf2").items():
        value = variable.numpy()
        if name.endswith("kernel"):
            of_conv = "resnet_model" in name
            stddev = np.sqrt(1 / np.prod(value.shape[:-1])) if of_conv else 0.01
            assert abs(value.mean()) < 5 * stddev / np.sqrt(value.size), name
            assert value.std() == pytest.approx(stddev, rel=5 / np.sqrt(value.size)), name
            # A normal distribution that is cut at two standard deviations, and one that is not.
            widest = np.abs(value).max() / value.std()
            assert widest < 2.4 if of_conv else widest > 2.4, name
        else:
            start = 1 if name.endswith(("gamma", "moving_variance")) else 0
            start = 0 if variable.ref() in zero_gammas else start
            assert (value == start).all(), name


def test_no_two_layers_start_from_the_same_numbers(network):
    kernels = [v.numpy().ravel() for n, v in google_names(network, "tf2").items() if "kernel" in n]
    starts = [tuple((kernel / kernel.std())[:3].round(4)) for kernel in kernels]
    assert len(set(starts)) == len(starts)


def test_roles_are_those_that_the_authors_take_from_names(network):
    roles = variable_roles(network)
    expected = {"kernels": set(), "supervised": set(), "biases": set(), "batch_norm": set()}
    for name, variable in google_names(network, "tf1").items():
        if "moving" in name:
            continue
        if "batch_normalization" in name:
            role = "batch_norm"
        elif "bias" in name:
            role = "biases"
        else:
            role = "supervised" if "head_supervised" in name else "kernels"
        expected[role].add(variable.ref())
    assert {
        role: {v.ref() for v in of_role} for role, of_role in roles._asdict().items()
    } == expected


def test_roles_are_of_trainable_variables_only():
    config = NetworkConfig(18, 0.03125, stem="cifar")
    network = Network(config, ProjectionHeadConfig("none"), 3).build_for(8)
    network.encoder.freeze_through(4)
    roles = variable_roles(network)
    assert [len(of_role) for of_role in roles] == [0, 1, 1, 0]


@pytest.mark.parametrize("channels", [3, 4, 12, 16])
@pytest.mark.parametrize("size", [7, 8, 32])
def test_strided_1x1_convolutions_have_the_right_gradients(channels, size):
    random = np.random.RandomState(0)
    convolution = Conv(8, 1, strides=2)
    inputs = tf.constant(random.randn(16, size, size, channels), tf.float32)
    convolution(inputs)
    upstream = random.randn(16, -(-size // 2), -(-size // 2), 8)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = convolution(inputs)
    of_inputs, of_kernel = tape.gradient(
        outputs, [inputs, convolution.conv.kernel], tf.constant(upstream, tf.float32)
    )
    seen, kernel = inputs.numpy()[:, ::2, ::2], convolution.conv.kernel.numpy()[0, 0]
    np.testing.assert_allclose(outputs, seen @ kernel, 1e-4, 1e-5)
    expected = np.zeros(inputs.shape)
    expected[:, ::2, ::2] = upstream @ kernel.T
    np.testing.assert_allclose(of_inputs, expected, 1e-4, 1e-5)
    expected = np.einsum("bhwi,bhwo->io", seen, upstream)
    np.testing.assert_allclose(of_kernel[0, 0], expected, 1e-4, 1e-3)
