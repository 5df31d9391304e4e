"""Replicas compute what one device computes; strategies are picked and refused as told."""

import itertools
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
from tf_simclrv2.config import ConfigError, DataConfig, DevicesConfig
from tf_simclrv2.data.sources import open_source
from tf_simclrv2.keras2 import tf
from tf_simclrv2.programs import training
from tf_simclrv2.runtime import strategy as strategies
from tf_simclrv2.runtime.run_directory import RunDirectory

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
    for job, addresses in cluster.items():
        for index in range(len(addresses)):
            task = {"cluster": cluster, "task": {"type": job, "index": index}}
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


@pytest.mark.parametrize("case", ["pretrain", "memory"])
def test_two_replicas_train_as_one(outcomes, case):
    _assert_same_training(case, *outcomes(f"{case}:1", f"{case}:2"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "count"),
    [("pretrain", 4), ("memory", 4), *itertools.product(["classify", "distill"], [2, 4])],
)
def test_more_replicas_and_other_learners_train_as_one(outcomes, case, count):
    _assert_same_training(case, *outcomes(f"{case}:1", f"{case}:{count}"))


@pytest.mark.slow
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
        ["finetune", *steps, "--checkpoint=pretrained", "--model_dir=fine_tuned"],
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
def test_a_chief_and_a_worker_run_the_other_commands_as_one_device(command, method, tmp_path):
    steps = ["--train_steps=4", "--train_batch_size=20", "--use_blur=false", "--use_flip=false"]
    names = ["fine_tuned", "distilled"]
    paths, alone = ({n: tmp_path / f"{n}{kind}" for n in names} for kind in ("", "_alone"))

    def commands(paths):
        return [
            ["finetune", *steps, f"--checkpoint={method['pretrained']}",
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
        assert result["num_examples"] == (360 if name == "fine_tuned" else 303)
        assert result == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_a_dead_worker_is_reported_and_the_run_goes_on_after_a_restart(tmp_path):
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

    assert _finish(start(), 600) == [0, 0], (tmp_path / "log0").read_text()[-3000:]
    assert json.loads((run / "result.json").read_text())["step"] == 200
    steps = [int(line.split(",")[0]) for line in (run / "metrics.csv").read_text().split()[1:]]
    assert steps == list(range(10, 201, 10))


def test_a_worker_that_is_lost_in_evaluation_ends_in_a_sentence_too(monkeypatch, tmp_path):
    def lose(*_):
        raise tf.errors.UnavailableError(None, None, "heartbeat timeout")

    monkeypatch.setattr(training, "evaluate_classifier", lose)
    monkeypatch.setattr(training, "distribute", lambda strategy, batches_of: None)
    source, run = open_source(DataConfig(dataset="digits")), RunDirectory(str(tmp_path))
    workers = object.__new__(tf.distribute.MultiWorkerMirroredStrategy)
    with pytest.raises(ConfigError, match="another worker of the cluster died"):
        training.evaluate(run, workers, None, source, DataConfig(), 1, False)
    with pytest.raises(tf.errors.UnavailableError):
        training.evaluate(run, None, None, source, DataConfig(), 1, False)


@pytest.mark.parametrize(
    ("devices", "environment", "words"),
    [
        (DevicesConfig(strategy="mirrored"), {}, ["--strategy=mirrored", "--virtual_devices=2"]),
        (DevicesConfig(strategy="multi_worker"), {}, ["--strategy=multi_worker", "TF_CONFIG"]),
        (DevicesConfig(), {"TF_CONFIG": "{"}, ["TF_CONFIG={", "cluster.worker"]),
        (DevicesConfig(use_tpu=True, tpu_name="none"), {}, ["--tpu_name=none", "no TPU answers"]),
        (DevicesConfig(virtual_devices=2), {}, ["--virtual_devices=2", "started with 1"]),
    ],
)
def test_devices_that_are_not_there_are_refused(devices, environment, words, monkeypatch):
    tf.config.list_logical_devices()
    monkeypatch.delenv("TF_CONFIG", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as error:
        strategies.open_strategy(devices)
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words)


@pytest.fixture
def srun(monkeypatch):
    """Sets the variables of the given task of four on two machines without GPUs."""
    for name in ("TF_CONFIG", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "")

    def task(rank, **more):
        variables = {
            "SLURM_PROCID": str(rank),
            "SLURM_NTASKS": "4",
            "SLURM_STEP_NUM_TASKS": "4",
            "SLURM_STEP_NODELIST": "node[01-02]",
            "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
            **more,
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return task


def test_slurm_counts_only_for_tasks_of_srun(monkeypatch, srun):
    # A batch script has these as well.
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert strategies._resolve(DevicesConfig()) == "one_device"
    with pytest.raises(ConfigError, match=r"--strategy=multi_worker: .*srun"):
        strategies.open_strategy(DevicesConfig(strategy="multi_worker"))
    srun(0)
    assert strategies._resolve(DevicesConfig()) == "multi_worker"


@pytest.mark.parametrize(
    ("gpus", "more", "own"),
    [
        ([], {}, []),
        (["a", "b", "c", "d"], {}, ["c", "d"]),
        (["a", "b"], {"SLURM_GPUS_PER_TASK": "2"}, ["a", "b"]),
    ],
    ids=["no GPU", "four per machine", "two per task"],
)
def test_slurm_tells_workers_and_a_task_takes_its_share_of_gpus(monkeypatch, srun, gpus, more, own):
    visible = {"GPU": list(gpus)}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(
        tf.config, "set_visible_devices", lambda devices, kind: visible.update({kind: devices})
    )
    srun(3, **more)
    resolver = strategies._slurm_cluster()
    assert resolver.cluster_spec().as_dict() == {
        "worker": ["node01:8888", "node01:8889", "node02:8888", "node02:8889"]
    }
    assert (resolver.task_type, resolver.task_id) == ("worker", 3)
    assert resolver.num_accelerators() == {"GPU": len(own)}
    assert visible["GPU"] == own


def test_variables_of_slurm_that_do_not_fit_are_refused(srun):
    srun(0, SLURM_STEP_NODELIST="node01")
    with pytest.raises(ConfigError, match="--strategy=multi_worker: Slurm's variables"):
        strategies.open_strategy(DevicesConfig())


class _Worker(tf.distribute.MultiWorkerMirroredStrategy):
    """Stands in for the strategy of one task of a cluster."""

    def __init__(self, cluster, task_type, task_id):
        self._resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec(cluster), task_type=task_type, task_id=task_id
        )

    @property
    def cluster_resolver(self):
        return self._resolver


@pytest.mark.parametrize("chiefs", [0, 1])
def test_every_cluster_has_one_chief(monkeypatch, chiefs):
    cluster = {"worker": ["host1:1", "host2:1"]}
    if chiefs:
        cluster["chief"] = ["host0:1"]
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster}))
    assert strategies._num_workers() == 2 + chiefs
    tasks = [(kind, index) for kind in sorted(cluster) for index in range(len(cluster[kind]))]
    is_chief = [strategies.is_chief(_Worker(cluster, *task)) for task in tasks]
    assert is_chief == [True] + [False] * (len(tasks) - 1)


def test_a_chief_and_a_worker_are_several_workers(monkeypatch):
    cluster = {"chief": ["host0:1"], "worker": ["host1:1"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster}))
    assert strategies._resolve(DevicesConfig()) == "multi_worker"
    with pytest.raises(ConfigError, match=r"--virtual_devices=2: is for .* not multi_worker"):
        strategies.open_strategy(DevicesConfig(virtual_devices=2))


class _Replicas:
    """Stands in for a strategy of so many replicas."""

    def __init__(self, count):
        self.num_replicas_in_sync = count


def test_what_can_not_be_shared_or_compiled_is_refused():
    strategies.check_batch(_Replicas(4), 64)
    with pytest.raises(
        ConfigError, match="--train_batch_size=60: must be a multiple of 8 replicas"
    ):
        strategies.check_batch(_Replicas(8), 60)
    with pytest.raises(ConfigError, match="--gradient_accumulation_steps=2: must be 1 with 4"):
        strategies.check_batch(_Replicas(4), 64, parts=2)
    with pytest.raises(ConfigError, match="--jit_compile=true: must be auto or false with 2"):
        strategies.jit_compile(DevicesConfig(jit_compile="true"), _Replicas(2))
    assert strategies.jit_compile(DevicesConfig(jit_compile="true"), _Replicas(1))
    assert not strategies.jit_compile(DevicesConfig(), _Replicas(1))
    assert (
        strategies.describe(_Replicas(4), 64) == "_Replicas, 4 replicas, batch 64 (16 per replica)"
    )
