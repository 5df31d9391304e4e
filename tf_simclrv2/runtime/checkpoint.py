"""One checkpoint of a run, and the way from it back to a network."""

import contextlib
import dataclasses
import os
from typing import Callable, Iterator, Optional, Sequence

from tf_simclrv2.config import ConfigError, ProjectionHeadConfig, refuse
from tf_simclrv2.config.memory import check_weights
from tf_simclrv2.keras2 import READ_ERRORS, tf
from tf_simclrv2.learners.steps import STEPS
from tf_simclrv2.networks.network import Network
from tf_simclrv2.runtime.checkpoint_folder import checkpoint_path, checkpoint_step, saved_steps
from tf_simclrv2.runtime.devices import Devices
from tf_simclrv2.runtime.health import check_restored
from tf_simclrv2.runtime.run_directory import RunDirectory, open_run

# What the chief of several workers tells instead of a step.
_NONE, _REFUSED = -1, -2


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was resolved once, so that its weights and its step belong together.

    A run that trains on may save newer checkpoints meanwhile; they don't change this one.

    Attributes:
      run: the run that saved it.
      path: of the checkpoint, as TensorFlow names it, without a suffix.
      step: training steps before it was saved.
    """

    run: RunDirectory
    path: str
    step: int

    @classmethod
    def open(
        cls,
        path: str,
        flag: str,
        steps_of_method: Sequence[str] = tuple(STEPS),
        writable: bool = True,
    ) -> "Checkpoint":
        """Opens the newest checkpoint of a run, or the one that ``path`` names.

        Args:
          path: a run directory, or a checkpoint in one.
          flag: the flag that named it, for the error.
          steps_of_method: which kinds of run are accepted.
          writable: whether the run may be written, see :class:`RunDirectory`.

        Raises:
          ConfigError: it is not such a run, it has no checkpoint, or the checkpoint is damaged.
        """
        path = os.path.expanduser(path)
        named = os.path.isfile(f"{path}.index")
        directory = os.path.dirname(os.path.dirname(os.path.abspath(path))) if named else path
        if not named and not os.path.lexists(path):
            _check_step(path, flag)
        run = open_run(directory, flag, steps_of_method, writable)
        checkpoint = path if named else run.latest_checkpoint()
        if checkpoint is None:
            raise refuse(flag, path, "holds no checkpoint; the run must have saved at least one")
        return cls(run, checkpoint, saved_step(checkpoint))

    def declare_network(self) -> Network:
        """The run's network without variables yet.

        Raises:
          ConfigError: its weights don't fit into memory.
        """
        config, names = self.run.config, self.run.class_names
        head = getattr(config, "projection_head", ProjectionHeadConfig("none"))
        check_weights(config.network, head)
        step = STEPS[self.run.step_of_method]
        # Runs record it resolved; a config.json written by hand may leave it out.
        size = config.data.resolved_image_size
        config = dataclasses.replace(config, network=config.network.resolved(size))
        return step.declare_network(config, None if names is None else len(names))

    def restore_network(self, use_ema_weights: bool = False) -> Network:
        """Rebuilds the run's network with the checkpoint's weights.

        Args:
          use_ema_weights: take the weights of the memory network, see :meth:`check_memory`.

        Raises:
          ConfigError: the checkpoint doesn't fit the network, or the network the memory.
        """
        network, size = self.declare_network(), self.run.config.data.resolved_image_size
        # Variables that don't exist yet take their values one by one when they are created; those
        # that do would take theirs from a second copy of all of them in memory.
        self._restore(network, use_ema_weights, create=lambda: network.build_for(size))
        check_restored(network.variables, self.path)
        return network

    def restore_pretrained(
        self, network: Network, use_ema_weights: bool = False, with_head: bool = True
    ) -> None:
        """Loads the encoder and as many projection layers as ``network`` uses.

        Args:
          network: the network to train further.
          use_ema_weights: take the weights of the memory network, see :meth:`check_memory`.
          with_head: False leaves the projection head as it is.

        Raises:
          ConfigError: the checkpoint doesn't fit.
        """
        parts = {"encoder": network.encoder}
        if with_head:
            parts["projection_head"] = network.projection_head
        self._restore(tf.train.Checkpoint(**parts), use_ema_weights)
        check_restored([v for part in parts.values() for v in part.variables], self.path)

    def check_memory(self) -> None:
        """Refuses ``use_ema_weights`` unless the run has a memory network.

        Raises:
          ConfigError: it has none.
        """
        memory = getattr(self.run.config, "memory", None)
        if memory is None or not memory.use_memory:
            raise refuse(
                "use_ema_weights",
                True,
                f"{self.run.path} must hold a pretraining run with --use_memory, but holds none",
            )

    def _restore(
        self,
        network: tf.__internal__.tracking.Trackable,
        use_ema_weights: bool,
        create: Callable[[], object] = lambda: None,
    ) -> None:
        parts = tf.train.Checkpoint(network=network)
        if use_ema_weights:
            parts = tf.train.Checkpoint(memory=parts)
        with reading(self.path):
            status = parts.restore(self.path)
            create()
            status.assert_existing_objects_matched().expect_partial()


def _check_step(path: str, flag: str) -> None:
    """Refuses a checkpoint that its run does not have, or no longer."""
    folder = os.path.dirname(os.path.abspath(path))
    steps = saved_steps(folder) if os.path.isdir(folder) else []
    if steps:
        there = ", ".join(os.path.basename(checkpoint_path(folder, step)) for step in steps)
        raise refuse(flag, path, f"must be a checkpoint that is there, one of {there}")


def newest_checkpoint(run: RunDirectory, devices: Devices, repair: bool) -> Optional[str]:
    """Finds the checkpoint from which a run continues, the same one on all workers.

    Args:
      run: the run's directory.
      devices: what computes; with several workers the chief decides, and all must call this.
      repair: whether the chief moves damaged newer checkpoints aside.

    Returns:
      Its path; None if none was saved yet.

    Raises:
      ConfigError: checkpoints were saved, but all are damaged.
    """
    if not devices.has_workers:
        return run.latest_checkpoint(repair)
    refused, step = None, _NONE
    if devices.is_chief:
        try:
            latest = run.latest_checkpoint(repair)
            step = _NONE if latest is None else checkpoint_step(latest)
        except ConfigError as error:
            # Others wait for the answer.
            refused, step = error, _REFUSED
    step = devices.agreed(step)
    if refused is not None:
        raise refused
    if step == _REFUSED:
        raise ConfigError(f"{run.path}: the chief of the workers can't read its checkpoints.")
    return None if step == _NONE else checkpoint_path(run.file("checkpoints"), step)


@contextlib.contextmanager
def reading(path: Optional[str]) -> Iterator[None]:
    """Turns what TensorFlow raises for an unreadable checkpoint into a ConfigError.

    Args:
      path: the checkpoint; None if there is none to read.

    Raises:
      ConfigError: it is damaged or doesn't fit the network.
    """
    try:
        yield
    except (AssertionError, *READ_ERRORS) as error:
        # Keras wraps what went wrong in lines about the layer that it was called from.
        lines = str(error).splitlines() or [type(error).__name__]
        reason = next((line.strip() for line in lines if "shape" in line), lines[0])
        raise ConfigError(
            f"{path}: the checkpoint is damaged, or doesn't fit the network that its config.json "
            f"describes ({reason.rstrip('.')})."
        ) from error


def saved_step(checkpoint: str) -> int:
    """The number of training steps after which a run's checkpoint was saved.

    Raises:
      ConfigError: the checkpoint is damaged.
    """
    with reading(checkpoint):
        reader = tf.train.load_checkpoint(checkpoint)
        # Optimizers of tensorflow-addons have their own name for it.
        names = [f"optimizer/{name}/.ATTRIBUTES/VARIABLE_VALUE" for name in ("_iterations", "iter")]
        return int(reader.get_tensor(next(name for name in names if reader.has_tensor(name))))


def open_classifier(path: str, flag: str, writable: bool = True) -> Checkpoint:
    """Opens a checkpoint whose network classifies, see :meth:`Checkpoint.open`.

    Raises:
      ConfigError: it is no such checkpoint.
    """
    checkpoint = Checkpoint.open(path, flag, writable=writable)
    check_classifier(checkpoint.run, flag, path)
    return checkpoint


def has_classifier(run: RunDirectory) -> bool:
    """Whether a run's network classifies, which that of pretraining may not."""
    contrastive = getattr(run.config, "contrastive", None)
    return contrastive is None or bool(contrastive.lineareval_while_pretraining and run.class_names)


def check_classifier(run: RunDirectory, flag: str, path: str) -> None:
    """Refuses a run whose network doesn't classify.

    Args:
      run: the run.
      flag: the flag that named it, for the error.
      path: its value.

    Raises:
      ConfigError: it doesn't.
    """
    if not has_classifier(run):
        raise refuse(
            flag,
            path,
            "holds a pretraining run without a linear probe, but must hold one with a classifier",
        )


def load_run(path: str, use_ema_weights: bool = False) -> Network:
    """Loads the network of a run.

    Args:
      path: a run directory, or one checkpoint in it; a directory stands for its newest checkpoint.
      use_ema_weights: take the memory network of a pretraining run with ``--use_memory``.

    Returns:
      The network: ``network(images)["representation"]`` maps float images [batch, height, width, 3]
      in [0, 1] to features [batch, dim].

    Raises:
      ConfigError: there is no such run, or its checkpoint can't be read.
    """
    checkpoint = Checkpoint.open(path, "model_dir")
    if use_ema_weights:
        checkpoint.check_memory()
    return checkpoint.restore_network(use_ema_weights)
