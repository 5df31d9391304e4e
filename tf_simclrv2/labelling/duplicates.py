"""Near-duplicates: images whose features nearly agree, such as a picture saved or cropped again."""

from typing import Callable, Iterator, NamedTuple, Optional, Tuple

import numpy as np

# Of the cosine similarity of centred features. On pretrained digits, 99% of the copies that were
# saved as JPEG again or made 5% brighter reach it, and of the 1,437 digits themselves a single one.
LEAST_SIMILARITY = 0.999
# Features that differ by less than this part of their mean are equal: float16 has three digits.
_NO_DIFFERENCE = 1e-3
_ROWS = 2048


class Pairs(NamedTuple):
    """Pairs of images, the most similar first.

    Attributes:
      first: int64 [pairs], rows of the first image of each pair.
      second: int64 [pairs], rows of the second.
      similarity: float32 [pairs], up to 1.
    """

    first: np.ndarray
    second: np.ndarray
    similarity: np.ndarray


class Directions:
    """Turns features into vectors of length 1 whose products are the images' similarities.

    Features are centred first: those that come out of a ReLU all have similar directions.

    Args:
      *sets: features [images, dim] whose common mean is the centre; may be memory-mapped.
    """

    def __init__(self, *sets: np.ndarray):
        total = sum(part.sum(axis=0) for values in sets for _, part in blocks(values))
        self._mean = total / max(1, sum(map(len, sets)))
        self._least = _NO_DIFFERENCE * float(np.linalg.norm(self._mean))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Returns float32 [images, dim + 1].

        The last column is 1 for images that don't differ from the mean, so that they are like each
        other and like no others: all images are if the network has collapsed.
        """
        centred = np.asarray(values, np.float64) - self._mean
        lengths = np.linalg.norm(centred, axis=1, keepdims=True)
        same = lengths <= self._least
        directions = np.where(same, 0.0, centred / np.where(same, 1.0, lengths))
        return np.concatenate([directions, same], axis=1).astype(np.float32)


def blocks(values: np.ndarray, rows: int = _ROWS) -> Iterator[Tuple[int, np.ndarray]]:
    """Reads an array piece by piece, in float64; yields each piece's first row and the piece."""
    for start in range(0, len(values), rows):
        yield start, np.asarray(values[start : start + rows], np.float64)


def near_duplicates(
    values: np.ndarray,
    others: Optional[np.ndarray] = None,
    least_similarity: float = LEAST_SIMILARITY,
    most: int = 1,
    progress: Callable[[int], object] = lambda images: None,
) -> Pairs:
    """Finds images that are nearly the same, within a set or between two.

    An image is in ``most`` pairs as the second, with the most similar of all before it; between two
    sets each image of ``values`` is in as many, with the most similar of ``others``. So the number
    of pairs is bounded by that of images, even if all are equal. Memory is bounded by blocks of
    rows; the time grows with the number of comparisons.

    Args:
      values: features [images, dim], may be memory-mapped.
      others: features of a second set; None compares ``values`` with itself.
      least_similarity: cosine similarity of centred features from which on a pair counts.
      most: pairs of an image.
      progress: is told how many more images have been compared with all.

    Returns:
      Pairs ``(i, j)``: ``i < j``, both of ``values``; or ``i`` of ``values`` and ``j`` of
      ``others``.
    """
    directions = Directions(values) if others is None else Directions(values, others)
    compared = values if others is None else others
    found = []
    for start, part in blocks(values):
        rows = np.arange(start, start + len(part))
        best, similarity = _most_similar(directions, part, rows, compared, others is None, most)
        near = similarity >= least_similarity
        found.append((rows[near.nonzero()[0]], best[near], similarity[near]))
        progress(len(part))
    row, other, similarity = (np.concatenate(parts) for parts in zip(*found)) if found else (
        np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
    )  # fmt: skip
    order = np.argsort(-similarity, kind="stable")
    first, second = (other, row) if others is None else (row, other)
    return Pairs(first[order], second[order], np.minimum(similarity[order], 1))


def _most_similar(
    directions: Directions,
    part: np.ndarray,
    rows: np.ndarray,
    compared: np.ndarray,
    only_earlier: bool,
    most: int,
) -> Tuple[np.ndarray, np.ndarray]:
    """The ``most`` most similar rows of ``compared`` for each image of a block, the best first.

    Returns:
      int64 and float32 [images of the block, most]: the rows, and how similar they are, -inf where
      there are not so many.
    """
    unit = directions(part)
    best = np.zeros([len(part), most], np.int64)
    similarity = np.full([len(part), most], -np.inf, np.float32)
    for start, block in blocks(compared[: rows[-1]] if only_earlier else compared):
        products = unit @ directions(block).T
        if only_earlier:
            products[np.arange(start, start + len(block)) >= rows[:, np.newaxis]] = -np.inf
        # Of equally similar ones argmax takes the first.
        taken = products.argmax(axis=1)[:, np.newaxis]
        if most > 1:
            taken = np.argpartition(-products, min(most, len(block)) - 1, axis=1)[:, :most]
        found = np.concatenate([similarity, np.take_along_axis(products, taken, axis=1)], axis=1)
        order = np.argsort(-found, axis=1, kind="stable")[:, :most]
        best = np.take_along_axis(np.concatenate([best, start + taken], axis=1), order, axis=1)
        similarity = np.take_along_axis(found, order, axis=1)
    return best, similarity
