from .config import (
    AugmentationConfig,
    ConfigError,
    ContrastiveConfig,
    DataConfig,
    DistillationConfig,
    MemoryConfig,
    NetworkConfig,
    OptimizationConfig,
    ProjectionHeadConfig,
)
from .data.batches import contrastive_batches
from .data.sources import open_source
from .data.two_views import two_views
from .evaluation import EVALUATORS
from .evaluation.features import features
from .learners.classifier import Classifier
from .learners.distiller import Distiller
from .learners.learner import Learner
from .learners.memory import KeyQueue, Memory, PretrainerWithMemory
from .learners.moving_average import MovingAverage
from .learners.pretrainer import Pretrainer
from .networks.heads import ProjectionHead
from .networks.network import Network
from .networks.resnet import Encoder
from .objectives.contrastive import nt_xent, nt_xent_with_memory
from .objectives.distillation import distillation_loss
from .optimization.lars import LARS
from .optimization.schedules import WarmupCosine
from .runtime.checkpoint import load_run
from .runtime.run_directory import RunDirectory

__version__: str

__all__ = [
    "EVALUATORS",
    "LARS",
    "AugmentationConfig",
    "Classifier",
    "ConfigError",
    "ContrastiveConfig",
    "DataConfig",
    "DistillationConfig",
    "Distiller",
    "Encoder",
    "KeyQueue",
    "Learner",
    "Memory",
    "MemoryConfig",
    "MovingAverage",
    "Network",
    "NetworkConfig",
    "OptimizationConfig",
    "Pretrainer",
    "PretrainerWithMemory",
    "ProjectionHead",
    "ProjectionHeadConfig",
    "RunDirectory",
    "WarmupCosine",
    "contrastive_batches",
    "distillation_loss",
    "features",
    "load_run",
    "nt_xent",
    "nt_xent_with_memory",
    "open_source",
    "two_views",
]
