"""Which images to label next: the table METHODS, and what all methods have in common.

All go on from the images that have labels already, and pass over near-duplicates of these and of
each other.
"""

import warnings
from typing import Callable, Dict, NamedTuple, Optional, Tuple

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.neighbors import NearestNeighbors

from tf_simclrv2.labelling.duplicates import LEAST_SIMILARITY, Directions, blocks

# Numbers that all features may be together; those of more images are projected to fewer dimensions,
# by principal components of a sample.
_MOST_NUMBERS = 1 << 28
_LEAST_DIMENSIONS = 32
_SAMPLE = 20_000
# Images times clusters: up to which k-means starts several times, since with few clusters one start
# may leave out a class, and from which on it learns from random batches.
_FEW, _MANY = 5_000_000, 50_000_000
_STARTS = 10
_BATCH = 4096
_CHOOSING = "choosing images"
Tell = Callable[[str, int], object]
# Images that are compared at once with all that were taken.
_COMPARED = 256
# Of TypiClust: neighbours of an image, the size up to which clusters come last, and how many there
# are at most.
_NEIGHBOURS, _SMALL, _MOST_CLUSTERS = 20, 5, 500


class Choice(NamedTuple):
    """The images to label.

    Attributes:
      rows: int64 [budget], in the order in which they were chosen.
      num_near_duplicates: how many of them, the last ones, are near-duplicates of others or of
        labelled images, since no other images were left.
    """

    rows: np.ndarray
    num_near_duplicates: int


class Pool:
    """The images to choose from, and those that were taken.

    Args:
      values: features of all images [images, dim], may be memory-mapped.
      labelled: bool [images], whether an image has a label already.
      budget: images to take.
      seed: of all that is random.
      tell: see :func:`select`.

    Attributes:
      points: float32 [images, dim], the features as distances are measured.
      labelled: see above.
      budget: see above.
      seed: see above.
      random: draws for the method.
      tell: see above.
    """

    def __init__(
        self, values: np.ndarray, labelled: np.ndarray, budget: int, seed: int, tell: Tell
    ):
        self.tell = tell
        self.points = points_of(values)
        self.labelled, self.budget, self.seed = labelled, budget, seed
        self.random = np.random.RandomState(seed)
        self._values, self._directions = values, Directions(values)
        self._open = ~labelled  # Neither labelled nor taken nor near such an image.
        self._taken: Dict[int, None] = {}
        rows = np.flatnonzero(labelled)
        known = [self._directions(values[some]) for some in _pieces(rows, _SAMPLE)]
        # With room for what will be taken.
        room = np.zeros([budget, values.shape[1] + 1], np.float32)
        self._near = np.concatenate([*known, room])
        self._num_near = len(rows)

    @property
    def wanted(self) -> int:
        """How many images are still to be taken."""
        return self.budget - len(self._taken)

    def take(self, ranked: np.ndarray) -> Optional[int]:
        """Takes the first of some images that is no near-duplicate of a labelled or taken one.

        Args:
          ranked: rows, the best first.

        Returns:
          The row; None if there is none.
        """
        for some in _pieces(ranked[self._open[ranked]], _COMPARED):
            directions = self._directions(self._values[some])
            similarity = directions @ self._near[: self._num_near].T
            near = similarity.max(axis=1, initial=-1) >= LEAST_SIMILARITY
            first = len(some) if near.all() else int(near.argmin())
            self._open[some[: first + 1]] = False
            if first < len(some):
                self._near[self._num_near] = directions[first]
                self._num_near += 1
                self._taken[int(some[first])] = None
                self.tell(_CHOOSING, 1)
                return int(some[first])
        return None

    def choice(self) -> Choice:
        """What was taken, filled up at random if all images left are near-duplicates."""
        rows, missing = np.array(list(self._taken), np.int64), self.wanted
        if missing:
            left = ~self.labelled
            left[rows] = False
            more = self.random.choice(np.flatnonzero(left), missing, replace=False)
            rows = np.concatenate([rows, more])
        return Choice(rows, missing)


def _pieces(rows: np.ndarray, size: int) -> Tuple[np.ndarray, ...]:
    return tuple(rows[start : start + size] for start in range(0, len(rows), size))


def points_of(values: np.ndarray) -> np.ndarray:
    """The directions of features, see :class:`Directions`, in fewer dimensions if they are many.

    By them k-means chose about as well as by features left as they are, on the digits and the
    tiles, and on the tiles better than by standardised ones.

    Args:
      values: features [images, dim], may be memory-mapped.

    Returns:
      float32 [images, dimensions].
    """
    directions = Directions(values)
    dimensions = max(_LEAST_DIMENSIONS, _MOST_NUMBERS // len(values))
    pca = None
    if values.shape[1] + 1 > dimensions:
        random = np.random.RandomState(0)
        rows = np.sort(random.choice(len(values), min(_SAMPLE, len(values)), replace=False))
        pca = PCA(min(dimensions, len(rows)), svd_solver="randomized", random_state=0)
        pca.fit(directions(values[rows]))
    width = values.shape[1] + 1 if pca is None else pca.n_components
    points = np.empty([len(values), width], np.float32)
    for start, part in blocks(values):
        unit = directions(part)
        points[start : start + len(part)] = unit if pca is None else pca.transform(unit)
    return points


class _Clusters(NamedTuple):
    """A clustering by k-means.

    Attributes:
      of_image: int [images], the cluster of each.
      centres: float32 [clusters, dim].
    """

    of_image: np.ndarray
    centres: np.ndarray


def _clusters(pool: Pool, count: int) -> _Clusters:
    size = len(pool.points) * count
    if size > _MANY:
        most = 3 * max(_BATCH, count)
        means = MiniBatchKMeans(
            count, batch_size=_BATCH, init_size=most, n_init=1, random_state=pool.seed
        )
    else:
        starts = _STARTS if size <= _FEW else 1
        means = KMeans(count, n_init=starts, random_state=pool.seed)
    with warnings.catch_warnings():
        # Of equal images, which make fewer clusters.
        warnings.simplefilter("ignore", ConvergenceWarning)
        # sklearn does not say how far it is.
        pool.tell(f"k-means of {count} clusters", 0)
        means.fit(pool.points)
        pool.tell(_CHOOSING, 0)
    return _Clusters(means.labels_, means.cluster_centers_)


def _take_from_clusters(
    pool: Pool,
    clusters: _Clusters,
    ranked: Callable[[np.ndarray, np.ndarray], np.ndarray],
    small: int = 0,
) -> None:
    """Takes one image after the other, each from the cluster that has the fewest with a label.

    Of several such clusters it takes the largest.

    Args:
      pool: the images.
      clusters: all of them.
      ranked: given a cluster's rows and its centre, returns the rows with the best one first.
      small: clusters of so many images come last.
    """
    count = len(clusters.centres)
    sizes = np.bincount(clusters.of_image, minlength=count)
    covered = np.bincount(clusters.of_image[pool.labelled], minlength=count)
    members = np.split(np.argsort(clusters.of_image, kind="stable"), np.cumsum(sizes)[:-1])
    is_left = sizes > 0
    ranks: Dict[int, np.ndarray] = {}
    while pool.wanted and is_left.any():
        order = np.lexsort([-sizes, covered, sizes <= small, ~is_left])
        cluster = int(order[0])
        if cluster not in ranks:
            ranks[cluster] = ranked(members[cluster], clusters.centres[cluster])
        if pool.take(ranks[cluster]) is None:
            is_left[cluster] = False
        covered[cluster] += 1


def _centres(pool: Pool) -> None:
    clusters = _clusters(pool, int(pool.labelled.sum()) + pool.budget)

    def nearest(rows: np.ndarray, centre: np.ndarray) -> np.ndarray:
        return rows[np.argsort(_squared_distances(pool.points, rows, centre), kind="stable")]

    _take_from_clusters(pool, clusters, nearest)


def _squared_distances(points: np.ndarray, rows: np.ndarray, centre: np.ndarray) -> np.ndarray:
    return np.concatenate(
        [np.square(points[some] - centre).sum(axis=1) for some in _pieces(rows, _SAMPLE)]
    )


def _typiclust(pool: Pool) -> None:
    count = min(int(pool.labelled.sum()) + pool.budget, _MOST_CLUSTERS)

    def typical(rows: np.ndarray, centre: np.ndarray) -> np.ndarray:
        few = rows
        if len(rows) > _SAMPLE:
            few = pool.random.choice(rows, _SAMPLE, replace=False)
        neighbours = min(_NEIGHBOURS, len(few) - 1)
        if not neighbours:
            return rows
        found = NearestNeighbors(n_neighbors=neighbours, algorithm="brute").fit(pool.points[few])
        distances = found.kneighbors()[0].mean(axis=1)  # Of no image to itself.
        others = np.setdiff1d(rows, few)
        return np.concatenate([few[np.argsort(distances, kind="stable")], others])

    _take_from_clusters(pool, _clusters(pool, count), typical, small=_SMALL)


def _coreset(pool: Pool) -> None:
    points = pool.points
    lengths = np.einsum("ij,ij->i", points, points)
    nearest = np.full(len(points), np.inf, np.float32)

    def add(row: int) -> None:
        distances = lengths + lengths[row] - 2 * (points @ points[row])
        np.minimum(nearest, np.maximum(distances, 0), out=nearest)

    for row in np.flatnonzero(pool.labelled):
        add(row)
    if not pool.labelled.any():
        first = pool.take(pool.random.permutation(len(points)))
        assert first is not None  # Of images, there is one to take.
        add(first)
    count = min(_COMPARED, len(points))
    while pool.wanted:
        farthest = np.argpartition(-nearest, count - 1)[:count]
        farthest = farthest[np.argsort(-nearest[farthest], kind="stable")]
        if nearest[farthest[0]] < 0:
            return
        taken = pool.take(farthest)
        if taken is None:
            nearest[farthest] = -1  # All of them are labelled, taken or near such an image.
        else:
            add(taken)


def _random(pool: Pool) -> None:
    order = pool.random.permutation(len(pool.points))
    while pool.wanted and pool.take(order) is not None:
        pass


class Method(NamedTuple):
    """A row of ``METHODS``.

    Attributes:
      words: what is chosen, for people.
      choose: takes images from a pool.
    """

    words: str
    choose: Callable[[Pool], None]


METHODS: Dict[str, Method] = {
    "centres": Method("the image nearest to each centre of k-means", _centres),
    "typiclust": Method("the most typical image of each cluster (arXiv:2202.02794)", _typiclust),
    "coreset": Method("the image farthest from all others (arXiv:1708.00489)", _coreset),
    "random": Method("any image", _random),
}


def _num_not_finite(values: np.ndarray) -> int:
    """How many images have a feature that is NaN or infinite."""
    return sum(int((~np.isfinite(part).all(axis=1)).sum()) for _, part in blocks(values))


def select(
    values: np.ndarray,
    budget: int,
    method: str = "centres",
    labelled: Optional[np.ndarray] = None,
    seed: int = 0,
    tell: Tell = lambda doing, more: None,
) -> Choice:
    """Chooses images to label.

    It holds at most about 2^28 numbers: features of more images are projected to fewer dimensions,
    by principal components of a sample. k-means learns from random batches where images times
    clusters are more than 50 million, and typicality is measured among 20,000 images of a cluster.

    Args:
      values: features of all images [images, dim], may be memory-mapped.
      budget: how many images to choose.
      method: a name in ``METHODS``.
      labelled: bool [images], whether an image has a label already; by default none has.
      seed: the same seed makes the same choice.
      tell: is told what is being done, and how many more images have been chosen.

    Raises:
      ValueError: fewer images than the budget are without a label, or features are not finite.
    """
    labelled = np.zeros(len(values), bool) if labelled is None else np.asarray(labelled, bool)
    free = len(values) - int(labelled.sum())
    if not 1 <= budget <= free:
        raise ValueError(
            f"budget must be from 1 to {free}, the images without label, not {budget}."
        )
    bad = _num_not_finite(values)
    if bad:
        raise ValueError(f"features of {bad} of {len(values)} images are not finite.")
    pool = Pool(values, labelled, budget, seed, tell)
    METHODS[method].choose(pool)
    return pool.choice()
