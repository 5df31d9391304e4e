"""Which examples' labels are used: a seeded subset, as balanced over the classes as it goes."""

from typing import List, Sequence

import numpy as np

from tf_simclrv2.config import LabelsConfig, refuse


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
    labels = np.asarray(labels)
    random = np.random.RandomState(config.label_seed)
    class_order = random.permutation(len(class_names))
    by_class = [random.permutation(np.flatnonzero(labels == label)) for label in class_order]
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
    missing = sorted(set(range(len(class_names))) - set(labels[chosen].tolist()))
    if missing:
        names = ", ".join(class_names[label] for label in missing[:5])
        raise refuse(
            "label_fraction",
            config.label_fraction,
            f"leaves {total} labelled examples and {len(missing)} of {len(class_names)} classes "
            f"empty ({names}{', ...' if len(missing) > 5 else ''}); it must leave at least one "
            f"example of each class, {len(class_names) / len(labels):.2g} or more",
        )
    return chosen
