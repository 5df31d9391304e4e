"""The formats of an export: their rows, and the weight decay that hub modules carry."""

import os
import subprocess
import sys

import numpy as np
import pytest

from export import formats
from export.config import ExportConfig, ExportSection
from export.formats import FORMATS, hub
from tf_simclrv2.config import (
    ConfigError,
    NetworkConfig,
    OptimizationConfig,
    ProjectionHeadConfig,
)
from tf_simclrv2.networks.network import Network
from tf_simclrv2.networks.roles import variable_roles
from tf_simclrv2.optimization.optimizers import weight_decay_loss
from tf_simclrv2.programs.command_line import help_text


@pytest.mark.parametrize("name", FORMATS)
def test_a_row_has_a_module_that_writes_and_shows_how_to_load(name):
    module = formats.load(name)
    assert callable(module.write)
    assert module.SNIPPET.startswith("\n## ")


def test_the_flag_is_made_of_the_rows():
    shown = " ".join(help_text("export", ExportConfig).split())
    assert f"Must be among {', '.join(FORMATS)}." in shown
    with pytest.raises(ConfigError, match=f"must be among {', '.join(FORMATS)}"):
        ExportSection("run", "out", formats="saved_model,onnx")
    config = ExportSection("run", "out", formats="tflite,saved_model,tflite")
    assert config.chosen_formats == ["saved_model", "tflite"]
    for name, format in FORMATS.items():
        config = ExportSection("run", "out", formats=name)
        assert config.folded_formats == ([] if format.trainable else [name])
        assert ExportSection("run", "out", formats=name, fold_batch_norm=False).folded_formats == []


def test_an_export_leaves_what_its_rows_say(exported):
    entries = [entry for format in FORMATS.values() for entry in format.entries]
    assert sorted(os.listdir(exported.path)) == sorted(["README.md", *entries])


def test_help_does_not_load_tensorflow():
    check = (
        "import sys; from export.__main__ import main; main(['--help']); "
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", check], capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def network():
    config = NetworkConfig(18, 0.0625, se_ratio=0.25, stem="cifar")
    network = Network(config, ProjectionHeadConfig(num_proj_layers=1), 10, ft_proj_selector=1)
    network.build_for(8)
    for bias in variable_roles(network).biases:
        bias.assign(np.full(bias.shape, 0.5))
    return network


def regularization_loss(network, output, optimizer):
    config = OptimizationConfig(optimizer=optimizer, weight_decay=0.01)
    module = hub.hub_module(hub.HubFunctions(network), output, config)
    (loss,) = module.regularization_losses
    return float(loss())


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_a_module_is_decayed_as_its_run_was(network, optimizer):
    config = OptimizationConfig(optimizer=optimizer, weight_decay=0.01)
    roles = variable_roles(network)
    in_training = float(weight_decay_loss(config, roles))
    assert regularization_loss(network, "classification", optimizer) == pytest.approx(in_training)
    # The rule of the paper's code, for all but batch norm.
    decayed = roles.kernels + roles.supervised + roles.biases
    halves = sum(np.sum(np.square(v.numpy())) / 2 for v in decayed)
    assert in_training == pytest.approx(0.01 * halves, rel=1e-5)
    encoder = [v for v in decayed if any(v is own for own in network.encoder.variables)]
    halves = sum(np.sum(np.square(v.numpy())) / 2 for v in encoder)
    features = regularization_loss(network, "feature_vector", optimizer)
    assert features == pytest.approx(0.01 * halves, rel=1e-5)


@pytest.mark.parametrize("optimizer", ["lars", "lamb", "sgdw"])
def test_what_an_optimizer_decayed_itself_is_in_the_loss_of_a_module(network, optimizer):
    roles = variable_roles(network)
    halves = sum(np.sum(np.square(v.numpy())) / 2 for v in roles.kernels + roles.supervised)
    loss = regularization_loss(network, "classification", optimizer)
    assert loss == pytest.approx(0.01 * halves, rel=1e-5)
