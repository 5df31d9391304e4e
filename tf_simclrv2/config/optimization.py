"""The settings of optimization: optimizer, learning rate and length of training."""

import dataclasses
import math

from tf_simclrv2.config.settings import Section, refuse, setting
from tf_simclrv2.optimizer_rows import ADDONS_OPTIMIZERS, OPTIMIZERS


@dataclasses.dataclass(frozen=True)
class OptimizationConfig(Section):
    """Optimizer, learning rate and length of training."""

    train_batch_size: int = setting(
        512, "Images in a batch, over all replicas.", within="(0, inf)", follows_data=True
    )
    train_epochs: int = setting(
        100,
        "Epochs to train; a larger number continues a run for longer.",
        within="(0, inf)",
        may_grow=True,
        follows_data=True,
        replaces=("train_steps",),
    )
    train_steps: int = setting(
        0,
        "Steps to train; above 0 it overrides train_epochs; a larger number continues a run for "
        "longer.",
        within="[0, inf)",
        may_grow=True,
    )
    optimizer: str = setting(
        "lars",
        f"Optimizer; {' and '.join(ADDONS_OPTIMIZERS)} need tensorflow-addons, which exists only "
        "for Python 3.9 to 3.11.",
        choices=tuple(OPTIMIZERS),
    )
    learning_rate: float = setting(
        0.3,
        "Learning rate before it is scaled by the batch size.",
        within="(0, inf)",
        follows_data=True,
    )
    learning_rate_scaling: str = setting(
        "linear",
        "Learning rate times batch/256 (linear), times the root of the batch (sqrt), or as it is "
        "(none).",
        choices=("linear", "sqrt", "none"),
    )
    warmup_epochs: float = setting(
        10.0,
        "Epochs of linear warmup before the cosine decay.",
        within="[0, inf)",
        follows_data=True,
    )
    momentum: float = setting(0.9, "Momentum of LARS, momentum SGD and SGDW.", within="[0, 1)")
    weight_decay: float = setting(1e-6, "Weight decay.", within="[0, inf)")
    gradient_accumulation_steps: int = setting(
        1,
        "Parts into which a batch is split to save memory, so it must divide train_batch_size; "
        "the gradients of the parts are added up.",
        within="(0, inf)",
    )

    def _check_combinations(self) -> None:
        if self.train_batch_size % self.gradient_accumulation_steps != 0:
            raise refuse(
                "gradient_accumulation_steps",
                self.gradient_accumulation_steps,
                f"must be a positive divisor of --train_batch_size={self.train_batch_size}",
            )

    def steps(self, num_examples: int) -> int:
        """Training steps for ``num_examples`` images, counted as the paper's code counts them."""
        if self.train_steps:
            return self.train_steps
        return num_examples * self.train_epochs // self.train_batch_size + 1

    def warmup_steps(self, num_examples: int) -> int:
        """Steps of linear warmup, counted as the paper's code counts them."""
        return round(self.warmup_epochs * num_examples // self.train_batch_size)

    @property
    def scaled_learning_rate(self) -> float:
        """The learning rate at the end of the warmup."""
        return self.learning_rate * self.rate_scale

    @property
    def rate_scale(self) -> float:
        """What the batch size multiplies the learning rate by."""
        scales = {
            "linear": self.train_batch_size / 256.0,
            "sqrt": math.sqrt(self.train_batch_size),
            "none": 1.0,
        }
        return scales[self.learning_rate_scaling]
