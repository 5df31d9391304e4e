"""``convert`` back to checkpoints of the authors' code."""

import numpy as np
import pytest

from tests.interop.helpers import (
    SUFFIX,
    assert_has,
    assert_refused,
    convert,
)
from tests.interop.writers import (
    rule,
    write_tf2,
)
from tests.reference import figures, weight
from tf_simclrv2.config import (
    DataConfig,
    DistillationConfig,
    DistillConfig,
    FinetuneConfig,
    FineTuningConfig,
    NetworkConfig,
    PretrainConfig,
    RunConfig,
)
from tf_simclrv2.interop.google import google_names
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.learners.steps import build_network
from tf_simclrv2.runtime.checkpoint import load_run
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.runtime.settings import RunSettings


def test_their_keys_and_values_come_back_bit_by_bit(command, tmp_path):
    shapes = figures("tf2_resnet18_cifar_stem")["variables"]
    theirs = write_tf2(str(tmp_path / "theirs"), rule(shapes))
    convert(command, theirs, tmp_path / "run")
    back = str(tmp_path / "deep" / "back")
    outcome = command("convert", f"--model_dir={tmp_path / 'run'}", f"--to_google={back}")
    assert outcome.code == 0
    reader = tf.train.load_checkpoint(back)
    found = reader.get_variable_to_shape_map()
    others = {"_CHECKPOINTABLE_OBJECT_GRAPH", f"save_counter{SUFFIX}", f"global_step{SUFFIX}"}
    assert {key: found[key] for key in set(found) - others} == {
        f"{name}{SUFFIX}": shape for name, shape in shapes.items()
    }
    for name, shape in shapes.items():
        np.testing.assert_array_equal(reader.get_tensor(f"{name}{SUFFIX}"), weight(name, shape))


def _write_run(path, kind):
    network = NetworkConfig(18, 0.0625, stem="cifar")
    parts = {
        "run": RunConfig(model_dir=path),
        "data": DataConfig(image_size=8),
        "network": network,
    }
    config = {
        "pretrain": lambda: PretrainConfig(**parts),
        "finetune": lambda: FinetuneConfig(
            fine_tuning=FineTuningConfig("x", ft_proj_selector=2, fine_tune_after_block=2), **parts
        ),
        "distill": lambda: DistillConfig(distillation=DistillationConfig("x"), **parts),
    }[kind]()
    run = RunDirectory(path)
    run.claim(RunSettings(kind, config, [str(label) for label in range(10)]))
    run.begin()
    keras.utils.set_random_seed(1)
    network = build_network(config, 10)
    optimizer = tf.train.Checkpoint(_iterations=tf.Variable(123, dtype=tf.int64))
    saved = tf.train.Checkpoint(network=network, optimizer=optimizer)
    run.checkpoint_manager(saved, keep=1).save(123)
    return run, network


@pytest.mark.parametrize("kind", ["pretrain", "finetune", "distill"])
def test_a_round_trip_of_our_runs_is_exact(kind, command, tmp_path):
    run, network = _write_run(str(tmp_path / "run"), kind)
    theirs = str(tmp_path / "theirs")
    assert command("convert", f"--model_dir={run.path}", f"--to_google={theirs}").code == 0
    assert tf.train.load_variable(theirs, f"global_step{SUFFIX}") == 123
    convert(command, theirs, tmp_path / "again")
    again = RunDirectory(str(tmp_path / "again"))
    assert_has(again, {n: v.numpy() for n, v in google_names(network, "tf2").items()}, "tf2")
    pixels = tf.random.stateless_uniform([2, 8, 8, 3], (1, 2))
    expected = network(pixels)
    for name, output in load_run(again.path)(pixels).items():
        np.testing.assert_array_equal(output, expected[name], name)


def test_an_objects_tree_of_the_same_attributes_restores_it(command, tmp_path):
    """As in ``tf.train.Checkpoint(model=..., global_step=...).restore`` of the authors' code."""
    run, network = _write_run(str(tmp_path / "run"), "pretrain")
    theirs = str(tmp_path / "theirs")
    assert command("convert", f"--model_dir={run.path}", f"--to_google={theirs}").code == 0
    model, supervised_head, linear_layer = tf.Module(), tf.Module(), tf.Module()
    model.supervised_head, supervised_head.linear_layer = supervised_head, linear_layer
    linear_layer.dense = keras.layers.Dense(10)
    linear_layer.dense.build([None, 32])
    step = tf.Variable(0, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(model=model, global_step=step)
    checkpoint.restore(theirs).assert_existing_objects_matched()
    np.testing.assert_array_equal(linear_layer.dense.kernel, network.supervised_head.dense.kernel)
    assert int(step) == 123


def test_an_existing_checkpoint_is_not_overwritten(command, tmp_path):
    run, _ = _write_run(str(tmp_path / "run"), "distill")
    flags = [f"--model_dir={run.path}", f"--to_google={tmp_path / 'theirs'}"]
    assert command("convert", *flags).code == 0
    assert_refused(command("convert", *flags), "--to_google", "exist")
    assert_refused(
        command("convert", f"--model_dir={run.path}", f"--to_google={tmp_path}"), "is a directory"
    )
    assert_refused(
        command("convert", f"--model_dir={tmp_path / 'no'}", f"--to_google={tmp_path / 'x'}"),
        "--model_dir",
    )
