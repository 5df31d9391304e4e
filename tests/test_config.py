"""What a config computes and refuses."""

import dataclasses
import math
import re
from typing import Optional

import pytest

from tf_simclrv2 import config
from tf_simclrv2.config import ConfigError
from tf_simclrv2.programs.main import COMMANDS


def test_steps_are_counted_as_the_paper_code_counts_them():
    cifar = config.OptimizationConfig(train_batch_size=512, train_epochs=1000, warmup_epochs=10)
    assert cifar.steps(50_000) == 97_657
    assert cifar.warmup_steps(50_000) == 976
    assert config.OptimizationConfig(train_steps=7).steps(50_000) == 7


@pytest.mark.parametrize(
    ("scaling", "rate"), [("linear", 0.1 * 16), ("sqrt", 0.1 * 64), ("none", 0.1)]
)
def test_learning_rate_is_scaled_by_the_batch(scaling, rate):
    optimization = config.OptimizationConfig(
        train_batch_size=4096, learning_rate=0.1, learning_rate_scaling=scaling
    )
    assert optimization.scaled_learning_rate == pytest.approx(rate)


@pytest.mark.parametrize(
    ("stem", "image_size", "resolved"),
    [
        ("auto", 8, "cifar"),
        ("auto", 32, "cifar"),
        ("auto", 33, "imagenet"),
        ("imagenet", 32, "imagenet"),
        ("cifar", 96, "cifar"),
    ],
)
def test_the_stem_follows_the_image_size(stem, image_size, resolved):
    assert config.NetworkConfig(stem=stem).resolved(image_size).stem == resolved


@pytest.mark.parametrize(
    ("mode", "layers", "selector", "layer"),
    [("nonlinear", 3, -1, 3), ("nonlinear", 3, 1, 1), ("linear", 3, -1, 1), ("none", 3, -1, 0)],
)
def test_selector_names_a_layer_of_the_head(mode, layers, selector, layer):
    head = config.ProjectionHeadConfig(proj_head_mode=mode, num_proj_layers=layers)
    assert head.layer_of(selector) == layer


BAD = [
    (config.NetworkConfig, {"resnet_depth": 42}, "18, 34, 50, 101, 152, 200"),
    (config.NetworkConfig, {"width_multiplier": 0.0}, "greater than 0"),
    (config.NetworkConfig, {"width_multiplier": 0.3}, "even whole number"),
    (config.NetworkConfig, {"sk_ratio": 1.5}, "between 0 and 1"),
    (config.NetworkConfig, {"sk_ratio": 0.0625, "resnet_depth": 18}, "50 or more"),
    (config.NetworkConfig, {"se_ratio": -0.1}, "between 0 and 1"),
    (config.NetworkConfig, {"stem": "resnet"}, "auto, cifar, imagenet"),
    (config.NetworkConfig, {"batch_norm_decay": 1.0}, "[0, 1)"),
    (config.ProjectionHeadConfig, {"num_proj_layers": 0}, "greater than 0"),
    (config.ProjectionHeadConfig, {"proj_out_dim": -1}, "greater than 0"),
    (config.ProjectionHeadConfig, {"proj_head_mode": "deep"}, "nonlinear, linear, none"),
    (config.DataConfig, {"dataset": ""}, "must name a data set"),
    (config.DataConfig, {"image_size": 0}, "greater than 0"),
    (config.DataConfig, {"eval_batch_size": 0}, "greater than 0"),
    (config.DataConfig, {"eval_steps": -1}, "0 or greater"),
    (config.AugmentationConfig, {"color_jitter_strength": -1.0}, "0 or greater"),
    (config.AugmentationConfig, {"color_jitter_strength": 2.0}, "at most 1.25"),
    (config.AugmentationConfig, {"crop_area_min": 0.0}, "(0, 1]"),
    (config.AugmentationConfig, {"crop_aspect_max": 0.5}, "1 or greater"),
    (config.OptimizationConfig, {"train_batch_size": 0}, "greater than 0"),
    (config.OptimizationConfig, {"train_epochs": -5}, "greater than 0"),
    (config.OptimizationConfig, {"learning_rate": 0.0}, "greater than 0"),
    (config.OptimizationConfig, {"learning_rate_scaling": "cubic"}, "linear, sqrt, none"),
    (config.OptimizationConfig, {"optimizer": "sgd"}, "lars, momentum, adam"),
    (config.OptimizationConfig, {"momentum": 1.0}, "[0, 1)"),
    (config.OptimizationConfig, {"weight_decay": -1e-4}, "0 or greater"),
    (config.RunConfig, {"model_dir": None}, "must be given"),
    (config.ContrastiveConfig, {"temperature": 0.0}, "greater than 0"),
    (config.LabelsConfig, {"label_fraction": 0.0}, "(0, 1]"),
    (config.LabelsConfig, {"label_fraction": 1.5}, "(0, 1]"),
    (config.LabelsConfig, {"labels_per_class": 0}, "greater than 0"),
    (config.FineTuningConfig, {"checkpoint": None}, "--from_scratch=true"),
    (config.DistillationConfig, {"teacher": None}, "must be given"),
]


@pytest.mark.parametrize(
    ("section", "fields", "allowed"), BAD, ids=[f"{next(iter(b[1].items()))}" for b in BAD]
)
def test_a_bad_value_is_refused_with_flag_value_and_what_is_allowed(section, fields, allowed):
    with pytest.raises(ConfigError) as error:
        section(**fields)
    name, value = next(iter(fields.items()))
    assert f"--{name}={value}" in str(error.value)
    assert allowed in str(error.value)


@pytest.mark.parametrize(
    ("section", "fields", "flag"),
    [
        (config.LabelsConfig, {"label_fraction": 0.1, "labels_per_class": 2}, "labels_per_class"),
        (config.FineTuningConfig, {"checkpoint": "x", "from_scratch": True}, "from_scratch"),
        (config.DistillationConfig, {"teacher": "x", "distillation_temperature": 0.0},
         "distillation_temperature"),
        (config.DistillationConfig, {"teacher": "x", "distillation_alpha": 1.5},
         "distillation_alpha"),
        (config.FineTuningConfig, {"checkpoint": "x", "fine_tune_after_block": 5},
         "fine_tune_after_block"),
        (config.RunConfig, {"model_dir": "x", "log_every_steps": 0}, "log_every_steps"),
        (config.RunConfig, {"model_dir": "x", "seed": -1}, "seed"),
        (config.DevicesConfig, {"strategy": "mirrored", "use_tpu": True}, "strategy"),
        (config.DevicesConfig, {"strategy": "tpu", "virtual_devices": 2}, "virtual_devices"),
        (config.DevicesConfig, {"strategy": "one_device", "virtual_devices": 2}, "virtual_devices"),
        (config.OptimizationConfig, {"train_batch_size": 8, "gradient_accumulation_steps": 3},
         "gradient_accumulation_steps"),
    ],
)  # fmt: skip
def test_settings_that_exclude_each_other_or_are_out_of_range_are_refused(section, fields, flag):
    with pytest.raises(ConfigError, match=f"^--{flag}="):
        section(**fields)


REQUIRED = (
    "model_dir",
    "runs",
    "checkpoint",
    "teacher",
    "saved_model",
    "images",
    "google_checkpoint",
)
SECTIONS = {
    section
    for command in COMMANDS.values()
    for section in config.sections_of(command.config).values()
}
NUMBERS = [
    (section, field.name, value)
    for section in sorted(SECTIONS, key=lambda section: section.__name__)
    for field in dataclasses.fields(section)
    for kind, values in ((float, (math.inf, math.nan, 1e308)), (int, (2**32,)))
    if field.type in (kind, Optional[kind])
    for value in values
]


@pytest.mark.parametrize(("section", "name", "value"), NUMBERS)
def test_numbers_that_nothing_can_compute_with_are_refused(section, name, value):
    names = {field.name for field in dataclasses.fields(section)}
    fields = {required: "x" for required in REQUIRED if required in names}
    if "budget" in names:
        fields["budget"] = 1
    with pytest.raises(ConfigError, match=rf"^--{name}={re.escape(str(value))}: must be "):
        section(**{**fields, name: value})


def test_the_largest_seed_is_numpys():
    assert config.RunConfig("x", seed=2**32 - 1).seed == 2**32 - 1
