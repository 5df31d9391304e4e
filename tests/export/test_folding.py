"""A folded network gives the outputs of the network that it was made from."""

import numpy as np
import pytest

from export.folding import fold_batch_norm
from tf_simclrv2.config import NetworkConfig, ProjectionHeadConfig
from tf_simclrv2.networks.layers import BatchNorm
from tf_simclrv2.networks.network import Network


@pytest.mark.parametrize(
    ("config", "selector"),
    [
        (NetworkConfig(resnet_depth=18, width_multiplier=0.0625, stem="cifar"), 3),
        (NetworkConfig(50, 0.0625, sk_ratio=0.0625, se_ratio=0.25, stem="imagenet"), 1),
    ],
    ids=["cifar", "imagenet_sk_se"],
)
def test_folding_changes_no_output(config, selector):
    network = Network(config, ProjectionHeadConfig(), 7, ft_proj_selector=selector).build_for(32)
    random = np.random.RandomState(0)
    for layer in network._flatten_layers():
        if isinstance(layer, BatchNorm):
            for variable in layer.variables:
                variable.assign(random.uniform(0.5, 1.5, variable.shape))
    images = random.uniform(size=(2, 32, 32, 3)).astype(np.float32)
    before = network(images, training=False)
    fold_batch_norm(network)
    assert not any(isinstance(layer, BatchNorm) for layer in network._flatten_layers())
    after = network(images, training=False)
    for name in before:
        error = np.abs(after[name] - before[name]).max() / np.abs(before[name]).max()
        assert error < 1e-4, name
