"""Defaults that follow the data, and that they are the paper's at the paper's scale."""

import dataclasses
import math

import pytest

from tf_simclrv2 import config
from tf_simclrv2.config.following import follow, image_size, views
from tf_simclrv2.config.views import COLOUR_FIELDS, GEOMETRY_FIELDS
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
    assert "--use_crop  (default: follows the data)" in text
    colours = "follows the data" if command == "pretrain" else "0.0"
    assert f"--color_jitter_strength  (default: {colours})" in text


PAPERS = config.AugmentationConfig()
GREY, COLOURED = (lambda: True), (lambda: False)


def _not_asked():
    raise AssertionError("nobody needs to know")


def _config(command, **given):
    kind, paths = KINDS[command]
    return command_line.build(kind, {**paths, **given}), {*paths, *given}


def _changed(command, size, are_grey, **given):
    """The settings of views that follow the images, and how the words on them end."""
    built, names = _config(command, **given)
    settled, words = views(built, names, size, are_grey)
    before, after = (dataclasses.asdict(each.augmentation) for each in (built, settled))
    said = settled.augmentation.in_words(size)
    assert words.startswith(said)
    ending = words[len(said) :]
    return {name: value for name, value in after.items() if value != before[name]}, ending


OF_GREY = {
    "use_crop": False, "use_flip": False, "rotation_max_degrees": 20, "scale_min": 0.8,
    "scale_max": 1.25, "shear_max": 0.3, "translate_max": 0.15,
}  # fmt: skip
OF_SMALL = {"use_blur": False, "color_jitter_strength": 0.5}


def test_the_views_of_small_grey_images_are_those_of_the_recipe_for_digits():
    flags = ["--recipe=digits/data", "--model_dir=run"]
    values = command_line.parse(config.PretrainConfig, flags)
    recipe = command_line.build(config.PretrainConfig, values)
    built, given = _config("pretrain")
    settled, words = views(built, given, 16, GREY)
    assert settled.augmentation == recipe.augmentation != PAPERS
    assert words.endswith("no blur (as for small grey images)")


@pytest.mark.parametrize("size", [16, 32, 64])
def test_the_views_of_small_images_are_those_of_the_authors_for_cifar(size):
    assert _changed("pretrain", size, COLOURED) == (OF_SMALL, " (as for small images)")


@pytest.mark.parametrize("command", ["finetune", "distill"])
def test_later_steps_follow_in_shape_alone(command):
    assert _changed(command, 32, COLOURED) == ({}, "")
    assert _changed(command, 32, GREY) == (OF_GREY, " (shape as for small grey images)")
    # What is taken over from pretraining counts as given.
    taken_over = {name: getattr(PAPERS, name) for name in GEOMETRY_FIELDS}
    assert _changed(command, 32, _not_asked, **taken_over) == ({}, "")


def test_the_views_of_larger_images_are_the_papers():
    assert _changed("pretrain", 65, _not_asked) == ({}, "")
    assert _changed("pretrain", 224, _not_asked) == ({}, "")


@pytest.mark.parametrize(
    ("given", "are_grey", "expected", "ending"),
    [
        ({"use_flip": True}, GREY, {"use_blur": False}, " (colours as for small grey images)"),
        ({"crop_area_min": 0.2}, COLOURED, OF_SMALL, " (colours as for small images)"),
        ({"use_blur": True}, GREY, OF_GREY, " (shape as for small grey images)"),
        ({"use_blur": True}, COLOURED, {}, ""),
        ({"solarize_probability": 0.1}, COLOURED, {}, ""),
        ({"color_jitter_strength": 0.8}, COLOURED, {}, ""),
        ({"use_crop": False}, GREY, {"use_blur": False}, " (colours as for small grey images)"),
        # What a flag asks for is what suits the images, or nothing special.
        ({"use_flip": False}, GREY, {**OF_GREY, "use_blur": False}, " (as for small grey images)"),
        ({"use_blur": False}, COLOURED, {"color_jitter_strength": 0.5}, " (as for small images)"),
        ({"use_flip": False}, COLOURED, OF_SMALL, " (colours as for small images)"),
        ({"grayscale_probability": 0.2}, COLOURED, OF_SMALL, " (as for small images)"),
        ({"grayscale_probability": 0.1}, COLOURED, {}, ""),
        ({"blur_probability": 0.5}, COLOURED, {}, ""),
        # These are about neither.
        ({"augment_on": "host"}, COLOURED, OF_SMALL, " (as for small images)"),
        ({"color_space": "yiq"}, COLOURED, OF_SMALL, " (as for small images)"),
    ],
)
def test_a_flag_that_asks_for_another_shape_or_colours_leaves_them_to_the_user(
    given, are_grey, expected, ending
):
    changed, found = _changed("pretrain", 32, are_grey, **given)
    without_given = {name: value for name, value in expected.items() if name not in given}
    assert (changed, found) == (without_given, ending)


def test_every_setting_of_views_is_about_shape_or_colours_or_said_to_be_about_neither():
    neither = {"fill_mode", "color_space", "augment_on"}
    fields = {field.name for field in dataclasses.fields(PAPERS)}
    assert fields == GEOMETRY_FIELDS | COLOUR_FIELDS | neither
    assert not GEOMETRY_FIELDS & COLOUR_FIELDS
