"""A folded network gives the outputs of the network that it was made from; which are folded."""

import pathlib

import numpy as np
import pytest

from export.folding import fold_batch_norm
from tf_simclrv2.config import NetworkConfig, ProjectionHeadConfig
from tf_simclrv2.keras2 import tf
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


def _num_variables(saved):
    return len(tf.train.list_variables(f"{saved}/variables/variables"))


def test_batch_norm_is_folded_in_all_that_only_infers(command, exported, tmp_path):
    """That both give the run's outputs, the consumers test."""
    flags = [f"--model_dir={exported.run}", f"--export_dir={tmp_path}/new", "--nofold_batch_norm"]
    assert command("export", *flags, "--formats=saved_model").code == 0
    assert "folded" not in (tmp_path / "new/README.md").read_text()
    as_trained, folded = _num_variables(f"{tmp_path}/new/1"), _num_variables(f"{exported.path}/1")
    assert folded < 0.6 * as_trained
    # The module of features lacks the heads.
    assert _num_variables(f"{exported.path}/hub/feature_vector") > folded
    card = pathlib.Path(exported.path, "README.md").read_text()
    assert "batch norm folded into the convolutions in `saved_model` and `tflite` (for" in card
