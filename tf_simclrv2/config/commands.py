"""What each command is configured by: a section for each subject, and checks across sections."""

import dataclasses
from typing import Dict, List, Union

from tf_simclrv2.config.data import DataConfig, EvaluationConfig, UnlabelledConfig
from tf_simclrv2.config.devices import ComputeConfig, DevicesConfig
from tf_simclrv2.config.exported import ConversionConfig, EmbeddingConfig, PredictionConfig
from tf_simclrv2.config.labelling import AuditSection, ProbeSection, SelectSection
from tf_simclrv2.config.monitors import MonitorConfig
from tf_simclrv2.config.network import NetworkConfig, ProjectionHeadConfig
from tf_simclrv2.config.optimization import OptimizationConfig
from tf_simclrv2.config.reporting import ReportSection
from tf_simclrv2.config.settings import Config, Must, Section, refuse, setting
from tf_simclrv2.config.steps import (
    KEY_PARTS,
    ContrastiveConfig,
    DistillationConfig,
    FineTuningConfig,
    LabelsConfig,
    MemoryConfig,
    RunConfig,
    StartConfig,
)
from tf_simclrv2.config.validation import FineTuningReportConfig, ReportConfig
from tf_simclrv2.config.views import AugmentationConfig, ViewsSection


def _fine_tuning_optimization() -> OptimizationConfig:
    return OptimizationConfig(
        train_batch_size=1024,
        train_epochs=60,
        # The paper's 0.16 at this batch, by the scaling that the paper's code defaults to.
        learning_rate=0.04,
        warmup_epochs=0.0,
        weight_decay=0.0,
    )


def _plain_augmentation() -> AugmentationConfig:
    return AugmentationConfig(color_jitter_strength=0.0, use_blur=False)


@dataclasses.dataclass(frozen=True)
class PretrainConfig(Config):
    """Step 1: contrastive pretraining without labels."""

    run: RunConfig
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    unlabelled: UnlabelledConfig = dataclasses.field(default_factory=UnlabelledConfig)
    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
    projection_head: ProjectionHeadConfig = dataclasses.field(default_factory=ProjectionHeadConfig)
    contrastive: ContrastiveConfig = dataclasses.field(default_factory=ContrastiveConfig)
    memory: MemoryConfig = dataclasses.field(default_factory=MemoryConfig)
    augmentation: AugmentationConfig = dataclasses.field(default_factory=AugmentationConfig)
    optimization: OptimizationConfig = dataclasses.field(default_factory=OptimizationConfig)
    devices: DevicesConfig = dataclasses.field(default_factory=DevicesConfig)
    start: StartConfig = dataclasses.field(default_factory=StartConfig)
    monitors: MonitorConfig = dataclasses.field(default_factory=MonitorConfig)

    def __post_init__(self) -> None:
        self.network.resolved(self.data.resolved_image_size)
        self.projection_head.layer_of(self.contrastive.ft_proj_selector)
        if self.optimization.train_batch_size < 2:
            raise refuse(
                "train_batch_size",
                self.optimization.train_batch_size,
                "must be at least 2, since other images of the batch are the negatives",
            )
        if self.optimization.gradient_accumulation_steps > 1:
            raise refuse(
                "gradient_accumulation_steps",
                self.optimization.gradient_accumulation_steps,
                "must be 1 for pretraining: negatives span the whole batch, so that a split one "
                "is another loss; --use_memory gives small batches more negatives",
            )
        keys_of_step = 2 * self.optimization.train_batch_size
        if self.memory.use_memory and self.memory.memory_size < keys_of_step:
            raise refuse(
                "memory_size",
                self.memory.memory_size,
                f"must be at least {keys_of_step}, the keys that a step adds: two of each image of "
                f"--train_batch_size={self.optimization.train_batch_size}",
            )
        split = self.memory.use_memory and self.memory.memory_batch_norm == "split"
        if split and self.optimization.train_batch_size % KEY_PARTS:
            raise refuse(
                "train_batch_size",
                self.optimization.train_batch_size,
                f"must be a multiple of {KEY_PARTS}, the parts into which "
                "--memory_batch_norm=split splits the views",
            )


@dataclasses.dataclass(frozen=True)
class FinetuneConfig(Config):
    """Step 2: fine-tuning on a few labels, or the supervised baseline on the same labels."""

    run: RunConfig
    fine_tuning: FineTuningConfig
    labels: LabelsConfig = dataclasses.field(default_factory=LabelsConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
    projection_head: ProjectionHeadConfig = dataclasses.field(default_factory=ProjectionHeadConfig)
    augmentation: AugmentationConfig = dataclasses.field(default_factory=_plain_augmentation)
    optimization: OptimizationConfig = dataclasses.field(default_factory=_fine_tuning_optimization)
    report: FineTuningReportConfig = dataclasses.field(default_factory=FineTuningReportConfig)
    devices: DevicesConfig = dataclasses.field(default_factory=DevicesConfig)

    def __post_init__(self) -> None:
        self.report.check_evaluated(self.run.mode)
        self.labels.check_table(self.data.labels)
        self.network.resolved(self.data.resolved_image_size)
        self.projection_head.layer_of(self.fine_tuning.ft_proj_selector)
        self.report.check_folds(self.run.mode, self.fine_tuning.from_scratch)


@dataclasses.dataclass(frozen=True)
class DistillConfig(Config):
    """Step 3: distillation of a fine-tuned network with unlabelled images."""

    run: RunConfig
    distillation: DistillationConfig
    labels: LabelsConfig = dataclasses.field(default_factory=LabelsConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    unlabelled: UnlabelledConfig = dataclasses.field(default_factory=UnlabelledConfig)
    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
    augmentation: AugmentationConfig = dataclasses.field(default_factory=_plain_augmentation)
    optimization: OptimizationConfig = dataclasses.field(default_factory=OptimizationConfig)
    report: ReportConfig = dataclasses.field(default_factory=ReportConfig)
    devices: DevicesConfig = dataclasses.field(default_factory=DevicesConfig)

    def __post_init__(self) -> None:
        self.report.check_evaluated(self.run.mode)
        self.labels.check_table(self.data.labels)
        self.network.resolved(self.data.resolved_image_size)


# What trains: all have the sections run, data, network, augmentation, optimization and devices.
TrainingConfig = Union[PretrainConfig, FinetuneConfig, DistillConfig]


@dataclasses.dataclass(frozen=True)
class ViewsConfig(Config):
    """A picture of images, each with the two views that pretraining would draw of it."""

    views: ViewsSection = dataclasses.field(default_factory=ViewsSection)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    augmentation: AugmentationConfig = dataclasses.field(default_factory=AugmentationConfig)


@dataclasses.dataclass(frozen=True)
class EvaluateConfig(Config):
    """Accuracy and loss of a fine-tuned or distilled run, or of a pretraining run's probe."""

    evaluation: EvaluationConfig
    report: ReportConfig = dataclasses.field(default_factory=ReportConfig)
    devices: ComputeConfig = dataclasses.field(default_factory=ComputeConfig)


@dataclasses.dataclass(frozen=True)
class ProbeConfig(Config):
    """Accuracy that labels give on a run's frozen features, in seconds and without training."""

    probe: ProbeSection
    labels: LabelsConfig = dataclasses.field(default_factory=LabelsConfig)

    def __post_init__(self) -> None:
        self.labels.check_table(self.probe.labels)


@dataclasses.dataclass(frozen=True)
class SelectConfig(Config):
    """Images that are worth labelling next, with a page to label them on."""

    selection: SelectSection


@dataclasses.dataclass(frozen=True)
class AuditConfig(Config):
    """Labels that look wrong, near-duplicates and leaks across splits, and images unlike others."""

    audit: AuditSection


@dataclasses.dataclass(frozen=True)
class RunsReportConfig(Config):
    """A page on runs: settings, results, curves, a map of their images and what they get wrong."""

    report: ReportSection


@dataclasses.dataclass(frozen=True)
class PredictConfig(Config):
    """Likeliest classes of image files and their probabilities, by an export."""

    prediction: PredictionConfig


@dataclasses.dataclass(frozen=True)
class EmbedConfig(Config):
    """Representations of image files, by an export."""

    embedding: EmbeddingConfig


@dataclasses.dataclass(frozen=True)
class ConvertConfig(Config):
    """Checkpoints of google-research/simclr to run directories, and back."""

    conversion: ConversionConfig


@dataclasses.dataclass(frozen=True)
class RecipesConfig(Config):
    """The recipes that --recipe=NAME takes, each with what it is."""


def _are_seeds(text: str) -> bool:
    seeds = text.split(",")
    numbers = {int(seed) for seed in seeds if seed.isascii() and seed.isdecimal()}
    return len(numbers) == len(seeds)


_SEEDS = Must("be numbers separated by commas, each once", _are_seeds)


@dataclasses.dataclass(frozen=True)
class DemoSection(Section):
    """Of which data, where to write, and for which subsets of labels."""

    dataset: str = setting(
        "digits",
        "Images: digits, or tiles of colour photographs, which need scikit-image (extra tiles).",
        choices=("digits", "tiles"),
    )
    output_dir: str = setting(
        "demo_output", "Directory to write; an earlier demo's is replaced.", is_path=True
    )
    label_seeds: str = setting(
        "0", "Seeds of the labelled subsets, separated by commas.", must=_SEEDS
    )
    seeds: str = setting(
        "0",
        "Seeds of pretraining, separated by commas; the labelled subsets are dealt out to the "
        "networks in turn, of which there may be no more than subsets.",
        must=_SEEDS,
    )

    def _check_combinations(self) -> None:
        if self.seeds.count(",") > self.label_seeds.count(","):
            raise refuse(
                "seeds", self.seeds, f"must be at most as many as --label_seeds={self.label_seeds}"
            )

    @property
    def dealt(self) -> Dict[str, List[str]]:
        """The seeds of labelled subsets by the seed of the network that is fine-tuned on them."""
        networks, subsets = self.seeds.split(","), self.label_seeds.split(",")
        return {seed: subsets[number :: len(networks)] for number, seed in enumerate(networks)}


@dataclasses.dataclass(frozen=True)
class DemoConfig(Config):
    """The whole method on real images, from pretraining to predictions."""

    demo: DemoSection = dataclasses.field(default_factory=DemoSection)
