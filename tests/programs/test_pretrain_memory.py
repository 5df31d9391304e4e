"""Pretraining with a memory, and what starts from its memory network, by the commands."""

import os

import numpy as np
import pytest

from tests.conftest import DIGITS_VIEWS, TINY
from tf_simclrv2.keras2 import tf

STEPS = ["--train_steps=3", "--train_batch_size=20", "--mode=train"]
MEMORY = ["--use_memory", "--memory_size=64"]
KERNEL = "encoder/stem/conv/conv/kernel/.ATTRIBUTES/VARIABLE_VALUE"
QUEUE = "memory/queue/{}/.ATTRIBUTES/VARIABLE_VALUE"


@pytest.fixture(scope="module")
def with_memory(tmp_path_factory):
    """A pretraining run with memory, and the values in its checkpoint by name."""
    from tf_simclrv2.programs.main import main

    path = str(tmp_path_factory.mktemp("memory") / "run")
    arguments = ["pretrain", *TINY, *STEPS, *MEMORY, *DIGITS_VIEWS, f"--model_dir={path}"]
    assert main(arguments) == 0
    return path, _values(f"{path}/checkpoints/ckpt-3")


def _values(checkpoint):
    reader = tf.train.load_checkpoint(checkpoint)
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if not name.startswith(("_CHECKPOINTABLE", "save_counter"))
    }


def test_the_runs_checkpoint_holds_network_memory_network_and_queue(with_memory):
    _, values = with_memory
    online = {name for name in values if name.startswith("network/")}
    assert len(online) == 121
    assert {f"memory/{name}" for name in online} < values.keys()
    assert values[QUEUE.format("added")] == 3 * 2 * 20
    assert values[QUEUE.format("keys")].shape == (64, 128)
    norms = np.linalg.norm(values[QUEUE.format("keys")], axis=-1)
    np.testing.assert_allclose(norms, 1.0, rtol=1e-5)


@pytest.mark.slow
def test_fine_tuning_and_export_take_the_memory_network_if_told(command, with_memory, tmp_path):
    path, values = with_memory
    average, online = values[f"memory/network/{KERNEL}"], values[f"network/{KERNEL}"]
    assert np.any(average != online)
    # The encoder is frozen, so that it stays what it starts from.
    tuning = ["--label_fraction=0.02", "--fine_tune_after_block=4", *STEPS, "--train_steps=1"]
    for flag, expected in ("true", average), ("false", online):
        tuned = str(tmp_path / f"tuned_{flag}")
        outcome = command(
            "finetune",
            *tuning,
            f"--use_ema_weights={flag}",
            f"--checkpoint={path}",
            f"--model_dir={tuned}",
        )
        assert outcome.code == 0, outcome.err
        np.testing.assert_array_equal(
            _values(f"{tuned}/checkpoints/ckpt-1")[f"network/{KERNEL}"], expected
        )

    exported = str(tmp_path / "export")
    flags = [f"--model_dir={path}", f"--export_dir={exported}", "--formats=saved_model",
             "--fold_batch_norm=false"]  # fmt: skip
    assert command("export", *flags, "--use_ema_weights").code == 0
    kernels = [
        value
        for name, value in _values(f"{exported}/1/variables/variables").items()
        if value.shape == average.shape
    ]
    assert any(np.array_equal(kernel, average) for kernel in kernels)
    assert not any(np.array_equal(kernel, online) for kernel in kernels)


def test_runs_without_memory_have_no_such_weights(command, method, tmp_path):
    for run, arguments in (
        (method["pretrained"], ["finetune", f"--checkpoint={method['pretrained']}"]),
        (method["pretrained"], ["export", f"--model_dir={method['pretrained']}"]),
        (method["fine_tuned"], ["export", f"--model_dir={method['fine_tuned']}"]),
    ):
        target = "--export_dir" if arguments[0] == "export" else "--model_dir"
        outcome = command(*arguments, "--use_ema_weights", f"{target}={tmp_path / 'new'}")
        assert outcome.code == 1
        assert outcome.err == (
            f"error: --use_ema_weights=True: {run} must hold a pretraining run with --use_memory, "
            "but holds none.\n"
        )
        assert not os.path.exists(tmp_path / "new")


def test_a_queue_smaller_than_a_steps_keys_is_refused(command, tmp_path):
    new = f"--model_dir={tmp_path / 'new'}"
    outcome = command("pretrain", "--use_memory", "--memory_size=39", "--train_batch_size=20", new)
    assert outcome.code == 1
    assert outcome.err == (
        "error: --memory_size=39: must be at least 40, the keys that a step adds: two of each "
        "image of --train_batch_size=20.\n"
    )
    assert not os.path.exists(tmp_path / "new")
    for flag in "--memory_ema_decay=1", "--memory_ema_decay=-0.1", "--memory_size=0":
        outcome = command("pretrain", "--use_memory", flag, new)
        assert outcome.code == 1 and flag.split("=")[0] in outcome.err


def test_a_batch_that_cannot_be_split_is_refused(command, tmp_path):
    new = f"--model_dir={tmp_path / 'new'}"
    flags = ["--memory_size=40", "--train_batch_size=20", "--memory_batch_norm=split", new]
    outcome = command("pretrain", "--use_memory", *flags)
    assert outcome.code == 1
    assert outcome.err == (
        "error: --train_batch_size=20: must be a multiple of 8, the parts into which "
        "--memory_batch_norm=split splits the views.\n"
    )
    assert not os.path.exists(tmp_path / "new")


def test_from_scratch_there_is_no_memory_network(command, tmp_path):
    arguments = ["--from_scratch", "--use_ema_weights", f"--model_dir={tmp_path / 'new'}"]
    outcome = command("finetune", *arguments)
    assert outcome.code == 1
    assert outcome.err == "error: --from_scratch=True: can't be combined with --use_ema_weights.\n"
