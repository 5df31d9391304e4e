"""NT-Xent with a memory, against loops over images and keys in NumPy."""

import numpy as np
import pytest

from tf_simclrv2.keras2 import tf
from tf_simclrv2.objectives.contrastive import normalize, nt_xent_with_memory

BATCH, DIM, SIZE = 5, 7, 11


def _unit(vector):
    return vector / np.sqrt(np.sum(vector**2))


def _slow_loss(queries, keys, queue, filled, first_key, temperature):
    """The loss, spelled out; ``queries`` and ``keys`` are pairs of both views' rows."""
    total = 0.0
    for view in (0, 1):
        for i, query in enumerate(queries[view]):
            exponentials = [np.exp(query @ key / temperature) for key in keys[1 - view]]
            positive = exponentials[first_key + i]
            for slot, key in enumerate(queue):
                if filled[slot]:
                    exponentials.append(np.exp(query @ key / temperature))
            total += -np.log(positive / np.sum(exponentials))
    return total / len(queries[0])


def _arrays(seed, keys=BATCH, hidden_norm=True):
    random = np.random.default_rng(seed)
    queries, key_pair = random.normal(size=(2, BATCH, DIM)), random.normal(size=(2, keys, DIM))
    queue = random.normal(size=(SIZE, DIM))
    if hidden_norm:
        queries, key_pair = (
            np.array([[_unit(row) for row in view] for view in pair])
            for pair in (queries, key_pair)
        )
        queue = np.array([_unit(key) for key in queue])
    return queries, key_pair, queue


def _loss(queries, keys, queue, filled, **settings):
    queries, keys, queue = (np.asarray(array, np.float32) for array in (queries, keys, queue))
    return nt_xent_with_memory(queries, keys, queue, np.asarray(filled), **settings)


@pytest.mark.parametrize("hidden_norm", [True, False])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
@pytest.mark.parametrize("num_filled", [0, 4, SIZE])
def test_the_loss_is_that_of_the_loops(num_filled, temperature, hidden_norm):
    if not hidden_norm:
        temperature *= 10  # Similarities aren't bounded by 1.
    queries, keys, queue = _arrays(num_filled, hidden_norm=hidden_norm)
    filled = np.arange(SIZE) < num_filled
    expected = _slow_loss(queries, keys, queue, filled, 0, temperature)
    loss = _loss(queries, keys, queue, filled, temperature=temperature).loss
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_keys_of_other_replicas_are_negatives():
    queries, keys, queue = _arrays(1, keys=3 * BATCH)
    filled = np.arange(SIZE) < 6
    expected = _slow_loss(queries, keys, queue, filled, BATCH, 0.5)
    loss = _loss(queries, keys, queue, filled, first_key=BATCH, temperature=0.5).loss
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_unfilled_slots_neither_count_nor_get_gradients():
    queries, keys, queue = _arrays(2)
    filled = np.arange(SIZE) < 4
    garbage = np.where(filled[:, np.newaxis], queue, 100.0)
    with_zeros = _loss(queries, keys, np.where(filled[:, np.newaxis], queue, 0.0), filled)
    np.testing.assert_array_equal(_loss(queries, keys, garbage, filled).loss, with_zeros.loss)
    random_mask = np.random.default_rng(0).random(SIZE) < 0.5
    expected = _slow_loss(queries, keys, queue, random_mask, 0, 0.1)
    np.testing.assert_allclose(_loss(queries, keys, queue, random_mask).loss, expected, rtol=1e-5)


def test_an_empty_queue_and_keys_that_are_the_queries_leave_the_cross_view_terms_of_nt_xent():
    # Two images whose views agree with themselves (similarity 1) and not with the other (0): of
    # NT-Xent's denominator, which would be e + 1 + 1, the query's own view is left out.
    queries = np.eye(2, DIM)[np.newaxis].repeat(2, axis=0)
    queue, filled = np.zeros((SIZE, DIM)), np.zeros(SIZE, bool)
    result = _loss(queries, queries, queue, filled, temperature=1.0)
    np.testing.assert_allclose(result.loss, -2 * np.log(np.e / (np.e + 1)), rtol=1e-6)
    np.testing.assert_allclose(result.accuracy, 1.0)
    p = np.e / (np.e + 1)
    entropy = -p * np.log(p) - (1 - p) * np.log(1 - p)
    np.testing.assert_allclose(result.entropy, entropy, rtol=1e-5)


def test_gradients_flow_to_the_queries_alone():
    queries, keys, queue = _arrays(3)
    tensors = [tf.constant(array, tf.float32) for array in (*queries, *keys, queue)]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        pairs = tensors[:2], tensors[2:4]
        loss = nt_xent_with_memory(*pairs, tensors[4], tf.ones([SIZE], tf.bool)).loss
    gradients = tape.gradient(loss, tensors)
    assert all(np.any(gradient.numpy() != 0) for gradient in gradients[:2])
    assert gradients[2:] == [None, None, None]


def test_normalize_returns_float32_and_unit_length_only_if_told():
    projections = tf.constant([[3.0, 4.0]], tf.float16)
    np.testing.assert_allclose(normalize(projections, True), [[0.6, 0.8]], rtol=1e-6)
    assert normalize(projections, False).dtype == tf.float32
    np.testing.assert_array_equal(normalize(projections, False), [[3.0, 4.0]])
