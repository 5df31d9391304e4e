"""The network's settings: encoder and projection head."""

import dataclasses

from tf_simclrv2.config.settings import Must, Section, refuse, setting

RESNET_DEPTHS = (18, 34, 50, 101, 152, 200)
LARGEST_WIDTH_MULTIPLIER = 64
# Up to this size the stem is CIFAR's (one 3x3 convolution, no pooling), as in the paper's code.
LARGEST_CIFAR_STEM_IMAGE = 32
SMALLEST_IMAGE = {"cifar": 8, "imagenet": 32}


def _makes_even_channels(width_multiplier: float) -> bool:
    channels = 64 * width_multiplier
    return channels >= 2 and channels == int(channels) and int(channels) % 2 == 0


@dataclasses.dataclass(frozen=True)
class NetworkConfig(Section):
    """The encoder: a ResNet of the paper's Table 1 or a smaller or larger relative."""

    resnet_depth: int = setting(
        50, "Depth of the ResNet.", choices=RESNET_DEPTHS, architecture=True
    )
    width_multiplier: float = setting(
        1.0,
        "Multiplier of every layer's channels; fractions such as 0.25 suit small machines.",
        within=f"(0, {LARGEST_WIDTH_MULTIPLIER}]",
        must=Must(
            "make 64 times its value an even whole number of channels, as 0.25 or 2 do",
            _makes_even_channels,
        ),
        architecture=True,
    )
    sk_ratio: float = setting(
        0.0,
        "Reduction ratio of selective kernels, 0.0625 in the paper; above 0, the stem and the "
        "shortcuts become those of ResNet-D.",
        within="[0, 1]",
        architecture=True,
    )
    se_ratio: float = setting(
        0.0,
        "Reduction ratio of squeeze-and-excitation; 0 turns it off.",
        within="[0, 1]",
        architecture=True,
    )
    stem: str = setting(
        "auto",
        "First layers: cifar (3x3 convolution), imagenet (strided convolution and max pooling); "
        "auto takes cifar up to 32 pixels.",
        choices=("auto", "cifar", "imagenet"),
        architecture=True,
    )
    batch_norm_decay: float = setting(
        0.9, "Decay of batch norm's moving statistics.", within="[0, 1)", inherits=True
    )
    global_bn: bool = setting(
        True,
        "Take batch norm's statistics over the global batch of all replicas.",
        inherits=True,
    )

    def _check_combinations(self) -> None:
        if self.sk_ratio > 0 and self.resnet_depth < 50:
            raise refuse(
                "sk_ratio",
                self.sk_ratio,
                "must be 0 for resnet_depth 18 and 34: selective kernels belong to bottleneck "
                "blocks, so take resnet_depth 50 or more",
            )

    def resolved(self, image_size: int) -> "NetworkConfig":
        """Returns the config with ``stem=auto`` decided for images of ``image_size`` pixels.

        Raises:
          ConfigError: the stem can't take images that small.
        """
        stem = self.stem
        if stem == "auto":
            stem = "cifar" if image_size <= LARGEST_CIFAR_STEM_IMAGE else "imagenet"
        smallest = SMALLEST_IMAGE[stem]
        if image_size < smallest:
            raise refuse(
                "image_size", image_size, f"must be at least {smallest} for the {stem} stem"
            )
        return dataclasses.replace(self, stem=stem)


@dataclasses.dataclass(frozen=True)
class ProjectionHeadConfig(Section):
    """The projection head on top of the encoder (paper, section 2: three layers)."""

    proj_head_mode: str = setting(
        "nonlinear",
        "Projection head: nonlinear (num_proj_layers layers), linear (one layer) or none.",
        choices=("nonlinear", "linear", "none"),
        architecture=True,
    )
    num_proj_layers: int = setting(
        3, "Layers of a nonlinear projection head.", within="(0, 100]", architecture=True
    )
    proj_out_dim: int = setting(
        128, "Dimension of the projection.", within="(0, 65536]", architecture=True
    )

    @property
    def num_layers(self) -> int:
        """Layers that the head has, whatever its mode."""
        return {"none": 0, "linear": 1}.get(self.proj_head_mode, self.num_proj_layers)

    def layer_of(self, ft_proj_selector: int) -> int:
        """Returns which of the head's outputs a selector names: 0 its input, k its k-th layer.

        Args:
          ft_proj_selector: 0 to ``num_layers``, or -1 for the last layer.

        Raises:
          ConfigError: the head has no such layer.
        """
        if not -1 <= ft_proj_selector <= self.num_layers:
            raise refuse(
                "ft_proj_selector",
                ft_proj_selector,
                f"the projection head has {self.num_layers} layers, so it must be 0 (the head's "
                f"input) to {self.num_layers}, or -1 for the last",
            )
        return self.num_layers if ft_proj_selector == -1 else ft_proj_selector
