"""Figures measured on google-research/simclr, the paper's own code, and networks to hold to them.

README.md tells how the figures were made.
"""

import json
import os
import zlib
from typing import Dict, Sequence

import numpy as np

from tf_simclrv2.config import NetworkConfig, ProjectionHeadConfig
from tf_simclrv2.interop.google import google_names
from tf_simclrv2.keras2 import tf
from tf_simclrv2.networks.network import Network

_FOLDER = os.path.dirname(__file__)


def figures(name: str) -> dict:
    """Returns the content of ``tests/reference/NAME.json``."""
    with open(os.path.join(_FOLDER, f"{name}.json")) as file:
        return json.load(file)


def weight(name: str, shape: Sequence[int]) -> np.ndarray:
    """The value of a variable in the cases, computed from its name in the authors' checkpoint."""
    z = np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF).standard_normal(shape)
    part = name.rpartition("/")[2]
    if part == "kernel":
        value = z * np.sqrt(2 / np.prod(shape[:-1]))
    elif part == "gamma":
        value = 1 + 0.1 * z
    elif part == "moving_variance":
        value = np.exp(0.1 * z)
    else:
        value = 0.1 * z
    return value.astype(np.float32)


def images(config: dict) -> np.ndarray:
    """The input of a case, float32 [4, size, size, 3]."""
    size = config["image_size"]
    both_views = np.random.RandomState(0).uniform(0, 1, (4, size, size, 6)).astype(np.float32)
    return both_views[..., :3]


def named_variables(network: Network, case: str) -> Dict[str, tf.Variable]:
    """A network's variables by their names in the authors' checkpoints of a case's kind."""
    return google_names(network, case.partition("_")[0])


def build_network(case: str) -> Network:
    """Builds the network of a case, with all weights computed from their names.

    Args:
      case: name of a file of figures, such as ``tf2_resnet50``.
    """
    config = figures(case)["config"]
    network = Network(
        NetworkConfig(
            resnet_depth=config["resnet_depth"],
            width_multiplier=config["width_multiplier"],
            sk_ratio=config["sk_ratio"],
            se_ratio=config.get("se_ratio", 0.0),
            stem=config["stem"],
        ),
        ProjectionHeadConfig(
            num_proj_layers=config["num_proj_layers"], proj_out_dim=config.get("proj_out_dim", 128)
        ),
        config["num_classes"],
        ft_proj_selector=1,
        probe=True,
    ).build_for(config["image_size"])
    for name, variable in named_variables(network, case).items():
        variable.assign(weight(name, variable.shape.as_list()))
    return network


def deviation(actual: np.ndarray, figure: dict, of_each_value: bool = False) -> float:
    """How far an array is from its figures: norm, mean and first values, whichever is furthest.

    Args:
      actual: the array.
      figure: its ``shape``, ``mean``, ``norm`` and ``first`` values.
      of_each_value: take the error of the first values relative to an equal share of the norm,
        which is stricter, instead of relative to the norm.

    Returns:
      The deviation relative to the norm; infinite if shapes differ.
    """
    if list(actual.shape) != figure["shape"]:
        return float("inf")
    actual = actual.astype(np.float64)
    norm, first = figure["norm"], np.array(figure["first"])
    share = np.sqrt(len(first) / actual.size) if of_each_value else 1.0
    return max(
        abs(np.linalg.norm(actual) - norm) / norm,
        # An error of norm e moves the mean of n values by at most e / sqrt(n).
        abs(actual.mean() - figure["mean"]) * np.sqrt(actual.size) / norm,
        np.linalg.norm(actual.ravel()[: len(first)] - first) / (share * norm),
    )
