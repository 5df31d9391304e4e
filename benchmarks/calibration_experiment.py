"""Measures what a few labels that were learnt say of probabilities, each left out in turn.

    python -m benchmarks.calibration_experiment --pretrained=RUN [--fine_tuned RUN RUN]

Draws labels of a pretraining run's training split, fits a ridge regression on its frozen features,
and makes logits of its outputs: times 3, as fine-tuning starts; times what suits left-out images
best; times what probe takes, which few images don't move far from 3; and at a temperature besides.
Calibration error and loss are those of the test split. Of fine-tuned runs it measures the same
before and after their logits are divided by what left-out images ask for. What we measured:
docs/evaluation.md.
"""

import argparse
import os
from typing import Dict, List
from unittest import mock

import numpy as np
from scipy.special import softmax

from tf_simclrv2.config import DataConfig, LabelsConfig
from tf_simclrv2.data.batches import evaluation_batches
from tf_simclrv2.data.labels import choose_labelled
from tf_simclrv2.data.sources import Source, open_source
from tf_simclrv2.evaluation import calibration, ridge
from tf_simclrv2.evaluation.classifier import answers as answers_of
from tf_simclrv2.evaluation.features import Features, features
from tf_simclrv2.evaluation.measures import Answers
from tf_simclrv2.runtime import labelled
from tf_simclrv2.runtime.checkpoint import load_run
from tf_simclrv2.runtime.run_directory import RunDirectory

_LAYER = "proj_layer_1"
_DRAWS = 30
_FIXED, _BEST, _PROBE, _SCALED = "times 3", "times the best", "as probe", "with a temperature"


def _print_means(name: str, answers: List[Answers]) -> None:
    """Prints means over draws."""
    rows = []
    for each in answers:
        confidences = softmax(each.logits.astype(np.float64), axis=1).max(axis=1)
        error = calibration.error(confidences, each.right)
        rows.append([error, each.loss, confidences.mean() - each.right.mean()])
    error, loss, above = np.mean(rows, axis=0)
    print(
        f"  {name:<22} calibration error {error:6.1%}, loss {loss:.3f}, confidence {above:+.1%} "
        "above accuracy"
    )


def _of_classes(images: Features, kinds: np.ndarray) -> Features:
    """The images of some classes, which are numbered anew."""
    of = np.isin(images.labels, kinds)
    return Features(images.values[of], np.searchsorted(kinds, images.labels[of]))


def _probe(train: Features, test: Features, count: int, classes: int) -> None:
    """Draws labels, of other classes each time, and tells of ridge regression."""
    found: Dict[str, List[Answers]] = {name: [] for name in (_FIXED, _BEST, _PROBE, _SCALED)}
    for draw in range(_DRAWS):
        drawn = np.random.RandomState(draw).permutation(train.labels.max() + 1)[:classes]
        images, asked = (_of_classes(each, np.sort(drawn)) for each in (train, test))
        choice = LabelsConfig(label_fraction=count / len(images.labels), label_seed=draw)
        rows = choose_labelled(images.labels.tolist(), list(map(str, range(classes))), choice)
        learnt = Features(images.values[rows], images.labels[rows])
        model = ridge.Ridge(learnt)
        penalty = model.best()
        scores = model.solution(penalty).scores(asked.values)
        divisor = calibration.temperature(ridge.logits(learnt, None, classes), learnt.labels)
        with mock.patch.object(ridge, "_SPREAD", np.inf):
            best = model.sharpness(penalty)
        sharpness = model.sharpness(penalty)
        factors = (ridge.SHARPNESS, best, sharpness, sharpness / divisor)
        for name, factor in zip(found, factors):
            found[name].append(Answers(factor * scores, asked.labels))
    accuracy = np.mean([each.right.mean() for each in found[_FIXED]])
    print(f"{count} labels of {classes} classes, {_DRAWS} draws, accuracy {accuracy:.1%}:")
    for name, answers in found.items():
        _print_means(name, answers)


def _fine_tuned(paths: List[str], source: Source, data: DataConfig, train: Features) -> None:
    """Tells of fine-tuned runs."""
    ids = [os.fsdecode(each["id"]) for each in source.index(data.train_split).as_numpy_iterator()]
    plain, scaled = [], []
    for path in paths:
        learnt = labelled.read_ids(RunDirectory(path).file("labelled_examples.txt"))
        rows = [number for number, each in enumerate(ids) if each in learnt]
        model = ridge.Ridge(Features(train.values[rows], train.labels[rows]))
        given = answers_of(load_run(path), evaluation_batches(source, data, "test"))
        divisor = ridge.SHARPNESS / model.sharpness(model.best())
        plain.append(given)
        scaled.append(Answers(given.logits / divisor, given.labels))
    best = [calibration.temperature(each.logits, each.labels) for each in plain]
    print(f"{len(paths)} fine-tuned runs; the test split asks for {np.mean(best):.2f}:")
    _print_means("as they are", plain)
    _print_means("as left-out images ask", scaled)


def main(pretrained: str, fine_tuned: List[str]) -> None:
    """Computes the features once, and tells of all."""
    data = RunDirectory(pretrained).config.data
    source, network = open_source(data), load_run(pretrained)
    train, test = (
        features(network, evaluation_batches(source, data, split), _LAYER)
        for split in (data.train_split, "test")
    )
    classes = int(train.labels.max()) + 1
    for count, of in [(14, classes), (40, classes), (14, 3), (40, 3), (14, 2), (40, 2)]:
        _probe(train, test, count, of)
    if fine_tuned:
        _fine_tuned(fine_tuned, source, data, train)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--pretrained", required=True)
    parser.add_argument("--fine_tuned", nargs="*", default=[])
    arguments = parser.parse_args()
    main(arguments.pretrained, arguments.fine_tuned)
