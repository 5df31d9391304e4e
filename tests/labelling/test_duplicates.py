"""Near-duplicates, against a comparison of all pairs."""

import numpy as np
import pytest

from tf_simclrv2.labelling import duplicates
from tf_simclrv2.labelling.duplicates import near_duplicates


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks that don't divide the number of images."""
    whole = duplicates.blocks
    monkeypatch.setattr(duplicates, "blocks", lambda values: whole(values, rows=7))


def _features(count, seed=0):
    """Features as a ReLU makes them: before they are centred, all are alike."""
    return 5 + np.random.RandomState(seed).rand(count, 12).astype(np.float32)


def _cosines(values, others):
    mean = np.concatenate([values, others]).astype(np.float64).mean(axis=0)
    unit, unit_others = (
        (each - mean) / np.linalg.norm(each - mean, axis=1, keepdims=True)
        for each in (values, others)
    )
    return unit @ unit_others.T


def _in_pairs(pairs):
    return {(int(i), int(j)) for i, j in zip(pairs.first, pairs.second)}


def test_an_image_is_paired_with_the_most_similar_before_it():
    values = _features(40)
    cosines = np.tril(_cosines(values, values), -1) + np.triu(np.full([40, 40], -2.0))
    least = 0.5
    pairs = near_duplicates(values, least_similarity=least)
    wanted = {
        (int(cosines[j].argmax()), j) for j in range(40) if cosines[j].max() >= least
    }  # fmt: skip
    assert len(wanted) > 5
    assert _in_pairs(pairs) == wanted
    found = [cosines[j, i] for i, j in zip(pairs.first, pairs.second)]
    np.testing.assert_allclose(pairs.similarity, found, atol=1e-6)
    assert (np.diff(pairs.similarity) <= 0).all()


def test_between_two_sets_the_most_similar_of_the_other_one_counts():
    values, others = _features(20), _features(33, seed=1)
    cosines = _cosines(values, others)
    pairs = near_duplicates(values, others, 0.4)
    wanted = {(i, int(cosines[i].argmax())) for i in range(20) if cosines[i].max() >= 0.4}
    assert len(wanted) > 3
    assert _in_pairs(pairs) == wanted


def test_an_image_may_be_in_several_pairs():
    values, others = _features(40), _features(33, seed=1)
    cosines = np.tril(_cosines(values, values), -1) + np.triu(np.full([40, 40], -2.0))
    told = []
    pairs = near_duplicates(values, None, 0.3, 3, told.append)
    wanted = {
        (int(i), j) for j in range(40) for i in np.argsort(-cosines[j])[:3] if cosines[j, i] >= 0.3
    }
    assert max(np.bincount(pairs.second)) == 3 and _in_pairs(pairs) == wanted
    found = [cosines[j, i] for i, j in zip(pairs.first, pairs.second)]
    np.testing.assert_allclose(pairs.similarity, found, atol=1e-6)
    assert sum(told) == 40
    cosines = _cosines(values, others)
    pairs = near_duplicates(values, others, 0.2, 3)
    wanted = {(i, int(j)) for i in range(40) for j in np.argsort(-cosines[i])[:3]
              if cosines[i, j] >= 0.2}  # fmt: skip
    assert _in_pairs(pairs) == wanted


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_copies_are_found_and_others_are_not(dtype):
    values = _features(60)
    values[50] = values[3] + 0.004 * np.random.RandomState(1).randn(12)
    values[51] = values[50]
    assert _in_pairs(near_duplicates(values.astype(dtype))) == {(3, 50), (50, 51)}


@pytest.mark.parametrize("noise", [0, 1e-4])
def test_all_images_of_a_collapsed_network_are_alike_in_no_more_pairs_than_images(noise):
    values = 2 + noise * np.random.RandomState(0).randn(30, 12)
    pairs = near_duplicates(values)
    assert _in_pairs(pairs) == {(0, j) for j in range(1, 30)}
    np.testing.assert_allclose(pairs.similarity, 1)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_images_have_no_pairs_unless_they_are_equal(count):
    values = _features(count)
    assert not len(near_duplicates(values).first)
    assert not len(near_duplicates(values, _features(3, seed=2)).first)
    assert len(near_duplicates(np.repeat(values, 2, axis=0)).first) == count


def test_features_may_be_memory_mapped(tmp_path):
    np.save(tmp_path / "values.npy", np.concatenate([_features(20), _features(20)]))
    mapped = np.load(tmp_path / "values.npy", mmap_mode="r")
    assert _in_pairs(near_duplicates(mapped)) == {(i, i + 20) for i in range(20)}
