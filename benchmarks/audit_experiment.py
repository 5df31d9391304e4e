"""Measures how well ``audit`` finds label errors and copies that were planted.

Of a run's training images some get a wrong label: of any other class, or of the one that their
class is most often taken for. cleanlab, with probabilities of a cross-validated logistic regression
on the same features, stands beside. Run it from the project's root, with cleanlab installed
(``pip install cleanlab``; the project itself doesn't need it):

  python -m benchmarks.audit_experiment --model_dir=runs/digits --seeds=20 --seeds_of_all=5

With ``--copies`` it measures instead how many copies of images are found, and how many pairs of
other images are taken for copies.
"""

import argparse
import io
import warnings
from typing import TYPE_CHECKING, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
from PIL import Image

from benchmarks.runs import in_words

if TYPE_CHECKING:
    from tf_simclrv2.training.frozen import Frozen

_COUNTS = (40, 100, 0)  # 0 stands for all.
_FRACTIONS = (0.02, 0.05, 0.1)
_FOLDS = 5
_NUM_COPIED = 200


class Planted(NamedTuple):
    """Labels, some of which are wrong: int [images], and bool [images] which are."""

    labels: np.ndarray
    wrong: np.ndarray


def plant(labels: np.ndarray, fraction: float, taken_for: np.ndarray, seed: int) -> Planted:
    """Makes a part of the labels wrong, at least one.

    Args:
      labels: int [images], all right.
      fraction: of them.
      taken_for: int [classes], the wrong class for each; empty for any class.
      seed: of the draw.
    """
    random = np.random.RandomState(seed)
    rows = random.choice(len(labels), max(1, round(fraction * len(labels))), replace=False)
    given, num_classes = labels.copy(), labels.max() + 1
    if len(taken_for):
        given[rows] = taken_for[labels[rows]]
    else:
        given[rows] = (labels[rows] + random.randint(1, num_classes, len(rows))) % num_classes
    return Planted(given, np.isin(np.arange(len(labels)), rows))


def most_confused(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The class that each class's images, left out, are most like."""
    from tf_simclrv2.evaluation.features import Features
    from tf_simclrv2.evaluation.ridge import Ridge

    ridge = Ridge(Features(values, labels))
    scores = ridge.left_out(ridge.best())
    means = np.stack([scores[labels == each].mean(axis=0) for each in ridge.classes])
    np.fill_diagonal(means, -np.inf)
    return means.argmax(axis=1)


def ours(values: np.ndarray, labels: np.ndarray) -> Tuple[Dict[str, np.ndarray], np.ndarray]:
    """Scores, high for labels that are right, and which labels look wrong."""
    from tf_simclrv2.evaluation.features import Features
    from tf_simclrv2.labelling.audit import judge

    verdicts = judge(Features(values, labels))[0]
    return {"audit": np.nan_to_num(verdicts.margins, nan=np.inf)}, verdicts.look_wrong


def cleanlab(values: np.ndarray, labels: np.ndarray) -> Tuple[Dict[str, np.ndarray], np.ndarray]:
    """The same by cleanlab."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import KFold, StratifiedKFold
    from sklearn.pipeline import make_pipeline

    from tf_simclrv2.evaluation.scaling import ShrunkScaler

    classes, columns = np.unique(labels, return_inverse=True)
    few = np.bincount(columns).min() < _FOLDS
    folds = (KFold if few else StratifiedKFold)(_FOLDS, shuffle=True, random_state=0)
    probabilities = np.full([len(labels), len(classes)], 1e-9)
    for train, test in folds.split(values, columns):
        classifier = make_pipeline(ShrunkScaler(), LogisticRegression(max_iter=300))
        classifier.fit(values[train], columns[train])
        found = classifier.predict_proba(values[test])
        probabilities[np.ix_(test, classifier.classes_)] += found
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    scores = {
        f"cleanlab, {method.replace('_', ' ')}": get_label_quality_scores(
            columns, probabilities, method=method
        )
        for method in ("self_confidence", "normalized_margin")
    }
    return scores, find_label_issues(columns, probabilities)


def measures(scores: np.ndarray, wrong: np.ndarray) -> Tuple[float, float]:
    """AUROC, and precision among as many images as are wrong, in %."""
    from sklearn.metrics import roc_auc_score

    first = np.argsort(scores, kind="stable")[: wrong.sum()]
    return 100 * roc_auc_score(wrong, -np.clip(scores, -1e9, 1e9)), 100 * wrong[first].mean()


def _row(values: np.ndarray, labels: np.ndarray, count: int, planted: Callable, seeds: int) -> str:
    """A line of the table: means over seeds, of which each draws images and errors."""
    found: Dict[str, List[Tuple[float, float]]] = {}
    flagged: Dict[str, List[Tuple[float, float]]] = {}
    for seed in range(seeds):
        rows = np.random.RandomState(seed).permutation(len(labels))[: count or len(labels)]
        given = planted(labels[rows], seed)
        for name, method in (("audit", ours), ("cleanlab", cleanlab)):
            scores, looks_wrong = method(values[rows], given.labels)
            right = 100 * looks_wrong[~given.wrong].mean()
            flagged.setdefault(name, []).append((100 * looks_wrong[given.wrong].mean(), right))
            for each, of_images in scores.items():
                found.setdefault(each, []).append(measures(of_images, given.wrong))
    cells = [in_words([each[part] for each in found[name]]) for part in (0, 1) for name in found]
    for name in flagged:
        hits, alarms = np.mean(flagged[name], axis=0)
        cells.append(f"{hits:.0f} / {alarms:.1f}")
    return " | ".join(cells)


def label_errors(values: np.ndarray, labels: np.ndarray, seeds: int, seeds_of_all: int) -> None:
    """Prints a line for each kind and number of errors."""
    kinds = {"any class": np.zeros(0, int), "most confused": most_confused(values, labels)}
    print(
        "| errors | labels | wrong | AUROC: audit | self confidence | normalized margin "
        "| precision: audit | self confidence | normalized margin | flagged: audit | cleanlab |"
    )
    print("|---|--:|--:|" + "--:|" * 8)
    for kind, taken_for in kinds.items():
        for count in _COUNTS:
            for fraction in _FRACTIONS:
                row = _row(
                    values,
                    labels,
                    count,
                    lambda few, seed: plant(few, fraction, taken_for, seed),  # noqa: B023
                    seeds if count else seeds_of_all,
                )
                words = f"| {kind} | {count or len(labels):,} | {fraction:.0%} | {row} |"
                print(words, flush=True)


def _saved(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def _resized(image: Image.Image, factor: float) -> Image.Image:
    size = [max(1, round(factor * side)) for side in image.size]
    return image.resize(size, Image.Resampling.BICUBIC)


COPIES: Dict[str, Callable[[Image.Image], Image.Image]] = {
    "the same pixels": lambda image: image,
    "JPEG of quality 90": lambda image: _saved(image, 90),
    "JPEG of quality 75": lambda image: _saved(image, 75),
    "twice as large": lambda image: _resized(image, 2),
    "three quarters as large": lambda image: _resized(image, 0.75),
    "5% brighter": lambda image: image.point(lambda value: min(255, 1.05 * value)),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


def copies(frozen: "Frozen", model_dir: str) -> None:
    """Prints how many copies of training images are found among all training images."""
    from tf_simclrv2.data.views import evaluation_view
    from tf_simclrv2.keras2 import tf
    from tf_simclrv2.labelling.duplicates import near_duplicates
    from tf_simclrv2.labelling.same_picture import is_same, reduced
    from tf_simclrv2.runtime.checkpoint import load_run
    from tf_simclrv2.training.auditing import CANDIDATES, CANDIDATES_OF_IMAGE
    from tf_simclrv2.training.pictures import pictures

    split, network = frozen.data.train_split, load_run(model_dir)
    stored = frozen.features(split)
    images = [image for _, image in pictures(frozen.source, split, stored.ids)]
    of_all = list(map(reduced, images))
    size, layer = frozen.data.resolved_image_size, frozen.weights.layer_name
    chosen = np.random.RandomState(0).choice(len(images), _NUM_COPIED, replace=False)

    def others(values: Optional[np.ndarray]) -> Tuple[np.ndarray, Optional[np.ndarray]]:
        """What the features of copies, or of the images themselves, are compared with."""
        return (stored.values, None) if values is None else (values, stored.values)

    def alone(values: Optional[np.ndarray] = None) -> int:
        return len(near_duplicates(*others(values), 0.999).first)

    def with_pixels(pixels: List[np.ndarray], values: Optional[np.ndarray] = None) -> int:
        found = near_duplicates(*others(values), CANDIDATES, CANDIDATES_OF_IMAGE)
        copy, image = (found.second, found.first) if values is None else found[:2]
        small = list(map(reduced, pixels))
        return len({one for one, two in zip(copy, image) if is_same(small[one], of_all[two])})

    print("| copy | features alone, from 0.999 | features from 0.99 and pixels |\n|---|--:|--:|")
    for name, change in COPIES.items():
        changed = [np.asarray(change(Image.fromarray(images[row]))) for row in chosen]
        inputs = tf.stack([evaluation_view(each, size) for each in changed])
        values = network.endpoints(inputs, training=False)[layer].numpy()
        found = [100 * each / len(chosen) for each in (alone(values), with_pixels(changed, values))]
        print(f"| {name} | {found[0]:.0f}% | {found[1]:.0f}% |")
    print(f"| pairs of the {len(images):,} images themselves | {alone()} | {with_pixels(images)} |")


def main() -> None:
    """Runs what the command line asks for, and prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model_dir", required=True, help="a pretraining run")
    parser.add_argument("--seeds", type=int, default=20, help="draws of images and errors")
    parser.add_argument("--seeds_of_all", type=int, default=5, help="draws of errors in all labels")
    parser.add_argument("--copies", action="store_true", help="measure copies of images instead")
    options = parser.parse_args()
    from tf_simclrv2.config.labelling import FrozenSection
    from tf_simclrv2.training.frozen import Frozen

    warnings.filterwarnings("ignore")
    frozen = Frozen.open(FrozenSection(options.model_dir))
    if options.copies:
        copies(frozen, options.model_dir)
        return
    stored = frozen.features(frozen.data.train_split)
    label_errors(np.array(stored.values), stored.labels, options.seeds, options.seeds_of_all)


if __name__ == "__main__":
    main()
