"""The settings of what computes: devices, compiler and number formats."""

import dataclasses
from typing import Optional

from tf_simclrv2.config.settings import Section, refuse, setting

STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker", "tpu")


@dataclasses.dataclass(frozen=True)
class ComputeConfig(Section):
    """What computes: devices, compiler and number formats."""

    strategy: str = setting(
        "auto",
        "How work is spread: one_device, mirrored (all GPUs of this machine), multi_worker "
        "(machines named in TF_CONFIG, or by Slurm), tpu; auto takes what is there.",
        choices=STRATEGIES,
        may_change=True,
    )
    use_tpu: bool = setting(False, "Use a TPU, as --strategy=tpu does.", may_change=True)
    tpu_name: Optional[str] = setting(
        None, "Name or grpc:// address of the TPU; local on a TPU VM.", may_change=True
    )
    tpu_zone: Optional[str] = setting(None, "Zone of the TPU.", may_change=True)
    gcp_project: Optional[str] = setting(None, "Project of the TPU.", may_change=True)
    virtual_devices: int = setting(
        0,
        "Split the CPU into this many devices, to try --strategy=mirrored without GPUs.",
        within="[0, 64]",
        may_change=True,
    )
    jit_compile: str = setting(
        "auto",
        "Compile steps with XLA; auto does so on one GPU, but not on a CPU, where XLA's "
        "convolutions are slow.",
        choices=("auto", "true", "false"),
        may_change=True,
    )
    mixed_precision: str = setting(
        "float32",
        "Number format of the network's activations; losses and normalisation stay in float32. "
        "auto takes mixed_bfloat16 on CPUs, GPUs and TPUs that have it.",
        choices=("float32", "mixed_bfloat16", "mixed_float16", "auto"),
    )

    def _check_combinations(self) -> None:
        if (self.use_tpu or self.tpu_name) and self.strategy not in ("auto", "tpu"):
            raise refuse(
                "strategy",
                self.strategy,
                "must be auto or tpu where --use_tpu or --tpu_name is given",
            )
        if self.virtual_devices and self.strategy not in ("auto", "mirrored"):
            raise refuse(
                "virtual_devices",
                self.virtual_devices,
                f"is for --strategy=mirrored, not {self.strategy}",
            )


@dataclasses.dataclass(frozen=True)
class DevicesConfig(ComputeConfig):
    """What computes: devices, number formats, and what is traded for memory."""

    steps_per_execution: int = setting(
        0,
        "Steps between returns to the host; 0 takes 1, or 50 on a TPU.",
        within="[0, inf)",
        may_change=True,
    )
    rematerialize: bool = setting(
        False,
        "Compute each block's activations again in the backward pass instead of keeping them.",
        may_change=True,
    )
