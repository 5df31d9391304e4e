"""Flags from dataclasses, the commands' help, and the command lines that users bring along."""

import dataclasses
import re
import shlex
import subprocess
import sys

import pytest

from tf_simclrv2.config import ConfigError, FinetuneConfig, PretrainConfig, RunConfig
from tf_simclrv2.programs import command_line
from tf_simclrv2.programs.main import COMMANDS

# As in the README of google-research/simclr, behind "run.py --train_mode=pretrain" and
# "run.py --mode=train_then_eval --train_mode=finetune".
THEIR_PRETRAINING = shlex.split("""
  --train_batch_size=512 --train_epochs=1000
  --learning_rate=1.0 --weight_decay=1e-4 --temperature=0.5
  --dataset=cifar10 --image_size=32 --eval_split=test --resnet_depth=18
  --use_blur=False --color_jitter_strength=0.5
  --model_dir=/tmp/simclr_test --use_tpu=False
""")
THEIR_FINE_TUNING = shlex.split("""
  --fine_tune_after_block=4 --zero_init_logits_layer=True
  --global_bn=False --optimizer=momentum --learning_rate=0.1 --weight_decay=0.0
  --train_epochs=100 --train_batch_size=512 --warmup_epochs=0
  --dataset=cifar10 --image_size=32 --eval_split=test --resnet_depth=18
  --checkpoint=/tmp/simclr_test --model_dir=/tmp/simclr_test_ft --use_tpu=False
""")


def _build(config_class, arguments):
    return command_line.build(config_class, command_line.parse(config_class, arguments))


def test_the_authors_command_lines_carry_over():
    config = _build(PretrainConfig, THEIR_PRETRAINING)
    assert config.optimization.scaled_learning_rate == 2.0
    assert config.optimization.steps(50_000) == 97_657
    assert config.optimization.weight_decay == 1e-4
    assert config.contrastive.temperature == 0.5
    assert (config.data.dataset, config.data.image_size) == ("cifar10", 32)
    assert config.network.resnet_depth == 18
    assert not config.augmentation.use_blur
    assert config.augmentation.color_jitter_strength == 0.5
    assert config.run.model_dir == "/tmp/simclr_test"

    config = _build(FinetuneConfig, THEIR_FINE_TUNING)
    assert config.fine_tuning.fine_tune_after_block == 4
    assert config.fine_tuning.zero_init_logits_layer
    assert not config.network.global_bn
    assert config.optimization.scaled_learning_rate == pytest.approx(0.2)


# Behind "run.py --train_mode=pretrain", with values for the variables.
THEIR_PRETRAINING_ON_TPUS = shlex.split("""
  --train_batch_size=4096 --train_epochs=100 --temperature=0.1
  --learning_rate=0.075 --learning_rate_scaling=sqrt --weight_decay=1e-4
  --dataset=imagenet2012 --image_size=224 --eval_split=validation
  --data_dir=data --model_dir=run
  --use_tpu=True --tpu_name=local --train_summary_steps=0
""")
# All that their run.py defines, and what their README gives to fine-tuning besides.
THEIR_FLAGS = shlex.split("""
  learning_rate learning_rate_scaling warmup_epochs weight_decay batch_norm_decay train_batch_size
  train_split train_epochs train_steps eval_steps eval_batch_size checkpoint_epochs checkpoint_steps
  eval_split dataset cache_dataset mode train_mode lineareval_while_pretraining checkpoint
  zero_init_logits_layer fine_tune_after_block master model_dir data_dir use_tpu tpu_name tpu_zone
  gcp_project optimizer momentum eval_name keep_checkpoint_max keep_hub_module_max temperature
  hidden_norm proj_head_mode proj_out_dim num_proj_layers ft_proj_selector global_bn
  width_multiplier resnet_depth sk_ratio se_ratio image_size color_jitter_strength use_blur
  variable_schema
""")


def test_their_command_line_for_tpus_carries_over():
    config = _build(PretrainConfig, THEIR_PRETRAINING_ON_TPUS)
    assert config.optimization.scaled_learning_rate == pytest.approx(4.8)
    assert config.run.log_every_steps == RunConfig("run").log_every_steps
    assert _build(PretrainConfig, ["--model_dir=x", "--train_summary_steps=7"]) == _build(
        PretrainConfig, ["--model_dir=x", "--log_every_steps=7"]
    )


def test_each_of_their_flags_is_ours_or_told_what_to_do_instead():
    ours = {*command_line.define_flags(PretrainConfig), *command_line.define_flags(FinetuneConfig)}
    others = [name for name in THEIR_FLAGS if name not in ours]
    assert others == ["train_mode", "master", "eval_name", "keep_hub_module_max", "variable_schema"]
    for name in others:
        with pytest.raises(ConfigError, match=f"^--{name}: .* without counterpart; .") as error:
            command_line.parse(PretrainConfig, [f"--{name}=1"])
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_field_has_one_flag_of_its_type_and_a_help(command):
    config_class = COMMANDS[command].config
    flags = command_line.define_flags(config_class)
    names = [
        field.name
        for section in command_line.sections_of(config_class).values()
        for field in dataclasses.fields(section)
    ]
    assert sorted(names) == sorted(flags)  # also: no name stands in two sections
    help_text = command_line.help_text(f"tf_simclrv2 {command}", config_class)
    assert re.findall(r"^  --(\w+)", help_text, re.MULTILINE) == names


def test_flags_keep_the_defaults_of_their_command():
    pretraining = _build(PretrainConfig, ["--model_dir=x"])
    fine_tuning = _build(FinetuneConfig, ["--model_dir=x", "--from_scratch=true"])
    assert pretraining.augmentation.color_jitter_strength == 1.0
    assert fine_tuning.augmentation.color_jitter_strength == 0.0
    assert fine_tuning.optimization.scaled_learning_rate == pytest.approx(0.16)


def test_later_flags_override_flagfiles(tmp_path):
    flagfile = tmp_path / "recipe.txt"
    flagfile.write_text("# A recipe.\n--temperature=0.5\n--resnet_depth=34\n")
    config = _build(
        PretrainConfig, ["--model_dir=x", f"--flagfile={flagfile}", "--resnet_depth=18"]
    )
    assert config.contrastive.temperature == 0.5
    assert config.network.resnet_depth == 18


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--temprature=0.5"], ["temprature"]),
        (["--temperature=warm"], ["temperature", "warm"]),
        (["--optimizer=sgd"], ["optimizer", "sgd", "lars|momentum|adam"]),
        (["resnet"], ["resnet", "--name=value"]),
        (["--flagfile=missing.txt"], ["missing.txt"]),
        (["--temperature=a\nb"], ["temperature", r"a\nb"]),
        (["--nouse_blur=1"], ["--nouse_blur=1", "argument"]),
        (["--" + "x" * 10_000], ["(10002 characters)"]),
    ],
)
def test_what_is_no_flag_or_no_value_is_refused(arguments, words):
    with pytest.raises(ConfigError) as error:
        command_line.parse(PretrainConfig, arguments)
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words)


def test_help_lists_commands_without_loading_tensorflow(command):
    shown = command("--help").out
    for name, row in COMMANDS.items():
        title = re.escape(row.config.__doc__.splitlines()[0])
        assert re.search(rf"^  {name} +{title}", shown, re.MULTILINE)
    only_own = command("evaluate", "--help").out
    assert "--eval_split" in only_own
    assert "--jit_compile" in only_own
    for name in ("temperature", "rematerialize", "steps_per_execution"):
        assert f"--{name}" not in only_own
        assert f"--{name}" in command("pretrain", "--help").out
    code = "import sys; from tf_simclrv2.programs.main import main; main(['--help']); "
    code += "sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0


def test_an_unknown_command_is_refused(command):
    outcome = command("train")
    assert outcome.code == 1
    assert outcome.err.startswith("error: train: the command must be one of views, pretrain,")
