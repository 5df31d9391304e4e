"""Which examples' labels are used: a seeded subset, as balanced over the classes as possible."""

import os
import re
from typing import Dict, List, Mapping, Optional, Sequence

import numpy as np

from tf_simclrv2.config import ConfigError, LabelsConfig, refuse
from tf_simclrv2.config.user_files import printable, read_lines
from tf_simclrv2.data.names import Names
from tf_simclrv2.data.sources import Source

_READ_AT_ONCE = 4096


def labelled_ids(source: Source, split: str, labels: LabelsConfig) -> Optional[Dict[str, int]]:
    """Chooses the labelled examples of a split.

    Args:
      source: the data set.
      split: which split of it.
      labels: how many examples, or a file that lists them.

    Returns:
      Their classes by id; None if all examples of the split are labelled, and no table says so.

    Raises:
      ConfigError: a class would be left without an example, or the list can't be used.
    """
    own = source.labelled(split)
    if own is not None:
        return _chosen_of_table(source, split, own, labels)
    if labels.is_everything:
        _check_all_classes(source, split)
        return None
    assert source.class_names is not None, "labels can only be chosen where there are any"
    encoded_ids, numbers, encoded_names = columns_of(source, split, "id", "label", "file_name")
    ids, classes = [os.fsdecode(each) for each in encoded_ids], numbers.tolist()
    if labels.label_subset_file:
        file_names = [os.fsdecode(name) for name in encoded_names]
        listed = read_subset(labels.label_subset_file)
        chosen = find_listed(ids, file_names, classes, source.class_names, listed, labels)
    else:
        chosen = choose_labelled(classes, source.class_names, labels)
    return {ids[index]: int(classes[index]) for index in chosen}


def columns_of(source: Source, split: str, *names: str) -> List[np.ndarray]:
    """Some columns of all examples of a split, which has one at least, in the order of the data."""
    columns = source.index(split).map(lambda each: tuple(each[name] for name in names))
    # One by one, a million examples would take minutes to reach Python.
    batches = columns.batch(_READ_AT_ONCE).as_numpy_iterator()
    return list(map(np.concatenate, zip(*batches)))


def _chosen_of_table(
    source: Source, split: str, labelled: Dict[str, int], labels: LabelsConfig
) -> Dict[str, int]:
    """Chooses among the labels of a table, which need not have all classes."""
    if not labelled:
        raise ConfigError(f"{source.called}: has no label for an image of {split}; fill some in.")
    if labels.is_everything:
        return labelled
    assert source.class_names is not None, "labels are of classes"
    there = sorted(set(labelled.values()))
    ids, classes = list(labelled), [there.index(label) for label in labelled.values()]
    chosen = choose_labelled(classes, [source.class_names[label] for label in there], labels)
    return {ids[index]: labelled[ids[index]] for index in chosen}


def _check_all_classes(source: Source, split: str) -> None:
    """Refuses a split without an example of some class, where labels are known without reading."""
    if source.shuffle_buffer is not None or source.class_names is None:
        return
    labels = source.index(split).map(lambda each: each["label"]).batch(_READ_AT_ONCE)
    classes = {label for batch in labels.as_numpy_iterator() for label in batch.tolist()}
    missing = sorted(set(range(len(source.class_names))) - classes)
    if missing:
        names = ", ".join(source.class_names[label] for label in missing[:5])
        raise ConfigError(
            f"{source.called}: {split} has no image of {len(missing)} of the "
            f"{len(source.class_names)} classes ({names}{', ...' * (len(missing) > 5)}), so the "
            "network can't learn them; add images, or take their directories out of the other "
            "splits."
        )


def choose_labelled(
    labels: Sequence[int], class_names: Sequence[str], config: LabelsConfig
) -> List[int]:
    """Chooses the examples whose labels are used.

    Each class's examples are put in a seeded order. Taking the first example of every class, then
    the second of every class and so on, in a seeded order of the classes, gives one list, and a
    subset is its beginning: so classes differ by one example at most while they last, and a
    smaller subset of the same seed is part of every larger one.

    Args:
      labels: the class of each example of the training split.
      class_names: names of all classes.
      config: fraction or number per class, and seed.

    Returns:
      Indices into ``labels``, ascending.

    Raises:
      ConfigError: a class would be left without an example, or has too few.
    """
    classes = np.asarray(labels)
    random = np.random.RandomState(config.label_seed)
    class_order = random.permutation(len(class_names))
    by_class = [random.permutation(np.flatnonzero(classes == label)) for label in class_order]
    sizes = [len(examples) for examples in by_class]

    if config.labels_per_class is not None:
        smallest = int(np.argmin(sizes))
        if sizes[smallest] < config.labels_per_class:
            raise refuse(
                "labels_per_class",
                config.labels_per_class,
                f"class {class_names[class_order[smallest]]} has only {sizes[smallest]} examples, "
                "so it must be at most that",
            )
        total = config.labels_per_class * len(class_names)
    else:
        total = round((config.label_fraction or 1.0) * len(labels))
    interleaved = [
        (rank, position, example)
        for position, examples in enumerate(by_class)
        for rank, example in enumerate(examples)
    ]
    chosen = sorted(int(example) for _, _, example in sorted(interleaved)[:total])
    missing = _missing([labels[index] for index in chosen], class_names)
    if missing:
        raise refuse(
            "label_fraction",
            config.label_fraction,
            f"leaves {total} labelled examples and {missing}; it must leave at least one example "
            f"of each class, {len(class_names) / len(labels):.2g} or more",
        )
    return chosen


def read_subset(path: str) -> Dict[str, int]:
    """Reads the names of examples from a file, the first of each line's columns.

    Columns are separated by tabs. Empty lines are left out.

    Returns:
      The numbers of the names' lines, by name.

    Raises:
      ConfigError: there is no such file, nothing in it, or it is not text or a table.
    """
    names: Dict[str, int] = {}
    for number, text in read_lines(path, "label_subset_file"):
        if not names and {"image", "label"} <= set(re.split(r"[,;\t]", text.lower())):
            raise refuse(
                "label_subset_file", path, "is a table of labels; give it to --labels instead"
            )
        name = text.split("\t")[0].strip()
        if name:
            names.setdefault(name, number)
    if not names:
        raise refuse("label_subset_file", path, "must list at least one example, but is empty")
    return names


def find_listed(
    ids: Sequence[str],
    file_names: Sequence[str],
    labels: Sequence[int],
    class_names: Sequence[str],
    listed: Mapping[str, int],
    config: LabelsConfig,
) -> List[int]:
    """Finds the examples of a list.

    Args:
      ids: the id of each example of the training split.
      file_names: the name of each one's image file.
      labels: the class of each.
      class_names: names of all classes.
      listed: ids or file names, each with the number of its line.
      config: names the list, for errors.

    Returns:
      Indices into ``ids``, ascending.

    Raises:
      ConfigError: a name is not that of one example, or a class would be left without an example.
    """
    path = config.label_subset_file
    names = Names(ids, file_names)
    found, unknown = set(), []
    for name in listed:
        matches = names.find(name)
        if len(matches) > 1:
            raise refuse(
                "label_subset_file",
                path,
                f"{printable(name)} is the name of {len(matches)} files; name them by their ids, "
                f"such as {printable(ids[matches[0]])}",
            )
        found.update(matches)
        unknown += [] if matches else [name]
    if unknown:
        raise refuse(
            "label_subset_file",
            path,
            f"{len(unknown)} of its {len(listed)} names are no examples of the training split, "
            f"such as {printable(unknown[0])} in line {listed[unknown[0]]}; ids look like "
            f"{printable(ids[0])}",
        )
    chosen = sorted(found)
    missing = _missing([labels[index] for index in chosen], class_names)
    if missing:
        raise refuse("label_subset_file", path, f"leaves {missing}; each class needs an example")
    return chosen


def _missing(labels: Sequence[int], class_names: Sequence[str]) -> str:
    """Which classes have no example among ``labels``, in words; empty if all have one."""
    missing = sorted(set(range(len(class_names))) - set(np.asarray(labels).tolist()))
    if not missing:
        return ""
    names = ", ".join(class_names[label] for label in missing[:5])
    more = ", ..." if len(missing) > 5 else ""
    return f"{len(missing)} of {len(class_names)} classes empty ({names}{more})"
