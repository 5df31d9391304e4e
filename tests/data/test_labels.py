"""Labelled subsets: balanced, seeded, nested."""

import collections

import numpy as np
import pytest

from tf_simclrv2.config import ConfigError, LabelsConfig
from tf_simclrv2.data.labels import choose_labelled

NAMES = ["a", "b", "c", "d"]
LABELS = np.random.RandomState(0).choice(4, 1000, p=[0.4, 0.3, 0.2, 0.1]).tolist()


def _counts(chosen):
    return collections.Counter(LABELS[index] for index in chosen)


@pytest.mark.parametrize(("fraction", "total"), [(0.01, 10), (0.1, 100), (0.125, 125)])
def test_a_fraction_is_spread_evenly_over_the_classes(fraction, total):
    chosen = choose_labelled(LABELS, NAMES, LabelsConfig(label_fraction=fraction))
    assert len(set(chosen)) == len(chosen) == total
    counts = _counts(chosen).values()
    assert max(counts) - min(counts) <= 1


def test_a_class_that_runs_out_leaves_its_share_to_the_others():
    chosen = choose_labelled(LABELS, NAMES, LabelsConfig(label_fraction=0.6))
    counts = _counts(chosen)
    everything = collections.Counter(LABELS)
    assert sum(counts.values()) == 600
    assert counts[3] == everything[3] < counts[0]


def test_labels_per_class_are_exact():
    chosen = choose_labelled(LABELS, NAMES, LabelsConfig(labels_per_class=7))
    assert _counts(chosen) == {0: 7, 1: 7, 2: 7, 3: 7}


def test_smaller_subsets_are_inside_larger_ones_of_the_same_seed():
    fractions = (0.01, 0.05, 0.1, 0.5, 1.0)
    subsets = [
        set(choose_labelled(LABELS, NAMES, LabelsConfig(label_fraction=fraction)))
        for fraction in fractions
    ]
    for smaller, larger in zip(subsets, subsets[1:]):
        assert smaller < larger
    assert subsets[-1] == set(range(1000))


def test_the_seed_decides():
    def chosen(seed):
        return choose_labelled(LABELS, NAMES, LabelsConfig(label_fraction=0.1, label_seed=seed))

    assert chosen(1) == chosen(1)
    assert len(set(chosen(1)) & set(chosen(2))) < 50


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (LabelsConfig(label_fraction=0.003), ["--label_fraction=0.003", "1 of 4 classes empty"]),
        (LabelsConfig(labels_per_class=500), ["--labels_per_class=500", "class d has only"]),
    ],
)
def test_a_class_without_enough_examples_is_refused(labels, words):
    with pytest.raises(ConfigError) as error:
        choose_labelled(LABELS, NAMES, labels)
    assert all(word in str(error.value) for word in words)
