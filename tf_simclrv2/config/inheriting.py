"""What a run takes over from the run that it starts from: the fields that say so of themselves."""

import dataclasses
from typing import Dict, Iterator, Mapping, Optional, Tuple, Type, cast

from tf_simclrv2.config.commands import (
    DistillConfig,
    FinetuneConfig,
    PretrainConfig,
    TrainingConfig,
)
from tf_simclrv2.config.data import DataConfig
from tf_simclrv2.config.network import ProjectionHeadConfig
from tf_simclrv2.config.settings import Config, refuse, sections_of

# A flag's name, the value of the earlier run, and what the field says of itself.
_Inherited = Tuple[str, object, Mapping[str, object]]


def _inherited_fields(base: TrainingConfig, config_class: Type[Config]) -> Iterator[_Inherited]:
    """The fields that a command of ``config_class`` inherits, of the sections that ``base`` has."""
    for section, kind in sections_of(config_class).items():
        for field in dataclasses.fields(kind):
            if field.metadata["inherits"] and hasattr(base, section):
                value = getattr(getattr(base, section), field.name)
                yield field.name, value, field.metadata


def same_data(values: Mapping[str, object], base: TrainingConfig) -> bool:
    """Whether flags name the data set of ``base``: its name and its directory, or neither."""
    dataset, data_dir = (cast(Optional[str], values.get(n)) for n in ("dataset", "data_dir"))
    return base.data.is_also(dataset, data_dir)


def _fits_table(name: str, values: Mapping[str, object], base: TrainingConfig) -> bool:
    """Whether a setting of the data still fits if flags name another table of labels.

    Splits to evaluate on are a table's own, and so are all splits of a folder.
    """
    if base.data.has_labels_of(cast(Optional[str], values.get("labels"))):
        return True
    if name == "classes" and not values["labels"]:
        return False
    return name not in ("eval_split", "train_split" if base.data.dataset == "folder" else "")


def _fits(
    name: str, values: Mapping[str, object], base: TrainingConfig, metadata: Mapping[str, object]
) -> bool:
    """Whether a setting of an earlier run fits the data that flags name."""
    same = same_data(values, base) and _fits_table(name, values, base)
    return same or not metadata["of_dataset"]


def inherited(
    values: Mapping[str, object],
    base: TrainingConfig,
    config_class: Type[Config],
    own: Optional[TrainingConfig] = None,
) -> Dict[str, object]:
    """Adds what a run takes over from the run that it starts from to the flags that were given.

    Args:
      values: the flags that were given; they go first.
      base: the earlier run's config.
      config_class: the class of the new run's config.
      own: the config of this run if it continues; it goes before the earlier run's, so that a run
        continues as it began, even if a later version inherits more.

    Returns:
      The flags with the inherited ones. If the flags name another data set than the earlier run's,
      by name or by directory, directories, splits and labels of that are not among them; splits
      aren't either if they name another table of labels.
    """
    taken = {
        name: value
        for name, value, metadata in _inherited_fields(base, config_class)
        if _fits(name, values, base, metadata)
    }
    if own is not None:
        taken.update(
            {
                name: value
                for name, value, metadata in _inherited_fields(own, config_class)
                if _fits(name, values, own, metadata)
                and not (metadata["architecture"] or metadata["may_change"] or name == "dataset")
            }
        )
    return {**taken, **values}


def not_inherited(values: Mapping[str, object], base: TrainingConfig) -> str:
    """Says which settings of another data set are not taken over; empty if there are none.

    Args:
      values: the flags that were given.
      base: the earlier run's config.
    """
    if same_data(values, base):
        return ""
    names = ("train_split", "labels", "holdout_fraction", "holdout_seed")
    left = [
        f"{name}={getattr(base.data, name)}"
        for name in names
        if name not in values and getattr(base.data, name) != getattr(DataConfig(), name)
    ]
    if not left:
        return ""
    return (
        f"the data are not {base.data.described}, so settings of those are not taken over: "
        + ", ".join(left)
    )


def inherit_pretrained(
    values: Mapping[str, object],
    base: TrainingConfig,
    checkpoint: str,
    own: Optional[TrainingConfig] = None,
) -> Dict[str, object]:
    """Adds a pretraining run's architecture, data and views to the flags of fine-tuning.

    Args:
      values: the flags that were given.
      base: the pretraining run's config.
      checkpoint: its path, for the error.
      own: see :func:`inherited`.

    Returns:
      The flags with the inherited ones.

    Raises:
      ConfigError: a flag asks for another architecture.
    """
    architecture = _architecture(values, base, FinetuneConfig, checkpoint)
    return {**inherited(values, base, FinetuneConfig, own), **architecture}


def _architecture(
    values: Mapping[str, object], base: TrainingConfig, config_class: Type[Config], checkpoint: str
) -> Dict[str, object]:
    """The architecture of an earlier run; refuses flags that ask for another."""
    architecture = {}
    for name, pretrained, metadata in _inherited_fields(base, config_class):
        if metadata["architecture"]:
            given = values.get(name, pretrained)
            # --stem=auto leaves the choice to the run.
            if given not in (pretrained, "auto"):
                raise refuse(
                    name,
                    given,
                    f"the run in --checkpoint={checkpoint} was pretrained with {pretrained}, so "
                    "leave the flag out or give that",
                )
            architecture[name] = pretrained
    return architecture


_HEAD = tuple(field.name for field in dataclasses.fields(ProjectionHeadConfig))


def inherit_start(
    values: Mapping[str, object], base: TrainingConfig, checkpoint: str
) -> Dict[str, object]:
    """Adds a run's architecture, data and views to the flags of pretraining that goes on from it.

    Args:
      values: the flags that were given; they may ask for another projection head.
      base: the config of the run to start from, or of this run if it continues.
      checkpoint: the path of the run to start from, for the error.

    Returns:
      The flags with the inherited ones.

    Raises:
      ConfigError: a flag asks for another encoder.
    """
    others = {name: value for name, value in values.items() if name not in _HEAD}
    architecture = _architecture(others, base, PretrainConfig, checkpoint)
    taken = inherited(others, base, PretrainConfig)
    head = getattr(base, "projection_head", None)
    if head is None or not head.num_layers:
        # Pretraining needs a head, also after weights that have none.
        architecture = {name: v for name, v in architecture.items() if name not in _HEAD}
        taken = {name: value for name, value in taken.items() if name not in _HEAD}
    given = {name: value for name, value in values.items() if name in _HEAD}
    return {**taken, **architecture, **given}


def head_fits(base: TrainingConfig, head: ProjectionHeadConfig) -> bool:
    """Whether a run holds the weights of a whole projection head of this shape.

    Args:
      base: the config of the run.
      head: the head to fill; one without layers needs no weights.
    """
    theirs = getattr(base, "projection_head", ProjectionHeadConfig("none"))
    layers = theirs.num_layers
    if isinstance(base, FinetuneConfig):
        # The layers above the classifier were left out.
        layers = theirs.layer_of(base.fine_tuning.ft_proj_selector)
    same_shape = (theirs.num_layers, theirs.proj_out_dim) == (head.num_layers, head.proj_out_dim)
    return head.num_layers == 0 or (same_shape and layers == head.num_layers)


def inherit_taught(
    values: Mapping[str, object], base: TrainingConfig, own: Optional[TrainingConfig] = None
) -> Dict[str, object]:
    """Adds a teacher's architecture, data and views to the flags of distillation.

    Args:
      values: the flags that were given; the student's architecture may differ.
      base: the teacher's config.
      own: see :func:`inherited`.
    """
    return inherited(values, base, DistillConfig, own)
