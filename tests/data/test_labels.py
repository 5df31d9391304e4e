"""Labelled subsets: balanced, seeded, nested."""

import collections
import re

import numpy as np
import pytest

from tf_simclrv2.config import ConfigError, LabelsConfig
from tf_simclrv2.data.labels import choose_labelled, find_listed, labelled_ids, read_subset

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


class TestList:
    IDS = ("train/a/1.jpg", "train/b/1.jpg", "train/b/2.jpg", "train/a/3.jpg")
    FILES = ("1.jpg", "1.jpg", "2.jpg", "3.jpg")
    CLASSES = (0, 1, 1, 0)

    def _find(self, *listed, classes=("a", "b")):
        config = LabelsConfig(label_subset_file="list.txt")
        lines = {name: number for number, name in enumerate(listed, 1)}
        return find_listed(self.IDS, self.FILES, self.CLASSES, classes, lines, config)

    def test_examples_are_found_by_id_or_file_name(self):
        assert self._find("3.jpg", "train/b/1.jpg", "2.jpg", "2.jpg") == [1, 2, 3]

    @pytest.mark.parametrize(
        ("listed", "words"),
        [
            (["1.jpg", "2.jpg"], "1.jpg is the name of 2 files; name them by their ids, such as "
             "train/a/1.jpg"),
            (["3.jpg", "4.jpg", "5.jpg"], "2 of its 3 names are no examples of the training split, "
             "such as 4.jpg in line 2; ids look like train/a/1.jpg"),
            (["3.jpg"], "leaves 1 of 2 classes empty (b)"),
        ],
    )  # fmt: skip
    def test_what_can_not_be_used_is_refused(self, listed, words):
        with pytest.raises(ConfigError) as error:
            self._find(*listed)
        assert str(error.value).startswith("--label_subset_file=list.txt: ")
        assert words in str(error.value)

    def test_the_first_column_of_a_file_is_read(self, tmp_path):
        path = tmp_path / "list.txt"
        path.write_text("n01_1.JPEG\n\ntrain/x y.jpg\tclass\n")
        assert read_subset(str(path)) == {"n01_1.JPEG": 1, "train/x y.jpg": 3}
        path.write_text("\n")
        for wrong in (path, tmp_path / "none.txt", tmp_path):
            with pytest.raises(ConfigError, match="--label_subset_file="):
                read_subset(str(wrong))

    @pytest.mark.parametrize("header", ["image,label", "\ufeffnumber;Image;label", "label\timage"])
    def test_a_table_of_labels_belongs_to_another_flag(self, tmp_path, header):
        path = tmp_path / "labels.csv"
        path.write_text(f"{header}\na.png,x\n", encoding="utf-8")
        words = re.escape(f"--label_subset_file={path}: is a table of labels; give it to --labels")
        with pytest.raises(ConfigError, match=words):
            read_subset(str(path))

    def test_it_stands_alone(self):
        with pytest.raises(ConfigError, match=r"--label_subset_file=list\.txt: can't be combined"):
            LabelsConfig(label_subset_file="list.txt", label_fraction=0.1)
        assert not LabelsConfig(label_subset_file="list.txt").is_everything


def test_a_list_of_file_names_finds_the_examples_of_tfds():
    """The paper's lists name ImageNet's files, which TensorFlow Datasets has beside its ids."""
    import tensorflow_datasets as tfds

    from tf_simclrv2.config import DataConfig
    from tf_simclrv2.data.sources import open_source

    with tfds.testing.mock_data(num_examples=4):
        source = open_source(DataConfig(dataset="imagenet2012"), prepare=False)
        examples = list(source.index("train").as_numpy_iterator())
    assert sorted(examples[0]) == ["file_name", "id", "image", "label"]
    assert len({example["file_name"] for example in examples}) == 4
    assert all(example["file_name"] != example["id"] for example in examples)


def test_the_labelled_examples_of_a_split_are_chosen_with_their_classes(tmp_path):
    from tf_simclrv2.config import DataConfig
    from tf_simclrv2.data.sources import open_source

    source = open_source(DataConfig(dataset="digits"))
    examples = source.examples("train[:100]").as_numpy_iterator()
    classes = {example["id"].decode(): int(example["label"]) for example in examples}
    assert labelled_ids(source, "train[:100]", LabelsConfig()) is None
    chosen = labelled_ids(source, "train[:100]", LabelsConfig(labels_per_class=2))
    assert sorted(chosen.values()) == sorted([*range(10)] * 2)
    assert chosen.items() <= classes.items()
    listed = tmp_path / "listed.txt"
    listed.write_text("".join(f"{each}\n" for each in chosen))
    assert chosen == labelled_ids(
        source, "train[:100]", LabelsConfig(label_subset_file=str(listed))
    )
