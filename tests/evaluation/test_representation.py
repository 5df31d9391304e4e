"""Monitors without labels, against their papers' equations and second implementations."""

import numpy as np
import pytest

from tf_simclrv2.evaluation import knn, representation, ridge
from tf_simclrv2.evaluation.features import Features
from tf_simclrv2.evaluation.representation import Encoded
from tf_simclrv2.keras2 import tf
from tf_simclrv2.objectives.contrastive import loss_of_guessing, nt_xent, nt_xent_with_memory

RANDOM = np.random.RandomState(0)


def _on_sphere(count, dim):
    values = RANDOM.normal(size=(count, dim)) + 1
    return values / np.linalg.norm(values, axis=1, keepdims=True)


FIRST, SECOND = _on_sphere(12, 5), _on_sphere(12, 5)


@pytest.mark.parametrize("shape", [(30, 8), (8, 30), (9, 9)])
def test_rankme_is_the_exponential_of_the_entropy_of_singular_values(shape):
    values = (RANDOM.normal(size=shape) * np.linspace(0.1, 2, shape[1]) + 1).astype(np.float32)
    shares = np.linalg.svd(values.astype(float), compute_uv=False)
    shares /= shares.sum()
    expected = np.exp(-np.sum(shares * np.log(shares)))
    assert representation.effective_rank(values) == pytest.approx(expected, rel=1e-6)


def test_rankme_counts_directions():
    assert representation.effective_rank(np.eye(7)[:, :5]) == pytest.approx(5)
    one_direction = np.outer(np.arange(1, 9), [1.0, 2.0, 3.0])
    assert representation.effective_rank(one_direction) == pytest.approx(1, abs=1e-5)
    assert representation.effective_rank(np.zeros([4, 3])) == 1


def test_alignment_and_uniformity_are_those_of_all_pairs():
    distances = [np.sum((one - other) ** 2) for one, other in zip(FIRST, SECOND)]
    assert representation.alignment(FIRST, SECOND) == pytest.approx(np.mean(distances))
    kernels = [
        np.exp(-2 * np.sum((FIRST[i] - FIRST[j]) ** 2))
        for i in range(12)
        for j in range(12)
        if i != j
    ]
    assert representation.uniformity(FIRST) == pytest.approx(np.log(np.mean(kernels)))
    assert representation.uniformity(np.ones([5, 2])) == pytest.approx(0)


@pytest.mark.parametrize("temperature", [0.05, 0.5])
@pytest.mark.parametrize("hidden_norm", [True, False])
def test_the_held_out_contrast_is_the_loss_that_is_trained(temperature, hidden_norm):
    first, second = (3 * each.astype(np.float32) for each in (FIRST, SECOND))
    second = (second + first).astype(np.float32)
    h = RANDOM.normal(size=(12, 6)).astype(np.float32)
    read = representation.run(
        Encoded(h, first, first, second, np.full(12, -1)), temperature, hidden_norm
    )
    trained = nt_xent(tf.constant(first), tf.constant(second), temperature, hidden_norm)
    assert read["loss"] == pytest.approx(float(trained.loss), rel=1e-5)
    assert read["accuracy"] == pytest.approx(float(trained.accuracy))
    assert 0 < read["accuracy"] < 1
    assert set(read) == {"rank_h", "rank_z", "alignment", "uniformity", "loss", "accuracy"}


def test_guessing_is_the_loss_of_projections_that_are_all_the_same():
    same = tf.ones([9, 4])
    assert float(nt_xent(same, same).loss) == pytest.approx(loss_of_guessing(9))
    filled = tf.constant([True] * 3 + [False] * 2)
    past = nt_xent_with_memory([same / 2] * 2, [same / 2] * 2, tf.ones([5, 4]) / 2, filled)
    assert float(past.loss) == pytest.approx(loss_of_guessing(9, keys_of_past=3))


def _encoded(labels):
    h = RANDOM.normal(size=(len(labels), 6)).astype(np.float32)
    h[:, 0] += labels
    z = _on_sphere(len(labels), 4)
    return Encoded(h, z, z, z, np.asarray(labels))


def test_neighbours_and_ridge_learn_from_all_other_labelled_images():
    labels = np.arange(40) % 4 - 1  # A quarter has none.
    encoded = _encoded(labels)
    read = representation.run(encoded, 0.1, True, few_labels=30)
    kept = np.flatnonzero(labels >= 0)
    images = Features(encoded.representations[kept], labels[kept])
    penalty = ridge.Ridge(images).best()
    right = {"knn": 0.0, "ridge": 0.0}
    for row in range(len(kept)):
        others = np.delete(np.arange(len(kept)), row)
        train = Features(images.values[others], images.labels[others])
        test = Features(images.values[[row]], images.labels[[row]])
        right["knn"] += knn.run(train, test)["top_1_accuracy"] / len(kept)
        right["ridge"] += ridge.run(train, test, penalty)["top_1_accuracy"] / len(kept)
    assert read["knn"] == pytest.approx(right["knn"])
    # Only the standardisation knows the image that is left out.
    assert read["ridge"] == pytest.approx(right["ridge"], abs=0.1)
    assert read["ridge"] > 0.5


@pytest.mark.parametrize("few_labels", [None, 41])
def test_too_few_labels_are_left_alone(few_labels):
    read = representation.run(_encoded(np.arange(40) % 4), 0.1, True, few_labels)
    assert "knn" not in read and "ridge" not in read
    one_class = representation.run(_encoded(np.zeros(40, int)), 0.1, True, few_labels=20)
    assert "knn" not in one_class


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_network_that_computes_no_numbers_has_no_monitors(bad):
    encoded = _encoded(np.arange(40) % 4)
    encoded.second[3, 1] = bad
    assert representation.run(encoded, 0.1, True, 20) == {}
