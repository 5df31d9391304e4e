"""A run directory written on one of the two stacks of requirements.txt continues on the other."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import DIGITS_VIEWS, TINY
from tf_simclrv2.keras2 import tf

ROOT = pathlib.Path(__file__).parents[2]
STEPS = ["--train_batch_size=20", "--train_steps=4", "--checkpoint_steps=2"]
COMMANDS = {
    "lars": ["pretrain", *TINY, *STEPS, *DIGITS_VIEWS, "--mode=train"],
    "adam": ["finetune", "--from_scratch", *TINY, *STEPS, "--optimizer=adam", "--mode=train"],
}


def train(python, folder, arguments) -> None:
    environment = {**os.environ, "TFDS_DATA_DIR": str(folder / "tfds")}
    environment.pop("TF_USE_LEGACY_KERAS", None)
    command = [python, "-m", "tf_simclrv2", *arguments, f"--model_dir={folder / 'run'}"]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def values(checkpoint):
    reader = tf.train.load_checkpoint(str(checkpoint))
    kinds = reader.get_variable_to_dtype_map()
    return {name: reader.get_tensor(name) for name in kinds if kinds[name] == tf.float32}


@pytest.mark.slow
@pytest.mark.parametrize(("start", "optimizer"), [("this", "adam"), ("other", "lars")])
def test_a_run_continues_on_the_other_stack(start, optimizer, other_python, tmp_path):
    pythons = {"this": sys.executable, "other": other_python}
    first = pythons.pop(start)
    (second,) = pythons.values()
    folders = tmp_path / "first", tmp_path / "second"
    train(first, folders[0], COMMANDS[optimizer])
    run = folders[1] / "run"
    shutil.copytree(folders[0] / "run", run)
    # As if it had been interrupted after the second step.
    for file in run.glob("checkpoints/ckpt-4*"):
        file.unlink()
    state = run / "checkpoints" / "checkpoint"
    state.write_text(re.sub(r'^all_model.*ckpt-4".*\n', "", state.read_text(), flags=re.M).replace(
        "ckpt-4", "ckpt-2"))  # fmt: skip
    train(second, folders[1], COMMANDS[optimizer])

    whole = values(folders[0] / "run" / "checkpoints" / "ckpt-4")
    continued = values(run / "checkpoints" / "ckpt-4")
    halfway = values(run / "checkpoints" / "ckpt-2")
    assert whole.keys() == continued.keys()
    moments = [name for name in whole if name.startswith("optimizer/")]
    assert sum(np.any(whole[name] != halfway[name]) for name in moments) > 0.8 * len(moments)
    for name, value in whole.items():
        # A state that was not taken over would be off by as much as it changed.
        off = np.linalg.norm(continued[name] - value)
        assert off <= 0.02 * np.linalg.norm(value - halfway[name]) + 1e-5, name
