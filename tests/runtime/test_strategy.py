"""Strategies are picked, and refused, as the flags and the cluster's variables say."""

import json

import pytest

from tf_simclrv2.config import ConfigError, DevicesConfig
from tf_simclrv2.keras2 import tf
from tf_simclrv2.runtime import strategy as strategies
from tf_simclrv2.runtime.devices import Devices


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


WORKERS = {"worker": ["localhost:1", "localhost:2"]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"cluster": WORKERS}, ["the type worker", "there are 2"]),
        ({"cluster": WORKERS, "task": {"type": "worker", "index": 99}}, ["the type worker"]),
        ({"cluster": WORKERS, "task": {"type": "x", "index": 0}}, ["the type worker"]),
        ({"cluster": WORKERS, "task": {"type": "worker", "index": "one"}}, ["the type worker"]),
        ({"cluster": WORKERS, "task": [1]}, ["the type worker"]),
        ({"cluster": {"chief": ["h:1"], **WORKERS}, "task": None}, ["chief or worker"]),
        ({"cluster": {"worker": ["no port", "x"]}}, ["list of host:port"]),
        ({"cluster": {"worker": ["h:1", "h:1"]}}, ["each address may stand there once"]),
        ({"cluster": {"worker": "h:1"}}, ["list of host:port"]),
        ({"cluster": {"worker": [{}, 5]}}, ["list of host:port"]),
        ({"cluster": {"worker": []}}, ["list of host:port"]),
        ([], ["list of host:port"]),
        ({"cluster": [True]}, ["list of host:port"]),
    ],
)
def test_a_cluster_without_this_worker_is_refused(content, words, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps(content))
    with pytest.raises(ConfigError) as error:
        strategies.open_strategy(DevicesConfig(strategy="multi_worker"))
    assert str(error.value).startswith(f"TF_CONFIG={json.dumps(content)}: ")
    assert all(word in str(error.value) for word in words), str(error.value)


def test_an_index_may_be_a_text(monkeypatch):
    task = {"type": "worker", "index": "1"}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": WORKERS, "task": task}))
    strategies._check_task(strategies._tf_config())


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"SLURM_STEP_NUM_TASKS": "x"}, "SLURM_STEP_NUM_TASKS=x: must be a whole number"),
        ({"SLURM_PROCID": "-1"}, "SLURM_PROCID=-1: must be a whole number"),
        ({"SLURM_PROCID": "4"}, "SLURM_PROCID=4: must be less than SLURM_STEP_NUM_TASKS=4"),
        ({"SLURM_STEP_NODELIST": "n["}, "Slurm's variables don't fit"),
        ({"SLURM_STEP_TASKS_PER_NODE": ""}, "Slurm's variables don't fit"),
    ],
)
def test_nonsense_of_slurm_is_refused(variables, words, srun):
    srun(0, **variables)
    with pytest.raises(ConfigError, match=words):
        strategies.open_strategy(DevicesConfig())


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

    num_replicas_in_sync = 3

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
    is_chief = [Devices(_Worker(cluster, *task)).is_chief for task in tasks]
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
    four, eight = Devices(_Replicas(4)), Devices(_Replicas(8))
    four.check_batch(64)
    with pytest.raises(
        ConfigError, match="--train_batch_size=60: must be a multiple of 8 replicas"
    ):
        eight.check_batch(60)
    with pytest.raises(ConfigError, match="--gradient_accumulation_steps=2: must be 1 with 4"):
        four.check_batch(64, parts=2)
    with pytest.raises(ConfigError, match="--jit_compile=true: must be auto or false with 2"):
        Devices(_Replicas(2), DevicesConfig(jit_compile="true"))
    assert Devices(_Replicas(1), DevicesConfig(jit_compile="true")).compiles
    assert not Devices(_Replicas(1), DevicesConfig()).compiles
    assert four.describe(64) == "_Replicas, 4 replicas, batch 64 (16 per replica)"
