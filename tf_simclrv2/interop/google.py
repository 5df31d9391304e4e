"""The names that google-research/simclr, the paper's own code, gives to our network's variables.

A TF2 checkpoint of the authors' is an object graph: a variable's key is its path through the
objects. A TF1 checkpoint is name-based: within the encoder, convolutions and batch norms are
numbered in the order in which they were created. Both follow from a network's structure, so that
nothing here depends on the names that Keras gave our variables.
"""

from typing import Dict, Iterator, List, Tuple

from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.networks.layers import BatchNorm, ConvBatchNorm, SelectiveKernelConv
from tf_simclrv2.networks.network import Network
from tf_simclrv2.networks.resnet import Block, Encoder, Stem

FLAVORS = ("tf1", "tf2")
# How the names of a part's variables begin, by flavor, and what the first kernel is called.
ENCODER = {"tf1": "base_model/", "tf2": "model/resnet_model/"}
PROJECTION = {"tf1": "head_contrastive/nl_", "tf2": "model/_projection_head/linear_layers/"}
CLASSIFIER = {"tf1": "head_supervised/", "tf2": "model/supervised_head/"}
FIRST_KERNEL = {
    "tf1": "base_model/conv2d/kernel",
    "tf2": "model/resnet_model/initial_conv_relu_max_pool/0/conv2d/kernel",
}
_ATTRIBUTES = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")

# A layer that owns variables, after its path in the authors' object graph.
_Part = Tuple[str, keras.layers.Layer]


def google_names(network: Network, flavor: str) -> Dict[str, tf.Variable]:
    """Names every variable of a network as the authors' checkpoints do.

    Args:
      network: a network whose variables exist (:meth:`Network.build_for`).
      flavor: ``tf1`` for names such as ``base_model/conv2d_1/kernel``, ``tf2`` for keys such as
        ``model/resnet_model/initial_conv_relu_max_pool/0/conv2d/kernel``, without the
        ``/.ATTRIBUTES/VARIABLE_VALUE`` that ends them in a checkpoint.

    Returns:
      The authors' name of each variable, in the order in which the authors' code creates them.

    Raises:
      ValueError: there is no such flavor.
    """
    if flavor not in FLAVORS:
        raise ValueError(f"flavor must be one of {', '.join(FLAVORS)}, got {flavor}.")
    parts = [
        (f"model/resnet_model/{path}", layer) for path, layer in _encoder_parts(network.encoder)
    ]
    scopes = [f"base_model/{name}" for name in _numbered(parts)]
    for index, projection in enumerate(network.projection_head.projections):
        path = f"model/_projection_head/linear_layers/{index}"
        parts += [
            (f"{path}/dense", projection.dense),
            (f"{path}/bn_relu/bn", projection.batch_norm),
        ]
        scope = f"head_contrastive/nl_{index}"
        scopes += [f"{scope}/dense", f"{scope}/batch_normalization"]
    if network.supervised_head is not None:
        parts.append(("model/supervised_head/linear_layer/dense", network.supervised_head.dense))
        scopes.append("head_supervised/linear_layer/dense")

    names = {}
    for (path, layer), scope in zip(parts, scopes):
        for attribute in _ATTRIBUTES:
            variable = getattr(layer, attribute, None)
            if variable is not None:
                names[f"{scope if flavor == 'tf1' else path}/{attribute}"] = variable
    return names


def _numbered(parts: List[_Part]) -> Iterator[str]:
    """Names as TF1 numbers layers: ``conv2d``, ``conv2d_1`` and so on, in creation order."""
    counts = {"conv2d": 0, "batch_normalization": 0}
    for _, layer in parts:
        kind = "batch_normalization" if isinstance(layer, BatchNorm) else "conv2d"
        yield f"{kind}_{counts[kind]}" if counts[kind] else kind
        counts[kind] += 1


def _encoder_parts(encoder: Encoder) -> Iterator[_Part]:
    for path, layer in _stem_parts(encoder.stem):
        yield f"initial_conv_relu_max_pool/{path}", layer
    for group_index, group in enumerate(encoder.groups):
        for block_index, block in enumerate(group):
            for path, layer in _block_parts(block):
                yield f"block_groups/{group_index}/layers/{block_index}/{path}", layer


def _stem_parts(stem: Stem) -> Iterator[_Part]:
    index = 0
    for layer in stem.deep:
        yield f"{index}/conv2d", layer.conv.conv
        yield f"{index + 1}/bn", layer.batch_norm
        index += 2
    yield f"{index}/conv2d", stem.conv.conv
    # An identity stands between the last convolution and its batch norm.
    yield f"{index + 2}/bn", stem.batch_norm


def _block_parts(block: Block) -> Iterator[_Part]:
    bottleneck = len(block.convolutions) == 3
    if block.shortcut is not None:
        path = "projection_layers" if bottleneck else "shortcut_layers"
        # ResNet-D's average pooling comes first, and before it, if it strides, padding.
        index = (1 + int(block.shortcut.strides > 1)) if block.shortcut.average else 0
        yield f"{path}/{index}/conv2d", block.shortcut.projection.conv.conv
        yield f"{path}/{index + 1}/bn", block.shortcut.projection.batch_norm

    path = "conv_relu_dropblock_layers" if bottleneck else "conv2d_bn_layers"
    index = 0
    for layer in block.convolutions:
        if isinstance(layer, SelectiveKernelConv):
            selective = f"{path}/{index}"
            yield f"{selective}/conv2d_fixed_padding/conv2d", layer.streams.conv.conv
            yield f"{selective}/batch_norm_relu/bn", layer.streams.batch_norm
            yield f"{selective}/conv2d_0", layer.squeeze.conv.conv
            yield f"{selective}/batch_norm_relu_1/bn", layer.squeeze.batch_norm
            yield f"{selective}/conv2d_1", layer.mix.conv
            index += 1
        elif isinstance(layer, ConvBatchNorm):
            yield f"{path}/{index}/conv2d", layer.conv.conv
            yield f"{path}/{index + 1}/bn", layer.batch_norm
            index += 2
        # In a bottleneck DropBlock, unused in the paper, follows every batch norm.
        index += int(bottleneck)
    if block.squeeze_excite is not None:
        path = f"{path}/{index}" if bottleneck else "se_layer"
        yield f"{path}/se_reduce", block.squeeze_excite.reduce
        yield f"{path}/se_expand", block.squeeze_excite.expand
