"""Every recipe explains itself, its command parses, and its settings are the paper's."""

import dataclasses
import pathlib
import re
import shlex
from typing import Any, List

import pytest

from tf_simclrv2.programs import command_line
from tf_simclrv2.programs.main import COMMANDS

ROOT = pathlib.Path(__file__).parents[2]
RECIPES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "flags").rglob("*.txt"))
IMAGENET_TRAIN_IMAGES = 1_281_167

# SimCLRv2, Table 1: depth, width, selective kernels, parameters (M), and top-1 (%) fine-tuned on
# 1%, 10% and 100% of the labels, by linear evaluation, and supervised.
TABLE_1 = {
    "r50_1x": (50, 1, False, 24, 57.9, 68.4, 76.3, 71.7, 76.6),
    "r50_1x_sk": (50, 1, True, 35, 64.5, 72.1, 78.7, 74.6, 78.5),
    "r50_2x": (50, 2, False, 94, 66.3, 73.9, 79.1, 75.6, 77.8),
    "r50_2x_sk": (50, 2, True, 140, 70.6, 77.0, 81.3, 77.7, 79.3),
    "r101_1x": (101, 1, False, 43, 62.1, 71.4, 78.2, 73.6, 78.0),
    "r101_1x_sk": (101, 1, True, 65, 68.3, 75.1, 80.6, 76.3, 79.6),
    "r101_2x": (101, 2, False, 170, 69.1, 75.8, 80.7, 77.0, 78.9),
    "r101_2x_sk": (101, 2, True, 257, 73.2, 78.8, 82.4, 79.0, 80.1),
    "r152_1x": (152, 1, False, 58, 64.0, 73.0, 79.3, 74.5, 78.3),
    "r152_1x_sk": (152, 1, True, 89, 70.0, 76.5, 81.3, 77.2, 79.9),
    "r152_2x": (152, 2, False, 233, 70.2, 76.6, 81.1, 77.4, 79.1),
    "r152_2x_sk": (152, 2, True, 354, 74.2, 79.4, 82.9, 79.4, 80.4),
    "r152_3x_sk": (152, 3, True, 795, 74.9, 80.1, 83.1, 79.8, 80.5),
}


@pytest.fixture(autouse=True)
def in_project_root(monkeypatch):
    """Recipes name each other from the project's root."""
    monkeypatch.chdir(ROOT)


def header(recipe: str) -> List[str]:
    """The lines of the comment that a recipe opens with, without their marks."""
    lines = []
    for line in (ROOT / recipe).read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line[1:])
    return lines


def command_in(recipe: str) -> List[str]:
    """The arguments of the one command in a recipe's comment, from the command's name on."""
    text = "\n".join(header(recipe)).replace("\\\n", " ")
    commands = re.findall(r"^ {3}python -m tf_simclrv2 (.*)$", text, re.MULTILINE)
    assert len(commands) == 1
    return shlex.split(commands[0])


def included(arguments: List[str]) -> List[str]:
    """The flagfiles that arguments name, and those that these name in turn."""
    files = []
    for argument in arguments:
        if argument.startswith("--flagfile="):
            file = argument.split("=", 1)[1]
            lines = pathlib.Path(file).read_text(encoding="utf-8").splitlines()
            files += [file, *included(lines)]
    return files


def config_of(command: str, *arguments: str) -> Any:
    """The config of a command, with the directories that it can't do without."""
    directories = {
        "pretrain": ["--model_dir=run"],
        "finetune": ["--model_dir=run", "--checkpoint=pretrained"],
        "distill": ["--model_dir=run", "--teacher=fine_tuned"],
    }[command]
    flags = [
        argument if argument.startswith("--") else f"--flagfile=flags/{argument}.txt"
        for argument in arguments
    ]
    kind = COMMANDS[command].config
    return command_line.build(kind, command_line.parse(kind, [*flags, *directories]))


@pytest.mark.parametrize("recipe", RECIPES)
def test_opens_with_what_it_is_and_what_to_expect(recipe):
    lines = header(recipe)
    assert re.match(r" [A-Z].+", lines[0])
    expected = [line for line in lines if line.startswith(" Expected: ")]
    sources = [line for line in lines if line.startswith(" Source: ")]
    assert len(expected) == len(sources) == 1
    assert re.search(r"\d%|no published figure|no figure of its own|README\.md", expected[0])


@pytest.mark.parametrize("recipe", RECIPES)
def test_command_parses_and_uses_the_recipe(recipe):
    command, *arguments = command_in(recipe)
    kind = COMMANDS[command].config
    config = command_line.build(kind, command_line.parse(kind, arguments))
    assert isinstance(config, kind)
    assert recipe in included(arguments)


def test_every_network_of_the_paper_has_a_flagfile():
    names = {pathlib.Path(path).stem for path in RECIPES if path.startswith("flags/networks/")}
    assert names == set(TABLE_1)


@pytest.mark.parametrize("name", TABLE_1)
def test_network_is_that_of_table_1(name):
    depth, width, selective_kernels, parameters, *accuracies = TABLE_1[name]
    recipe = f"flags/networks/{name}.txt"
    # All three, or a student would inherit the rest from its teacher; and no other.
    values = command_line.parse(COMMANDS["pretrain"].config, [f"--flagfile={recipe}"])
    assert values == {
        "resnet_depth": depth,
        "width_multiplier": width,
        "sk_ratio": 0.0625 if selective_kernels else 0,
    }
    comment = " ".join(header(recipe))
    assert re.findall(r"(\d+) M parameters", comment) == [str(parameters)]
    assert re.findall(r"(\d+\.\d)%", comment) == [f"{accuracy:.1f}" for accuracy in accuracies]
    assert ("finetune_wide_or_sk.txt" in comment) == (width > 1 or selective_kernels)


def assert_lars_with_cosine_from(peak, optimization):
    assert optimization.optimizer == "lars"
    assert optimization.momentum == 0.9
    assert optimization.scaled_learning_rate == pytest.approx(peak)


def assert_only_crop_and_flip(augmentation):
    assert augmentation.use_crop and augmentation.use_flip
    assert augmentation.color_jitter_strength == 0
    assert not augmentation.use_blur


def test_imagenet_pretraining_is_the_papers():
    config = config_of("pretrain", "imagenet/pretrain", "networks/r152_3x_sk")
    assert_lars_with_cosine_from(6.4, config.optimization)
    assert config.optimization.train_batch_size == 4096
    assert config.optimization.train_epochs == 800
    assert config.optimization.warmup_epochs == 0.05 * 800
    assert config.optimization.weight_decay == 1e-4
    assert config.optimization.steps(IMAGENET_TRAIN_IMAGES) == 250_228
    assert config.contrastive.temperature == 0.1
    assert config.projection_head.num_layers == 3
    assert config.augmentation.color_jitter_strength == 1.0
    assert config.augmentation.use_crop and config.augmentation.use_flip
    assert config.augmentation.use_blur
    assert config.network.global_bn
    assert (config.network.resnet_depth, config.network.width_multiplier) == (152, 3)
    assert (config.data.dataset, config.data.resolved_image_size) == ("imagenet2012", 224)
    assert (config.data.train_split, config.data.eval_split) == ("train", "validation")


def test_imagenet_memory_is_the_papers():
    assert not config_of("pretrain", "imagenet/pretrain").memory.use_memory
    memory = config_of("pretrain", "imagenet/pretrain", "imagenet/memory").memory
    assert memory.use_memory
    assert (memory.memory_size, memory.memory_ema_decay) == (65_536, 0.999)


@pytest.mark.parametrize(
    "percent, dataset, epochs, selector",
    [
        (1, "imagenet2012_subset/1pct", 60, 1),
        (10, "imagenet2012_subset/10pct", 30, 1),
        (100, "imagenet2012", 30, 0),
    ],
)
def test_imagenet_fine_tuning_is_the_papers(percent, dataset, epochs, selector):
    recipe = f"imagenet/finetune_{percent}pct"
    config = config_of("finetune", recipe)
    assert_lars_with_cosine_from(0.16, config.optimization)
    assert config.optimization.train_batch_size == 1024
    assert config.optimization.train_epochs == epochs
    assert config.optimization.warmup_epochs == 0
    assert config.optimization.weight_decay == 0
    assert config.fine_tuning.ft_proj_selector == selector
    assert config.fine_tuning.fine_tune_after_block == -1
    assert config.data.dataset == dataset
    assert config.labels.is_everything
    assert_only_crop_and_flip(config.augmentation)

    wide = config_of("finetune", recipe, "imagenet/finetune_wide_or_sk")
    assert_lars_with_cosine_from(0.064, wide.optimization)
    assert wide.optimization.train_epochs == epochs


def test_imagenet_linear_evaluation_is_the_authors():
    config = config_of("finetune", "imagenet/linear_evaluation")
    assert config.fine_tuning.fine_tune_after_block == 4
    assert config.fine_tuning.ft_proj_selector == 0
    assert config.fine_tuning.zero_init_logits_layer
    assert config.optimization.optimizer == "momentum"
    assert config.optimization.scaled_learning_rate == pytest.approx(1.6)
    assert config.optimization.train_batch_size == 4096
    assert config.optimization.train_epochs == 90
    assert config.optimization.warmup_epochs == 0
    assert config.optimization.weight_decay == 1e-6
    assert_only_crop_and_flip(config.augmentation)


@pytest.mark.parametrize("recipe, temperature", [("self_distill", 0.1), ("distill_small", 1.0)])
def test_imagenet_distillation_is_the_papers(recipe, temperature):
    config = config_of("distill", f"imagenet/{recipe}")
    assert_lars_with_cosine_from(6.4, config.optimization)
    assert config.optimization.train_batch_size == 4096
    assert config.optimization.train_epochs == 400
    assert config.optimization.warmup_epochs == 0.05 * 400
    assert config.optimization.weight_decay == 1e-4
    assert config.distillation.distillation_temperature == temperature
    assert config.distillation.distillation_alpha == 1.0
    assert config.data.dataset == "imagenet2012"
    assert_only_crop_and_flip(config.augmentation)


def test_cifar10_pretraining_is_the_authors():
    config = config_of("pretrain", "cifar10/pretrain")
    assert_lars_with_cosine_from(2.0, config.optimization)
    assert config.optimization.train_batch_size == 512
    assert config.optimization.train_epochs == 1000
    assert config.optimization.warmup_epochs == 10
    assert config.optimization.weight_decay == 1e-4
    assert config.contrastive.temperature == 0.5
    assert config.augmentation.color_jitter_strength == 0.5
    assert not config.augmentation.use_blur
    assert config.network.resnet_depth == 18
    assert (config.data.resolved_image_size, config.data.eval_split) == (32, "test")


def test_cifar10_linear_evaluation_is_the_authors():
    config = config_of("finetune", "cifar10/linear_evaluation")
    assert config.fine_tuning.fine_tune_after_block == 4
    assert config.fine_tuning.zero_init_logits_layer
    assert config.optimization.optimizer == "momentum"
    assert config.optimization.scaled_learning_rate == pytest.approx(0.2)
    assert config.optimization.train_batch_size == 512
    assert config.optimization.train_epochs == 100
    assert config.optimization.weight_decay == 0


@pytest.mark.parametrize(
    "percent, fraction, selector", [(1, 0.01, 1), (10, 0.1, 1), (100, None, 0)]
)
def test_cifar10_fine_tuning_follows_the_labels(percent, fraction, selector):
    config = config_of("finetune", f"cifar10/finetune_{percent}pct")
    assert config.labels.label_fraction == fraction
    assert config.fine_tuning.ft_proj_selector == selector
    assert config.optimization.train_batch_size <= 50_000 * percent // 100


@pytest.mark.parametrize("dataset", ["digits", "tiles"])
def test_a_few_labels_train_only_the_head_from_ridge_regression(dataset):
    config = config_of("finetune", f"{dataset}/finetune_1pct").fine_tuning
    assert (config.fine_tune_after_block, config.head_start) == (4, "ridge")


def test_the_later_of_two_settings_counts():
    rate = "imagenet/finetune_wide_or_sk"
    recipe = "imagenet/finetune_1pct"

    def learning_rate(*arguments):
        return config_of("finetune", *arguments).optimization.learning_rate

    assert learning_rate(recipe, rate) == 0.002
    assert learning_rate(rate, recipe) == 0.005
    assert learning_rate(recipe, rate, "--learning_rate=0.3") == 0.3
    assert learning_rate("--learning_rate=0.3", recipe) == 0.005
    # The including file's own line stands behind what it includes.
    assert config_of("finetune", recipe).data.dataset == "imagenet2012_subset/1pct"


# What a preset must say, or a recipe that was given before would decide it.
SAID_BY_PRESETS = {
    "use_crop", "crop_area_min", "crop_aspect_max", "use_flip", "use_vertical_flip", "rotate_90",
    "rotation_max_degrees", "scale_min", "scale_max", "shear_max", "translate_max", "fill_mode",
    "color_jitter_strength", "use_blur",
}  # fmt: skip
PRESETS = [
    path[len("flags/") : -len(".txt")] for path in RECIPES if path.startswith("flags/views/")
]
TRAINING = [path for path in RECIPES if not path.startswith(("flags/views/", "flags/networks/"))]


def test_there_are_presets_of_views():
    names = {pathlib.Path(preset).name for preset in PRESETS}
    assert names == {"photographs", "documents", "microscopy", "aerial", "xray", "textures"}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_stands_beside_any_training_recipe_and_decides_the_views(preset):
    alone = config_of("pretrain", preset).augmentation
    for recipe in TRAINING:
        command, *arguments = command_in(recipe)
        kind, flag = COMMANDS[command].config, f"--flagfile=flags/{preset}.txt"
        after = command_line.build(kind, command_line.parse(kind, [*arguments, flag])).augmentation
        assert after == alone, recipe
        command_line.build(kind, command_line.parse(kind, [flag, *arguments]))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_says_all_that_views_depend_on_and_why(preset):
    values = command_line.parse(COMMANDS["pretrain"].config, [f"--flagfile=flags/{preset}.txt"])
    assert SAID_BY_PRESETS <= values.keys() <= {*SAID_BY_PRESETS, "grayscale_probability"}
    assert any(line.startswith(" Assumes ") for line in header(f"flags/{preset}.txt"))


def test_the_preset_of_photographs_is_the_papers():
    paper = config_of("pretrain")
    # By default none are grey where colours do not change, so the preset says how many are.
    views = dataclasses.replace(paper.augmentation, grayscale_probability=0.2)
    expected = dataclasses.replace(paper, augmentation=views)
    assert config_of("pretrain", "views/photographs") == expected
