"""What a field says of itself is checked, shown by --help, and the same wherever it stands."""

import dataclasses
import typing
from typing import Optional

import pytest

from tf_simclrv2 import config
from tf_simclrv2.config import ConfigError, Must, Section, setting, setting_of
from tf_simclrv2.config.intervals import Interval
from tf_simclrv2.config.settings import requirements
from tf_simclrv2.programs import command_line
from tf_simclrv2.programs.main import COMMANDS

FIELDS = {
    (section, field.name): field
    for command in COMMANDS.values()
    for section in config.sections_of(command.config).values()
    for field in dataclasses.fields(section)
}
EVERY_FIELD = pytest.mark.parametrize(
    ("section", "name"), FIELDS, ids=lambda value: getattr(value, "__name__", value)
)


def made(section, **fields):
    """A section with a value for every field that must have one."""
    required = {
        name: 1 if typing.get_type_hints(kind)[name] is int else "given"
        for (kind, name), field in FIELDS.items()
        if kind is section and (field.metadata["required"] or name == "checkpoint")
    }
    if section is config.ConversionConfig:
        required["google_checkpoint"] = "given"
    return section(**{**required, **fields})


# The sentences of the refusals, word for word, and for each field a value that it refuses.
SENTENCES = {
    "must be greater than 0": {
        "eval_batch_size": -1, "train_batch_size": 0, "train_epochs": -5, "learning_rate": 0.0,
        "log_every_steps": 0, "checkpoint_epochs": 0.0, "keep_checkpoint_max": 0,
        "temperature": -0.1, "memory_size": 0, "labels_per_class": 0,
        "distillation_temperature": 0.0, "batch_size": 0, "top_k": 0,
        "gradient_accumulation_steps": 0,
    },
    "must be 0 or greater": {
        "eval_steps": -1, "holdout_seed": -1, "color_jitter_strength": -0.5, "train_steps": -1,
        "warmup_epochs": -1.0, "weight_decay": -1e-4, "checkpoint_steps": -1, "seed": -1,
        "steps_per_execution": -1, "label_seed": -1,
    },
    "must be between 0 and 64": {"virtual_devices": 65},
    "must be greater than 0 and at most 100": {"num_proj_layers": 100_000},
    "must be greater than 0 and at most 10000": {"num_images": 100_000},
    "must be greater than 0 and at most 16384": {"image_size": 20_000},
    "must be greater than 0 and at most 65536": {"proj_out_dim": 1_000_000_000},
    "must be a whole number": {"seed": "x", "train_steps": 1.5, "label_seed": True},
    "must be a number": {"temperature": "0.1", "learning_rate": [1], "momentum": False},
    "must be true or false": {"use_blur": 1, "strict_images": "yes"},
    "must be a text": {"train_split": 1, "data_dir": ["x"], "optimizer": {}},
    "must be 1 or greater": {"crop_aspect_max": 0.5},
    "must be -1 or greater": {"ft_proj_selector": -2},
    "must be in [0, 1)": {
        "batch_norm_decay": 1.0, "holdout_fraction": 1.0, "max_bad_images": -0.1, "momentum": 1.0,
        "memory_ema_decay": 1.0,
    },
    "must be in (0, 1]": {"crop_area_min": 0.0, "label_fraction": 0.0},
    "must be between 0 and 1": {"sk_ratio": 1.5, "se_ratio": -0.1, "distillation_alpha": 1.5},
    "must be greater than 0 and at most 64": {"width_multiplier": 64.5},
    "must make 64 times its value an even whole number of channels, as 0.25 or 2 do": {
        "width_multiplier": 0.3,
    },
    "must be at most 1.25, above which the contrast factor could be negative": {
        "color_jitter_strength": 1.3,
    },
    "must be one of 18, 34, 50, 101, 152, 200": {"resnet_depth": 42},
    "must be one of -1, 0, 1, 2, 3, 4": {"fine_tune_after_block": 5},
    "must be one of train_then_eval, train, eval": {"mode": "test"},
    "must name a data set": {"dataset": ""},
    "must be numbers separated by commas, each once": {"label_seeds": "0,one"},
    "must be among saved_model, hub, tflite": {"formats": "saved_model,onnx"},
}  # fmt: skip
REFUSALS = [
    (section, name, values[name], sentence)
    for sentence, values in SENTENCES.items()
    for section, name in FIELDS
    if name in values
    and not (section in (config.ConversionConfig, config.DemoSection) and name == "dataset")
]


@pytest.mark.parametrize(("section", "name", "value", "sentence"), REFUSALS)
def test_the_sentence_of_a_refusal(section, name, value, sentence):
    with pytest.raises(ConfigError) as error:
        made(section, **{name: value})
    assert str(error.value) == f"--{name}={value}: {sentence}."


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("a\0b", r"a\x00b: must not hold the character NUL"),
        ("\ud800", r"\ud800: must be text without surrogates"),
        ("a\nb\u2028c\x1b[31m", r"a\nb\u2028c\x1b[31m: must name a data set"),
        ("x" * 5000, f"{'x' * 500}... (5000 characters): must name a data set"),
    ],
)
def test_a_refusal_is_one_line_whatever_the_value(value, sentence, monkeypatch):
    (field,) = (f for f in dataclasses.fields(config.DataConfig) if f.name == "dataset")
    refuses_all = Must("name a data set", lambda name: name == "digits")
    monkeypatch.setattr(field, "metadata", {**field.metadata, "must": refuses_all})
    with pytest.raises(ConfigError) as error:
        config.DataConfig(dataset=value)
    assert str(error.value) == f"--dataset={sentence}."


def test_file_names_that_are_no_utf_8_are_texts():
    assert config.DataConfig(data_dir="a\udcffb").data_dir == "a\udcffb"


@pytest.mark.parametrize(
    ("section", "name", "sentence"),
    [
        (config.RunConfig, "model_dir", "a directory for the run must be given"),
        (config.DistillationConfig, "teacher", "a fine-tuned run must be given"),
        (config.EvaluationConfig, "model_dir", "the directory of a run must be given"),
        (config.ConversionConfig, "model_dir", "a run directory must be given"),
        (config.PredictionConfig, "saved_model", "an export must be given"),
        (config.EmbeddingConfig, "images", "image files or a folder must be given"),
    ],
)
@pytest.mark.parametrize("value", [None, ""])
def test_the_sentence_about_what_is_missing(section, name, sentence, value):
    with pytest.raises(ConfigError) as error:
        made(section, **{name: value})
    assert str(error.value) == f"--{name}={value}: {sentence}."


@EVERY_FIELD
def test_every_number_says_what_it_may_be_and_has_such_a_default(section, name):
    field = FIELDS[section, name]
    kinds = {*typing.get_args(field.type), field.type}
    if kinds & {int, float}:
        assert field.metadata["within"] or field.metadata["choices"]
    if field.default is not None:
        assert all(holds(field.default) for _, holds in requirements(field))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_what_a_value_must_be(command):
    row = COMMANDS[command]
    shown = command_line.help_text(command, row.config)
    of_flag = {
        text.split()[0]: " ".join(text.split()) for text in shown.split("\n  --") if text.split()
    }
    for section in config.sections_of(row.config).values():
        for field in dataclasses.fields(section):
            for words, _ in requirements(field):
                assert f"M{words[1:]}." in of_flag[field.name]
            is_required = field.metadata["required"] is not None
            assert ("(required)" in of_flag[field.name]) == is_required


def test_help_shows_an_interval_in_words():
    shown = command_line.help_text("simclrv2 pretrain", config.PretrainConfig)
    assert shown.startswith("simclrv2 pretrain --flag=value ...")
    lines = shown.splitlines()
    place = lines.index("  --keep_checkpoint_max  (default: 5)")
    assert lines[place + 1].endswith("to keep. Must be greater than 0.")


@dataclasses.dataclass(frozen=True)
class _New(Section):
    """A section that says nothing of checks."""

    share: float = setting(0.5, "A share.", within="[0, 1)")
    kind: str = setting("a", "A kind.", choices=("a", "b"))
    word: Optional[str] = setting(None, "A word.", must=Must("be short", lambda it: len(it) < 4))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"share": 1.0}, "--share=1.0: must be in [0, 1)."),
        ({"share": float("nan")}, "--share=nan: must be a number of at most 1,000,000,000."),
        ({"kind": "c"}, "--kind=c: must be one of a, b."),
        ({"word": "long"}, "--word=long: must be short."),
    ],
)
def test_a_new_section_is_checked_by_itself(fields, sentence):
    assert _New().word is None
    with pytest.raises(ConfigError) as error:
        _New(**fields)
    assert str(error.value) == sentence


def test_no_section_leaves_out_the_checks():
    for section in {section for section, _ in FIELDS}:
        assert issubclass(section, Section)
        assert section.__post_init__ is Section.__post_init__


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("(0, inf)", [1e-9, 1e9], [0, -1]),
        ("[0, inf)", [0, 5], [-1e-9]),
        ("[0, 1)", [0, 0.999], [1, -0.1]),
        ("(0, 1]", [1e-9, 1], [0, 1.001]),
        ("[0, 1]", [0, 1], [-0.001, 1.001]),
        ("(-2, 64]", [-1.9, 64], [-2, 64.1]),
    ],
)
def test_an_interval_has_the_bounds_that_it_names(text, inside, outside):
    interval = Interval.parse(text)
    assert all(number in interval for number in inside)
    assert not any(number in interval for number in outside)


@pytest.mark.parametrize("within", ["0, 1", "[0 1)", "(0, inf", "[low, 1)", "greater than 0", ""])
def test_what_is_no_interval_is_refused_when_the_field_is_declared(within):
    with pytest.raises(ValueError):
        setting(0.5, "A share.", within=within)


def test_a_misspelt_fact_is_refused_when_the_field_is_declared():
    with pytest.raises(TypeError, match="has no inherit"):
        setting(0.5, "A share.", inherit=True)


def test_what_is_known_of_a_field_can_be_shared():
    like = setting_of(config.DataConfig, "eval_steps", default=7, help="Other words.")
    assert (like.default, like.metadata["help"]) == (7, "Other words.")
    (field,) = (f for f in dataclasses.fields(config.DataConfig) if f.name == "eval_steps")
    assert {**like.metadata, "help": field.metadata["help"]} == field.metadata


def test_evaluation_repeats_nothing_of_the_data():
    ours, theirs = (
        {field.name: field for field in dataclasses.fields(section)}
        for section in (config.EvaluationConfig, config.DataConfig)
    )
    shared = ["dataset", "data_dir", "labels", "eval_split", "eval_batch_size", "eval_steps"]
    assert list(ours) == ["model_dir", "evaluators", *shared]
    for name in shared:
        assert ours[name].metadata["must"] == theirs[name].metadata["must"]
        assert ours[name].metadata["within"] == theirs[name].metadata["within"]
        if name not in ("dataset", "labels"):
            assert ours[name].default == theirs[name].default
            assert ours[name].metadata["help"] == theirs[name].metadata["help"]
    assert ours["dataset"].default is None
