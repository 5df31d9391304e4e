"""What a run takes over from the run that it starts from: the fields that say so of themselves."""

import dataclasses
from typing import Dict, Iterator, Mapping, Optional, Tuple, Type, cast

from tf_simclrv2.config.commands import DistillConfig, FinetuneConfig, TrainingConfig
from tf_simclrv2.config.data import DataConfig
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
      by name or by directory, directories and splits of that are not among them.
    """
    taken = {
        name: value
        for name, value, metadata in _inherited_fields(base, config_class)
        if same_data(values, base) or not metadata["of_dataset"]
    }
    if own is not None:
        taken.update(
            {
                name: value
                for name, value, metadata in _inherited_fields(own, config_class)
                if (same_data(values, own) or not metadata["of_dataset"])
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
    names = ("train_split", "holdout_fraction", "holdout_seed")
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
    architecture = {}
    for name, pretrained, metadata in _inherited_fields(base, FinetuneConfig):
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
    return {**inherited(values, base, FinetuneConfig, own), **architecture}


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
