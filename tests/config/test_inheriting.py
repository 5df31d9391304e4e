"""What fine-tuning and distillation take over, and what an evaluation takes of its run."""

import dataclasses
import os

import pytest

from tf_simclrv2 import config
from tf_simclrv2.config import (
    Config,
    ConfigError,
    Section,
    inherit_pretrained,
    inherit_taught,
    inherited,
    not_inherited,
    setting,
)
from tf_simclrv2.programs import command_line

DATA = config.DataConfig(
    dataset="folder",
    data_dir="images",
    train_split="learn",
    eval_split="look",
    image_size=48,
    class_level=1,
    labels="labels.csv",
    classes="classes.txt",
    holdout_fraction=0.2,
    holdout_seed=5,
    max_bad_images=0.5,
    strict_images=True,
    check_images="quick",
    cache_dataset=True,
    cache_path="cache",
    eval_batch_size=7,
    eval_steps=3,
)
NETWORK = config.NetworkConfig(
    resnet_depth=101,
    width_multiplier=2.0,
    sk_ratio=0.0625,
    se_ratio=0.5,
    stem="cifar",
    batch_norm_decay=0.99,
    global_bn=False,
)
HEAD = config.ProjectionHeadConfig(proj_head_mode="linear", num_proj_layers=2, proj_out_dim=64)
PRETRAINED = config.PretrainConfig(
    config.RunConfig("pretrained", seed=9),
    data=DATA,
    network=NETWORK,
    projection_head=HEAD,
    augmentation=config.AugmentationConfig(
        color_jitter_strength=0.5,
        grayscale_probability=0.1,
        blur_probability=0.3,
        solarize_probability=0.2,
        use_flip=False,
        use_vertical_flip=True,
        rotate_90=True,
        use_crop=False,
        crop_area_min=0.3,
        rotation_max_degrees=20,
        scale_min=0.8,
        scale_max=1.5,
        shear_max=0.2,
        translate_max=0.1,
        fill_mode="reflect",
    ),
    optimization=config.OptimizationConfig(weight_decay=0.5),
)
OF_DATASET = {
    "dataset": "folder",
    "data_dir": "images",
    "train_split": "learn",
    "eval_split": "look",
    "class_level": 1,
    "check_images": "quick",
    "file_format": None,
    "labels": "labels.csv",
    "classes": "classes.txt",
    "holdout_fraction": 0.2,
    "holdout_seed": 5,
}
# What says how images may be changed; strengths keep each step's own default.
VIEWS = {
    "use_flip": False,
    "use_vertical_flip": True,
    "rotate_90": True,
    "use_crop": False,
    "crop_area_min": 0.3,
    "crop_aspect_max": 4 / 3,
    "rotation_max_degrees": 20,
    "scale_min": 0.8,
    "scale_max": 1.5,
    "shear_max": 0.2,
    "translate_max": 0.1,
    "fill_mode": "reflect",
}
INHERITED = {
    **OF_DATASET,
    **VIEWS,
    "image_size": 48,
    **dataclasses.asdict(NETWORK),
    **dataclasses.asdict(HEAD),
}


def test_fine_tuning_takes_over_data_and_architecture():
    assert inherit_pretrained({}, PRETRAINED, "pretrained") == INHERITED


def test_fine_tuning_builds_with_what_it_takes_over():
    given = {"model_dir": "tuned", "checkpoint": "pretrained"}
    values = inherit_pretrained(given, PRETRAINED, "pretrained")
    built = command_line.build(config.FinetuneConfig, values)
    assert (built.network, built.projection_head) == (NETWORK, HEAD)
    assert built.data.holdout_seed == 5
    assert built.data.eval_batch_size == config.DataConfig().eval_batch_size
    views = built.augmentation
    assert not views.use_flip and not views.use_crop and not views.use_blur
    assert (views.crop_area_min, views.color_jitter_strength) == (0.3, 0.0)
    assert (built.optimization.weight_decay, built.run.seed) == (0.0, 0)


def test_distillation_takes_over_data_and_network():
    of_head = {field.name for field in dataclasses.fields(config.ProjectionHeadConfig)}
    expected = {name: value for name, value in INHERITED.items() if name not in of_head}
    assert inherit_taught({}, PRETRAINED) == expected


def test_flags_go_before_what_is_taken_over():
    given = {"use_flip": True, "holdout_seed": 6, "global_bn": True, "train_steps": 4}
    assert inherit_pretrained(given, PRETRAINED, "run") == {**INHERITED, **given}


def test_another_data_set_leaves_all_but_the_image_size():
    rest = {name: value for name, value in INHERITED.items() if name not in OF_DATASET}
    given = {"dataset": "digits"}
    assert inherit_pretrained(given, PRETRAINED, "run") == {**rest, **given}
    # The same name in another directory is another data set.
    given = {"data_dir": "elsewhere"}
    assert inherit_pretrained(given, PRETRAINED, "run") == {**rest, "dataset": "folder", **given}


@pytest.mark.parametrize("data_dir", ["images", "./images/", os.path.abspath("images")])
def test_the_same_data_set_is_the_same_by_any_spelling(data_dir):
    given = {"dataset": "folder", "data_dir": data_dir}
    assert inherit_pretrained(given, PRETRAINED, "run") == {**INHERITED, **given}
    assert not_inherited(given, PRETRAINED) == ""


def test_what_is_left_of_another_data_set_is_named():
    assert not_inherited({"data_dir": "elsewhere", "holdout_seed": 1}, PRETRAINED) == (
        "the data are not folder in images, so settings of those are not taken over: "
        "train_split=learn, labels=labels.csv, holdout_fraction=0.2"
    )


def test_another_table_of_labels_has_other_splits():
    left = {"train_split", "eval_split"}
    rest = {name: value for name, value in INHERITED.items() if name not in left}
    given = {"labels": "others.csv"}
    assert inherit_pretrained(given, PRETRAINED, "run") == {**rest, **given}
    # No table at all, so no list of its classes either.
    assert "classes" not in inherit_pretrained({"labels": ""}, PRETRAINED, "run")
    given = {"labels": os.path.abspath("labels.csv")}
    assert inherit_pretrained(given, PRETRAINED, "run") == {**INHERITED, **given}
    # A part of a split of TensorFlow Datasets holds others back, with any table.
    data = dataclasses.replace(DATA, dataset="digits", labels=None, classes=None)
    base = dataclasses.replace(PRETRAINED, data=data)
    values = inherit_taught({"labels": "others.csv"}, base)
    assert values["train_split"] == "learn" and "eval_split" not in values


def test_a_run_continues_as_it_began():
    begun = dataclasses.replace(
        PRETRAINED,
        data=dataclasses.replace(DATA, data_dir="elsewhere", holdout_seed=7, eval_split="other"),
        augmentation=config.AugmentationConfig(),
    )
    given = {"data_dir": "elsewhere"}
    values = inherit_pretrained(given, PRETRAINED, "run", own=begun)
    assert values["use_flip"] and values["use_crop"]
    assert (values["train_split"], values["holdout_seed"]) == ("learn", 7)
    assert values["dataset"] == "folder" and "eval_split" not in values
    given = {"use_flip": False}
    assert not inherit_pretrained(given, PRETRAINED, "run", own=begun)["use_flip"]


ARCHITECTURE = {
    "resnet_depth": 18,
    "width_multiplier": 1.0,
    "sk_ratio": 0.0,
    "se_ratio": 0.0,
    "stem": "imagenet",
    "proj_head_mode": "nonlinear",
    "num_proj_layers": 3,
    "proj_out_dim": 128,
}


@pytest.mark.parametrize("name", ARCHITECTURE)
def test_fine_tuning_refuses_another_architecture_and_distillation_does_not(name):
    other, pretrained = ARCHITECTURE[name], INHERITED[name]
    with pytest.raises(ConfigError) as error:
        inherit_pretrained({name: other}, PRETRAINED, "runs/pretrained")
    assert str(error.value) == (
        f"--{name}={other}: the run in --checkpoint=runs/pretrained was pretrained with "
        f"{pretrained}, so leave the flag out or give that."
    )
    assert inherit_pretrained({name: pretrained}, PRETRAINED, "run") == INHERITED
    assert inherit_taught({name: other}, PRETRAINED)[name] == other


def test_a_stem_left_open_is_the_pretrained_one():
    assert inherit_pretrained({"stem": "auto"}, PRETRAINED, "run")["stem"] == "cifar"
    assert inherit_taught({"stem": "auto"}, PRETRAINED)["stem"] == "auto"


@dataclasses.dataclass(frozen=True)
class _Colours(Section):
    """A new section."""

    palette: str = setting("all", "Colours.", inherits=True)
    count: int = setting(3, "How many.", within="(0, inf)")


@dataclasses.dataclass(frozen=True)
class _Step(Config):
    """A new step."""

    colours: _Colours = dataclasses.field(default_factory=_Colours)
    data: config.DataConfig = dataclasses.field(default_factory=config.DataConfig)


def test_a_new_field_that_inherits_is_inherited():
    base = _Step(_Colours("few", 5))
    assert inherited({}, base, _Step)["palette"] == "few"
    assert inherited({"palette": "none"}, base, _Step)["palette"] == "none"
    assert "count" not in inherited({}, base, _Step)
    # From a run that was made before there was such a section.
    assert "palette" not in inherited({}, PRETRAINED, _Step)


NO_TABLE = {"labels": None, "classes": None}


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, {}),
        ({"eval_split": "test"}, {"eval_split": "test"}),
        ({"data_dir": "other"}, {"data_dir": "other", "eval_split": None, **NO_TABLE}),
        ({"data_dir": "./images"}, {"data_dir": "./images"}),
        ({"dataset": "folder"}, {}),
        (
            {"dataset": "digits"},
            {"dataset": "digits", "eval_split": None, "data_dir": None, **NO_TABLE},
        ),
        (
            {"dataset": "digits", "eval_split": "t"},
            {"dataset": "digits", "eval_split": "t", "data_dir": None, **NO_TABLE},
        ),
        ({"labels": "./labels.csv"}, {"labels": "./labels.csv"}),
        ({"labels": "others.csv"}, {"labels": "others.csv", "eval_split": None}),
        ({"labels": ""}, {"labels": "", "classes": None, "eval_split": None}),
        (
            {"data_dir": "other", "labels": "labels.csv"},
            {
                "data_dir": "other",
                "labels": "labels.csv",
                "classes": None,
                "eval_split": None,
                "train_split": "train",
            },
        ),
    ],
)
def test_an_evaluation_takes_of_its_run_what_no_flag_asks_for(flags, expected):
    wanted = config.EvaluationConfig("run", **flags, eval_batch_size=11, eval_steps=2)
    assert wanted.applied_to(DATA) == dataclasses.replace(
        DATA, **expected, eval_batch_size=11, eval_steps=2
    )


def test_another_folder_to_evaluate_on_may_have_classes_where_the_run_had_none():
    wanted = config.EvaluationConfig("run", data_dir="other")
    for level, taken in ((0, None), (1, 1), (2, 2), (None, None)):
        of_run = dataclasses.replace(DATA, class_level=level)
        assert wanted.applied_to(of_run).class_level == taken
        assert config.EvaluationConfig("run").applied_to(of_run).class_level == level


def test_files_of_a_run_keep_the_order_of_their_fields():
    # Run directories hold them in this order, and people compare the files of two runs.
    assert list(dataclasses.asdict(PRETRAINED)) == [
        "run", "data", "unlabelled", "network", "projection_head", "contrastive", "memory",
        "augmentation", "optimization", "devices", "start", "monitors",
    ]  # fmt: skip
    assert list(dataclasses.asdict(DATA)) == [
        "dataset", "data_dir", "train_split", "eval_split", "image_size", "class_level",
        "labels", "classes", "holdout_fraction", "holdout_seed", "max_bad_images", "strict_images",
        "max_image_pixels", "check_images", "order", "file_format", "cache_dataset",
        "cache_path", "cache_max_side", "eval_batch_size", "eval_steps",
    ]  # fmt: skip
