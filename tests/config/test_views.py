"""What the settings of views mean together, and how the first line of a run words them."""

import dataclasses

import pytest

from tf_simclrv2.config import AugmentationConfig, ConfigError, FinetuneConfig, PretrainConfig
from tf_simclrv2.data.views.blur import blur_radius
from tf_simclrv2.programs import command_line

PAPERS = AugmentationConfig()
PLAIN = AugmentationConfig(color_jitter_strength=0, use_blur=False, use_flip=False)


def test_by_default_views_are_the_papers():
    config = AugmentationConfig()
    assert (config.color_jitter_strength, config.grayscale, config.blur) == (1, 0.2, 0.5)
    assert config.distorts and not config.warps
    assert (
        config.in_words(224) == "crops of 0.08 to 1 of the area, flips, colours of strength 1, blur"
    )


def test_steps_after_pretraining_distort_no_colours_and_do_not_blur():
    values = command_line.parse(FinetuneConfig, ["--model_dir=run", "--from_scratch"])
    config = command_line.build(FinetuneConfig, values).augmentation
    assert (config.grayscale, config.blur, config.solarize_probability) == (0, 0, 0)
    assert config.in_words(224) == "crops of 0.08 to 1 of the area, flips, no colours, no blur"


@pytest.mark.parametrize(
    ("settings", "grayscale", "blur"),
    [
        ({"grayscale_probability": 0.0}, 0, 0.5),
        ({"grayscale_probability": 0.6}, 0.6, 0.5),
        ({"grayscale_probability": 0.6, "color_jitter_strength": 0.0}, 0.6, 0.5),
        ({"color_jitter_strength": 0.0}, 0, 0.5),
        ({"blur_probability": 0.1}, 0.2, 0.1),
        ({"blur_probability": 0.0, "use_blur": False}, 0.2, 0),
        ({"use_blur": False}, 0.2, 0),
    ],
)
def test_what_is_not_given_follows_from_the_switches(settings, grayscale, blur):
    config = AugmentationConfig(**settings)
    assert (config.grayscale, config.blur) == (grayscale, blur)


@pytest.mark.parametrize(
    "setting",
    [
        {"use_flip": True}, {"use_vertical_flip": True}, {"rotate_90": True}, {"use_blur": True},
        {"color_jitter_strength": 0.1}, {"grayscale_probability": 0.1},
        {"solarize_probability": 0.1},
    ],
    ids=lambda setting: next(iter(setting)),
)  # fmt: skip
def test_each_distortion_alone_is_one(setting):
    assert not PLAIN.distorts
    assert dataclasses.replace(PLAIN, **setting).distorts


def test_the_first_line_of_a_run_names_all_that_is_on():
    config = AugmentationConfig(
        color_jitter_strength=0.5, grayscale_probability=0, blur_probability=0.1,
        solarize_probability=0.3, use_vertical_flip=True, rotate_90=True, use_crop=False,
        rotation_max_degrees=20, scale_min=0.8, scale_max=1.25, shear_max=0.3, translate_max=0.1,
        fill_mode="reflect",
    )  # fmt: skip
    assert config.in_words(224) == (
        "no crops, flips, vertical flips, quarter turns, turns of up to 20 degrees, scales of 0.8 "
        "to 1.25, slants of up to 0.3, shifts of up to 0.1 of the side, beyond the border reflect, "
        "colours of strength 0.5, 0 grey, 0.1 blurred, 0.3 solarized"
    )


def test_the_first_line_speaks_of_a_blur_only_where_its_kernel_has_more_than_a_pixel():
    blurring = [size for size in range(1, 100) if not PAPERS.in_words(size).endswith("no blur")]
    assert blurring == [size for size in range(1, 100) if blur_radius(size) > 0]


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--blur_probability=0.5", "has no effect without --use_blur=true"),
        ("--grayscale_probability=1.1", "between 0 and 1"),
        ("--solarize_probability=-0.1", "between 0 and 1"),
        ("--rotation_max_degrees=181", "between 0 and 180"),
        ("--scale_min=0", "between 0.1 and 1"),
        ("--scale_min=1.2", "between 0.1 and 1"),
        ("--scale_max=0.9", "between 1 and 10"),
        ("--shear_max=2", "between 0 and 1"),
        ("--translate_max=0.6", "between 0 and 0.5"),
        ("--fill_mode=wrap", "<edge|constant|reflect>"),
    ],
)
def test_what_makes_no_view_is_refused_by_its_flag(flag, words):
    with pytest.raises(ConfigError) as error:
        values = command_line.parse(PretrainConfig, ["--model_dir=run", "--use_blur=false", flag])
        command_line.build(PretrainConfig, values)
    assert flag in str(error.value) and words in str(error.value)
