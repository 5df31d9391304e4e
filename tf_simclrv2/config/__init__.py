"""What a run is: frozen dataclasses, one field per flag, and every check on a setting.

A config is plain data. It knows nothing of TensorFlow, so that building one, from flags or from a
run directory's ``config.json``, is instant and refuses a bad setting before any work starts.
``settings`` says how fields are declared and checked, ``commands`` puts the sections together, and
``inheriting`` says what a run takes over from an earlier one.
"""

from tf_simclrv2.config.commands import (
    AuditConfig,
    ConvertConfig,
    DemoConfig,
    DemoSection,
    DistillConfig,
    EmbedConfig,
    EvaluateConfig,
    FinetuneConfig,
    PredictConfig,
    PretrainConfig,
    ProbeConfig,
    RecipesConfig,
    RunsReportConfig,
    SelectConfig,
    TrainingConfig,
    ViewsConfig,
)
from tf_simclrv2.config.data import (
    DEFAULT_IMAGE_SIZES,
    DataConfig,
    EvaluationConfig,
    UnlabelledConfig,
    place,
)
from tf_simclrv2.config.devices import STRATEGIES, ComputeConfig, DevicesConfig
from tf_simclrv2.config.exported import (
    ConversionConfig,
    EmbeddingConfig,
    ExportedModelConfig,
    PredictionConfig,
)
from tf_simclrv2.config.inheriting import (
    inherit_pretrained,
    inherit_start,
    inherit_taught,
    inherited,
    not_inherited,
    same_data,
)
from tf_simclrv2.config.monitors import MonitorConfig
from tf_simclrv2.config.network import (
    LARGEST_CIFAR_STEM_IMAGE,
    LARGEST_WIDTH_MULTIPLIER,
    RESNET_DEPTHS,
    SMALLEST_IMAGE,
    NetworkConfig,
    ProjectionHeadConfig,
)
from tf_simclrv2.config.optimization import ADDONS_OPTIMIZERS, OPTIMIZERS, OptimizationConfig
from tf_simclrv2.config.settings import (
    Config,
    ConfigError,
    Must,
    Section,
    check_local,
    refuse,
    required,
    sections_of,
    setting,
    setting_of,
)
from tf_simclrv2.config.steps import (
    MODES,
    ContrastiveConfig,
    DistillationConfig,
    FineTuningConfig,
    LabelsConfig,
    MemoryConfig,
    RunConfig,
    StartConfig,
)
from tf_simclrv2.config.validation import ReportConfig
from tf_simclrv2.config.views import AugmentationConfig, ViewsSection

__all__ = [
    "ADDONS_OPTIMIZERS",
    "DEFAULT_IMAGE_SIZES",
    "LARGEST_CIFAR_STEM_IMAGE",
    "LARGEST_WIDTH_MULTIPLIER",
    "MODES",
    "OPTIMIZERS",
    "RESNET_DEPTHS",
    "SMALLEST_IMAGE",
    "STRATEGIES",
    "AuditConfig",
    "AugmentationConfig",
    "ComputeConfig",
    "Config",
    "ConfigError",
    "ContrastiveConfig",
    "ConversionConfig",
    "ConvertConfig",
    "DataConfig",
    "DemoConfig",
    "DemoSection",
    "DevicesConfig",
    "DistillConfig",
    "DistillationConfig",
    "EmbedConfig",
    "EmbeddingConfig",
    "EvaluateConfig",
    "EvaluationConfig",
    "ExportedModelConfig",
    "FineTuningConfig",
    "FinetuneConfig",
    "LabelsConfig",
    "MemoryConfig",
    "MonitorConfig",
    "Must",
    "NetworkConfig",
    "OptimizationConfig",
    "PredictConfig",
    "PredictionConfig",
    "PretrainConfig",
    "ProbeConfig",
    "ProjectionHeadConfig",
    "RecipesConfig",
    "ReportConfig",
    "RunConfig",
    "RunsReportConfig",
    "Section",
    "SelectConfig",
    "StartConfig",
    "TrainingConfig",
    "UnlabelledConfig",
    "ViewsConfig",
    "ViewsSection",
    "check_local",
    "inherit_pretrained",
    "inherit_start",
    "inherit_taught",
    "inherited",
    "not_inherited",
    "place",
    "refuse",
    "required",
    "same_data",
    "sections_of",
    "setting",
    "setting_of",
]
