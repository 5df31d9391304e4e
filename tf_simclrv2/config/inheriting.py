"""What a run takes over from the run that it starts from: the fields that say so of themselves."""

import dataclasses
from typing import Dict, Iterator, Mapping, Tuple, Type

from tf_simclrv2.config.commands import DistillConfig, FinetuneConfig, TrainingConfig
from tf_simclrv2.config.settings import Config, refuse, sections_of

# A flag's name, the value of the earlier run, and what the field says of itself.
_Inherited = Tuple[str, object, Mapping[str, object]]


def _heirlooms(base: TrainingConfig, config_class: Type[Config]) -> Iterator[_Inherited]:
    """The fields that a command of ``config_class`` inherits, of the sections that ``base`` has."""
    for section, kind in sections_of(config_class).items():
        for field in dataclasses.fields(kind):
            if field.metadata["inherits"] and hasattr(base, section):
                value = getattr(getattr(base, section), field.name)
                yield field.name, value, field.metadata


def inherited(
    values: Mapping[str, object], base: TrainingConfig, config_class: Type[Config]
) -> Dict[str, object]:
    """Adds what a run takes over from the run that it starts from to the flags that were given.

    Args:
      values: the flags that were given; they go first.
      base: the earlier run's config.
      config_class: the class of the new run's config.

    Returns:
      The flags with the inherited ones. If ``--dataset`` names another data set than the earlier
      run's, directories and splits of that are not among them.
    """
    same_dataset = values.get("dataset", base.data.dataset) == base.data.dataset
    taken = {
        name: value
        for name, value, metadata in _heirlooms(base, config_class)
        if same_dataset or not metadata["of_dataset"]
    }
    return {**taken, **values}


def inherit_pretrained(
    values: Mapping[str, object], base: TrainingConfig, checkpoint: str
) -> Dict[str, object]:
    """Adds a pretraining run's architecture and data to the flags of fine-tuning.

    Args:
      values: the flags that were given.
      base: the pretraining run's config.
      checkpoint: its path, for the error.

    Returns:
      The flags with the inherited ones.

    Raises:
      ConfigError: a flag asks for another architecture.
    """
    architecture = {}
    for name, pretrained, metadata in _heirlooms(base, FinetuneConfig):
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
    return {**inherited(values, base, FinetuneConfig), **architecture}


def inherit_taught(values: Mapping[str, object], base: TrainingConfig) -> Dict[str, object]:
    """Adds a teacher's architecture and data to the flags of distillation; the student may differ.

    Args:
      values: the flags that were given.
      base: the teacher's config.
    """
    return inherited(values, base, DistillConfig)
