"""Which images are chosen, on features made for it."""

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.preprocessing import normalize

from tf_simclrv2.labelling import select as module
from tf_simclrv2.labelling.select import METHODS, select


@pytest.fixture(autouse=True)
def few_starts(monkeypatch):
    """One start of k-means is quicker than ten, and finds clusters that are far apart as well."""
    monkeypatch.setattr(module, "_STARTS", 1)


def _blobs(sizes, seed=0):
    """Clusters of images far from each other, and the cluster of each."""
    random = np.random.RandomState(seed)
    of_image = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    values = 10 * np.eye(len(sizes))[of_image] + random.randn(len(of_image), len(sizes))
    return values.astype(np.float32), of_image


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("budget, num_labelled", [(1, 0), (1, 1), (7, 0), (7, 13), (40, 13)])
def test_as_many_different_images_without_label_as_the_budget(method, budget, num_labelled):
    values = np.random.RandomState(0).randn(53, 16)
    labelled = np.zeros(53, bool)
    labelled[np.random.RandomState(1).permutation(53)[:num_labelled]] = True
    choice = select(values, budget, method, labelled, seed=5)
    assert choice.rows.shape == (budget,) and len(set(choice.rows)) == budget
    assert not labelled[choice.rows].any()
    assert choice.num_near_duplicates == 0
    again = select(values, budget, method, labelled, seed=5)
    np.testing.assert_array_equal(choice.rows, again.rows)


@pytest.mark.parametrize("method", METHODS)
def test_the_seed_decides(method):
    values = np.random.RandomState(0).randn(100, 6)
    choices = {tuple(sorted(select(values, 9, method, seed=seed).rows)) for seed in range(3)}
    assert len(choices) > 1


@pytest.mark.parametrize("method", METHODS)
def test_everything_can_be_chosen(method):
    values, _ = _blobs([9, 5])
    assert sorted(select(values, 14, method).rows) == list(range(14))
    labelled = np.arange(14) < 13
    assert select(values, 1, method, labelled).rows == [13]


@pytest.mark.parametrize("method", ["centres", "typiclust", "coreset"])
def test_each_cluster_is_served_once_before_one_is_served_again(method):
    values, of_image = _blobs([40, 30, 20, 10, 10])
    first = select(values, 3, method)
    assert len(set(of_image[first.rows])) == 3
    labelled = np.zeros(len(values), bool)
    labelled[first.rows] = True
    second = select(values, 2, method, labelled)
    assert sorted(of_image[np.concatenate([first.rows, second.rows])]) == list(range(5))


def test_larger_clusters_come_first():
    values, of_image = _blobs([10, 40, 20, 30])
    assert of_image[select(values, 4, "centres").rows].tolist() == [1, 3, 2, 0]
    assert of_image[select(values, 4, "typiclust").rows].tolist() == [1, 3, 2, 0]


def test_centres_takes_the_image_nearest_to_each_centre():
    values, _ = _blobs([40, 30, 20])
    points = normalize(values - values.mean(axis=0))
    means = KMeans(3, n_init=1, random_state=0).fit(points)
    distances = means.transform(points)
    wanted = {int(np.where(means.labels_ == c, distances[:, c], np.inf).argmin()) for c in range(3)}
    assert set(select(values, 3, "centres").rows) == wanted


def test_typiclust_takes_the_image_with_the_nearest_neighbours():
    values, of_image = _blobs([60, 30])
    points = module.points_of(values)
    for row in select(values, 2, "typiclust").rows:
        members = np.flatnonzero(of_image == of_image[row])
        distances = np.linalg.norm(points[members, np.newaxis] - points[members], axis=2)
        means = np.sort(distances, axis=1)[:, 1:21].mean(axis=1)
        assert members[means.argmin()] == row


def test_typiclust_serves_small_clusters_last():
    values, of_image = _blobs([30, 5, 20])
    assert of_image[select(values, 3, "typiclust").rows].tolist() == [0, 2, 0]
    values, of_image = _blobs([30, 6, 20])
    labelled = np.zeros(len(values), bool)
    labelled[np.flatnonzero(of_image == 0)[0]] = True
    assert sorted(of_image[select(values, 2, "typiclust", labelled).rows]) == [1, 2]


def test_coreset_takes_the_farthest_image_each_time():
    values = np.random.RandomState(3).rand(80, 5).astype(np.float32)
    labelled = np.arange(80) < 2
    points = module.points_of(values).astype(np.float64)
    taken = [0, 1]
    for _ in range(6):
        distances = np.linalg.norm(points[:, np.newaxis] - points[taken], axis=2).min(axis=1)
        taken.append(int(distances.argmax()))
    assert select(values, 6, "coreset", labelled).rows.tolist() == taken[2:]


def test_random_is_uniform():
    values = np.random.RandomState(0).randn(10, 4)
    counts = np.bincount(
        np.concatenate([select(values, 2, "random", seed=seed).rows for seed in range(500)]),
        minlength=10,
    )
    assert counts.min() > 60 and counts.max() < 145


@pytest.mark.parametrize("method", METHODS)
def test_near_duplicates_are_passed_over(method):
    distinct = np.random.RandomState(0).randn(12, 16)
    values = np.repeat(distinct, 10, axis=0) + 1e-3 * np.random.RandomState(1).randn(120, 16)
    labelled = np.zeros(120, bool)
    labelled[[3, 17]] = True  # Copies of the first two.
    choice = select(values, 10, method, labelled)
    assert sorted(choice.rows // 10) == list(range(2, 12))
    assert choice.num_near_duplicates == 0


@pytest.mark.parametrize("method", METHODS)
def test_the_number_of_near_duplicates_is_told_where_there_are_not_enough_others(method):
    values = np.repeat(np.random.RandomState(0).randn(4, 16), 10, axis=0)
    choice = select(values, 6, method)
    assert choice.num_near_duplicates == 2
    assert len(set(choice.rows)) == 6
    assert len(set(choice.rows[:4] // 10)) == 4


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_of_a_collapsed_network_all_images_are_near_duplicates(method, dtype):
    values = (3 + 1e-5 * np.random.RandomState(0).randn(90, 8)).astype(dtype)
    choice = select(values, 20, method)
    assert choice.num_near_duplicates == 19
    assert len(set(choice.rows)) == 20


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dim", [1, 3])
def test_features_of_few_dimensions_and_constant_ones(method, dim):
    values = np.random.RandomState(0).rand(30, dim)
    values[:, 0] = 2
    assert len(set(select(values, 5, method).rows)) == 5


def test_what_can_not_be_chosen_from():
    values = np.random.RandomState(0).randn(10, 4)
    for budget in (0, -1, 8):
        with pytest.raises(ValueError, match="budget must be from 1 to 7"):
            select(values, budget, labelled=np.arange(10) < 3)
    values[[2, 5], 1] = np.nan, np.inf
    with pytest.raises(ValueError, match="2 of 10 images are not finite"):
        select(values, 3)


@pytest.mark.parametrize("method", METHODS)
def test_many_images_are_handled_by_batches_and_in_fewer_dimensions(method, monkeypatch, tmp_path):
    for name, value in {"_MANY": 100, "_SAMPLE": 70, "_MOST_NUMBERS": 600 * 10,
                        "_LEAST_DIMENSIONS": 10}.items():  # fmt: skip
        monkeypatch.setattr(module, name, value)
    values, of_image = _blobs([300, 200, 100])
    values = values @ np.random.RandomState(2).randn(3, 50)
    np.save(tmp_path / "values.npy", values.astype(np.float16))
    mapped = np.load(tmp_path / "values.npy", mmap_mode="r")
    assert module.points_of(mapped).shape == (600, 10)
    choice = select(mapped, 3, method, seed=1)
    assert len(set(choice.rows)) == 3
    if method != "random":
        assert set(of_image[choice.rows]) == {0, 1, 2}
