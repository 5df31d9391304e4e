"""``--mixed_precision=auto``: which machines compute in bfloat16, and that a run keeps to it."""

import json

import pytest

from tests.conftest import DIGITS_VIEWS, FEW_STEPS, TINY
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.runtime import number_format, strategy
from tf_simclrv2.runtime.number_format import fastest_format


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx2 avx512_bf16 amx_tile", "mixed_bfloat16"),
        ("fpu avx2 amx_bf16", "mixed_bfloat16"),
        ("fpu avx512f avx512_vnni", "float32"),
        (None, "float32"),
    ],
)
def test_a_cpu_has_it_if_it_says_so(flags, expected, tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    if flags is not None:
        path.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: amx_bf16_bug\n")
    monkeypatch.setattr(number_format, "_CPU_INFO", str(path))
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    assert fastest_format() == expected
    assert fastest_format(uses_tpu=True) == "mixed_bfloat16"


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [([(8, 0), (9, 0)], "mixed_bfloat16"), ([(8, 0), (7, 5)], "float32"), ([None], "float32")],
)
def test_gpus_have_it_if_all_do(capabilities, expected, monkeypatch):
    details = [{"compute_capability": each} if each else {} for each in capabilities]
    gpus = range(len(details))
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: list(gpus))
    monkeypatch.setattr(tf.config.experimental, "get_device_details", details.__getitem__)
    assert fastest_format() == expected


def test_a_run_keeps_what_was_decided_when_it_began(command, tmp_path, monkeypatch):
    run = str(tmp_path / "run")
    arguments = ["pretrain", *TINY, *DIGITS_VIEWS, f"--model_dir={run}", "--mode=train"]
    try:
        monkeypatch.setattr(strategy, "fastest_format", lambda uses_tpu: "mixed_bfloat16")
        begun = command(*arguments, *FEW_STEPS, "--mixed_precision=auto")
        assert begun.code == 0 and ", mixed_bfloat16, batch " in begun.out, begun.err
        with open(tmp_path / "run" / "config.json", encoding="utf-8") as file:
            assert json.load(file)["config"]["devices"]["mixed_precision"] == "mixed_bfloat16"
        monkeypatch.setattr(strategy, "fastest_format", lambda uses_tpu: "float32")
        again = command(*arguments, *FEW_STEPS, "--mixed_precision=auto", "--train_steps=5")
        assert again.code == 0 and ", mixed_bfloat16, batch " in again.out, again.err
    finally:
        keras.mixed_precision.set_global_policy("float32")


def test_several_machines_need_it_named(command, tmp_path, monkeypatch):
    cluster = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    outcome = command("pretrain", *TINY, "--mixed_precision=auto", f"--model_dir={tmp_path}/run")
    assert outcome.code == 1 and outcome.err == (
        "error: --mixed_precision=auto: must be named where several machines compute.\n"
    )
