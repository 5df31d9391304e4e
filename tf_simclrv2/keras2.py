"""The one place that decides which Keras 2 this machine has, and that knows Keras's inner parts.

Everything else imports ``tf`` and ``keras`` from here. On Python 3.9-3.11 ``keras`` is Keras 2.15;
on Python 3.12 and newer it is tf-keras, which carries the same API on.
"""

import contextlib
import functools
import os
from typing import Any, Dict, List, Mapping

from tf_simclrv2.environment import TF_KERAS
from tf_simclrv2.quiet import silent

# Newer TensorFlow writes to stderr before it has read its log level.
with silent() if TF_KERAS else contextlib.nullcontext():
    import tensorflow as tf

    if TF_KERAS:
        import tf_keras as keras
    else:
        import keras


def _use_for_tf_keras() -> None:
    """Makes ``tf.keras`` this Keras, also where TensorFlow was imported before this module.

    Raises:
      ImportError: ``tf.keras`` is Keras 3 already.
    """
    # What TensorFlow itself does if TF_USE_LEGACY_KERAS=1 is set when it is imported; without it
    # "from tensorflow.keras import layers" would still find Keras 3.
    path = os.path.join(os.path.dirname(keras.__file__), "api", "_v2")
    if path not in tf.__path__:
        tf.__path__.insert(0, path)
    aliases = {
        tf.keras.layers.Layer: keras.layers.Layer,
        tf.initializers.Initializer: keras.initializers.Initializer,
        tf.losses.Loss: keras.losses.Loss,
        tf.metrics.Metric: keras.metrics.Metric,
        tf.optimizers.Optimizer: keras.optimizers.Optimizer,
    }
    if any(alias is not own for alias, own in aliases.items()):
        raise ImportError(
            "tf_simclrv2 needs Keras 2, but tf.keras is Keras 3 in this process: import "
            "tf_simclrv2 before tensorflow, or set the environment variable TF_USE_LEGACY_KERAS=1 "
            "before Python starts."
        )


if TF_KERAS:
    _use_for_tf_keras()

# What TensorFlow raises when it reads checkpoints that are damaged or none of its own.
READ_ERRORS = (tf.errors.OpError, ValueError, RuntimeError, IndexError)

# Decorates a class or function that Keras is to find by its name when it loads a model.
registered = keras.utils.register_keras_serializable(package="tf_simclrv2")


@functools.cache
def start_xla() -> None:
    """Compiles a trivial program with stderr muted: XLA's first compilation prints a notice."""
    with silent(), tf.init_scope():
        tf.function(tf.identity, jit_compile=True)(tf.zeros([]))


def layers_of(layer: keras.layers.Layer) -> List[keras.layers.Layer]:
    """Returns a layer and all layers inside it, each before its own parts."""
    return list(layer._flatten_layers())


def declare_inputs(model: keras.Model, inputs: Any) -> None:
    """Tells a model what it is called with, so that it can be saved before it was called.

    Args:
      model: a subclass of ``keras.Model``; what it knows already of its inputs stays.
      inputs: ``tf.TensorSpec``, or a nest of them.
    """
    model._set_save_spec(inputs)


def parts_of(model: keras.Model) -> Dict[str, Any]:
    """Returns the attributes of a model that hold weights, metrics not counted, by name.

    They are what Keras has found: layers, variables, and lists and dicts of layers.
    """
    weights = [*model._trainable_weights, *model._non_trainable_weights]
    found = {id(each) for each in [*model._self_tracked_trackables, *weights]}
    metrics = keras.metrics.Metric
    return {
        name: value
        for name, value in vars(model).items()
        if id(value) in found and not all(isinstance(v, metrics) for v in tf.nest.flatten(value))
    }


def serialize_part(part: keras.layers.Layer) -> Dict[str, Any]:
    """Returns a layer as part of another's config: what it is, and for which inputs it was built.

    Keras's own function leaves out the latter where it saves in TensorFlow's SavedModel format.
    """
    return {**keras.saving.serialize_keras_object(part), "build_config": part.get_build_config()}


def deserialize_part(config: Mapping[str, Any], custom_objects: Any = None) -> keras.layers.Layer:
    """Returns a layer like the one that :func:`serialize_part` was given, with random weights."""
    part = keras.saving.deserialize_keras_object(dict(config), custom_objects)
    if not part.built and config["build_config"] is not None:
        part.build_from_config(config["build_config"])
    return part


def variable_key(variable: tf.Variable) -> str:
    """Returns what identifies a variable; a replica's copy has that of the variable of all."""
    if hasattr(variable, "_distributed_container"):
        variable = variable._distributed_container()
    return variable._unique_id


def weights_by_layer(layer: keras.layers.Layer) -> List[tf.Variable]:
    """Returns all weights of a layer, in an order that doesn't depend on what is frozen.

    ``layer.weights`` lists trainable weights first, so that freezing a part changes its order.
    """
    weights = {}
    for each in layers_of(layer):
        for weight in each._trainable_weights + each._non_trainable_weights:
            weights[id(weight)] = weight
    return list(weights.values())


__all__ = [
    "READ_ERRORS",
    "declare_inputs",
    "deserialize_part",
    "keras",
    "layers_of",
    "parts_of",
    "registered",
    "serialize_part",
    "silent",
    "start_xla",
    "tf",
    "variable_key",
    "weights_by_layer",
]
