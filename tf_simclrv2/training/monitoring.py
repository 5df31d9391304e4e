"""Monitors of pretraining: what the network makes of held-out images, without labels."""

import contextlib
import functools
import logging
import time
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

import numpy as np

from tf_simclrv2.config import AugmentationConfig, ConfigError, PretrainConfig
from tf_simclrv2.config.monitors import BEST_BY, NO_BEST
from tf_simclrv2.data.views import ready_for_network
from tf_simclrv2.evaluation import measures, representation
from tf_simclrv2.evaluation.representation import Encoded
from tf_simclrv2.keras2 import tf
from tf_simclrv2.networks.network import Network
from tf_simclrv2.objectives.contrastive import loss_of_guessing
from tf_simclrv2.optimization.schedules import WarmupCosine
from tf_simclrv2.runtime.best import KeepBest
from tf_simclrv2.runtime.callbacks import Logs, Readings, SaveCheckpoints, StepCallback
from tf_simclrv2.runtime.devices import Devices
from tf_simclrv2.runtime.results import MONITORS, WARNINGS
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.runtime.tensorboard import draw_guessing
from tf_simclrv2.training.advice import Advice, Loss, Pace
from tf_simclrv2.training.monitored import Monitored
from tf_simclrv2.training.pictures import reading

logger = logging.getLogger(__name__)

_OF_LABELS = {"knn": "nearest neighbours", "ridge": "ridge regression"}
# Moving averages of batch norm, with decay d, have forgotten where they began after this / (1 - d).
_SETTLED = 10


class Monitor(StepCallback):
    """Measures the network on held-out images every so many steps, and at the last step.

    It changes nothing that training uses: batch norm works with its moving statistics, and views
    are drawn by the run's seed alone.

    Args:
      run: the run.
      devices: what computes; all workers take part.
      network: what is trained.
      monitored: the images.
      schedule: how long the run is.

    Attributes:
      readings: for the callbacks that come behind it.
    """

    def __init__(
        self,
        run: RunDirectory,
        devices: Devices,
        network: Network,
        monitored: Monitored,
        schedule: WarmupCosine,
    ):
        super().__init__()
        config = run.config
        assert isinstance(config, PretrainConfig)
        self._run, self._devices, self._network = run, devices, network
        self._monitored, self._config = monitored, config
        self._last_step = schedule.total_steps
        batch_size = config.optimization.train_batch_size
        self._every_steps = config.monitors.steps_between(
            schedule.total_steps, batch_size, monitored.count
        )
        decay = config.network.batch_norm_decay
        settling = round(_SETTLED / (1 - decay))
        pace = Pace(schedule.total_steps, schedule.warmup_steps, settling)
        self._advice = Advice(pace, _told(run))
        queue = config.memory.memory_size if config.memory.use_memory else 0
        self.readings = Readings({"guessing": loss_of_guessing(batch_size, queue)})

    def on_train_begin(self, logs: Optional[Logs] = None) -> None:
        self._start = self._step = int(self.model.optimizer.iterations.numpy())
        if self._run.writable:
            images = self._config.optimization.train_batch_size, self._monitored.count
            guessed = {
                "train/contrast_loss": self.readings.constants["guessing"],
                "train/contrast_accuracy": 1 / images[0],
                "monitor/loss": loss_of_guessing(images[1]),
                "monitor/accuracy": 1 / images[1],
            }
            draw_guessing(self._run, self._last_step, guessed)

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        before, self._step = self._step, self._start + batch + 1
        due = self._step // self._every_steps > before // self._every_steps
        if due or self._step == self._last_step:
            float(logs["loss"])  # Waits for the step, which is not to count as the monitors' time.
            begun = time.monotonic()
            values = self.measure()
            self.readings.note(self._step, values, time.monotonic() - begun)
            if values and self._run.writable:
                self._advise(values, float(logs["contrast_loss"]))

    def _advise(self, values: Dict[str, float], newest: float) -> None:
        rows = self._run.metrics()
        losses = [(int(row["step"]), float(row["contrast_loss"])) for row in rows]
        said = self._advice.of(self._step, values, self._loss, [*losses, (self._step, newest)])
        if said is not None:
            logger.warning(f"{self._run.path}: {said}")
            self._run.write_of_run(WARNINGS, self._advice.told)

    @property
    def _loss(self) -> Loss:
        """What the loss of the step is measured by."""
        batch_size, memory = self._config.optimization.train_batch_size, self._config.memory
        added = 2 * batch_size * (self._step - 1)
        filled = min(memory.memory_size, added) if memory.use_memory else 0
        return Loss(batch_size, self._config.contrastive.temperature, filled)

    def measure(self) -> Dict[str, float]:
        """The monitors of the network as it is now, by name; all workers must call this."""
        contrastive, labels = self._config.contrastive, None
        if self._monitored.source.num_classes:
            labels = self._monitored.fewest_labels
        encoded = self._encoded()
        self._num_labelled = int((encoded.labels >= 0).sum())
        return representation.run(encoded, contrastive.temperature, contrastive.hidden_norm, labels)

    @functools.cached_property
    def _batches(self) -> Iterable[Dict[str, tf.Tensor]]:
        return self._devices.distribute(self._monitored.batches)

    def _encoded(self) -> Encoded:
        parts = []
        with reading(self._monitored.source):
            for batch in self._batches:
                parts.append([part.numpy() for part in self._encode(batch)])
        return Encoded(*map(np.concatenate, zip(*parts)))

    @functools.cached_property
    def _encode(self) -> Callable[[Dict[str, tf.Tensor]], Tuple[tf.Tensor, ...]]:
        strategy = self._devices.strategy
        apply = functools.partial(_outputs, self._network, self._config.augmentation)

        # Not compiled by XLA, which would take longer than it saves on so few images.
        @tf.function
        def encode(batch: Dict[str, tf.Tensor]) -> Tuple[tf.Tensor, ...]:
            return tuple(strategy.gather(each, 0) for each in strategy.run(apply, (batch,)))

        return encode

    def keepers(self, save: SaveCheckpoints) -> List[StepCallback]:
        """What keeps the best checkpoint, if that is asked for; it comes behind ``save``."""
        by = self._config.monitors.keep_best
        if by == NO_BEST:
            return []
        return [KeepBest(self._run, self._devices, self.readings, *BEST_BY[by], save)]

    def finish(self, step: int, measure: bool) -> None:
        """Keeps the monitors of a step in ``result.json``, and logs them; all workers call this.

        Args:
          step: of the network's weights.
          measure: whether to measure them if training, which has ended before, did not just do so.
        """
        read = self.readings
        values = read.values if read.step == step else self.measure() if measure else {}
        if not values or not self._run.writable:
            return
        images = self._monitored
        measured_on = f"{images.called}{images.learnt}"
        known: Dict[str, Any] = {
            "loss_of_guessing": loss_of_guessing(images.count),
            "accuracy_of_guessing": 1 / images.count,
            "step": step,
            "checkpoint": f"ckpt-{step}",
            "dataset": images.source.name,
            "split": images.split,
            "held_out": not images.learnt,
            "measured_on": measured_on,
            "images": images.count,
        }
        accuracies = with_intervals(values, self._num_labelled)
        if accuracies:
            known["labelled_images"] = self._num_labelled
        for name, measured in accuracies.items():
            known[f"{name}_interval"] = measured["interval"]
        self._run.write_of_run(MONITORS, {**values, **known})
        logger.info(
            f"{self._run.path}: {in_words(values, images.count, self._num_labelled)} on "
            f"{measured_on}, step {step}"
        )


def _told(run: RunDirectory) -> Dict[str, int]:
    """What an interrupted run was told of, with the steps."""
    # A damaged file is set aside when it is next written.
    with contextlib.suppress(ConfigError):
        told = run.of_run(WARNINGS)
        return dict(told) if isinstance(told, dict) else {}
    return {}


def with_intervals(values: Dict[str, float], labelled: int) -> Dict[str, Dict[str, Any]]:
    """The monitors that are accuracies of labelled images, by name, each with its interval.

    Args:
      values: the monitors by name.
      labelled: images with a label.
    """
    return {
        name: {
            "accuracy": values[name],
            "interval": list(measures.interval_of(values[name], labelled)),
        }
        for name in _OF_LABELS
        if name in values
    }


def in_words(values: Dict[str, float], images: int, labelled: int) -> str:
    """The monitors in a line.

    Args:
      values: by name.
      images: that they were measured on.
      labelled: those of them with a label.
    """
    parts = [
        f"rank of h {values['rank_h']:.1f}, of z {values['rank_z']:.1f}",
        f"alignment {values['alignment']:.3f}, uniformity {values['uniformity']:.3f}",
        f"contrastive loss {values['loss']:.3f} (guessing {loss_of_guessing(images):.3f})",
        f"accuracy {values['accuracy']:.1%} (guessing {1 / images:.1%})",
    ]
    accuracies = with_intervals(values, labelled)
    said = [f"{_OF_LABELS[name]} {measures.sentence(each)}" for name, each in accuracies.items()]
    if said:
        parts.append(f"{' and '.join(said)} of {labelled:,} labelled")
    return ", ".join(parts)


def _outputs(
    network: Network, augmentation: AugmentationConfig, batch: Dict[str, tf.Tensor]
) -> Tuple[tf.Tensor, ...]:
    """What :class:`Encoded` holds of a replica's images."""
    ready = ready_for_network(batch, augmentation)
    images = tf.concat([ready[name] for name in ("image", "view_1", "view_2")], axis=0)
    outputs = network(images, training=False)
    own, first, second = tf.split(tf.cast(outputs["projection"], tf.float32), 3)
    own_h = tf.split(tf.cast(outputs["representation"], tf.float32), 3)[0]
    return own_h, own, first, second, tf.cast(ready["label"], tf.int64)
