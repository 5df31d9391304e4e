"""Hostile values in whole commands: a command does its work, or refuses it in one line."""

import os
import shlex

import pytest

from tests.chaos.helpers import LONGEST

pytestmark = pytest.mark.chaos

LARGEST = 2**32 - 1
PRETRAIN = shlex.split("""
--dataset=nan --dataset=../../etc/passwd --dataset={long} --dataset=digits:9.9.9 --dataset=a=b
--dataset=huggingface:x/y --data_dir=/proc --data_dir={long} --data_dir={bytes}
--train_split=train[ --train_split=train[:0] --train_split= --train_split={bytes}
--image_size=20000 --image_size=16000 --num_proj_layers=100000 --proj_out_dim=1000000000
--width_multiplier=64 --train_batch_size={largest} --eval_batch_size={largest}
--memory_size={largest},--use_memory --virtual_devices=1000,--train_batch_size=1000
--virtual_devices=3 --steps_per_execution={largest} --keep_checkpoint_max={largest}
--checkpoint_steps={largest} --seed={largest} --temperature=1e-320 --crop_aspect_max=1e9
--learning_rate=1e-320 --warmup_epochs=1e9 --batch_norm_decay=0 --se_ratio=1e-320
--cache_path=/proc/x --cache_path={null}/x --unlabeled_data_dir={null} --unlabeled_data_dir=/etc
--strategy=mirrored --strategy=multi_worker --tpu_name=grpc://localhost:1
--model_dir={fifo} --model_dir={null} --model_dir=/proc/x --flagfile={zero} --recipe={long}
""")
CLUSTERS = {
    "cut": {"TF_CONFIG": "{"},
    "no such task": {
        "TF_CONFIG": '{"cluster": {"worker": ["localhost:1", "localhost:2"]}, '
        '"task": {"type": "worker", "index": 99}}'
    },
    "no workers": {"TF_CONFIG": '{"cluster": {"worker": []}}'},
    "no addresses": {
        "TF_CONFIG": '{"cluster": {"worker": ["no host", "x"]}, '
        '"task": {"type": "worker", "index": 0}}'
    },
    "no number of tasks": {"SLURM_STEP_NUM_TASKS": "x"},
    "no nodes": {"SLURM_STEP_NUM_TASKS": "2"},
}
OTHERS = [
    "evaluate --model_dir={run} --eval_batch_size={largest}",
    "evaluate --model_dir={run} --eval_split=train[:0]",
    "evaluate --model_dir={fifo}",
    "finetune --checkpoint={run}/checkpoints --model_dir={new}",
    "finetune --checkpoint={zero} --model_dir={new}",
    "finetune --checkpoint={run} --label_subset_file={zero} --model_dir={new}",
    "distill --teacher={run}/config.json --model_dir={new}",
    "export --model_dir={run} --export_dir={null} --formats=saved_model",
    "export --model_dir={run} --export_dir={fifo} --formats=saved_model --overwrite",
    "export --model_dir={run} --export_dir={new} --formats=saved_model --licence={bytes}",
    "convert --model_dir={run} --to_google={null}",
    "views --image_size=16000 --num_images=10000 --output={new}.png",
    "views --output={new}{bytes}.png",
    "views --output={new}/{long}.png",
]


@pytest.fixture
def places(tmp_path):
    """Paths that no command may write over, read to their end, or wait for."""
    values = {"null": "/dev/full/none", "zero": "/dev/full/none"}
    if os.getuid() == 0:
        for name, minor in (("null", 3), ("zero", 5)):
            values[name] = str(tmp_path / name)
            os.mknod(values[name], 0o20666, os.makedev(1, minor))
    os.mkfifo(tmp_path / "fifo")
    return {
        **values, "fifo": str(tmp_path / "fifo"), "new": str(tmp_path / "new"),
        "long": "x" * 5000, "bytes": "\udcff", "largest": LARGEST,
    }  # fmt: skip


def _check(ended, places):
    assert ended.code == 0 or ended.is_refusal, f"within {LONGEST} seconds: {ended.story}"
    for name in ("null", "zero", "fifo"):
        path = places[name]
        assert not os.path.isdir(path) and not os.path.isfile(path), f"{path} was replaced"


@pytest.mark.parametrize("flags", PRETRAIN)
def test_a_hostile_flag_of_pretrain(flags, places, run_to_end, record_property):
    given = [flag.format(**places) for flag in flags.split(",")]
    base = "--image_size=16 --resnet_depth=18 --width_multiplier=0.0625 --train_batch_size=32"
    command = f"pretrain {base} --train_steps=2 --mode=train --use_blur=false".split()
    ended = run_to_end(*command, f"--model_dir={places['new']}", *given)
    _check(ended, places)
    record_property("measured", f"hostile flag {flags}: exit {ended.code}")


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_a_hostile_cluster(cluster, places, run_to_end):
    command = ["pretrain", "--train_steps=2", f"--model_dir={places['new']}"]
    _check(run_to_end(*command, env=CLUSTERS[cluster]), places)


@pytest.mark.parametrize("command", OTHERS)
def test_a_hostile_flag_of_another_command(command, places, steps, run_to_end):
    run = steps("finetune" if command.split()[0] in ("evaluate", "export") else "pretrain")["run"]
    ended = run_to_end(*(part.format(run=run, **places) for part in command.split()))
    _check(ended, places)
