"""Checkpoints such as the authors' code writes, from names and values, training state included."""

import functools
import os
from typing import Dict

import numpy as np

from tests.reference import weight
from tf_simclrv2.config import NetworkConfig, ProjectionHeadConfig
from tf_simclrv2.interop.google import google_names
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.networks.network import Network

Values = Dict[str, np.ndarray]


def write_tf1(path: str, values: Values) -> str:
    """A name-based checkpoint, as published: with slots, momentum encoder and step; its path."""
    state = {"global_step": np.int64(250)}
    for name, value in list(values.items())[::10]:
        if not name.endswith(("moving_mean", "moving_variance")):
            state[f"{name}/Momentum"] = np.full_like(value, 7)
        if not name.startswith("head_supervised"):
            state[f"ema_model/{name}"] = np.full_like(value, 8)
    everything = {**values, **state}
    tf.raw_ops.SaveV2(
        prefix=path,
        tensor_names=list(everything),
        shape_and_slices=[""] * len(everything),
        tensors=list(everything.values()),
    )
    return path


def write_tf2(path: str, values: Values) -> str:
    """An object-graph checkpoint with optimizer slots and step; its path."""
    model, variables = _objects(values)
    optimizer = keras.optimizers.legacy.SGD(0.1, momentum=0.9)
    some = variables[:5]
    optimizer.apply_gradients([(tf.ones_like(variable), variable) for variable in some])
    for variable, value in zip(some, values.values()):
        variable.assign(value)
    checkpoint = tf.train.Checkpoint(
        model=model, global_step=optimizer.iterations, optimizer=optimizer
    )
    return checkpoint.save(path)


def write_saved_model(path: str, values: Values, listed: bool = True) -> str:
    """A SavedModel's directory.

    Args:
      path: of the directory.
      values: of the variables, by name.
      listed: also hold the variables in a list, as the authors' code does, by which all their keys
        become ``trainable_variables_list/0`` and so on.
    """
    module = tf.Module()
    module.model, variables = _objects(values)
    if listed:
        module.trainable_variables_list = variables
    tf.saved_model.save(module, path)
    return path


def _objects(values: Values):
    root = tf.Module()
    variables = []
    for name, value in values.items():
        *parents, attribute = name.split("/")
        node = root
        for parent in parents:
            if not hasattr(node, parent):
                setattr(node, parent, tf.Module())
            node = getattr(node, parent)
        variables.append(tf.Variable(value))
        setattr(node, attribute, variables[-1])
    return root.model, variables


def rule(shapes) -> Values:
    """Values that follow from the names, see :func:`tests.reference.weight`."""
    return {name: weight(name, shape) for name, shape in shapes.items()}


def tiny(flavor: str, proj_head_mode: str = "nonlinear", num_classes=3) -> Values:
    """The variables of a ResNet-18 of width 1/16 with CIFAR's stem, by the authors' names."""
    return dict(_tiny(flavor, proj_head_mode, num_classes))


@functools.lru_cache(None)
def _tiny(flavor, proj_head_mode, num_classes) -> Values:
    network = Network(
        NetworkConfig(18, 0.0625, stem="cifar"),
        ProjectionHeadConfig(proj_head_mode, proj_out_dim=16),
        num_classes,
        probe=True,
    ).build_for(8)
    named = google_names(network, flavor)
    return rule({name: tuple(variable.shape) for name, variable in named.items()})


def files_of(path: str):
    """What stands in a directory, or None without one."""
    return sorted(os.listdir(path)) if os.path.exists(path) else None


def converted_run(root: str) -> str:
    """A run that ``convert`` makes of a tiny checkpoint, so that nothing has to be trained."""
    from tf_simclrv2.programs.main import main

    theirs, path = write_tf1(os.path.join(root, "theirs"), tiny("tf1")), os.path.join(root, "run")
    convert = ["convert", f"--google_checkpoint={theirs}", f"--model_dir={path}"]
    assert main([*convert, "--image_size=8"]) == 0
    return path
