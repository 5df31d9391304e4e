"""What rows look at, of a job of a training command: optimizer, losses and memory."""

import itertools
from typing import Any, Callable, Dict, Iterator, List, Tuple

import numpy as np

from tests.net.held import Held
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.objectives.contrastive import normalize, nt_xent, nt_xent_with_memory
from tf_simclrv2.objectives.distillation import distillation_loss

# The optimizer.


def _late_block(held: Held) -> keras.layers.Layer:
    return held.network.encoder.groups[-1][-1].convolutions[-1]


def optimizer(held: Held) -> str:
    return type(held.optimizer).__name__


def highest_rate(held: Held) -> float:
    """The highest learning rate in ``metrics.csv``."""
    return max(row["learning_rate"] for row in held.played.rows)


def warmup(held: Held) -> int:
    """How many steps come before the one with the highest learning rate."""
    return max(held.played.rows, key=lambda row: row["learning_rate"])["step"] - 1


def momentum(held: Held) -> float:
    """How much of an update stays in the next one."""
    gamma = _late_block(held).batch_norm.gamma
    once, twice = (held.moved(gamma, step=4, times=times)[0] for times in (1, 2))
    return float(twice / once) - 1


def decay_of_kernels(held: Held) -> float:
    """The weight decay in LARS's own update of a kernel, which is its slope over the weights."""
    kernel = _late_block(held).conv.conv.kernel
    slope, offset = np.polyfit(kernel.numpy().ravel(), held.moved(kernel, step=4).ravel(), 1)
    return round(float(slope / offset), 2)


def decay_in_loss(held: Held) -> float:
    """The weight decay in the loss, which is the classifier's share of it."""
    squares = float(tf.nn.l2_loss(held.network.supervised_head.dense.kernel))
    return held.step.logs["weight_decay"] / squares


def parts_of_batch(held: Held) -> List[int]:
    """The sizes of the parts that a step splits its batch into."""
    return held.step.sizes


def passes(held: Held) -> int:
    """How often a block is computed for each part of a batch."""
    return held.step.passes // len(held.step.sizes)


def compiled_by_xla(held: Held) -> bool:
    return held.compiled["jit_compile"]


def steps_per_execution(held: Held) -> int:
    return held.compiled["steps_per_execution"]


def teacher_weights(held: Held) -> np.ndarray:
    return held.learner.teacher.encoder.stem.conv.conv.kernel.numpy()


# The losses. Which settings give the learner's own loss of its first batch?

Setting = Tuple[Any, ...]
_CONTRASTS = list(itertools.product((0.1, 0.2, 0.5), (True, False)))
_TEACHINGS = list(itertools.product((1.0, 2.0), (1.0, 0.5)))


def _fitting(own: float, losses: Iterator[Tuple[Setting, Any]]) -> List[Setting]:
    return [each for each, loss in losses if np.isclose(own, float(loss), rtol=1e-6)]


def contrast(held: Held) -> List[Setting]:
    """The temperature of the contrastive loss, and whether projections are normalised."""
    views = np.concatenate([held.fed["view_1"], held.fed["view_2"]])
    with held.unchanged():
        own = float(held.learner.losses_of(held.fed)[1]["contrast_loss"])
    with held.unchanged():
        pair = tf.split(held.network(views, training=True)["projection"], 2)
        return _fitting(own, ((each, nt_xent(*pair, *each).loss) for each in _CONTRASTS))


def contrast_with_memory(held: Held) -> List[Setting]:
    """The same of the loss against the memory network's keys."""
    views = np.concatenate([held.fed["view_1"], held.fed["view_2"]])

    def loss(temperature: float, hidden_norm: bool) -> tf.Tensor:
        keys = tf.split(normalize(held.keys(views), hidden_norm), 2)
        past = held.queue.keys, held.queue.filled
        asked = [normalize(query, hidden_norm) for query in queries]
        return nt_xent_with_memory(asked, keys, *past, temperature=temperature).loss

    with held.unchanged():
        own = float(held.learner.losses_of(held.fed)[1]["contrast_loss"])
    with held.unchanged():
        queries = tf.split(held.network(views, training=True)["projection"], 2)
        return _fitting(own, ((each, loss(*each)) for each in _CONTRASTS))


def teaching(held: Held) -> List[Setting]:
    """Temperature and weight of the teacher's predictions in the loss."""
    batch, student, teacher = held.fed, held.network, held.learner.teacher
    images, labelled = batch["image"], batch.get("labelled_image", [])
    with held.unchanged():
        for network in (student, teacher):
            # Else its predictions are nearly the same at all temperatures.
            network.supervised_head.dense.kernel.assign_add(
                np.random.RandomState(0).normal(size=[*network.supervised_head.dense.kernel.shape])
            )
        own = float(held.learner.losses_of(_tensors(batch))[0])
        everything = np.concatenate([images, labelled]) if len(labelled) else images
        logits = student(everything, training=True)["logits"]
        taught, others = logits[: len(images)], logits[len(images) :]
        correct = teacher(images, training=False)["logits"]
        known = {"labels": batch["label"], "labelled_logits": others} if len(labelled) else {}
        return _fitting(
            own,
            (
                (each, distillation_loss(taught, correct, *each, **known))
                for each in _TEACHINGS
                if known or each[1] == 1
            ),
        )


def _tensors(batch: Dict[str, np.ndarray]) -> Dict[str, tf.Tensor]:
    return {name: tf.constant(value) for name, value in batch.items()}


# The memory.


def has_memory(held: Held) -> bool:
    return "memory" in held.learner.saved_parts


def memory_size(held: Held) -> int:
    return held.queue.keys.shape[0]


def average_decay(step: int) -> Callable[[Held], float]:
    """The decay of the memory network at the end of a step of training."""

    def decay(held: Held) -> float:
        followed, average = (
            network.encoder.stem.conv.conv.kernel for network in (held.network, held.average)
        )
        with held.unchanged():
            held.optimizer.iterations.assign(step - 1)
            followed.assign_add(tf.ones_like(followed))
            before = average.numpy()
            held.train()
            moved = (average - before) / (followed - before)
        return 1 - float(np.median(moved))

    decay.__name__ = f"decay_at_step_{step}"
    return decay


def memory_batch_norm(held: Held) -> str:
    """Which statistics the memory network's batch norm uses."""
    views = held.fed["view_1"]
    keys = held.keys(views)
    moving = held.average(views, training=False)["projection"].numpy()
    if np.allclose(keys, moving, atol=1e-5):
        return "moving"
    others = np.concatenate([views[:-1], 1 - views[-1:]])
    return "split" if np.allclose(keys[:2], held.keys(others)[:2], atol=1e-5) else "batch"
