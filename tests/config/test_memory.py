"""What can't fit into memory is refused before anything is allocated, and nothing else is."""

import pytest

from tf_simclrv2 import config
from tf_simclrv2.config import ConfigError, memory
from tf_simclrv2.config.memory import check_training
from tf_simclrv2.programs import command_line
from tf_simclrv2.programs.main import report_errors
from tf_simclrv2.programs.recipes import flags_of, recipes

GIB = 2**30


@pytest.fixture
def has(monkeypatch):
    """Makes the machine one with so many GiB of memory."""

    def set_memory(gib):
        monkeypatch.setattr(memory, "machine_memory", lambda: int(gib * GIB))

    return set_memory


def pretraining(**flags):
    return command_line.build(config.PretrainConfig, {"model_dir": "run", **flags})


@pytest.mark.parametrize(
    ("flags", "gib", "words"),
    [
        ({"width_multiplier": 64.0}, 500, ["--width_multiplier=64.0", "weights"]),
        ({"num_proj_layers": 100, "width_multiplier": 8.0, "resnet_depth": 18}, 10,
         ["--num_proj_layers=100", "weights"]),
        ({"proj_out_dim": 65536, "width_multiplier": 0.25}, 0.2, ["--proj_out_dim=65536"]),
        ({"use_memory": True, "memory_size": 2**32 - 1}, 1000, ["--memory_size=4294967295"]),
        ({"train_batch_size": 2**32 - 1}, 1000, ["--train_batch_size=4294967295", "of 16 pixels"]),
        ({"image_size": 16_000, "train_batch_size": 64}, 64, ["--image_size=16000", "92 GiB"]),
        ({"image_size": 3000, "train_batch_size": 64, "width_multiplier": 0.25}, 30,
         ["--image_size=3000", "the first layer's outputs"]),
    ],
)  # fmt: skip
def test_what_no_memory_holds_is_refused_by_its_flag(flags, gib, words, has):
    has(gib)
    with pytest.raises(ConfigError) as error:
        check_training(pretraining(**flags))
    assert all(word in str(error.value) for word in words), str(error.value)
    assert f"this machine has {gib:,.0f} GiB." in str(error.value)
    has(1e9)
    check_training(pretraining(**flags))


def test_accelerators_and_machines_that_share_a_batch_hold_their_part(has):
    has(30)
    large = pretraining(image_size=3000, train_batch_size=64, width_multiplier=0.25)
    check_training(large, on_cpu=False)
    many = pretraining(image_size=512, train_batch_size=25_000)
    with pytest.raises(ConfigError, match="--train_batch_size=25000"):
        check_training(many, on_cpu=False)
    check_training(many, pipelines=8, on_cpu=False)


def test_small_machines_run_the_demo_and_servers_every_recipe(has):
    has(1)
    check_training(pretraining(resnet_depth=18, width_multiplier=0.25, train_batch_size=256))
    has(64)
    for name in recipes():
        flags = [flag for flag in flags_of(name) if flag.startswith("--")]
        if name.endswith("pretrain"):
            given = command_line.parse(config.PretrainConfig, [*flags, "--model_dir=run"])
            check_training(command_line.build(config.PretrainConfig, given), on_cpu=False)


def test_the_machine_has_some_memory():
    assert GIB / 8 < memory.machine_memory() < 2**50


def test_running_out_of_memory_is_told_in_one_line(capfd):
    from tf_simclrv2.keras2 import tf

    def exhausts():
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating [9,9]\nand more")

    def exhausts_python():
        raise MemoryError

    for work, reason in ((exhausts, "OOM when allocating [9,9]"), (exhausts_python, "MemoryError")):
        assert report_errors(work) == 1
        said = capfd.readouterr().err
        assert said == (
            "error: the memory doesn't suffice; a smaller batch, image size or network may fit "
            f"({reason}).\n"
        )

    def fills_the_disk():
        raise tf.errors.ResourceExhaustedError(None, None, "x; No space left on device")

    with pytest.raises(tf.errors.ResourceExhaustedError):
        report_errors(fills_the_disk)
