"""Maps of representations: which images a network finds alike."""

import dataclasses
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

from tf_simclrv2.data.sources.chosen import Chosen
from tf_simclrv2.training.frozen import Frozen

# t-SNE works on so many principal components, as its authors advise.
_COMPONENTS = 50
_PERPLEXITY = 30.0
# With fewer images t-SNE has nothing to arrange.
_FEWEST = 10
# Standard deviations below this are rounding: all images have the same representation.
_SAME = 1e-6


class Shown(NamedTuple):
    """The images that a report shows.

    Attributes:
      split: whose images they are.
      ids: of the images, in the order of the source.
      labels: class indices, -1 where it isn't known.
      total: images of the split.
    """

    split: str
    ids: List[str]
    labels: np.ndarray
    total: int


class Map(NamedTuple):
    """Where a network puts images.

    Attributes:
      places: float [images, 2]; of images with one and the same representation all 0.
      neighbours: int [samples, most alike first], rows of images.
      by: how the places were found, in words.
    """

    places: np.ndarray
    neighbours: np.ndarray
    by: str


def shown_images(frozen: Frozen, most: int) -> Shown:
    """Chooses the images to show: those to evaluate on, at random if they are too many.

    Args:
      frozen: a run and the data.
      most: how many at most, above 0.

    Raises:
      ConfigError: images can't be read.
    """
    split = frozen.eval_split or frozen.data.train_split
    ids, labels = frozen.images_of(split)
    rows = np.arange(len(ids))
    if len(ids) > most:
        rows = np.sort(np.random.RandomState(0).choice(len(ids), most, replace=False))
    return Shown(split, [ids[row] for row in rows], labels[rows], len(ids))


def representations(frozen: Frozen, reference: Frozen, shown: Shown) -> np.ndarray:
    """What a run's network makes of the images, float32 [images, dim].

    Args:
      frozen: the run.
      reference: the run whose data the images are of.
      shown: the images.

    Raises:
      ConfigError: they can't be computed or stored.
    """
    data = dataclasses.replace(
        reference.data, image_size=frozen.of_run.run.config.data.resolved_image_size
    )
    source = reference.source
    if len(shown.ids) < shown.total:
        source = Chosen(source, shown.ids, labelled=False)
    on_them = dataclasses.replace(frozen, source=source, data=data, _indexed={})
    return np.asarray(on_them.features(shown.split).values, np.float32)


def map_of(values: np.ndarray, samples: Sequence[int], alike: int) -> Map:
    """Arranges images in the plane, and finds those that are most alike.

    Args:
      values: float [images, dim]; only their directions count.
      samples: rows of the images whose neighbours are wanted.
      alike: how many neighbours.
    """
    directions = normalize(np.asarray(values, np.float64))
    similar = directions[list(samples)] @ directions.T
    similar[np.arange(len(similar)), list(samples)] = -np.inf
    neighbours = np.argsort(-similar, axis=1, kind="stable")[:, : min(alike, len(values) - 1)]
    if len(values) < 2 or directions.std(axis=0).max() < _SAME:
        return Map(np.zeros([len(values), 2]), neighbours, "")
    components = min(_COMPONENTS, *directions.shape)
    reduced = PCA(components, random_state=0).fit_transform(directions)
    if len(values) < _FEWEST:
        places = np.pad(reduced[:, :2], [(0, 0), (0, max(0, 2 - components))])
        return Map(places, neighbours, "the first two principal components")
    perplexity = min(_PERPLEXITY, (len(values) - 1) / 3)
    starts = "pca" if components > 1 else "random"
    tsne = TSNE(perplexity=perplexity, init=starts, learning_rate="auto", random_state=0)
    # Its threads wait for each other a thousand times: with others on the machine that takes ten
    # times as long as one thread.
    with threadpool_limits(limits=1):
        places = tsne.fit_transform(reduced)
    by = f"{components} principal components, then t-SNE of perplexity {perplexity:.3g}"
    return Map(places, neighbours, by)


def samples_of(shown: Shown, count: int) -> List[int]:
    """Rows of images of as many classes as there are, drawn at random.

    Args:
      shown: the images.
      count: how many.
    """
    order = np.random.RandomState(0).permutation(len(shown.ids))
    by_class: Dict[int, List[int]] = {}
    for row in order:
        by_class.setdefault(int(shown.labels[row]), []).append(int(row))
    found: List[int] = []
    while by_class and len(found) < count:
        for label in sorted(by_class):
            found.append(by_class[label].pop())
        by_class = {label: rows for label, rows in by_class.items() if rows}
    return found[:count]


def points(
    places: np.ndarray, classes: Sequence[str], wrong: Optional[Sequence[bool]]
) -> List[Dict[str, Any]]:
    """The points of a map for its chart.

    Args:
      places: float [images, 2].
      classes: of the images; empty where it isn't known.
      wrong: whether the run answers another class; None if its answers aren't known.
    """
    known = [False] * len(classes) if wrong is None else wrong
    return [
        {"x": round(float(x), 3), "y": round(float(y), 3), "name": name, "wrong": bool(is_wrong),
         "image": number}
        for number, ((x, y), name, is_wrong) in enumerate(zip(places, classes, known))
    ]  # fmt: skip
