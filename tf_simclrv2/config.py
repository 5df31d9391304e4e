"""What a run is: frozen dataclasses, one field per flag, and every check on a setting.

A config is plain data. It knows nothing of TensorFlow, so that building one, from flags or from a
run directory's ``config.json``, is instant and can refuse a bad setting before any work starts.

Field metadata carries what the command line needs (help, choices), whether a finished or
interrupted run may be continued with another value (``may_change``), and whether the value is a
path (``is_path``), so that two spellings of it are the same value.
"""

import dataclasses
import math
from typing import Any, Optional, Sequence

RESNET_DEPTHS = (18, 34, 50, 101, 152, 200)
ADDONS_OPTIMIZERS = ("lamb", "sgdw")
OPTIMIZERS = ("lars", "momentum", "adam", *ADDONS_OPTIMIZERS)
MODES = ("train_then_eval", "train", "eval")
STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker", "tpu")

# Up to this size the stem is CIFAR's (one 3x3 convolution, no pooling), as in the paper's code.
LARGEST_CIFAR_STEM_IMAGE = 32
# Sizes that suit data sets of small images; all others default to ImageNet's 224.
DEFAULT_IMAGE_SIZES = {"digits": 16, "cifar10": 32, "cifar100": 32, "svhn_cropped": 32, "mnist": 32}
# Beyond this products with numbers of images overflow.
_LARGEST_FLOAT = 1e9
# NumPy takes no larger seeds.
_LARGEST_INTEGER = 2**32 - 1
LARGEST_WIDTH_MULTIPLIER = 64
SMALLEST_IMAGE = {"cifar": 8, "imagenet": 32}


class ConfigError(ValueError):
    """A setting, file or directory that a user gave can't be used; the message is for that user."""


def refuse(flag: str, value: Any, allowed: str) -> ConfigError:
    """Returns the error for a flag's value, in the one form that all such errors have.

    Args:
      flag: the flag's name, without dashes.
      value: what was received.
      allowed: what would be accepted, as the end of a sentence.
    """
    return ConfigError(f"--{flag}={value}: {allowed}.")


def setting(
    default: Any,
    help: str,
    choices: Optional[Sequence] = None,
    may_change: bool = False,
    is_path: bool = False,
) -> Any:
    """A config field with what the command line and the run directory need to know of it.

    Args:
      default: the default value.
      help: the flag's help text.
      choices: allowed values, or None.
      may_change: whether a run may be continued with another value.
      is_path: whether it is a path.
    """
    metadata = {"help": help, "choices": choices, "may_change": may_change, "is_path": is_path}
    return dataclasses.field(default=default, metadata=metadata)


def _check_values(section: Any) -> None:
    """Checks what holds for all fields: choices, and that numbers are ones to compute with."""
    for field in dataclasses.fields(section):
        choices = field.metadata.get("choices")
        value = getattr(section, field.name)
        if isinstance(value, float) and not abs(value) <= _LARGEST_FLOAT:
            raise refuse(field.name, value, f"must be a number of at most {_LARGEST_FLOAT:,.0f}")
        if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
            raise refuse(field.name, value, f"must be at most {_LARGEST_INTEGER}")
        if choices is not None and value is not None and value not in choices:
            allowed = ", ".join(str(choice) for choice in choices)
            raise refuse(field.name, value, f"must be one of {allowed}")


def _check(section: Any, name: str, valid: bool, allowed: str) -> None:
    if not valid:
        raise refuse(name, getattr(section, name), allowed)


def _check_positive(section: Any, *names: str) -> None:
    for name in names:
        value = getattr(section, name)
        _check(section, name, value is None or value > 0, "must be greater than 0")


def _check_not_negative(section: Any, *names: str) -> None:
    for name in names:
        value = getattr(section, name)
        _check(section, name, value is None or value >= 0, "must be 0 or greater")


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """The encoder: a ResNet of the paper's Table 1 or a smaller or larger relative."""

    resnet_depth: int = setting(50, "Depth of the ResNet.", RESNET_DEPTHS)
    width_multiplier: float = setting(
        1.0, "Multiplier of every layer's channels; fractions such as 0.25 suit small machines."
    )
    sk_ratio: float = setting(
        0.0,
        "Selective kernels' reduction ratio, 0.0625 in the paper; above 0 also brings ResNet-D's "
        "stem and shortcuts.",
    )
    se_ratio: float = setting(0.0, "Squeeze-and-excitation's reduction ratio; 0 is without.")
    stem: str = setting(
        "auto",
        "First layers: cifar (3x3 convolution), imagenet (strided convolution and max pooling); "
        "auto takes cifar up to 32 pixels.",
        ("auto", "cifar", "imagenet"),
    )
    batch_norm_decay: float = setting(0.9, "Decay of batch norm's moving statistics.")
    global_bn: bool = setting(
        True, "Take batch norm's statistics over the global batch of all replicas."
    )

    def __post_init__(self):
        _check_values(self)
        _check(
            self,
            "width_multiplier",
            0 < self.width_multiplier <= LARGEST_WIDTH_MULTIPLIER,
            f"must be greater than 0 and at most {LARGEST_WIDTH_MULTIPLIER}",
        )
        channels = 64 * self.width_multiplier
        _check(
            self,
            "width_multiplier",
            channels >= 2 and channels == int(channels) and int(channels) % 2 == 0,
            "must make 64 times its value an even whole number of channels, as 0.25 or 2 do",
        )
        for name in ("sk_ratio", "se_ratio"):
            _check(self, name, 0 <= getattr(self, name) <= 1, "must be between 0 and 1")
        if self.sk_ratio > 0:
            _check(
                self,
                "sk_ratio",
                self.resnet_depth >= 50,
                "must be 0 for resnet_depth 18 and 34: selective kernels belong to bottleneck "
                "blocks, so take resnet_depth 50 or more",
            )
        _check(self, "batch_norm_decay", 0 <= self.batch_norm_decay < 1, "must be in [0, 1)")

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
class ProjectionHeadConfig:
    """The projection head on top of the encoder (paper, section 2: three layers)."""

    proj_head_mode: str = setting(
        "nonlinear",
        "Projection head: nonlinear (num_proj_layers layers), linear (one layer) or none.",
        ("nonlinear", "linear", "none"),
    )
    num_proj_layers: int = setting(3, "Layers of a nonlinear projection head.")
    proj_out_dim: int = setting(128, "Dimension of the projection.")

    def __post_init__(self):
        _check_values(self)
        _check_positive(self, "num_proj_layers", "proj_out_dim")

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


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which images, and how many at a time."""

    dataset: str = setting(
        "digits",
        "Name of a TensorFlow Datasets data set; digits, which needs no download; or folder, for "
        "image files in DATA_DIR as split/class/file, class/file or, without labels, file.",
    )
    data_dir: Optional[str] = setting(
        None, "The folder, or where TensorFlow Datasets stores data sets.", None, True
    )
    train_split: str = setting("train", "Split to train on.")
    eval_split: Optional[str] = setting(
        None, "Split to evaluate on; by default validation if there is one, else test.", None, True
    )
    image_size: Optional[int] = setting(
        None, "Height and width of the network's input in pixels; by default what suits the data."
    )
    holdout_fraction: float = setting(
        0.1, "Fraction of each class of a folder class/file that is held out as validation."
    )
    holdout_seed: int = setting(0, "Chooses the images that are held out.")
    max_bad_images: float = setting(
        0.01, "Fraction of a folder's files that may be no whole images.", None, True
    )
    strict_images: bool = setting(
        False, "Fail at a folder's first file that is no whole image.", None, True
    )
    cache_dataset: bool = setting(
        False, "Keep the data set's undecoded examples in memory.", None, True
    )
    cache_path: Optional[str] = setting(
        None, "Keep them in a directory whose name begins with this path instead.", None, True
    )
    eval_batch_size: int = setting(256, "Images evaluated at a time.", None, True)
    eval_steps: int = setting(0, "Batches to evaluate; 0 is the whole split.", None, True)

    def __post_init__(self):
        _check_values(self)
        _check_positive(self, "image_size", "eval_batch_size")
        _check_not_negative(self, "eval_steps", "holdout_seed")
        _check(self, "dataset", bool(self.dataset), "must name a data set")
        for name in ("holdout_fraction", "max_bad_images"):
            _check(self, name, 0 <= getattr(self, name) < 1, "must be in [0, 1)")

    @property
    def resolved_image_size(self) -> int:
        """The image size in pixels: the one given, or what suits the data set."""
        return self.image_size or DEFAULT_IMAGE_SIZES.get(self.dataset, 224)


@dataclasses.dataclass(frozen=True)
class AugmentationConfig:
    """The random views that training draws (SimCLR, appendix A; SimCLRv2, appendix B)."""

    color_jitter_strength: float = setting(
        1.0, "Strength of the colour distortion; 0 is without colour jitter and grayscale."
    )
    use_blur: bool = setting(True, "Blur half of the views with a Gaussian.")
    use_flip: bool = setting(True, "Flip half of the views left to right.")
    use_crop: bool = setting(True, "Crop at random; otherwise only resize.")
    crop_area_min: float = setting(0.08, "Smallest area of a random crop, of the image's.")
    crop_aspect_max: float = setting(
        4 / 3, "Largest aspect ratio of a random crop; its inverse is the smallest."
    )
    color_space: str = setting(
        "hsv",
        "Where saturation and hue change: hsv, as in the paper's code, or yiq, in which both are "
        "one linear map.",
        ("hsv", "yiq"),
    )
    augment_on: str = setting(
        "auto",
        "Where colours are distorted and views blurred: host, image by image on the CPU; device, "
        "the whole batch at once; auto takes the device if it is a GPU or TPU.",
        ("auto", "host", "device"),
        True,
    )

    def __post_init__(self):
        _check_values(self)
        _check_not_negative(self, "color_jitter_strength")
        _check(
            self,
            "color_jitter_strength",
            self.color_jitter_strength <= 1.25,
            "must be at most 1.25, above which the contrast factor could be negative",
        )
        _check(self, "crop_area_min", 0 < self.crop_area_min <= 1, "must be in (0, 1]")
        _check(self, "crop_aspect_max", self.crop_aspect_max >= 1, "must be 1 or greater")

    @property
    def distorts(self) -> bool:
        """Whether views are distorted beyond the crop."""
        return self.use_flip or self.color_jitter_strength > 0 or self.use_blur


@dataclasses.dataclass(frozen=True)
class UnlabelledConfig:
    """Images without labels to train on beside the data set's."""

    unlabeled_data_dir: Optional[str] = setting(
        None,
        "Folder of further images, at any depth, whose labels are not used.",
        is_path=True,
    )


@dataclasses.dataclass(frozen=True)
class OptimizationConfig:
    """Optimizer, learning rate and length of training."""

    train_batch_size: int = setting(512, "Images in a batch, over all replicas.")
    train_epochs: int = setting(100, "Epochs to train.")
    train_steps: int = setting(0, "Steps to train; above 0 it overrides train_epochs.")
    optimizer: str = setting(
        "lars", "Optimizer; lamb and sgdw are of tensorflow-addons.", OPTIMIZERS
    )
    learning_rate: float = setting(0.3, "Learning rate before scaling by the batch size.")
    learning_rate_scaling: str = setting(
        "linear",
        "Learning rate times batch/256 (linear), times the root of the batch (sqrt), or as it is "
        "(none).",
        ("linear", "sqrt", "none"),
    )
    warmup_epochs: float = setting(10.0, "Epochs of linear warmup before the cosine decay.")
    momentum: float = setting(0.9, "Momentum of LARS, momentum SGD and SGDW.")
    weight_decay: float = setting(1e-6, "Weight decay.")
    gradient_accumulation_steps: int = setting(
        1, "Parts into which a batch is split to save memory; their gradients are added up."
    )

    def __post_init__(self):
        _check_values(self)
        _check_positive(self, "train_batch_size", "train_epochs", "learning_rate")
        _check(
            self,
            "gradient_accumulation_steps",
            self.gradient_accumulation_steps > 0
            and self.train_batch_size % self.gradient_accumulation_steps == 0,
            f"must be a positive divisor of --train_batch_size={self.train_batch_size}",
        )
        _check_not_negative(self, "train_steps", "warmup_epochs", "weight_decay")
        _check(self, "momentum", 0 <= self.momentum < 1, "must be in [0, 1)")

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
        scale = {
            "linear": self.train_batch_size / 256.0,
            "sqrt": math.sqrt(self.train_batch_size),
            "none": 1.0,
        }
        return self.learning_rate * scale[self.learning_rate_scaling]


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Where a run lives, and what it writes how often."""

    model_dir: Optional[str] = setting(
        None, "Directory of the run; one that holds the same run is continued.", None, True
    )
    seed: int = setting(0, "Fixes everything random: weights, order of examples, augmentation.")
    mode: str = setting("train_then_eval", "What to do.", MODES, True)
    log_every_steps: int = setting(50, "Steps between rows of metrics.csv.", None, True)
    checkpoint_epochs: float = setting(1.0, "Epochs between checkpoints.", None, True)
    checkpoint_steps: int = setting(
        0, "Steps between checkpoints; above 0 it overrides checkpoint_epochs.", None, True
    )
    keep_checkpoint_max: int = setting(5, "Newest checkpoints to keep.", None, True)

    def __post_init__(self):
        _check_values(self)
        _check(self, "model_dir", bool(self.model_dir), "a directory for the run must be given")
        _check_positive(self, "log_every_steps", "checkpoint_epochs", "keep_checkpoint_max")
        _check_not_negative(self, "checkpoint_steps", "seed")


@dataclasses.dataclass(frozen=True)
class ComputeConfig:
    """What computes: devices, compiler and number formats."""

    strategy: str = setting(
        "auto",
        "How work is spread: one_device, mirrored (all GPUs of this machine), multi_worker "
        "(machines named in TF_CONFIG, or by Slurm), tpu; auto takes what is there.",
        STRATEGIES,
        True,
    )
    use_tpu: bool = setting(False, "Train on a TPU, as --strategy=tpu.", None, True)
    tpu_name: Optional[str] = setting(
        None, "Name or grpc:// address of the TPU; local on a TPU VM.", None, True
    )
    tpu_zone: Optional[str] = setting(None, "Zone of the TPU.", None, True)
    gcp_project: Optional[str] = setting(None, "Project of the TPU.", None, True)
    virtual_devices: int = setting(
        0,
        "Split the CPU into so many devices for --strategy=mirrored, to try it without GPUs.",
        None,
        True,
    )
    jit_compile: str = setting(
        "auto",
        "Compile steps with XLA; auto does on one GPU, not on a CPU, where XLA's "
        "convolutions are slow.",
        ("auto", "true", "false"),
        True,
    )
    mixed_precision: str = setting(
        "float32",
        "Number format of the network's activations; losses and normalisation stay in float32.",
        ("float32", "mixed_bfloat16", "mixed_float16"),
    )

    def __post_init__(self):
        _check_values(self)
        _check_not_negative(self, "virtual_devices")
        _check(
            self,
            "strategy",
            not (self.use_tpu or self.tpu_name) or self.strategy in ("auto", "tpu"),
            "must be auto or tpu where --use_tpu or --tpu_name is given",
        )
        _check(
            self,
            "virtual_devices",
            not self.virtual_devices or self.strategy in ("auto", "mirrored"),
            f"is for --strategy=mirrored, not {self.strategy}",
        )


@dataclasses.dataclass(frozen=True)
class DevicesConfig(ComputeConfig):
    """What computes: devices, number formats, and what is traded for memory."""

    steps_per_execution: int = setting(
        0, "Steps between returns to the host; 0 takes 1, or 50 on a TPU.", None, True
    )
    rematerialize: bool = setting(
        False,
        "Compute each block's activations again in the backward pass instead of keeping them.",
        None,
        True,
    )

    def __post_init__(self):
        super().__post_init__()
        _check_not_negative(self, "steps_per_execution")


@dataclasses.dataclass(frozen=True)
class ContrastiveConfig:
    """The contrastive task of pretraining (paper, section 2)."""

    temperature: float = setting(0.1, "Temperature of the contrastive loss.")
    hidden_norm: bool = setting(True, "L2-normalise projections before the contrastive loss.")
    lineareval_while_pretraining: bool = setting(
        True, "Train a linear probe on stop-gradient features while pretraining."
    )
    ft_proj_selector: int = setting(
        0, "Output of the projection head that the probe reads; 0 is the head's input."
    )

    def __post_init__(self):
        _check_values(self)
        _check_positive(self, "temperature")


@dataclasses.dataclass(frozen=True)
class MemoryConfig:
    """The memory of pretraining: a moving average of the network and a queue of its keys."""

    use_memory: bool = setting(
        False, "Contrast with the keys of a memory network, of this and of past batches."
    )
    memory_size: int = setting(65536, "Keys of past batches; each step adds two of each image.")
    memory_ema_decay: float = setting(
        0.999, "Decay of the moving average of all weights that is the memory network."
    )
    memory_ema_ramp: bool = setting(
        True, "Bound the decay at step t by t / (t + 9), so that random weights are forgotten."
    )
    memory_batch_norm: str = setting(
        "batch",
        "Statistics of the memory network's batch norm: the batch's, or the moving average of the "
        "trained network's moving statistics.",
        ("batch", "moving"),
    )

    def __post_init__(self):
        _check_values(self)
        _check_positive(self, "memory_size")
        _check(self, "memory_ema_decay", 0 <= self.memory_ema_decay < 1, "must be in [0, 1)")


@dataclasses.dataclass(frozen=True)
class LabelsConfig:
    """Which examples' labels may be used."""

    label_fraction: Optional[float] = setting(
        None, "Fraction of the training split whose labels are used, spread over the classes."
    )
    labels_per_class: Optional[int] = setting(None, "Labelled examples of each class.")
    label_seed: int = setting(0, "Chooses the labelled examples.")
    label_subset_file: Optional[str] = setting(
        None,
        "File that lists the labelled examples, one on a line, by id or by image file name, as the "
        "paper's 1percent.txt or a run's labelled_examples.txt do.",
        is_path=True,
    )

    def __post_init__(self):
        _check_values(self)
        if self.label_fraction is not None:
            _check(self, "label_fraction", 0 < self.label_fraction <= 1, "must be in (0, 1]")
        _check_positive(self, "labels_per_class")
        _check_not_negative(self, "label_seed")
        if self.label_fraction is not None and self.labels_per_class is not None:
            raise refuse(
                "labels_per_class", self.labels_per_class, "can't be combined with --label_fraction"
            )
        counted = self.label_fraction is not None or self.labels_per_class is not None
        _check(
            self,
            "label_subset_file",
            not (counted and self.label_subset_file),
            "can't be combined with --label_fraction or --labels_per_class",
        )

    @property
    def is_everything(self) -> bool:
        """Whether all labels of the split are used."""
        chosen = self.labels_per_class is not None or self.label_subset_file is not None
        return not chosen and self.label_fraction in (None, 1.0)


@dataclasses.dataclass(frozen=True)
class FineTuningConfig:
    """From which weights and which layer fine-tuning starts (paper, section 2)."""

    checkpoint: Optional[str] = setting(
        None,
        "Directory of the pretraining run to start from, or one checkpoint in it.",
        is_path=True,
    )
    use_ema_weights: bool = setting(
        False, "Start from the memory network of a pretraining run with --use_memory."
    )
    from_scratch: bool = setting(
        False, "Train the supervised baseline from random weights instead of a checkpoint."
    )
    ft_proj_selector: int = setting(
        0, "Output of the projection head to fine-tune from; 0 is its input, 1 its first layer."
    )
    fine_tune_after_block: int = setting(
        -1,
        "Freeze the encoder up to this block group: -1 trains everything, 0 all after the stem, "
        "4 only the layers after the encoder.",
        (-1, 0, 1, 2, 3, 4),
    )
    zero_init_logits_layer: bool = setting(False, "Start the classifier's layer from zeros.")

    def __post_init__(self):
        _check_values(self)
        if self.from_scratch and self.checkpoint:
            raise refuse("from_scratch", self.from_scratch, "can't be combined with --checkpoint")
        if self.from_scratch and self.use_ema_weights:
            raise refuse(
                "from_scratch", self.from_scratch, "can't be combined with --use_ema_weights"
            )
        if not self.from_scratch and not self.checkpoint:
            raise refuse(
                "checkpoint",
                self.checkpoint,
                "a pretraining run must be given, or --from_scratch=true for the supervised "
                "baseline",
            )


@dataclasses.dataclass(frozen=True)
class DistillationConfig:
    """How a student learns from a teacher's predictions (paper, section 2, equations 2 and 3)."""

    teacher: Optional[str] = setting(
        None, "Directory of the fine-tuned run that teaches.", is_path=True
    )
    distillation_temperature: float = setting(
        1.0, "Temperature of teacher's and student's predictions."
    )
    distillation_alpha: float = setting(
        1.0,
        "Weight of the teacher's predictions against the true labels of the labelled examples; 1 "
        "uses no labels.",
    )

    def __post_init__(self):
        _check_values(self)
        _check(self, "teacher", bool(self.teacher), "a fine-tuned run must be given")
        _check_positive(self, "distillation_temperature")
        _check(self, "distillation_alpha", 0 <= self.distillation_alpha <= 1, "must be in [0, 1]")


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
class PretrainConfig:
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

    def __post_init__(self):
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


@dataclasses.dataclass(frozen=True)
class FinetuneConfig:
    """Step 2: fine-tuning on a few labels, or the supervised baseline on the same labels."""

    run: RunConfig
    fine_tuning: FineTuningConfig
    labels: LabelsConfig = dataclasses.field(default_factory=LabelsConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
    projection_head: ProjectionHeadConfig = dataclasses.field(default_factory=ProjectionHeadConfig)
    augmentation: AugmentationConfig = dataclasses.field(default_factory=_plain_augmentation)
    optimization: OptimizationConfig = dataclasses.field(default_factory=_fine_tuning_optimization)
    devices: DevicesConfig = dataclasses.field(default_factory=DevicesConfig)

    def __post_init__(self):
        self.network.resolved(self.data.resolved_image_size)
        self.projection_head.layer_of(self.fine_tuning.ft_proj_selector)


@dataclasses.dataclass(frozen=True)
class DistillConfig:
    """Step 3: distillation of a fine-tuned network with unlabelled images."""

    run: RunConfig
    distillation: DistillationConfig
    labels: LabelsConfig = dataclasses.field(default_factory=LabelsConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    unlabelled: UnlabelledConfig = dataclasses.field(default_factory=UnlabelledConfig)
    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
    augmentation: AugmentationConfig = dataclasses.field(default_factory=_plain_augmentation)
    optimization: OptimizationConfig = dataclasses.field(default_factory=OptimizationConfig)
    devices: DevicesConfig = dataclasses.field(default_factory=DevicesConfig)

    def __post_init__(self):
        self.network.resolved(self.data.resolved_image_size)


@dataclasses.dataclass(frozen=True)
class ViewsSection:
    """What to draw, and where to."""

    output: str = setting("views.png", "Picture to write, .png.")
    num_images: int = setting(8, "Images to draw the views of.")
    seed: int = setting(0, "Chooses images and views; a run with this seed begins with them.")

    def __post_init__(self):
        _check_values(self)
        _check_positive(self, "num_images")
        _check_not_negative(self, "seed")
        _check(self, "output", self.output.endswith(".png"), "must end .png")


@dataclasses.dataclass(frozen=True)
class ViewsConfig:
    """A picture of images beside the two views that pretraining would draw of them."""

    views: ViewsSection = dataclasses.field(default_factory=ViewsSection)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    augmentation: AugmentationConfig = dataclasses.field(default_factory=AugmentationConfig)


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """Which run to evaluate, and on what."""

    model_dir: Optional[str] = setting(None, "Directory of the run to evaluate.")
    dataset: Optional[str] = setting(None, "Data set; by default the run's.")
    data_dir: Optional[str] = setting(None, "Where data sets are stored.")
    eval_split: Optional[str] = setting(
        None, "Split; by default validation if there is one, else test."
    )
    eval_batch_size: int = setting(256, "Images evaluated at a time.")
    eval_steps: int = setting(0, "Batches to evaluate; 0 is the whole split.")

    def __post_init__(self):
        _check_values(self)
        _check(self, "model_dir", bool(self.model_dir), "the directory of a run must be given")
        _check_positive(self, "eval_batch_size")
        _check_not_negative(self, "eval_steps")


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Accuracy and loss of a fine-tuned or distilled run, or of a pretraining run's probe."""

    evaluation: EvaluationConfig
    devices: ComputeConfig = dataclasses.field(default_factory=ComputeConfig)


@dataclasses.dataclass(frozen=True)
class ExportedModelConfig:
    """Which exported model to apply to which images."""

    saved_model: Optional[str] = setting(
        None, "Directory of an export, or of the SavedModel in it."
    )
    images: Optional[str] = setting(
        None,
        "Image files, folders, globs or text files (.txt) with the path of an image on each line, "
        "separated by commas.",
    )
    batch_size: int = setting(32, "Images at a time.")

    def __post_init__(self):
        _check_values(self)
        _check(self, "saved_model", bool(self.saved_model), "an export must be given")
        _check(self, "images", bool(self.images), "image files or a folder must be given")
        _check_positive(self, "batch_size")


@dataclasses.dataclass(frozen=True)
class PredictionConfig(ExportedModelConfig):
    """Which exported model to apply to which images, and what to write of it."""

    output: str = setting("predictions.csv", "File to write: .csv or .parquet.")
    top_k: int = setting(5, "Likeliest classes of an image to write, at most all.")

    def __post_init__(self):
        super().__post_init__()
        _check_positive(self, "top_k")
        _check(
            self, "output", self.output.endswith((".csv", ".parquet")), "must end .csv or .parquet"
        )


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Likeliest classes of image files and their probabilities, by an export."""

    prediction: PredictionConfig


@dataclasses.dataclass(frozen=True)
class EmbeddingConfig(ExportedModelConfig):
    """Which exported model to apply to which images, and what to write of it."""

    output: str = setting(
        "embeddings.npy", "File to write, .npy; the images' paths go to one that ends _ids.txt."
    )
    projector: bool = setting(
        False,
        "Also write files for TensorBoard's projector, into a directory that ends _projector.",
    )

    def __post_init__(self):
        super().__post_init__()
        _check(self, "output", self.output.endswith(".npy"), "must end .npy")


@dataclasses.dataclass(frozen=True)
class EmbedConfig:
    """Representations of image files, by an export."""

    embedding: EmbeddingConfig


@dataclasses.dataclass(frozen=True)
class ConversionConfig:
    """Which checkpoint to convert: google_checkpoint to model_dir, or model_dir to to_google."""

    google_checkpoint: Optional[str] = setting(
        None,
        "Checkpoint of google-research/simclr to read: of TF1 or TF2, or a TF2 SavedModel's "
        "directory.",
    )
    model_dir: Optional[str] = setting(
        None, "Run directory to write; with --to_google the run, or one checkpoint in it, to read."
    )
    to_google: Optional[str] = setting(
        None, "Path of a TF2 checkpoint to write that google-research/simclr reads."
    )
    ft_proj_selector: Optional[int] = setting(
        None,
        "Output of the projection head that the checkpoint's classifier reads; by default 0, its "
        "input, unless only the last layer fits. The authors' models fine-tuned on 1% and 10% of "
        "labels need 1.",
    )
    dataset: Optional[str] = setting(
        None,
        "Data set that the checkpoint's classifier was trained on, for the names of its classes; "
        "without it classes have numbers.",
    )
    data_dir: Optional[str] = setting(None, "The data set's place.")
    image_size: Optional[int] = setting(
        None, "Height and width of the images to use; by default 224, or 32 for the CIFAR stem."
    )

    def __post_init__(self):
        _check_values(self)
        _check(self, "model_dir", bool(self.model_dir), "a run directory must be given")
        _check_positive(self, "image_size")
        if not self.to_google and not self.google_checkpoint:
            raise refuse(
                "google_checkpoint",
                self.google_checkpoint,
                "a checkpoint to read must be given, or --to_google to write one",
            )
        if self.to_google:
            for name in (
                "google_checkpoint",
                "ft_proj_selector",
                "dataset",
                "data_dir",
                "image_size",
            ):
                _check(
                    self, name, getattr(self, name) is None, "can't be combined with --to_google"
                )


@dataclasses.dataclass(frozen=True)
class ConvertConfig:
    """Checkpoints of google-research/simclr to run directories, and back."""

    conversion: ConversionConfig
