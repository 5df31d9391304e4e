"""The rows of the training commands: where a run lives, its network, training and devices."""

import importlib.util

from tests.net import looks
from tests.net import looks_at_training as trained
from tests.net.table import Row, Rows, anything, becomes, changes

HAS_ADDONS = importlib.util.find_spec("tensorflow_addons") is not None
# Rows of one command with the same of these letters share one job; both jobs together hold most of
# what can be given to one job.
A, B = "a", "b"
_PRETRAINED = "--from_scratch=false --checkpoint={pretrained}"
_WITH_MEMORY = "--from_scratch=false --checkpoint={with_memory}"
_MEMORY = "--use_memory --memory_size=64"
_ON_A_TPU = "--use_tpu"

_RUN = [
    Row("model_dir", "{new}_{command}", looks.is_at("{new}_{command}"), becomes(anything, True),
        group=B),
    Row(
        "log_every_steps", 4, looks.logged_steps,
        becomes([*range(1, 16)], [4, 8, 12, 16, 20, 22]), group=A,
    ),
    # An epoch is 70 images, 3.5 steps.
    Row("checkpoint_epochs", 2, looks.saved_steps, becomes([4, 8, 12, 15], [21, 22]), group=A),
    Row("keep_checkpoint_max", 2, looks.saved_steps, becomes([4, 8, 12, 15], [21, 22]), group=A),
    Row("checkpoint_min_steps", 6, looks.saved_steps, becomes([4, 8, 12, 15], [6, 12, 15])),
    Row("checkpoint_steps", 3, looks.saved_steps, becomes([4, 8, 12, 15], [3, 6, 8]), group=B),
    Row("nan_policy", "restore", looks.fits_if_it_diverges, becomes(1, 4), group=A),
]  # fmt: skip

_NETWORK = [
    Row("resnet_depth", 50, looks.depth, becomes((4, 2), (4, 3)), group=B),
    Row("width_multiplier", 0.03125, looks.channels, becomes(4, 2), group=A),
    Row("sk_ratio", 0.0625, looks.selective_kernels, becomes(0, 4), group=B),
    # Half of the channels inside the blocks.
    Row("se_ratio", 0.5, looks.squeezed_channels, becomes([], [1, 2, 4, 8]), group=A),
    Row(
        "stem", "imagenet", looks.stem_pools, becomes(False, True), group=B,
        besides="--image_size=32",
    ),
    Row("batch_norm_decay", 0.5, looks.statistics_decay, becomes(0.9, 0.5), group=A),
    Row("global_bn", "false", looks.synchronized, becomes([True], [False]), group=A),
]  # fmt: skip

_OPTIMIZATION = [
    Row("image_size", 12, looks.image_shapes, becomes([(8, 8)], [(12, 12)]), group=A),
    Row("train_batch_size", 10, looks.batch_size, becomes(20, 10), group=B),
    Row("train_epochs", 6, looks.steps, becomes(15, 22), group=A),
    Row("train_steps", 8, looks.steps, becomes(15, 8), group=B),
    Row("optimizer", "momentum", trained.optimizer, becomes("LARS", "SGD"), group=B),
    Row("learning_rate", 0.7, trained.highest_rate, becomes(0.3 * 20 / 256, 3.130495), group=A),
    Row(
        "learning_rate_scaling", "sqrt", trained.highest_rate,
        becomes(0.3 * 20 / 256, 3.130495), group=A,
    ),
    Row("warmup_epochs", 2, trained.warmup, becomes(3, 7), group=A),
    Row("momentum", 0.5, trained.momentum, becomes(0.9, 0.5), group=A),
    Row("weight_decay", 0.2, trained.decay_of_kernels, becomes(0.1, 0.2), group=A),
    Row("weight_decay", 0.2, trained.decay_in_loss, becomes(0.1, 0.2), group=A),
]  # fmt: skip
_OPTIMIZERS = [Row("optimizer", "adam", trained.optimizer, becomes("LARS", "Adam"))]
if HAS_ADDONS:
    _OPTIMIZERS += [
        Row("optimizer", "lamb", trained.optimizer, becomes("LARS", "LAMB")),
        Row("optimizer", "sgdw", trained.optimizer, becomes("LARS", "SGDW")),
    ]

_DEVICES = [
    Row("strategy", "multi_worker", looks.refused, becomes(None, "strategy")),
    Row("use_tpu", "true", looks.tpu, becomes(None, lambda seen: seen["tpu"] == "local")),
    Row("tpu_name", "grpc://1", looks.tpu, becomes(None, lambda seen: seen["tpu"] == "grpc://1")),
    Row("tpu_zone", "moon", looks.tpu, becomes(
        lambda seen: seen["zone"] is None, lambda seen: seen["zone"] == "moon"), _ON_A_TPU),
    Row("gcp_project", "me", looks.tpu, becomes(
        lambda seen: seen["project"] is None, lambda seen: seen["project"] == "me"), _ON_A_TPU),
    # TensorFlow started with one device, so that it can't be split any more.
    Row("virtual_devices", 2, looks.refused, becomes(None, "virtual_devices")),
    Row("jit_compile", "true", trained.compiled_by_xla, becomes(False, True), group=A),
    Row(
        "mixed_precision", "mixed_bfloat16", looks.compute_dtypes,
        becomes(["float32"], ["bfloat16"]), group=B,
    ),
    Row("steps_per_execution", 4, trained.steps_per_execution, becomes(1, 4), group=A),
    Row("rematerialize", "true", trained.passes, becomes(1, 2), group=A),
]  # fmt: skip

_PROJECTION_HEAD = [
    Row("proj_out_dim", 32, looks.head_dim, becomes(128, 32), group=A),
    Row("num_proj_layers", 2, looks.head_layers, becomes([False, False, True], [False, True]),
        group=A),
    Row("proj_head_mode", "linear", looks.head_layers, becomes([False, False, True], [True]),
        group=B),
    Row("proj_head_mode", "none", looks.head_layers, becomes([False, False, True], [])),
]  # fmt: skip

# So few images take temperature 0.5 by themselves.
_CONTRASTIVE = [
    Row("temperature", 0.2, trained.contrast, becomes([(0.5, True)], [(0.2, False)]), group=A),
    Row("hidden_norm", "false", trained.contrast, becomes([(0.5, True)], [(0.2, False)]), group=A),
    Row("temperature", 0.2, trained.contrast_with_memory,
        becomes([(0.5, True)], [(0.2, False)]), _MEMORY, group="memory"),
    Row("hidden_norm", "false", trained.contrast_with_memory,
        becomes([(0.5, True)], [(0.2, False)]), _MEMORY, group="memory"),
    Row("lineareval_while_pretraining", "false", looks.classifies, becomes(True, False), group=B),
    Row("ft_proj_selector", 1, looks.read_by_classifier, becomes([0], [1]), group=A),
]  # fmt: skip

_MEMORY_ROWS = [
    Row("use_memory", "true", trained.has_memory, becomes(False, True),
        besides="--memory_size=64"),
    Row("memory_size", 90, trained.memory_size, becomes(64, 90), _MEMORY, group="memory"),
    Row("memory_ema_decay", 0.5, trained.average_decay(100_000), becomes(0.999, 0.5), _MEMORY,
        group="memory"),
    Row("memory_ema_ramp", "false", trained.average_decay(1), becomes(0.1, 0.5), _MEMORY,
        group="memory"),
    Row("memory_batch_norm", "moving", trained.memory_batch_norm, becomes("batch", "moving"),
        _MEMORY, group="memory"),
    Row("memory_batch_norm", "split", trained.memory_batch_norm, becomes("batch", "split"),
        f"{_MEMORY} --train_batch_size=16"),
]  # fmt: skip

_START = [
    Row("checkpoint", "{pretrained}", looks.starts_from("{pretrained}"),
        becomes([], ["network"])),
    Row("use_ema_weights", "true", looks.starts_from("{with_memory}"),
        becomes(["network"], ["memory/network"]), "--checkpoint={with_memory}"),
]  # fmt: skip

# Ten images are held out.
_MONITORS = [
    Row("monitor_every_steps", 4, looks.monitored_steps,
        becomes([15], [4, 8, 12, 16, 20, 22]), group=A),
    Row("monitor_images", 6, looks.monitored_images, becomes(10, 6), group=A),
    Row("keep_best", "loss", looks.best_steps, becomes([], [4]), group=A),
]  # fmt: skip

_FINE_TUNING = [
    Row("checkpoint", "{pretrained}", looks.starts_from("{pretrained}"), becomes([], ["network"]),
        besides="--from_scratch=false"),
    Row("from_scratch", "true", looks.starts_from("{pretrained}"), becomes(["network"], []),
        _PRETRAINED, "--checkpoint="),
    Row("use_ema_weights", "true", looks.starts_from("{with_memory}"),
        becomes(["network"], ["memory/network"]), _WITH_MEMORY),
    Row("ft_proj_selector", 1, looks.head_layers, becomes([], [True]), group=B),
    Row("ft_proj_selector", -1, looks.head_layers, becomes([], [False, True]), group=A),
    Row("proj_head_mode", "linear", looks.head_layers, becomes([], [True]), group=B),
    Row("num_proj_layers", 2, looks.head_layers, becomes([], [False, True]), group=A),
    Row("proj_out_dim", 32, looks.head_dim, becomes(None, 32), group=A),
    Row("fine_tune_after_block", 2, looks.trained_parts,
        becomes([True] * 5, [False, False, False, True, True]), group=B),
    Row("zero_init_logits_layer", "true", looks.classifier_is_zero, becomes(False, True), group=B),
    Row("head_start", "ridge", looks.classifier_is_fitted, becomes(False, True), _PRETRAINED),
    Row("folds", 3, looks.folds, becomes(5, 3), f"{_PRETRAINED} --mode=train_then_eval"),
    Row("folds_of", "finetune", looks.cross_validated,
        becomes(["cross_validation"], ["cross_fine_tuning"]),
        f"{_PRETRAINED} --mode=train_then_eval"),
]  # fmt: skip

_DISTILLATION = [
    Row("teacher", "{other_teacher}", trained.teacher_weights, changes),
    Row("distillation_temperature", 2, trained.teaching, becomes([(1.0, 1.0)], [(2.0, 0.5)]),
        group=A),
    Row("distillation_alpha", 0.5, trained.teaching, becomes([(1.0, 1.0)], [(2.0, 0.5)]), group=A),
]  # fmt: skip

_REPORT = [
    Row("baselines", "true", looks.baselines, becomes([], ["raw_pixels", "untrained_network"]),
        "--mode=train_then_eval"),
]  # fmt: skip
_ACCUMULATION = [
    Row("gradient_accumulation_steps", 2, trained.parts_of_batch, becomes([20], [10, 10]), group=A)
]
_NO_ACCUMULATION = [
    Row("gradient_accumulation_steps", 2, looks.refused,
        becomes(None, "gradient_accumulation_steps"))
]  # fmt: skip

_SHARED = [*_RUN, *_NETWORK, *_OPTIMIZATION, *_DEVICES]
ROWS: Rows = {
    "pretrain": [
        *_SHARED,
        *_NO_ACCUMULATION,
        *_START,
        *_PROJECTION_HEAD,
        *_CONTRASTIVE,
        *_MEMORY_ROWS,
        *_MONITORS,
    ],
    "finetune": [*_SHARED, *_OPTIMIZERS, *_ACCUMULATION, *_FINE_TUNING, *_REPORT],
    "distill": [*_SHARED, *_ACCUMULATION, *_DISTILLATION, *_REPORT],
}
