"""Measures a step of pretraining in PyTorch, for benchmarks.step, which runs it.

Needs PyTorch 2 and none of the packages that this project needs, so that it can run in an
environment of its own, from the project's root. While other programs run it waits busily, which
counts as CPU time.

  PYTHON -m benchmarks.torch_step DEPTH IMAGE_SIZE BATCH FORMAT

It prints the CPU seconds of a step, and of its update alone, as our own measurement does. The
network is the same: a ResNet with the stem that suits the image size, and a head of three layers
with batch norm; the loss is NT-Xent of two views. Tensors are channels last, which is fastest here,
and bfloat16 is PyTorch's autocast. The update is SGD with momentum, which is less work than LARS.
"""

import sys
from typing import List, Tuple

import torch
from torch import nn
from torch.nn import functional

from benchmarks.step import cpu_seconds

_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs, 1e-5),
    )


class Block(nn.Module):
    """A residual block: two 3x3 convolutions, or a bottleneck's 1x1, 3x3, 1x1."""

    def __init__(self, inputs: int, filters: int, stride: int, bottleneck: bool, projected: bool):
        super().__init__()
        outputs = 4 * filters if bottleneck else filters
        self.shortcut = _conv(inputs, outputs, 1, stride) if projected else nn.Identity()
        relu = nn.ReLU(inplace=True)
        if bottleneck:
            layers = [_conv(inputs, filters, 1), relu, _conv(filters, filters, 3, stride), relu,
                      _conv(filters, outputs, 1)]  # fmt: skip
        else:
            layers = [_conv(inputs, filters, 3, stride), relu, _conv(filters, outputs, 3)]
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Maps [batch, channels, height, width] to the block's outputs."""
        return functional.relu(self.layers(inputs) + self.shortcut(inputs), inplace=True)


def encoder(depth: int, image_size: int) -> Tuple[List[nn.Module], int]:
    """The layers of a ResNet without a classifier, and the channels that come out."""
    bottleneck = depth >= 50
    layers: List[nn.Module] = [_conv(3, 64, 3), nn.ReLU(inplace=True)]
    if image_size > 32:
        layers = [_conv(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for group, count in enumerate(_BLOCKS[depth]):
        for number in range(count):
            filters, stride = 64 * 2**group, 2 if group and not number else 1
            layers.append(Block(channels, filters, stride, bottleneck, not number))
            channels = 4 * filters if bottleneck else filters
    return [*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()], channels


def network(depth: int, image_size: int) -> nn.Module:
    """A ResNet and a projection head of three layers."""
    layers, channels = encoder(depth, image_size)
    for number in range(3):
        width = 128 if number == 2 else channels
        layers += [nn.Linear(channels, width, bias=False), nn.BatchNorm1d(width, 1e-5)]
        layers += [nn.ReLU(inplace=True)] if number < 2 else []
        channels = width
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def nt_xent(projections: torch.Tensor, temperature: float = 0.1) -> torch.Tensor:
    """The contrastive loss of two views, which are the halves of the batch."""
    unit = functional.normalize(projections.float())
    similarities = unit @ unit.T / temperature
    similarities.fill_diagonal_(-1e9)
    half = len(unit) // 2
    return functional.cross_entropy(similarities, torch.arange(2 * half).roll(half))


def main() -> None:
    """Prints the CPU seconds of a step and of its update."""
    depth, image_size, batch = (int(each) for each in sys.argv[1:4])
    bfloat16 = sys.argv[4] == "mixed_bfloat16"
    model = network(depth, image_size).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    images = torch.rand(2 * batch, 3, image_size, image_size)
    images = images.to(memory_format=torch.channels_last)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            projections = model(images)
        nt_xent(projections).backward()
        optimizer.step()

    print(cpu_seconds(step), cpu_seconds(optimizer.step))


if __name__ == "__main__":
    main()
