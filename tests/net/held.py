"""Commands that run up to the point where training would begin, and what they hold by then.

This is the only way from the tests of this directory into the programs, the pipeline and the
runtime: where these change their names, only this file has to follow.
"""

import contextlib
import dataclasses
import functools
import importlib
import inspect
import os
import re
import tempfile
from typing import Any, Dict, Iterator, List, Optional
from unittest import mock

import numpy as np

from tests.net.watched import Watched
from tf_simclrv2.config import ConfigError, DataConfig, sections_of
from tf_simclrv2.data.by_index import Indexed
from tf_simclrv2.data.images import decode
from tf_simclrv2.data.sources import open_source
from tf_simclrv2.keras2 import keras, start_xla, tf
from tf_simclrv2.learners.learner import Learner
from tf_simclrv2.networks import resnet
from tf_simclrv2.programs import command_line, demo
from tf_simclrv2.programs.main import COMMANDS
from tf_simclrv2.runtime.health import NotFiniteError
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.training import frozen_weights
from tf_simclrv2.training.frozen import Frozen

TRAINING = ("pretrain", "finetune", "distill")

# Networks have few blocks here, and one of depth 101 a single one, to be built in little time.
_BLOCKS = {18: (1, 1, 1, 1), 34: (2, 1, 1, 1), 50: (1, 1, 1, 1), 101: (1, 0, 0, 0)}
_ROOT = tempfile.TemporaryDirectory(prefix="tf_simclrv2_net_")


def new_path(name: str) -> str:
    """A path in a new directory, which goes when the tests end."""
    return os.path.join(tempfile.mkdtemp(dir=_ROOT.name), name)


def flags_of_commands() -> Dict[str, List[str]]:
    """The flags of each command."""
    return {
        command: [
            field.name
            for section in sections_of(row.config).values()
            for field in dataclasses.fields(section)
        ]
        for command, row in COMMANDS.items()
    }


class Ran:
    """A command that ran in this process, with short networks and nothing compiled by XLA.

    Attributes:
      values: the flags that were given, by name.
      refused: the flag that the command refused; None if it did not end in an error.
      message: the error.
      tpu: what TensorFlow was asked to look for as a TPU; there never is one.
      compiles: what each function that TensorFlow made was to be compiled by XLA.
      cached: how many data sets, or images by their numbers, were to be kept in memory.
      seen: what else somebody saw of it.
      code: the exit code that the command returned; None if it returned none.
    """

    def __init__(self, command: str, *flags: str):
        self.command = command
        self.values: Dict[str, Any] = {}
        self.refused = self.message = self.tpu = None
        self.seen: Any = None
        self.code: Optional[int] = None
        self.compiles: List[bool] = []
        self.cached = 0
        arguments = [argument for flag in flags for argument in flag.split()]
        program = importlib.import_module(COMMANDS[command].module)
        with contextlib.ExitStack() as patches:
            for patch in self._patches():
                patches.enter_context(patch)
            try:
                self.values = command_line.parse(COMMANDS[command].config, arguments)
                self.code = program.run(self.values)
            except ConfigError as error:
                self.message = str(error)
                named = re.match(r"--(\w+)[=:]", self.message)
                self.refused = named[1] if named else "something"

    def _patches(self) -> List[Any]:
        start_xla()  # Which compiles, and does so once.
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver
        signature, function = inspect.signature(resolver.__init__), tf.function
        cache, kept_in_memory = tf.data.Dataset.cache, Indexed.kept_in_memory

        def no_tpu(*arguments, **named):
            self.tpu = dict(signature.bind(None, *arguments, **named).arguments)
            del self.tpu["self"]
            raise RuntimeError("no TPU here")

        def not_compiled(*arguments, jit_compile=None, **named):
            self.compiles.append(bool(jit_compile))
            return function(*arguments, **named)

        def cache_and_count(dataset, *arguments, **named):
            self.cached += 1
            return cache(dataset, *arguments, **named)

        def keep_and_count(indexed, *arguments):
            self.cached += 1
            return kept_in_memory(indexed, *arguments)

        return [
            mock.patch.dict(resnet.BLOCKS, _BLOCKS),
            mock.patch.object(tf.distribute.cluster_resolver, "TPUClusterResolver", no_tpu),
            mock.patch.object(tf, "function", not_compiled),
            mock.patch.object(tf.data.Dataset, "cache", cache_and_count),
            mock.patch.object(Indexed, "kept_in_memory", keep_and_count),
        ]


class Held(Ran, Watched):
    """A job of a training command up to the call of ``fit``, which does nothing here.

    Attributes:
      learner: the compiled learner.
      compiled: the arguments of its ``compile``.
      fitted: the arguments of its ``fit``; None if that was not called.
    """

    def __init__(self, command: str, *flags: str):
        self.learner = self.compiled = self.fitted = None
        super().__init__(command, *flags)

    def _patches(self) -> List[Any]:
        compile_, fit = Learner.compile, inspect.signature(keras.Model.fit)

        def compile_and_tell(learner, **arguments):
            self.learner, self.compiled = learner, arguments
            compile_(learner, **arguments)

        def tell(*arguments, **named):
            self.fitted = dict(fit.bind(*arguments, **named).arguments)

        return [
            *super()._patches(),
            mock.patch.object(Learner, "compile", compile_and_tell),
            mock.patch.object(Learner, "fit", tell),
        ]

    def again(self, *flags: str) -> "Held":
        """The job of the same command line, and perhaps further flags, in the same directory."""
        return Held(self.command, *self._given, *flags)

    def fits_if_it_diverges(self) -> int:
        """How often the job is trained, for longer than it was, if its loss is never finite."""
        assert self.played.saved
        return Diverging(self.command, *self._given, "--train_steps=0", "--train_epochs=99").fits

    @property
    def _given(self) -> List[str]:
        return [f"--{name}={value}" for name, value in self.values.items()]

    @property
    def path(self) -> str:
        """The run directory."""
        return self.values["model_dir"]

    @property
    def average(self):
        """The memory network, which follows the trained one."""
        return self.learner.memory.network

    @property
    def queue(self):
        """The queue of keys: ``keys`` and ``filled``."""
        return self.learner.memory.queue

    def keys(self, views: np.ndarray) -> np.ndarray:
        """What the memory network maps views to in training."""
        return self.learner.memory.keys(views).numpy()

    def split(self, name: str) -> np.ndarray:
        """The images of a split of the job's data, each once, uint8."""
        return _images_of(RunDirectory(self.path).config.data, name)


class Diverging(Held):
    """A job each of whose calls of ``fit`` ends at a loss that is not finite.

    Attributes:
      fits: how many calls there were.
    """

    fits = 0

    def _patches(self) -> List[Any]:
        def diverge(*_, **__):
            self.fits += 1
            raise NotFiniteError("not finite", step=1)

        return [*super()._patches(), mock.patch.object(Learner, "fit", diverge)]


@functools.lru_cache(None)
def _images_of(data: DataConfig, split: str) -> np.ndarray:
    images = open_source(data).examples(split).map(lambda example: decode(example["image"]))
    return np.stack([*images.as_numpy_iterator()])


def once_each(*flags: str) -> Dict[str, str]:
    """The flags' values by name; the last one counts, and an empty one takes the flag back."""
    given = {}
    for flag in " ".join(flags).split():
        name, _, value = flag.partition("=")
        given[name] = value if "=" in flag else "true"
    return {name: value for name, value in given.items() if value}


_jobs: Dict[tuple, Held] = {}


def job(command: str, *flags: str) -> Held:
    """The job of a training command, in a directory of its own; it is built once and kept."""
    given = once_each(*flags)
    key = (command, *sorted(given.items()))
    if key not in _jobs:
        given.setdefault("--model_dir", new_path("run"))
        _jobs[key] = Held(command, *(f"{name}={value}" for name, value in given.items()))
    return _jobs[key]


def run(command: str, *flags: str) -> Ran:
    """Runs another command."""
    return Ran(command, *flags)


@contextlib.contextmanager
def saving_is_stubbed() -> Iterator[None]:
    """Saves the variables of a SavedModel, in an archive ``variables.npz``, and nothing else."""

    def save(module, path, **_):
        os.makedirs(path)
        values = [variable.numpy() for variable in module.variables]
        np.savez(os.path.join(path, "variables.npz"), *values)
        with open(os.path.join(path, "saved_model.pb"), "wb"):
            pass

    with mock.patch.object(tf.saved_model, "save", save):
        yield


@contextlib.contextmanager
def frozen_network() -> Iterator[Dict[str, Any]]:
    """Notes a frozen network's features by split, its batches' sizes, and the labelled images."""
    seen: Dict[str, Any] = {"features": {}, "batches": [], "labelled": {}}
    features, labelled, batches = Frozen.features, Frozen.labelled, frozen_weights.feature_batches

    def note_features(network, split):
        seen["features"][split] = features(network, split)
        return seen["features"][split]

    def note_labelled(network, choice):
        seen["labelled"] = labelled(network, choice)
        return seen["labelled"]

    def note_batches(*arguments, **named):
        for batch in batches(*arguments, **named):
            seen["batches"].append(len(batch.values))
            yield batch

    with (
        mock.patch.object(Frozen, "features", note_features),
        mock.patch.object(Frozen, "labelled", note_labelled),
        mock.patch.object(frozen_weights, "feature_batches", note_batches),
    ):
        yield seen


@contextlib.contextmanager
def features_of_frozen_runs() -> Iterator[List[Any]]:
    """Notes how many images a frozen network's features are of, and their number format."""
    seen, features = [], Frozen.features

    def watched(frozen, split):
        stored = features(frozen, split)
        seen.extend([len(stored.values), str(stored.values.dtype)])
        return stored

    with mock.patch.object(Frozen, "features", watched):
        yield seen


@contextlib.contextmanager
def images_at_a_time() -> Iterator[List[int]]:
    """Notes how many images an exported model is given at a time."""
    seen, load = [], tf.saved_model.load

    def load_and_watch(path):
        model = load(path)
        serve = model.signatures["serving_bytes"]

        def watched(image_bytes):
            seen.append(len(image_bytes))
            return serve(image_bytes=image_bytes)

        return mock.Mock(signatures={"serving_bytes": watched}, variables=[])

    with mock.patch.object(tf.saved_model, "load", load_and_watch):
        yield seen


@contextlib.contextmanager
def commands_of_the_demo() -> Iterator[List[List[str]]]:
    """Notes the commands of the demo, up to its predictions, instead of running them."""
    seen: List[List[str]] = []

    def note(arguments: List[str], **_) -> mock.Mock:
        seen.append(arguments)
        # Whatever it predicts would have to be there afterwards.
        return mock.Mock(returncode=int("predict" in arguments))

    # What it fills in would have to be there, too.
    filled_in = {"_answers": lambda dataset: {}, "_filled_in": lambda selected, answers: "l.csv"}
    with mock.patch.object(demo.subprocess, "run", note), mock.patch.multiple(demo, **filled_in):
        yield seen
