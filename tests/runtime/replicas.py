"""Trains a learner on so many replicas and writes what came out, for test_replicas.py to compare.

  python -m tests.runtime.replicas OUTPUT_DIR CASE:REPLICAS ...

With TF_CONFIG in the environment REPLICAS is the number of processes.
"""

import os
import sys

import numpy as np

from tf_simclrv2.config import (
    AugmentationConfig,
    ContrastiveConfig,
    DataConfig,
    DevicesConfig,
    DistillationConfig,
    MemoryConfig,
    NetworkConfig,
    OptimizationConfig,
    ProjectionHeadConfig,
)
from tf_simclrv2.data.batches import Views, batches, evaluation_batches
from tf_simclrv2.data.sources import open_source
from tf_simclrv2.data.stream import Stream
from tf_simclrv2.evaluation import classifier
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.learners.classifier import Classifier
from tf_simclrv2.learners.distiller import Distiller
from tf_simclrv2.learners.memory import PretrainerWithMemory
from tf_simclrv2.learners.pretrainer import Pretrainer
from tf_simclrv2.networks.network import Network
from tf_simclrv2.optimization.optimizers import build_optimizer
from tf_simclrv2.runtime.devices import Devices

STEPS = 20
BATCH = 32
# So large that the first step moves every weight well beyond float32's rounding, and hardly larger:
# what rounding errors become in twenty steps, where a ReLU switches for example, grows with them.
LEARNING_RATES = {"pretrain": 1e-5, "memory": 1e-3, "classify": 1e-2, "distill": 1e-2}
MOST_DEVICES = 4
DATA = DataConfig(dataset="digits", image_size=8, eval_batch_size=24)
VIEWS = AugmentationConfig(use_flip=False, use_blur=False)
NETWORK = NetworkConfig(resnet_depth=18, width_multiplier=1 / 16, stem="cifar")
HEAD = ProjectionHeadConfig(proj_out_dim=8)
# The queue of 50 keys wraps around in the first step already.
MEMORY = MemoryConfig(use_memory=True, memory_size=50)


def _network(**arguments):
    network = Network(NETWORK, HEAD, 10, **arguments).build_for(8)
    for variable in network.trainable_variables:
        # Residual branches start from a scale of 0, behind which no gradient would show.
        if not tf.reduce_any(variable != 0):
            variable.assign(tf.fill(variable.shape, 0.5))
    return network


def build_learner(case, **optimization):
    """A learner for a case, compiled, with a further optimizer's settings than the case's own."""
    own = {"train_batch_size": BATCH, "weight_decay": 1e-3}
    own["optimizer"] = "lars" if case == "memory" else "momentum"
    optimization = OptimizationConfig(**{**own, **optimization})
    keras.utils.set_random_seed(0)
    if case == "pretrain":
        learner = Pretrainer(_network(probe=True), ContrastiveConfig(temperature=0.5), optimization)
    elif case == "memory":
        networks = _network(probe=True), _network(probe=True)
        learner = PretrainerWithMemory(
            *networks, ContrastiveConfig(temperature=0.5), MEMORY, optimization
        )
    elif case == "classify":
        learner = Classifier(_network(ft_proj_selector=1), optimization)
    else:
        networks = _network(), _network(ft_proj_selector=1)
        config = DistillationConfig(teacher="in memory", distillation_temperature=0.5)
        learner = Distiller(*networks, config, optimization)
    learner.compile(build_optimizer(optimization, LEARNING_RATES[case], learner.roles))
    return learner


def _batches(case, source, part):
    views = Views.two(8, VIEWS) if case in ("pretrain", "memory") else Views.one(8, VIEWS)
    return batches(Stream(source, "train", 0, data=DATA), views, BATCH, part=part)


class _Record(keras.callbacks.Callback):
    """Keeps each step's metrics, and the state before training, after the first step and last."""

    def __init__(self):
        super().__init__()
        self.values = {}

    def on_train_begin(self, logs=None):
        self._keep("start")

    def on_train_batch_end(self, batch, logs=None):
        for name, value in logs.items():
            self.values.setdefault(f"metric {name}", []).append(value)
        self.model.reset_metrics()
        if batch in (0, STEPS - 1):
            self._keep("first" if batch == 0 else "last")

    def _keep(self, when):
        for kind, variables in self._state().items():
            for index, variable in enumerate(variables):
                self.values[f"{when} {kind} {index}"] = variable.numpy()

    def _state(self):
        network = self.model.network
        state = {
            # After one step from zero, momentum is the gradient times a constant.
            "momentum": self.model.optimizer.momentums,
            "weight": network.trainable_variables,
            "statistic": network.non_trainable_variables,
        }
        if hasattr(self.model, "memory"):
            state["key"] = [self.model.memory.queue.keys, self.model.memory.queue.added]
            state["average"] = self.model.memory.network.variables
        return state


def _train(case, devices, source):
    with devices.scope():
        learner = build_learner(case)
    record = _Record()
    trained = devices.distribute(lambda part: _batches(case, source, part))
    learner.fit(trained, epochs=1, steps_per_epoch=STEPS, verbose=0, callbacks=[record])
    if case == "classify":
        evaluated = devices.distribute(
            lambda part: evaluation_batches(source, DATA, "test[:61]", part)
        )
        metrics = classifier.run(learner.network, evaluated, devices.strategy)
        record.values.update({f"evaluation {name}": value for name, value in metrics.items()})
    return record.values


def main(output, *cases):
    several = "TF_CONFIG" in os.environ
    if several:
        devices = {2: Devices.open(DevicesConfig(strategy="multi_worker"))}
    else:
        # The largest first: it settles into how many devices the CPU is split.
        devices = {
            count: Devices.open(DevicesConfig(virtual_devices=count))
            for count in range(MOST_DEVICES, 0, -1)
        }
    source = open_source(DATA)
    for case in cases:
        name, replicas = case.split(":")
        values = _train(name, devices[int(replicas)], source)
        if devices[int(replicas)].is_chief:
            prefix = "workers" if several else "devices"
            np.savez(os.path.join(output, f"{prefix}_{name}_{replicas}.npz"), **values)


if __name__ == "__main__":
    main(*sys.argv[1:])
