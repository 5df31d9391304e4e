"""Which images' labels a network knows from its training, so that it answers them too well."""

import contextlib
from typing import Iterable, Set

from tf_simclrv2.config import ConfigError, DataConfig, DistillConfig, FinetuneConfig
from tf_simclrv2.config.user_files import printable
from tf_simclrv2.runtime import labelled
from tf_simclrv2.runtime.checkpoint import Checkpoint
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.training.frozen import Frozen
from tf_simclrv2.training.frozen_weights import RunWeights


def listed(run: RunDirectory, data: DataConfig) -> Set[str]:
    """Ids of the images of ``data`` whose labels a run, or its teacher, was trained on.

    Args:
      run: the run; one that was trained on all labels of its data lists none.
      data: the images that are asked about.

    Returns:
      The ids as ``printable`` writes them.
    """
    config = run.config
    ids: Set[str] = set()
    if _has_images_of(run, data):
        ids = labelled.read_ids(run.file("labelled_examples.txt"))
    if isinstance(config, DistillConfig):
        # Of a teacher that has gone, nothing is known.
        with contextlib.suppress(ConfigError):
            teacher = Checkpoint.open(config.distillation.teacher, "teacher", writable=False)
            ids |= listed(teacher.run, data)
    return ids


def of_features(frozen: Frozen, ids: Iterable[str]) -> Set[str]:
    """Which of some images' labels have shaped the features that a frozen network makes of them.

    Args:
      frozen: the network and the data.
      ids: of images of the training split with a label.
    """
    weights = frozen.weights
    # Those of an export are not known, and a ridge regression leaves the features as they are.
    if not isinstance(weights, RunWeights) or weights.checkpoint.step == 0:
        return set()
    config = weights.run.config
    if isinstance(config, FinetuneConfig):
        only_head = config.fine_tuning.fine_tune_after_block == 4
        if only_head and weights.layer == 0:
            return set()
    elif not isinstance(config, DistillConfig):
        return set()
    known = listed(weights.run, frozen.data)
    has_all = isinstance(config, FinetuneConfig) and not known and config.labels.is_everything
    if has_all and _has_images_of(weights.run, frozen.data):
        return {*ids}
    return {each for each in ids if printable(each) in known}


def _has_images_of(run: RunDirectory, data: DataConfig) -> bool:
    """Whether ids mean the same: images of other data, and of other splits, may have them too."""
    own = run.config.data
    return own.has_images_of(data) and own.train_split == data.train_split
