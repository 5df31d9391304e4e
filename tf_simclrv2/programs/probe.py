"""``probe``: what labels are worth on a run's frozen features, without training."""

import dataclasses
import logging
from typing import Dict, Iterable, List, Mapping, Optional

from tf_simclrv2.config import (
    ConfigError,
    DistillConfig,
    FinetuneConfig,
    ProbeConfig,
    inherit_pretrained,
    place,
    refuse,
)
from tf_simclrv2.config.labelling import ProbeSection
from tf_simclrv2.data.label_table import RANDOM
from tf_simclrv2.data.sources import Source
from tf_simclrv2.evaluation import probe
from tf_simclrv2.evaluation.features import Features
from tf_simclrv2.programs import command_line, probe_report
from tf_simclrv2.programs.probe_report import Bound
from tf_simclrv2.progress import progress, working
from tf_simclrv2.runtime.solved_run import check_new
from tf_simclrv2.training.frozen import Frozen
from tf_simclrv2.training.frozen_weights import RunWeights
from tf_simclrv2.training.learnt import of_features
from tf_simclrv2.training.probe_run import write_probe_run

logger = logging.getLogger(__name__)

_ON_LABELLED = (probe.LEFT_OUT, probe.OTHERS)


def run(values: Mapping[str, object]) -> None:
    """Measures, writes ``probe.csv`` and, where they are asked for, a picture and a run.

    Args:
      values: the flags that were given.

    Raises:
      ConfigError: a setting that can't be used.
    """
    config = command_line.build(ProbeConfig, values)
    section = config.probe
    frozen = Frozen.open(section)
    config.labels.check_table(frozen.data.labels)
    labelled = frozen.labelled(config.labels)
    _check_classes(frozen, section)
    _check_labels(labelled, frozen)
    _check_budgets(labelled, section)
    test_split = _test_split(frozen, section)
    report = probe_report.Report.open(section, frozen)
    directory = None if section.run_dir is None else check_new(section.run_dir, "run_dir")
    if directory is not None and place(directory.path) == place(report.directory):
        raise refuse("run_dir", section.run_dir, "must be another directory than probe.csv's")
    own = None if directory is None else _fine_tuning(config, frozen, test_split)

    train = frozen.features(frozen.data.train_split).of(labelled)
    test = None if test_split is None else frozen.features(test_split).labelled()
    with working("probing"):
        measured = probe.left_out(train)
        if test is not None and test_split is not None:
            measured += probe.measure(train, test, test_split)
    bounds = _bounds(frozen, train, labelled, test_split)
    report.write(measured, bounds)
    if section.budgets:
        draws = probe.Draws(section.sorted_budgets, section.seeds, section.balanced)
        curve = probe.curve(train, test, test_split or "", draws)
        total = len(draws.budgets) * draws.seeds
        drawn = [each for one in progress(curve, "draws", "draw", total) for each in one]
        report.write_curve(measured, bounds, drawn, draws)
    if directory is not None and own is not None:
        write_probe_run(directory, own, frozen, labelled, train)
        logger.info("%s: the ridge classifier as a run", directory.path)


def _test_split(frozen: Frozen, section: ProbeSection) -> Optional[str]:
    """The split to measure on; None if no other images have labels."""
    split, train_split = frozen.eval_split, frozen.data.train_split
    if section.eval_split == train_split:
        raise refuse("eval_split", train_split, "must be another split than --train_split")
    if split is None or split == train_split:
        return None
    if frozen.has_labels(split):
        return split
    if section.eval_split is not None:
        raise refuse("eval_split", split, "has no image with a label to measure on")
    return None


def _check_classes(frozen: Frozen, section: ProbeSection) -> None:
    """Refuses a classifying network of other classes than the data's."""
    if not isinstance(frozen.weights, RunWeights):
        return
    known, names = frozen.weights.run.settings, frozen.source.class_names or []
    if known.step_of_method == "pretrain" or known.knows_classes(names):
        return
    # A table may have grown by classes since.
    if known.class_names_known and set(known.class_names or []) <= set(names):
        return
    raise refuse(
        "model_dir",
        section.model_dir,
        f"was trained on the classes {_some(known.class_names or [])}, but {frozen.source.called} "
        f"has {_some(names)}; give the pretraining run to probe those",
    )


def _check_labels(labelled: Mapping[str, int], frozen: Frozen) -> None:
    """Refuses labels from which nothing can be learnt."""
    names, split = frozen.source.class_names or [], frozen.data.train_split
    present = sorted(set(labelled.values()))
    if not labelled:
        said = f"no image of {split} has a label"
    elif len(present) == 1:
        said = f"all {len(labelled)} labelled images of {split} are of class {names[present[0]]}"
    elif len(labelled) < len(names):
        said = f"{split} has {len(labelled)} labelled images, fewer than its {len(names)} classes"
    else:
        return
    raise ConfigError(
        f"{frozen.source.called}: {said}, so no classifier can be learnt; label at least one image "
        "of each class."
    )


def _check_budgets(labelled: Mapping[str, int], section: ProbeSection) -> None:
    least, most = len(set(labelled.values())), len(labelled)
    if section.budgets and not all(least <= each <= most for each in section.sorted_budgets):
        raise refuse(
            "budgets",
            section.budgets,
            f"each must be at least {least}, the number of classes, and at most {most}, the number "
            "of labelled images",
        )


def _bounds(
    frozen: Frozen, train: Features, labelled: Mapping[str, int], test_split: Optional[str]
) -> Dict[str, Bound]:
    """What the accuracies are that are no estimates, by what they are measured on."""
    found = {}
    alone = probe.num_alone(train)
    if alone:
        found[probe.LEFT_OUT] = probe_report.alone(alone)
    learnt = len(of_features(frozen, labelled))
    if learnt:
        found.update(dict.fromkeys(_ON_LABELLED, probe_report.learnt(learnt, len(labelled))))
    elif _are_chosen(frozen.source, labelled):
        found.update(dict.fromkeys(_ON_LABELLED, probe_report.CHOSEN))
    # None unless the table is about this split, such as one that is held out of it.
    others = None if test_split is None else frozen.source.labelled(test_split)
    if test_split is not None and _are_chosen(frozen.source, others or ()):
        found[test_split] = probe_report.CHOSEN
    return found


def _are_chosen(source: Source, ids: Iterable[str]) -> bool:
    """Whether some images were chosen to be labelled, and not at random."""
    return any(source.chosen_by.get(each, RANDOM) != RANDOM for each in ids)


def _fine_tuning(config: ProbeConfig, frozen: Frozen, eval_split: Optional[str]) -> FinetuneConfig:
    """The config of the run: as of a fine-tuning of this network on these labels."""
    section, base = config.probe, frozen.of_run.run.config
    size = frozen.data.resolved_image_size
    data = dataclasses.replace(frozen.data, image_size=size, eval_split=eval_split)
    values: Dict[str, object] = {
        **dataclasses.asdict(data),
        **dataclasses.asdict(config.labels),
        "model_dir": section.run_dir,
        "checkpoint": section.model_dir,
        "use_ema_weights": section.use_ema_weights,
        "ft_proj_selector": frozen.of_run.layer,
        "head_start": "ridge",
    }
    if isinstance(base, DistillConfig):
        values["proj_head_mode"] = "none"
    return command_line.build(FinetuneConfig, inherit_pretrained(values, base, section.model_dir))


def _some(names: List[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
