"""The memory: its queue, its moving average, and a step of training with it."""

import numpy as np
import pytest

from tf_simclrv2.config import (
    ContrastiveConfig,
    DataConfig,
    MemoryConfig,
    NetworkConfig,
    OptimizationConfig,
    PretrainConfig,
    ProjectionHeadConfig,
    RunConfig,
)
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.learners.memory import KeyQueue, PretrainerWithMemory
from tf_simclrv2.learners.moving_average import MovingAverage
from tf_simclrv2.learners.steps import build_network
from tf_simclrv2.objectives.contrastive import gather_replicas, nt_xent_with_memory
from tf_simclrv2.optimization.optimizers import build_optimizer

BATCH, IMAGE, DIM = 4, 8, 6
STEPS = 4


def _learner(seed=0, optimizer="lars", batch=BATCH, **memory):
    config = PretrainConfig(
        run=RunConfig(model_dir="unused"),
        data=DataConfig(image_size=IMAGE),
        network=NetworkConfig(resnet_depth=18, width_multiplier=1 / 32).resolved(IMAGE),
        projection_head=ProjectionHeadConfig(proj_out_dim=DIM),
        contrastive=ContrastiveConfig(temperature=0.5),
        memory=MemoryConfig(use_memory=True, **{"memory_size": 19, **memory}),
        optimization=OptimizationConfig(train_batch_size=batch, optimizer=optimizer),
    )
    keras.utils.set_random_seed(seed)
    network, average = build_network(config, 3), build_network(config, 3)
    learner = PretrainerWithMemory(
        network, average, config.contrastive, config.memory, config.optimization
    )
    learner.compile(build_optimizer(config.optimization, 0.5, learner.roles))
    learner.optimizer.build(network.trainable_variables)
    return learner


def _batch(step):
    random = np.random.default_rng(step)
    views = random.random((2, BATCH, IMAGE, IMAGE, 3), np.float32)
    labels = random.integers(0, 3, BATCH)
    return {
        "view_1": tf.constant(views[0]),
        "view_2": tf.constant(views[1]),
        "label": tf.constant(labels),
    }


def _values(variables):
    return [variable.numpy() for variable in variables]


def _paths(network):
    """A network's variables by the layers that own them, in the order of the layers."""
    return [
        variable
        for layer in network._flatten_layers()
        for variable in layer._trainable_weights + layer._non_trainable_weights
    ]


def _unit(array):
    return array / np.linalg.norm(array, axis=-1, keepdims=True)


class TestKeyQueue:
    def test_newest_keys_overwrite_the_oldest_where_batches_do_not_divide_the_size(self):
        size, count = 7, 3
        queue, slots = KeyQueue(size, 2), np.zeros((size, 2))
        for step in range(10):
            keys = np.arange(count * 2).reshape(count, 2) + 100.0 * step + 1
            queue.enqueue(tf.constant(keys, tf.float32))
            for row in range(count):
                slots[(step * count + row) % size] = keys[row]
            np.testing.assert_array_equal(queue.keys, slots)
            assert queue.added.numpy() == (step + 1) * count
            filled = min(size, (step + 1) * count)
            np.testing.assert_array_equal(queue.filled, [True] * filled + [False] * (size - filled))

    def test_a_step_may_replace_all_keys(self):
        queue = KeyQueue(3, 1)
        queue.enqueue(tf.constant([[9.0]]))
        queue.enqueue(tf.constant([[1.0], [2.0], [3.0]]))
        np.testing.assert_array_equal(queue.keys, [[3.0], [1.0], [2.0]])


class TestMovingAverage:
    def test_closed_form_after_k_steps(self):
        decay = 0.7
        learner = _learner(memory_ema_decay=decay, memory_ema_ramp=False)
        followed, average = _paths(learner.network), _paths(learner.memory.network)
        history = [_values(followed)]
        for step in range(STEPS):
            learner.train_step(_batch(step))
            history.append(_values(followed))
        assert len(average) == len(learner.memory.network.weights)
        for index, value in enumerate(_values(average)):
            expected = decay**STEPS * history[0][index]
            for step in range(1, STEPS + 1):
                expected += (1 - decay) * decay ** (STEPS - step) * history[step][index]
            np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6)

    def test_the_average_starts_as_a_copy(self):
        learner = _learner()
        for value, copy in zip(_paths(learner.network), _paths(learner.memory.network)):
            np.testing.assert_array_equal(value, copy)

    def test_decay_0_follows_every_weight_and_batch_norm_statistic(self):
        learner = _learner(memory_ema_decay=0.0)
        before = _values(_paths(learner.network))
        # In the first step the blocks' last gammas are 0, so that what is below them stays.
        for step in range(2):
            learner.train_step(_batch(step))
        for old, new, copy in zip(before, _paths(learner.network), _paths(learner.memory.network)):
            np.testing.assert_allclose(copy, new, rtol=1e-6, atol=1e-7)
            assert np.any(old != copy.numpy()), copy.name

    def test_the_ramp_bounds_the_decay_until_it_is_reached(self):
        ramped = _learner(memory_ema_decay=0.9).memory
        for step in (1, 10, 80, 81, 82, 1000):
            expected = min(0.9, step / (step + 9))
            np.testing.assert_allclose(ramped.decay(tf.constant(step)), expected, rtol=1e-6)


class TestTrainStep:
    @pytest.fixture(scope="class")
    def trained(self):
        """A learner after STEPS steps, its keys before each step, and its logs after each."""
        learner = _learner()
        keys, logs = [], []
        for step in range(STEPS):
            batch = _batch(step)
            views = tf.concat([batch["view_1"], batch["view_2"]], axis=0)
            keys.append(_unit(learner.memory.network(views, training=True)["projection"]))
            learner.reset_metrics()
            logs.append({name: float(v) for name, v in learner.train_step(batch).items()})
        return learner, keys, logs

    def test_the_queue_holds_the_keys_of_all_steps_in_order(self, trained):
        learner, keys, _ = trained
        added = np.concatenate(keys)  # 32 keys; the queue has 19 slots.
        assert learner.memory.queue.added.numpy() == len(added)
        expected = np.zeros((19, DIM))
        for position, key in enumerate(added):
            expected[position % 19] = key
        np.testing.assert_allclose(learner.memory.queue.keys, expected, atol=1e-6)

    def test_gradients_flow_to_every_variable_of_the_network_and_to_no_other(self, trained):
        learner, _, _ = trained
        added = learner.memory.queue.added.numpy()
        with tf.GradientTape() as tape:
            tape.watch(learner.memory.network.variables)
            tape.watch(learner.memory.queue.keys)
            loss, _ = learner.losses_of(_batch(9))
        online = learner.network.trainable_variables
        others = [*learner.memory.network.variables, learner.memory.queue.keys]
        gradients = tape.gradient(loss, [*online, *others])
        assert len(online) == 73
        for variable, gradient in zip(online, gradients):
            assert gradient is not None and np.any(gradient.numpy() != 0), variable.name
        assert gradients[len(online) :] == [None] * len(others)
        assert not {v.ref() for v in others} & {v.ref() for v in online}
        assert learner.memory.queue.added.numpy() == added + 2 * BATCH

    @pytest.mark.parametrize("mode", ["batch", "moving"])
    def test_the_loss_sees_only_keys_of_earlier_steps(self, mode):
        learner = _learner(memory_batch_norm=mode)
        for step in range(STEPS):  # In the last one the queue is full.
            batch = _batch(step)
            views = tf.concat([batch["view_1"], batch["view_2"]], axis=0)
            queue = learner.memory.queue.keys.numpy()
            filled = np.arange(19) < 2 * BATCH * step
            keys = learner.memory.network(views, training=mode == "batch")["projection"].numpy()
            keys = _unit(keys)
            # Batch norm in training mode does not depend on the moving statistics it changes.
            queries = learner.network(views, training=True)["projection"]
            pairs = tf.split(_unit(queries.numpy()), 2), np.split(keys, 2)
            expected = nt_xent_with_memory(*pairs, queue, filled, temperature=0.5)
            learner.reset_metrics()
            logs = learner.train_step(batch)
            for name in ("loss", "entropy"):
                np.testing.assert_allclose(
                    logs[f"contrast_{name}"], getattr(expected, name), rtol=1e-4
                )
            # Rounding decides for an image whose positive and nearest negative are as similar.
            similar = _unit(queries[:BATCH].numpy()) @ keys[BATCH:].T
            nearest = np.where(np.eye(BATCH, dtype=bool), -np.inf, similar).max(axis=1)
            ties = np.sum(np.abs(np.diag(similar) - nearest) < 1e-4)
            np.testing.assert_allclose(
                logs["contrast_accuracy"], expected.accuracy, rtol=1e-4, atol=ties / BATCH
            )

    def test_empty_queue_and_decay_0_is_nt_xent_without_its_terms_of_the_own_view(self):
        learner = _learner(memory_ema_decay=0.0)
        learner.train_step(_batch(0))
        learner.memory.queue.added.assign(0)
        batch = _batch(1)
        views = tf.concat([batch["view_1"], batch["view_2"]], axis=0)
        # The keys are the queries.
        queries = _unit(learner.network(views, training=True)["projection"].numpy())
        # Of NT-Xent's 2n - 1 similarities those across views are left: n of each query.
        across = queries @ queries.T / 0.5
        losses = []
        for query in range(2 * BATCH):
            image = query % BATCH
            first = BATCH if query < BATCH else 0
            row = across[query, first : first + BATCH]
            losses.append(np.log(np.sum(np.exp(row))) - row[image])
        learner.reset_metrics()
        loss = learner.train_step(batch)["contrast_loss"]
        np.testing.assert_allclose(loss, np.sum(losses) / BATCH, rtol=1e-4)

    @pytest.mark.parametrize("mode", ["batch", "moving"])
    def test_keys_depend_on_the_batch_as_told_and_leave_the_memory_network_alone(self, mode):
        learner = _learner(memory_batch_norm=mode)
        learner.train_step(_batch(0))
        views = _batch(1)["view_1"]
        before = _values(learner.memory.network.variables)
        together, fewer = learner.memory.keys(views), learner.memory.keys(views[:2])
        same = np.allclose(together[:2], fewer, rtol=1e-3, atol=1e-4)
        assert same == (mode == "moving")
        for old, new in zip(before, _values(learner.memory.network.variables)):
            np.testing.assert_array_equal(old, new)

    def test_split_keys_are_those_of_each_eighth_of_the_views_alone(self):
        learner = _learner(batch=16, memory_size=64, memory_batch_norm="split")
        learner.train_step({name: tf.repeat(part, 4, 0) for name, part in _batch(0).items()})
        views = tf.concat([_batch(step)["view_1"] for step in range(4)], axis=0)
        before = _values(learner.memory.network.variables)
        keys = learner.memory.keys(views).numpy()
        for old, new in zip(before, _values(learner.memory.network.variables)):
            np.testing.assert_array_equal(old, new)
        other = _learner(memory_size=64)
        other.memory.network.set_weights(learner.memory.network.get_weights())
        expected = [other.memory.keys(part) for part in tf.split(views, 8)]
        np.testing.assert_allclose(keys, np.concatenate(expected), rtol=1e-3, atol=1e-4)

    def test_split_needs_batch_norm_that_can_be_split(self):
        pair = [keras.Sequential([keras.Input([3]), keras.layers.BatchNormalization()])
                for _ in range(2)]  # fmt: skip
        with pytest.raises(ValueError, match="batch_norm=split needs"):
            MovingAverage(*pair, batch_norm="split")

    def test_one_replica_has_its_own_keys(self):
        keys, first = gather_replicas(tf.ones([2, 3]))
        assert int(first) == 0 and keys.shape == [2, 3]

    @pytest.mark.slow
    def test_the_step_compiles_under_xla(self):
        # Compiling LARS takes several times longer, and it isn't what is new here.
        eager, compiled = (_learner(optimizer="momentum") for _ in range(2))
        logs = tf.function(compiled.train_step, jit_compile=True)(_batch(0))
        expected = eager.train_step(_batch(0))
        np.testing.assert_allclose(logs["contrast_loss"], expected["contrast_loss"], rtol=1e-3)
        np.testing.assert_allclose(compiled.memory.queue.keys, eager.memory.queue.keys, atol=1e-2)
        assert compiled.memory.queue.added.numpy() == 2 * BATCH
        for value, other in zip(
            *(_values(_paths(one.memory.network)) for one in (compiled, eager))
        ):
            np.testing.assert_allclose(value, other, rtol=1e-2, atol=1e-2)


def test_a_restored_run_goes_on_bit_for_bit(tmp_path):
    def checkpoint(learner):
        return tf.train.Checkpoint(optimizer=learner.optimizer, **learner.saved_parts)

    whole, half = _learner(), _learner()
    for step in range(STEPS):
        whole.train_step(_batch(step))
    for step in range(STEPS // 2):
        half.train_step(_batch(step))
    path = checkpoint(half).save(str(tmp_path / "ckpt"))
    resumed = _learner(seed=1)
    checkpoint(resumed).restore(path).assert_consumed()
    for step in range(STEPS // 2, STEPS):
        resumed.train_step(_batch(step))
    for expected, value in zip(_state(whole), _state(resumed)):
        np.testing.assert_array_equal(value, expected)


def _state(learner):
    queue = learner.memory.queue
    return _values(
        [
            *_paths(learner.network),
            *_paths(learner.memory.network),
            *learner.optimizer.variables,
            queue.keys,
            queue.added,
        ]
    )
