"""Replicas compute what one device computes, and a lost worker is reported."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.runtime import replicas
from tf_simclrv2.config import ConfigError, DataConfig
from tf_simclrv2.data.sources import open_source
from tf_simclrv2.evaluation import classifier
from tf_simclrv2.keras2 import tf
from tf_simclrv2.runtime.devices import Devices
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.training import job

ROOT = pathlib.Path(__file__).parents[2]
# A dead worker is noticed within this time: TensorFlow's own checks run every 30 seconds or so.
NOTICED_WITHIN = 180


def _environment(**more):
    kept = {name: value for name, value in os.environ.items() if name != "TF_CONFIG"}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


def _clusters(count, chief=False):
    """The environment of each worker of a cluster on the loopback interface, the chief first."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    workers = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    cluster = {"chief": workers[:1], "worker": workers[1:]} if chief else {"worker": workers}
    for kind, addresses in cluster.items():
        for index in range(len(addresses)):
            task = {"cluster": cluster, "task": {"type": kind, "index": index}}
            yield _environment(TF_CONFIG=json.dumps(task), GRPC_ENABLE_FORK_SUPPORT="0")


def _start(arguments, environment, log):
    with open(log, "w") as file:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip


def _finish(processes, seconds):
    """Waits for processes and returns their exit codes; none is left behind."""
    deadline = time.monotonic() + seconds
    try:
        return [each.wait(max(1, deadline - time.monotonic())) for each in processes]
    finally:
        for each in processes:
            each.kill()


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Runs cases on virtual devices in one process, each once; returns what came out by case."""
    folder = tmp_path_factory.mktemp("replicas")
    open_source(DataConfig(dataset="digits"))

    def outcome(*cases):
        missing = [c for c in cases if not (folder / f"devices_{c.replace(':', '_')}.npz").exists()]
        if missing:
            arguments = ["tests.runtime.replicas", str(folder), *missing]
            process = _start(arguments, _environment(), folder / "log")
            assert _finish([process], 900) == [0], (folder / "log").read_text()[-3000:]
        return [np.load(folder / f"devices_{case.replace(':', '_')}.npz") for case in cases]

    return outcome


# Bounds on the distance of what several replicas compute from what one does. Losses are compared
# with their value; momentum (after one step from zero, the gradient times a constant) and keys with
# their norm; what was there before training with the norm of its change since then.
FIRST = {
    "loss": 1e-5, "momentum": 1e-4, "weight": 1e-4, "average": 1e-4, "statistic": 1e-5, "key": 1e-5,
}  # fmt: skip
# After 20 steps. With contrastive losses a single device is as far from itself if its first weights
# differ in the last place.
CONTRASTIVE = {
    "loss": 1e-3, "momentum": 0.2, "weight": 0.1, "average": 0.1, "statistic": 1e-3, "key": 1e-2,
}  # fmt: skip
SUPERVISED = {"loss": 1e-4, "momentum": 1e-2, "weight": 1e-2, "statistic": 1e-3}
LAST = {
    "pretrain": CONTRASTIVE, "memory": CONTRASTIVE, "classify": SUPERVISED, "distill": SUPERVISED,
}  # fmt: skip
CHANGE = ("weight", "average", "statistic")
# What float32 leaves open of a variable, of its norm: half a unit in the last place.
ROUNDING = 2.0**-24


def _assert_same_training(case, one, several):
    """Holds each variable and metric of a case to its bounds."""
    assert one.files == several.files
    for name in one.files:
        when, _, rest = name.partition(" ")
        kind, value, other = rest.split()[0], one[name], several[name]
        if when == "metric":
            _assert_same_metric(name, value[0], other[0], FIRST["loss"], 1 / replicas.BATCH)
            _assert_same_metric(name, value, other, LAST[case]["loss"], 1 / replicas.BATCH)
        elif when == "evaluation":
            _assert_same_metric(name, value, other, 1e-5, 1 / 61)
        elif when == "start":
            np.testing.assert_array_equal(value, other, name)
        else:
            bound = (FIRST if when == "first" else LAST[case])[kind]
            norm, rounding = np.linalg.norm(value), 0.0
            if kind in CHANGE:
                rounding = ROUNDING * norm
                norm = np.linalg.norm(value - one[f"start {rest}"])
                # One that stood still would be far outside of the bound.
                assert norm > 8 * rounding, name
            assert np.linalg.norm(value - other) <= bound * norm + rounding, name


def _assert_same_metric(name, value, other, bound, example):
    if "num_examples" in name:
        assert value == other == 61
    elif "accuracy" in name or "agreement" in name:
        # It jumps by an example where two numbers are nearly equal.
        np.testing.assert_allclose(other, value, 0, 1.001 * example, err_msg=name)
    else:
        np.testing.assert_allclose(other, value, bound, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["pretrain", "memory"])
def test_two_replicas_train_as_one(outcomes, case):
    _assert_same_training(case, *outcomes(f"{case}:1", f"{case}:2"))


@pytest.mark.slow
@pytest.mark.parametrize("case", ["pretrain", "memory", "classify", "distill"])
def test_four_replicas_train_as_one(outcomes, case):
    _assert_same_training(case, *outcomes(f"{case}:1", f"{case}:4"))


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.parametrize("case", ["pretrain", "memory", "classify", "distill"])
def test_two_processes_train_as_one_device(outcomes, case, tmp_path):
    (one,) = outcomes(f"{case}:1")
    arguments = ["tests.runtime.replicas", str(tmp_path), f"{case}:2"]
    workers = [
        _start(arguments, environment, tmp_path / f"log{index}")
        for index, environment in enumerate(_clusters(2))
    ]
    codes = _finish(workers, 600)
    assert codes == [0, 0], (tmp_path / "log0").read_text()[-3000:]
    _assert_same_training(case, one, np.load(tmp_path / f"workers_{case}_2.npz"))


@pytest.mark.slow
def test_all_commands_run_on_several_devices(tmp_path):
    open_source(DataConfig(dataset="digits"))
    steps = ["--virtual_devices=2", "--train_steps=3", "--train_batch_size=16"]
    tiny = ["--resnet_depth=18", "--width_multiplier=0.03125", "--image_size=8"]
    commands = [
        ["pretrain", *steps, *tiny, "--use_memory", "--memory_size=50", "--model_dir=pretrained"],
        ["finetune", *steps, "--checkpoint=pretrained", "--head_start=ridge",
         "--label_fraction=0.05", "--model_dir=fine_tuned"],
        ["distill", *steps, "--teacher=fine_tuned", "--model_dir=distilled"],
        ["evaluate", "--virtual_devices=2", "--model_dir=distilled", "--eval_batch_size=100"],
    ]  # fmt: skip
    code = "import json, sys; from tf_simclrv2.programs.main import main; "
    code += "sys.exit(any(main(arguments) for arguments in json.loads(sys.argv[1])))"
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(commands)],
        cwd=tmp_path, env=_environment(), capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "MirroredStrategy, 2 replicas, batch 16 (8 per replica)" in done.stdout
    result = json.loads((tmp_path / "distilled" / "result.json").read_text())
    assert (result["num_examples"], result["step"]) == (360, 3)


@pytest.mark.slow
@pytest.mark.cluster
def test_a_chief_and_a_worker_run_the_other_commands_as_one_device(command, method, tmp_path):
    # A rate at which a network this small does not diverge, which makes rounding large.
    steps = ["--train_steps=4", "--train_batch_size=20", "--use_blur=false", "--use_flip=false",
             "--learning_rate=0.001"]  # fmt: skip
    names = ["fine_tuned", "distilled"]
    paths, alone = ({n: tmp_path / f"{n}{kind}" for n in names} for kind in ("", "_alone"))

    def commands(paths):
        return [
            ["finetune", *steps, f"--checkpoint={method['pretrained']}", "--head_start=ridge",
             f"--model_dir={paths['fine_tuned']}"],
            ["distill", *steps, "--resnet_depth=18", "--width_multiplier=0.03125",
             f"--teacher={paths['fine_tuned']}", f"--model_dir={paths['distilled']}"],
            ["evaluate", f"--model_dir={paths['distilled']}", "--eval_split=train",
             "--eval_batch_size=101", "--eval_steps=3"],
        ]  # fmt: skip

    for arguments in commands(paths):
        logs = [tmp_path / f"log_{arguments[0]}_{index}" for index in range(2)]
        workers = [
            _start(["tf_simclrv2", *arguments], environment, log)
            for environment, log in zip(_clusters(2, chief=True), logs)
        ]
        assert _finish(workers, 400) == [0, 0], logs[0].read_text()[-3000:]
        described = ["MultiWorkerMirroredStrategy, 2 replicas" in log.read_text() for log in logs]
        assert described == [True, False]
    for arguments in commands(alone):
        assert command(*arguments).code == 0
    for name in names:
        result, expected = (
            json.loads((each[name] / "result.json").read_text()) for each in (paths, alone)
        )
        others, expected_others = (each.pop("other_evaluations", []) for each in (result, expected))
        assert [other["num_examples"] for other in others] == [303] * (name != "fine_tuned")
        assert result["num_examples"] == 360
        for one, other in zip([result, *others], [expected, *expected_others]):
            measures, expected_measures = one.pop("classifier"), other.pop("classifier")
            assert measures.pop("interval") == pytest.approx(expected_measures.pop("interval"))
            assert measures == pytest.approx(expected_measures, rel=1e-4)
            assert one == pytest.approx(other, rel=1e-4)


@pytest.mark.slow
@pytest.mark.cluster
def test_a_dead_worker_is_reported_an_interrupted_one_saves_and_the_run_goes_on(tmp_path):
    open_source(DataConfig(dataset="digits"))
    run = tmp_path / "run"

    def start():
        arguments = [
            "tf_simclrv2", "pretrain", "--strategy=multi_worker", "--resnet_depth=18",
            "--width_multiplier=0.03125", "--image_size=8", "--train_batch_size=16",
            "--train_steps=200", "--log_every_steps=10", "--checkpoint_steps=20",
            "--use_blur=false", "--use_flip=false", f"--model_dir={run}",
        ]  # fmt: skip
        return [
            _start(arguments, environment, tmp_path / f"log{index}")
            for index, environment in enumerate(_clusters(2))
        ]

    workers = start()
    try:
        deadline = time.monotonic() + 300
        while not (run / "checkpoints" / "checkpoint").exists():
            assert time.monotonic() < deadline, (tmp_path / "log0").read_text()[-3000:]
            time.sleep(0.2)
        workers[1].send_signal(signal.SIGKILL)
        killed = time.monotonic()
        assert workers[0].wait(NOTICED_WITHIN) == 1
        print(f"noticed after {time.monotonic() - killed:.0f} seconds")
    finally:
        _finish(workers, 1)
    last_line = (tmp_path / "log0").read_text().strip().splitlines()[-1]
    assert last_line.startswith("error: ") and "another worker of the cluster died" in last_line
    saved = int(tf.train.latest_checkpoint(str(run / "checkpoints")).rpartition("-")[2])
    assert 20 <= saved < 200

    # A worker that is asked to end takes the other with it, at a step that both save.
    workers = start()
    try:
        deadline = time.monotonic() + 300
        while not (run / "checkpoints" / f"ckpt-{saved + 20}.index").exists():
            assert time.monotonic() < deadline, (tmp_path / "log0").read_text()[-3000:]
            time.sleep(0.05)
        workers[1].send_signal(signal.SIGUSR1)
    finally:
        assert _finish(workers, 60) == [75, 75], (tmp_path / "log0").read_text()[-3000:]
    last = int(tf.train.latest_checkpoint(str(run / "checkpoints")).rpartition("-")[2])
    assert saved + 20 < last < 200 and last % 10 == 0

    assert _finish(start(), 600) == [0, 0], (tmp_path / "log0").read_text()[-3000:]
    assert json.loads((run / "result.json").read_text())["step"] == 200
    steps = [int(line.split(",")[0]) for line in (run / "metrics.csv").read_text().split()[1:]]
    assert steps == list(range(10, 201, 10))


def test_a_worker_that_is_lost_in_evaluation_is_reported_too(monkeypatch, tmp_path):
    def lose(*_):
        raise tf.errors.UnavailableError(None, None, "heartbeat timeout")

    monkeypatch.setattr(classifier, "answers", lose)
    monkeypatch.setattr(Devices, "distribute", lambda *_: [])
    source, run = open_source(DataConfig(dataset="digits")), RunDirectory(str(tmp_path))
    alone, together = Devices(), Devices()
    together.has_workers = True
    with pytest.raises(ConfigError, match="another worker of the cluster died"):
        job.evaluate(run, together, None, source, DataConfig(), 1)
    with pytest.raises(tf.errors.UnavailableError):
        job.evaluate(run, alone, None, source, DataConfig(), 1)
