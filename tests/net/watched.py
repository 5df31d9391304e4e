"""A learner that was about to be trained: its batches, its steps and what its callbacks write."""

import contextlib
import csv
import functools
import glob
import itertools
import os
import re
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Optional
from unittest import mock

import numpy as np

from tf_simclrv2.keras2 import keras, tf

Batch = Dict[str, np.ndarray]


class Played(NamedTuple):
    """What a job has written when all its steps are over.

    Attributes:
      rows: the rows of ``metrics.csv``.
      saved: the steps of the checkpoints in its directory, ascending.
    """

    rows: List[Dict[str, float]]
    saved: List[int]


class Step(NamedTuple):
    """One step of training.

    Attributes:
      logs: what it logs.
      sizes: of the parts that its batch was split into.
      passes: how often the last block was computed.
    """

    logs: Dict[str, float]
    sizes: List[int]
    passes: int


class Watched:
    """What can be seen of a learner and of the arguments that its ``fit`` was given.

    Attributes:
      path: the run directory.
      learner: the compiled learner.
      fitted: the arguments of ``fit``, by name.
    """

    path: str
    learner: keras.Model
    fitted: Dict[str, Any]

    @property
    def network(self):
        """The network that is to be trained."""
        return self.learner.network

    @property
    def optimizer(self):
        """The optimizer, with its variables."""
        return self.learner.optimizer

    @property
    def steps(self) -> int:
        """Steps that are left to train."""
        return self.fitted["epochs"] * self.fitted["steps_per_epoch"]

    def batches(self) -> Iterator[Batch]:
        """The batches to train on, as the pipeline makes them."""
        return self.fitted["x"].as_numpy_iterator()

    @functools.cached_property
    def batch(self) -> Batch:
        """The first of the batches."""
        return next(self.batches())

    def images(self, count: int, name: Optional[str] = None) -> np.ndarray:
        """The first ``count`` images to train on, by default those of the first name."""
        name = name or next(iter(self.batch))
        size = len(self.batch[name])
        batches = itertools.islice(self.batches(), -(-count // size))
        return np.concatenate([batch[name] for batch in batches])[:count]

    @functools.cached_property
    def fed(self) -> Batch:
        """What reaches the loss of the first batch: float images in [0, 1]."""
        seen = []

        def stop(batch):
            seen.append({name: value.numpy() for name, value in batch.items()})
            raise InterruptedError

        caught = contextlib.suppress(InterruptedError)
        with mock.patch.object(self.learner, "losses_of", stop), caught:
            self.learner.train_step(_tensors(self.batch))
        return seen[0]

    @contextlib.contextmanager
    def unchanged(self) -> Iterator[None]:
        """Gives all variables their values back afterwards."""
        optimizers = self.optimizer.variables
        variables = [*(optimizers() if callable(optimizers) else optimizers)]
        variables += [*self.learner.variables, self.optimizer.iterations]
        if hasattr(self.learner, "memory"):
            variables += self.learner.memory.variables
        before = [(variable, variable.numpy()) for variable in variables]
        try:
            yield
        finally:
            for variable, value in before:
                variable.assign(value)

    @functools.cached_property
    def step(self) -> Step:
        """One step of training on the first batch, without a graph, which changes nothing."""
        sizes, passes, losses_of = [], [], self.learner.losses_of
        block = self.network.encoder.groups[-1][-1]
        compute = block.call

        def losses_of_part(batch):
            sizes.append(len(next(iter(batch.values()))))
            return losses_of(batch)

        def compute_again(inputs, training=False):
            passes.append(training)
            return compute(inputs, training=training)

        with contextlib.ExitStack() as patches:
            patches.enter_context(self.unchanged())
            patches.enter_context(mock.patch.object(self.learner, "losses_of", losses_of_part))
            patches.enter_context(mock.patch.object(block, "call", compute_again))
            return Step(self.train(), sizes, len(passes))

    def train(self) -> Dict[str, float]:
        """Trains one step on the first batch, without a graph; returns what it logs."""
        self.learner.reset_metrics()
        logs = self.learner.train_step(_tensors(self.batch))
        return {name: float(value) for name, value in logs.items()}

    def moved(self, variable: tf.Variable, step: int, times: int = 1) -> np.ndarray:
        """How far the last of the optimizer's updates moves a variable, against the gradient.

        Args:
          variable: one of the trainable variables; its gradient is 1 everywhere.
          step: steps that were trained before, of each update.
          times: how many updates there are.
        """
        gradient = tf.ones_like(variable)
        with self.unchanged():
            for _ in range(times):
                before = variable.numpy()
                self.optimizer.iterations.assign(step)
                self.optimizer.apply_gradients([(gradient, variable)])
            return before - variable.numpy()

    @functools.cached_property
    def played(self) -> Played:
        """What the job writes when its steps go by without training, step k in k seconds."""
        now = [1000.0]
        callbacks = keras.callbacks.CallbackList(
            self.fitted["callbacks"], model=self.learner, add_history=False
        )
        logs = {metric.name: 0.0 for metric in self.learner.metrics}
        with mock.patch.object(time, "monotonic", lambda: now[0]):
            callbacks.on_train_begin()
            for batch in range(self.steps):
                callbacks.on_train_batch_begin(batch)
                self.optimizer.iterations.assign_add(1)
                now[0] += batch + 1
                callbacks.on_train_batch_end(batch, logs)
            callbacks.on_train_end()
        with open(os.path.join(self.path, "metrics.csv"), encoding="utf-8") as file:
            rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
        return Played(rows, saved_in(os.path.join(self.path, "checkpoints")))


def saved_in(folder: str) -> List[int]:
    """The steps of the checkpoints in a folder, ascending."""
    found = glob.glob(os.path.join(folder, "*.index"))
    return sorted(int(re.search(r"-(\d+)\.", path)[1]) for path in found)


def _tensors(batch: Batch) -> Dict[str, tf.Tensor]:
    return {name: tf.constant(value) for name, value in batch.items()}
