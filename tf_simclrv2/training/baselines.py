"""``--baselines``: what a sceptic tries first, on a run's labels and its images to evaluate."""

import dataclasses
import logging
import os
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np

from tf_simclrv2.config import DataConfig
from tf_simclrv2.data.batches import evaluation_batches
from tf_simclrv2.data.sources import Source
from tf_simclrv2.data.sources.chosen import Chosen
from tf_simclrv2.evaluation import baselines
from tf_simclrv2.evaluation.features import Features, features
from tf_simclrv2.evaluation.measures import with_interval
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.learners.steps import build_network
from tf_simclrv2.networks.network import Network
from tf_simclrv2.progress import working
from tf_simclrv2.runtime.devices import Devices
from tf_simclrv2.runtime.results import Result
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.training.pictures import reading

logger = logging.getLogger(__name__)

# What the baselines are fitted to, with a name for people.
INPUTS = {"raw_pixels": "raw pixels", "untrained_network": "an untrained network"}
_Read = Callable[[tf.data.Dataset], Features]


class Labels(NamedTuple):
    """The labels that the baselines may use.

    Attributes:
      source: the data set.
      data: split, image size and batch size.
      labelled: classes of the labelled examples by id; None if all of the split are.
    """

    source: Source
    data: DataConfig
    labelled: Optional[Mapping[str, int]]


class Evaluated(NamedTuple):
    """An evaluation of a run's classifier.

    Attributes:
      source: the data set.
      data: image size, batch size and number of batches.
      result: what was written.
      is_own: whether it is on the run's own data.
    """

    source: Source
    data: DataConfig
    result: Result
    is_own: bool


def add_baselines(run: RunDirectory, devices: Devices, labels: Labels, done: Evaluated) -> None:
    """Measures the baselines, logs them, and adds them to an evaluation in ``result.json``.

    Args:
      run: the run, for its network as it was before training, and its ``result.json``.
      devices: says whether XLA compiles.
      labels: what the run learnt from.
      done: the evaluation that they stand beside.
    """
    split = labels.data.train_split
    everything = labels.source.num_examples(split)
    count = everything if labels.labelled is None else len(labels.labelled)
    counts = baselines.Counts(
        labelled=count,
        unlabelled=everything - count,
        test=done.result["num_examples"],
        classes=labels.source.num_classes or 0,
    )
    left_out = baselines.left_out(counts)
    names = [name for name in baselines.BASELINES if name not in left_out]
    top_1 = {}
    if names:
        # Several workers all compute the same, since none may wait for the others.
        keras.utils.set_random_seed(run.config.run.seed)
        network = build_network(run.config, labels.source.num_classes)
        readers: Dict[str, _Read] = {
            "raw_pixels": baselines.raw_pixels,
            "untrained_network": lambda batches: _representations(network, batches, devices),
        }
        for name, read in readers.items():
            with working(f"baselines on {INPUTS[name]}"):
                top_1[name] = _measured(read, labels, done, names)
    table = {
        "num_labelled": counts.labelled,
        "num_unlabelled": 0 if "label_spreading" in left_out else counts.unlabelled,
        "top_1_accuracy": top_1,
        "left_out": left_out,
    }
    run.write_result({**done.result, "baselines": table}, done.is_own)
    if run.writable:
        for line in sentences(run.path, {**done.result, "baselines": table}):
            logger.info(line)


def sentences(name: str, result: Result) -> List[str]:
    """What to tell a user of the baselines beside an evaluation.

    Args:
      name: of what was evaluated.
      result: the evaluation, with baselines.
    """
    table, images = result["baselines"], result["num_examples"]

    def told(words: str, top_1: float) -> str:
        return f"{words} {with_interval(top_1, images)}"

    lines = []
    for kind, measured in table["top_1_accuracy"].items():
        each = ", ".join(told(baselines.BASELINES[b].words, t) for b, t in measured.items())
        lines.append(
            f"{name}: with the same {table['num_labelled']:,} labels and {images:,} images, on "
            f"{INPUTS[kind]}, with 95% intervals: {each}"
        )
    own = result["top_1_accuracy"]
    better = [told(w, top) for w, top in measured_by_words(result).items() if top >= own]
    if better:
        mine = told("its own", own)
        lines.append(f"{name}: {mine} on {images:,} images does not beat {', '.join(better)}")
    for baseline, reason in table["left_out"].items():
        lines.append(f"{name}: {baselines.BASELINES[baseline].words} is left out: {reason}")
    return lines


def measured_by_words(result: Result) -> Dict[str, float]:
    """Top-1 accuracies of the baselines in an evaluation, by names for people."""
    return {
        f"{baselines.BASELINES[baseline].words} on {INPUTS[kind]}": top
        for kind, measured in result["baselines"]["top_1_accuracy"].items()
        for baseline, top in measured.items()
    }


def _measured(read: _Read, labels: Labels, done: Evaluated, names: List[str]) -> Dict[str, float]:
    """Accuracy of baselines by name, on what ``read`` makes of the images."""
    test = read(evaluation_batches(done.source, done.data, done.result["split"]))
    with reading(labels.source):
        train, unlabelled = _training_images(read, labels, "label_spreading" in names)
    return baselines.run(train, test, unlabelled, names)


def _training_images(
    read: _Read, labels: Labels, with_unlabelled: bool
) -> Tuple[Features, Optional[np.ndarray]]:
    """What ``read`` makes of the labelled images, and of the split's others."""
    source, split, labelled = labels.source, labels.data.train_split, labels.labelled
    data = dataclasses.replace(labels.data, eval_steps=0)
    if labelled is None:
        return read(evaluation_batches(source, data, split)), None
    if not with_unlabelled:
        return read(evaluation_batches(Chosen(source, list(labelled)), data, split)), None
    # Of a table the others have no label.
    found = read(evaluation_batches(Chosen(source, labelled=False), data, split))
    ids = source.index(split).map(lambda example: example["id"]).as_numpy_iterator()
    chosen = np.array([os.fsdecode(example_id) in labelled for example_id in ids])
    return Features(found.values[chosen], found.labels[chosen]), found.values[~chosen]


def _representations(network: Network, batches: tf.data.Dataset, devices: Devices) -> Features:
    return features(network, batches, jit_compile=devices.compiles)
