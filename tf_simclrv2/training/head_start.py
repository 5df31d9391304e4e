"""Linear probing, then fine-tuning: the classifier starts from what the frozen features tell.

Kumar et al., arXiv:2202.10054: from a random classifier the first steps distort features that were
good already. Here the probe is ridge regression in closed form, see
:class:`tf_simclrv2.evaluation.ridge.Ridge`.
"""

import dataclasses
from typing import Mapping, Optional

from tf_simclrv2.config import DataConfig, refuse
from tf_simclrv2.data.batches import evaluation_batches
from tf_simclrv2.data.sources import Source
from tf_simclrv2.data.sources.chosen import Chosen
from tf_simclrv2.evaluation import ridge
from tf_simclrv2.evaluation.features import features
from tf_simclrv2.networks.network import Network
from tf_simclrv2.progress import working
from tf_simclrv2.training.pictures import reading

# Features and their decomposition are held in memory.
_MOST_LABELS = 50_000


def check_head_start(head_start: str, num_labels: int) -> None:
    """Refuses a regression on more labels than memory holds.

    Args:
      head_start: the setting.
      num_labels: labelled images.

    Raises:
      ConfigError: they are too many.
    """
    if head_start == "ridge" and num_labels > _MOST_LABELS:
        raise refuse(
            "head_start",
            head_start,
            f"is for up to {_MOST_LABELS:,} labels, since it holds their features in memory; "
            f"there are {num_labels:,}",
        )


def start_from_ridge(
    network: Network, source: Source, data: DataConfig, labelled: Optional[Mapping[str, int]]
) -> None:
    """Sets the classifier's layer to a ridge regression on the layer that it reads.

    Args:
      network: with pretrained weights.
      source: the data set.
      data: split, image size and batch size.
      labelled: classes of the labelled examples by id; None if all of the split are.
    """
    chosen = source if labelled is None else Chosen(source, list(labelled))
    images = evaluation_batches(chosen, dataclasses.replace(data, eval_steps=0), data.train_split)
    with reading(source), working("ridge regression to start from"):
        solution = ridge.solve(features(network, images, network.classifier_input))
    set_classifier(network, solution, ridge.SHARPNESS)


def set_classifier(network: Network, solution: ridge.Solution, sharpness: float) -> None:
    """Sets the classifier's layer to a ridge regression.

    Args:
      network: with a classifier.
      solution: the regression on the layer that the classifier reads.
      sharpness: what its outputs are multiplied by, to be logits.
    """
    assert network.supervised_head is not None
    dense = network.supervised_head.dense
    kernel, bias = solution.spread(dense.units)
    dense.kernel.assign(sharpness * kernel)
    dense.bias.assign(sharpness * bias)
