"""Changes of fine-tuning and distillation that were tried and are no part of the package.

Each is a context in which commands that run in this process are changed.
"""

import contextlib
from typing import Any, Callable, Dict, Iterator
from unittest import mock

_SMOOTHING = 0.1
# The mean reaches over about 30 steps; the last ones hardly move, as the rate falls to 0.
_MOMENTUM = 0.97
# Of the rate, from one group of blocks to the one below it.
_SHRINKING = 0.5
# Of views, in pixels; and unmoved.
_SHIFTS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))


@contextlib.contextmanager
def smoothed_labels() -> Iterator[None]:
    """Fine-tunes with a tenth of each label spread over all classes (1512.00567)."""
    from tf_simclrv2.keras2 import tf

    def cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        logits = tf.cast(logits, tf.float32)
        classes = logits.shape[-1]
        smooth = tf.one_hot(labels, classes) * (1 - _SMOOTHING) + _SMOOTHING / classes
        return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(smooth, logits))

    with mock.patch("tf_simclrv2.learners.classifier.cross_entropy", cross_entropy):
        yield


@contextlib.contextmanager
def averaged_weights() -> Iterator[None]:
    """Fine-tunes with Adam, and ends with the exponential mean of the weights of the last steps."""
    from tf_simclrv2.keras2 import keras

    def build_adam(config, schedule, roles):
        return keras.optimizers.Adam(
            schedule,
            use_ema=True,
            ema_momentum=_MOMENTUM,
            ema_overwrite_frequency=config.train_steps,
        )

    with mock.patch("tf_simclrv2.optimization.of_keras.build_adam", build_adam):
        yield


@contextlib.contextmanager
def frozen_batch_norm() -> Iterator[None]:
    """Fine-tunes with the encoder's batch norm as pretraining left it, statistics included."""
    from tf_simclrv2.keras2 import keras, layers_of
    from tf_simclrv2.networks.layers import BatchNorm

    def freeze(network: keras.Model) -> None:
        for layer in layers_of(network.encoder):
            if isinstance(layer, BatchNorm):
                layer.trainable = False

    with _classifier(freeze):
        yield


@contextlib.contextmanager
def smaller_steps_below() -> Iterator[None]:
    """Fine-tunes with half the rate in each group of blocks of what the one above it has."""
    from tf_simclrv2.keras2 import keras, tf, variable_key

    shares: Dict[str, float] = {}

    def note(network: keras.Model) -> None:
        parts = [[network.encoder.stem], *network.encoder.groups]
        for below, part in enumerate(reversed(parts), start=1):
            for layer in part:
                keys = map(variable_key, layer.trainable_variables)
                shares.update(dict.fromkeys(keys, _SHRINKING**below))

    class Shrinking(keras.optimizers.Adam):
        def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
            before = tf.identity(variable)
            super().update_step(gradient, variable)
            variable.assign(before + shares.get(variable_key(variable), 1.0) * (variable - before))

    def build_adam(config, schedule, roles):
        return Shrinking(schedule)

    with mock.patch("tf_simclrv2.optimization.of_keras.build_adam", build_adam), _classifier(note):
        yield


@contextlib.contextmanager
def _classifier(change: Callable[[Any], None]) -> Iterator[None]:
    """Changes the network of every run that is fine-tuned."""
    from tf_simclrv2.learners.classifier import Classifier

    def classifier(network: Any, *rest: Any, **more: Any) -> Classifier:
        change(network)
        return Classifier(network, *rest, **more)

    with mock.patch("tf_simclrv2.programs.finetune.Classifier", classifier):
        yield


@contextlib.contextmanager
def shifts_teacher() -> Iterator[None]:
    """Distills from the mean of a teacher's probabilities over moved copies of each view."""
    from tf_simclrv2.keras2 import keras, tf
    from tf_simclrv2.learners.distiller import Distiller

    def copies(images: tf.Tensor) -> list:
        padded = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
        height, width = images.shape[1:3]
        return [
            padded[:, 1 + down : 1 + down + height, 1 + right : 1 + right + width]
            for down, right in _SHIFTS
        ]

    class Averaging(keras.Model):
        def __init__(self, teacher: keras.Model):
            super().__init__()
            self.teacher = teacher

        def call(self, images: tf.Tensor, training: bool = False) -> dict:
            logits = [self.teacher(each, training=False)["logits"] for each in copies(images)]
            probabilities = [tf.nn.softmax(tf.cast(each, tf.float32)) for each in logits]
            return {"logits": tf.math.log(tf.add_n(probabilities) / len(probabilities) + 1e-12)}

    def distiller(network: keras.Model, teacher: keras.Model, *rest) -> Distiller:
        return Distiller(network, Averaging(teacher), *rest)

    with mock.patch("tf_simclrv2.programs.distill.Distiller", distiller):
        yield
