"""``evaluate``: how good runs are, and how sure that is."""

import dataclasses
import logging
from typing import List, Mapping, NamedTuple, Optional, Tuple

from tf_simclrv2.config import (
    ConfigError,
    DataConfig,
    EvaluateConfig,
    EvaluationConfig,
    LabelsConfig,
    refuse,
)
from tf_simclrv2.data.labels import labelled_ids
from tf_simclrv2.data.sources import Source, open_other, open_source
from tf_simclrv2.data.sources.table import ALL
from tf_simclrv2.evaluation import CLASSIFIER
from tf_simclrv2.evaluation.measures import Answers
from tf_simclrv2.programs import command_line
from tf_simclrv2.programs.comparison import compare
from tf_simclrv2.programs.distill import labelled_of
from tf_simclrv2.runtime.checkpoint import Checkpoint, check_classifier, has_classifier
from tf_simclrv2.runtime.devices import Devices
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.runtime.settings import RunSettings
from tf_simclrv2.training.baselines import Labels, add_baselines
from tf_simclrv2.training.cross_validating import FEWEST_HELD_OUT, num_labelled
from tf_simclrv2.training.evaluating import Evaluation, classifier_answers
from tf_simclrv2.training.evaluating_features import FeatureEvaluation

logger = logging.getLogger(__name__)

_ON_FEATURES = ["knn", "ridge"]


class Subject(NamedTuple):
    """A run to evaluate.

    Attributes:
      checkpoint: the weights.
      evaluation: on which images.
      evaluators: names of those that are asked for.
      labels: that the run has learnt from; None where nobody needs them.
    """

    checkpoint: Checkpoint
    evaluation: Evaluation
    evaluators: List[str]
    labels: Optional[Labels]


def run(values: Mapping[str, object]) -> None:
    """Evaluates runs' newest, or the named, checkpoints and adds to the runs' ``result.json``.

    Args:
      values: the flags that were given.

    Raises:
      ConfigError: a setting that can't be used.
    """
    config = command_line.build(EvaluateConfig, values)
    wanted, devices = config.evaluation, Devices.open(config.devices)
    if devices.is_chief:
        logger.info(devices.describe(wanted.eval_batch_size))
    paths = wanted.runs
    checkpoints = [Checkpoint.open(path, "model_dir", writable=devices.is_chief) for path in paths]
    names = _evaluators(wanted, checkpoints, devices)
    if config.report.baselines and CLASSIFIER not in names:
        raise refuse("baselines", True, f"stands beside a classifier, not beside {','.join(names)}")
    subjects = [_opened(each, names, wanted, config.report.baselines) for each in checkpoints]
    check_together(subjects, wanted)
    answered = [_evaluate(subject, devices, config.report.baselines) for subject in subjects]
    if len(subjects) > 1 and devices.is_chief:
        compare([subject.evaluation for subject in subjects], answered)


def _evaluators(
    wanted: EvaluationConfig, checkpoints: List[Checkpoint], devices: Devices
) -> List[str]:
    """The evaluators that are asked for, or that suit the runs."""
    classify = all(has_classifier(checkpoint.run) for checkpoint in checkpoints)
    names = [CLASSIFIER] if classify else _ON_FEATURES
    if wanted.evaluators is not None:
        names = wanted.evaluators.split(",")
    if CLASSIFIER in names:
        for path, checkpoint in zip(wanted.runs, checkpoints):
            check_classifier(checkpoint.run, "model_dir", path)
    if devices.has_workers and names != [CLASSIFIER]:
        raise refuse(
            "evaluators",
            ",".join(names),
            "knn and ridge are computed by one process, so leave --strategy=multi_worker out",
        )
    return names


def _opened(
    checkpoint: Checkpoint, names: List[str], wanted: EvaluationConfig, baselines: bool
) -> Subject:
    """Opens what a run is evaluated on and, where they are needed, the labels that it learnt."""
    directory, own = checkpoint.run, checkpoint.run.config.data
    data = wanted.applied_to(own)
    source, labels = _data(directory, data, names, wanted)
    on_features = names != [CLASSIFIER]
    if labels is None and (on_features or baselines):
        flag, value = ("evaluators", ",".join(names)) if on_features else ("baselines", "True")
        known = _known(directory.settings)
        learnt_from = source if data.is_same(own) else open_source(own, known)
        labels = Labels(learnt_from, own, labelled_of(directory, learnt_from, own, flag, value))
    split = source.evaluation_split(data.eval_split) if CLASSIFIER in names else None
    if split is None:
        split = _split_of_features(directory, source, data, labels)
    data = dataclasses.replace(data, eval_split=split)
    evaluation = Evaluation(directory, source, data, split, checkpoint.step)
    return Subject(checkpoint, evaluation, names, labels)


def _split_of_features(
    directory: RunDirectory, source: Source, data: DataConfig, labels: Optional[Labels]
) -> str:
    """The split for evaluators that leave each image out in turn from which they learn.

    They need no images of their own, so few that are held out don't keep them from all others.
    """
    usual = source.usual_evaluation_split
    if data.eval_split is None and usual is None:
        return data.train_split
    if data.eval_split is None and labels is not None and labels.source is source:
        train = labels.data.train_split
        held_out, learnt = (num_labelled(source, each) for each in (str(usual), train))
        if held_out < min(FEWEST_HELD_OUT, learnt) and usual != train:
            logger.info(
                f"{directory.path}: {held_out} images of {usual} with a label are few, so knn and "
                f"ridge answer the {learnt:,} of {train} instead, each left out in turn; "
                f"--eval_split={usual} is for those few"
            )
            return train
    return source.evaluation_split(data.eval_split)


def _data(
    directory: RunDirectory, data: DataConfig, names: List[str], wanted: EvaluationConfig
) -> Tuple[Source, Optional[Labels]]:
    """Opens the data; of other classes than the run's also their labels, which are learnt then."""
    own, settings = directory.config.data, directory.settings
    known = _known(settings)
    if data.is_same(own):
        source = open_source(data, known)
    elif CLASSIFIER in names:
        source = open_other(data, known)
    else:
        # Features suit any classes.
        source = open_other(data, None)
        if known is not None and {*(source.class_names or known)} <= {*known}:
            source = open_other(data, known)
    if settings.class_names is not None and settings.knows_classes(source.class_names):
        return source, None
    if CLASSIFIER in names:
        raise _other_classes(wanted, directory, source)
    if not data.is_same(own) and not data.labels:
        # Of which some are held out.
        source = open_source(data)
    if source.num_classes is None:
        raise source.without_labels(f"--evaluators={','.join(names)}")
    split = data.train_split if data.train_split in source.splits else DataConfig.train_split
    if data.labels and source.usual_evaluation_split == ALL:
        # All labels of a table, each left out in turn.
        split = ALL
    if split not in source.splits:
        raise refuse(
            "evaluators",
            ",".join(names),
            f"learn from a split {split}, but {source.called} has {', '.join(source.splits)}",
        )
    data = dataclasses.replace(data, train_split=split)
    return source, Labels(source, data, labelled_ids(source, split, LabelsConfig()))


def _known(settings: RunSettings) -> Optional[List[str]]:
    return settings.class_names if settings.class_names_known else None


def check_together(subjects: List[Subject], wanted: EvaluationConfig) -> None:
    """Refuses runs that can't be compared, as they would be evaluated on different images.

    Args:
      subjects: the runs.
      wanted: names them.

    Raises:
      ConfigError: two of them have other images or classes.
    """
    first = subjects[0].evaluation
    for other in (subject.evaluation for subject in subjects[1:]):
        reason = None
        if other.source.class_names != first.source.class_names:
            reason = "their classes differ"
        for name in ("dataset", "split", "fingerprint"):
            one, two = first.identity[name], other.identity[name]
            if reason is None and one != two:
                described = [f"{each.data.described} {each.split}" for each in (first, other)]
                reason = f"{described[0]} and {described[1]} hold other images or labels"
        if reason is not None:
            raise refuse(
                "model_dir",
                wanted.model_dir,
                f"{first.run.path} and {other.run.path} can't be compared, since {reason}; name "
                "images for all of them with --dataset, --data_dir, --labels or --eval_split",
            )


def _evaluate(subject: Subject, devices: Devices, baselines: bool) -> Mapping[str, Answers]:
    """Evaluates a run; returns the answers by evaluator."""
    evaluation, checkpoint = subject.evaluation, subject.checkpoint
    answers, more = {}, {}
    if CLASSIFIER in subject.evaluators:
        with devices.scope():
            network = checkpoint.restore_network()
        answers[CLASSIFIER] = classifier_answers(evaluation, devices, network)
        more["num_parameters"] = network.num_classifier_parameters
    on_features = [name for name in subject.evaluators if name != CLASSIFIER]
    if on_features and subject.labels is not None:
        features = FeatureEvaluation.open(evaluation, checkpoint, subject.labels)
        answers.update(features.answers(on_features))
    done = evaluation.record(answers, **more)
    if baselines and subject.labels is not None:
        add_baselines(evaluation.run, devices, subject.labels, done)
    return answers


def _other_classes(
    wanted: EvaluationConfig, directory: RunDirectory, source: Source
) -> ConfigError:
    """The refusal of data whose classes are not the run's, which names the first that differ."""
    settings = directory.settings
    known, found = settings.class_names or [], source.class_names
    reason = "but it has no labels" if found is None else f"but it has {len(found)}"
    unknown = sorted(set(found or ()) - set(known))
    if unknown and settings.class_names_known:
        reason = f"but it has {', '.join(unknown[:3])}{', ...' * (len(unknown) > 3)}"
    return refuse(
        "dataset" if wanted.data_dir is None else "data_dir",
        source.name if wanted.data_dir is None else wanted.data_dir,
        f"must have the {len(known)} classes of the run in {directory.path}, {reason}",
    )
