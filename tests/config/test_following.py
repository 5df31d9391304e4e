"""Defaults that follow the data, and that they are the paper's at the paper's scale."""

import dataclasses
import math

import pytest

from tf_simclrv2 import config
from tf_simclrv2.config.following import follow, image_size, views, views_in_words
from tf_simclrv2.programs import command_line

IMAGENET, ONE_PERCENT = 1_281_167, 12_811
KINDS = {
    "pretrain": (config.PretrainConfig, {"model_dir": "run"}),
    "finetune": (config.FinetuneConfig, {"model_dir": "run", "checkpoint": "pretrained"}),
    "distill": (config.DistillConfig, {"model_dir": "run", "teacher": "fine_tuned"}),
}


def _followed(command, count, **given):
    kind, paths = KINDS[command]
    built = command_line.build(kind, {**paths, **given})
    return built, *follow(built, {*paths, *given}, count)


@pytest.mark.parametrize(
    ("command", "count", "given"),
    [
        ("pretrain", IMAGENET, {"train_batch_size": 4096}),
        ("pretrain", IMAGENET, {"train_batch_size": 4096, "use_memory": True}),
        ("pretrain", IMAGENET, {"train_batch_size": 8192, "train_epochs": 800}),
        ("distill", IMAGENET, {"train_batch_size": 4096}),
        ("finetune", ONE_PERCENT, {}),
        ("finetune", 10 * ONE_PERCENT, {}),
        ("finetune", IMAGENET, {}),
    ],
)
def test_at_the_scale_of_imagenet_all_defaults_stay(command, count, given):
    built, settled, settings = _followed(command, count, **given)
    assert settled == built
    assert not {*given} & {*settings}


@pytest.mark.parametrize("count", [1, 2, 14, 40, 100, 1437, 5000, 50_000, 10**6])
@pytest.mark.parametrize("command", KINDS)
def test_at_any_scale_a_run_is_long_enough_and_its_settings_fit(command, count):
    given = {"use_memory": True} if command == "pretrain" else {}
    _, settled, _ = _followed(command, count, **given)
    optimization = settled.optimization
    steps, batch = optimization.steps(count), optimization.train_batch_size
    assert steps >= (200 if command == "finetune" else 1000)
    assert optimization.warmup_steps(count) <= steps / 10
    assert math.log2(batch).is_integer()
    if command == "finetune":
        assert 64 <= batch <= 1024
    else:
        assert 2 <= batch <= min(512, max(2, count))
    if command == "pretrain":
        assert 2 * batch <= settled.memory.memory_size <= max(2 * batch, count / 5)


@pytest.mark.parametrize(
    ("command", "count", "given", "expected"),
    [
        (
            "pretrain",
            1437,
            {"use_memory": True},
            {
                "train_batch_size": 128,
                "train_epochs": 100,
                "learning_rate": 1.7,
                "warmup_epochs": 10,
                "temperature": 0.5,
                "memory_size": 287,
            },
        ),
        # As the run of 10 steps is 128 x 10 images, a tenth of them is warmup.
        ("pretrain", 1280, {"train_steps": 10}, {"warmup_epochs": 0.1}),
        ("pretrain", 10**6, {"use_memory": True}, {"memory_size": 65536, "temperature": 0.2}),
        ("pretrain", 300_000, {"use_memory": True}, {"memory_size": 60_000}),
        ("pretrain", 10**6, {"train_batch_size": 1024}, {"learning_rate": 0.6, "temperature": 0.1}),
        # Whatever the scaling, the peak is that of linear scaling.
        (
            "pretrain",
            10**6,
            {"train_batch_size": 1024, "learning_rate_scaling": "sqrt"},
            {"learning_rate": 0.075},
        ),
        ("pretrain", 10**6, {"optimizer": "adam", "learning_rate_scaling": "none"},
         {"learning_rate": 0.001}),
        ("finetune", 14, {"learning_rate_scaling": "none"},
         {"train_batch_size": 64, "train_epochs": 915, "learning_rate": 0.04}),
        ("finetune", 5000, {}, {"train_batch_size": 256, "train_epochs": 60}),
        ("distill", 30, {}, {"train_batch_size": 16, "train_epochs": 534}),
        ("distill", 30, {"gradient_accumulation_steps": 32}, {"train_batch_size": 32}),
    ],
)  # fmt: skip
def test_the_formulas(command, count, given, expected):
    _, settled, settings = _followed(command, count, **given)
    assert {name: settings[name] for name in expected} == pytest.approx(expected)
    values = {k: v for section in dataclasses.asdict(settled).values() for k, v in section.items()}
    assert {name: values[name] for name in settings} == settings


@pytest.mark.parametrize(
    ("side", "given", "expected"),
    [
        (8, None, 16), (16, None, 16), (28, None, 32), (32, None, 32), (33, None, 48),
        (96, None, 96), (223, None, 224), (4000, None, 224), (None, None, 224), (8, 64, 64),
        (500, 300, 300),
    ],
)  # fmt: skip
def test_the_size_of_the_images(side, given, expected):
    assert image_size(config.DataConfig(dataset="folder", image_size=given), side) == expected
    assert image_size(config.DataConfig(), None) == 16


def test_what_was_given_stays():
    given = {
        "train_batch_size": 20, "train_epochs": 3, "learning_rate": 7.0, "warmup_epochs": 9.0,
        "temperature": 0.3, "memory_size": 99, "use_memory": True,
    }  # fmt: skip
    built, settled, settings = _followed("pretrain", 1437, **given)
    assert (settled, settings) == (built, {})
    # Steps that were given go before epochs, which are then not said.
    _, settled, settings = _followed("finetune", 14, train_steps=7)
    assert "train_epochs" not in settings and settled.optimization.steps(14) == 7


@pytest.mark.parametrize("command", KINDS)
def test_help_says_which_defaults_follow(command):
    text = command_line.help_text(command, KINDS[command][0])
    flags = ["train_batch_size", "train_epochs", "learning_rate", "warmup_epochs"]
    for flag in flags + ["temperature", "memory_size"] * (command == "pretrain"):
        assert f"--{flag}  (default: follows the data)" in text
    assert "--momentum  (default: 0.9)" in text


PAPERS = config.AugmentationConfig()
PLAIN = config.FinetuneConfig.__dataclass_fields__["augmentation"].default_factory()
GREY, COLOURED = (lambda: True), (lambda: False)


def _changed(augmentation, *arguments):
    """The settings of views that follow the images, and what they suit."""
    settled, suited = views(augmentation, *arguments)
    before, after = dataclasses.asdict(augmentation), dataclasses.asdict(settled)
    return {name: value for name, value in after.items() if value != before[name]}, suited


def test_the_views_of_small_grey_images_are_those_of_the_recipe_for_digits():
    flags = ["--recipe=digits/data", "--model_dir=run"]
    values = command_line.parse(config.PretrainConfig, flags)
    recipe = command_line.build(config.PretrainConfig, values)
    assert views(PAPERS, (), 16, GREY) == (recipe.augmentation, "small grey images")
    assert recipe.augmentation != PAPERS


@pytest.mark.parametrize("size", [16, 32, 64])
def test_the_views_of_small_images_are_those_of_the_authors_for_cifar(size):
    expected = {"use_blur": False, "color_jitter_strength": 0.5}
    assert _changed(PAPERS, (), size, COLOURED) == (expected, "small images")
    # Fine-tuning distorts no colours at any size.
    assert _changed(PLAIN, (), size, COLOURED) == ({}, "")


@pytest.mark.parametrize("size", [65, 224])
def test_the_views_of_larger_images_are_the_papers(size):
    def look():
        raise AssertionError("nobody needs to know")

    assert views(PAPERS, (), size, look) == (PAPERS, "")
    assert views(PAPERS, {"use_flip", "use_blur"}, 16, look) == (PAPERS, "")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("use_flip", {"use_flip", "use_crop", "rotation_max_degrees"}),
        ("crop_area_min", {"use_flip", "use_crop", "shear_max"}),
        ("use_blur", {"use_blur", "color_jitter_strength"}),
        ("solarize_probability", {"use_blur", "color_jitter_strength"}),
        ("augment_on", set()),
    ],
)
def test_a_flag_about_shape_or_colours_leaves_all_of_it_to_the_user(given, kept):
    changed, suited = _changed(PAPERS, {given, "model_dir"}, 32, GREY)
    assert changed and not kept & {*changed}
    shape = {"use_flip", "use_crop", "rotation_max_degrees"} & {*changed}
    assert len(shape) == (0 if {"use_flip"} <= kept else 3)
    assert suited == "small grey images"


def test_views_in_words_say_what_they_suit():
    assert views_in_words(PAPERS, "") == PAPERS.words
    assert views_in_words(PAPERS, "small images") == f"{PAPERS.words} (as suits small images)"
