"""The roles of trainable variables, which decide on weight decay and on LARS's trust ratio."""

from typing import Iterable, List, NamedTuple

from tf_simclrv2.keras2 import keras, layers_of, tf
from tf_simclrv2.networks.heads import ClassifierHead

# What layers of Keras, of its extensions and of this project call these variables.
_OF_NORMALIZATION = ("gamma", "beta")
_OF_DENSE_OR_CONVOLUTION = ("bias",)


class VariableRoles(NamedTuple):
    """Trainable variables by what they do, which decides on weight decay and LARS.

    Attributes:
      kernels: weights of encoder and projection head: decayed, adapted by LARS.
      supervised: the classifier's kernel: decayed through the loss, not adapted by LARS.
      biases: of the classifier, of squeeze-and-excitation and so on: not adapted by LARS, and
        decayed only by the other optimizers.
      batch_norm: scales and offsets of batch norm and other normalisation: never decayed, not
        adapted.
    """

    kernels: List[tf.Variable]
    supervised: List[tf.Variable]
    biases: List[tf.Variable]
    batch_norm: List[tf.Variable]


def variable_roles(
    *layers: keras.layers.Layer, classifiers: Iterable[keras.layers.Layer] = ()
) -> VariableRoles:
    """Sorts trainable variables by the layer that owns them, not by their names.

    It knows a layer's variables by the attributes that hold them: ``gamma`` and ``beta`` are batch
    norm's, as in Keras's BatchNormalization, LayerNormalization and GroupNormalization; ``bias`` is
    a bias, as in Dense and Conv2D. Other vectors and scalars count as biases, all else as kernels.

    Args:
      *layers: any Keras models and layers, with their variables created.
      classifiers: those of the dense layers in them that classify; each :class:`ClassifierHead` is
        one anyway.

    Returns:
      All trainable variables of the layers, each once, in the order of ``trainable_variables``.

    Example:

    ```python
    backbone = keras.applications.ResNet50(include_top=False, pooling="avg", weights=None)
    roles = variable_roles(backbone)
    optimizer = LARS(0.3, excluded=roles.biases + roles.batch_norm)
    ```
    """
    roles = VariableRoles([], [], [], [])
    role_of = {}
    heads = [each.dense for each in _inside(layers) if isinstance(each, ClassifierHead)]
    for head in [*heads, *classifiers]:
        role_of[head.kernel.ref()] = roles.supervised
    for layer in _inside(layers):
        for attributes, role in (
            (_OF_NORMALIZATION, roles.batch_norm),
            (_OF_DENSE_OR_CONVOLUTION, roles.biases),
        ):
            for attribute in attributes:
                variable = getattr(layer, attribute, None)
                if isinstance(variable, tf.Variable):
                    role_of.setdefault(variable.ref(), role)
    seen = set()
    for variable in (each for layer in layers for each in layer.trainable_variables):
        if variable.ref() not in seen:
            seen.add(variable.ref())
            otherwise = roles.biases if variable.shape.rank < 2 else roles.kernels
            role_of.get(variable.ref(), otherwise).append(variable)
    return roles


def _inside(layers: Iterable[keras.layers.Layer]) -> List[keras.layers.Layer]:
    return [each for layer in layers for each in layers_of(layer)]
