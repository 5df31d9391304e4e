"""``config.json``: what a run is, and the classes that it knows."""

import dataclasses
import json
import math
from typing import Any, Dict, List, Mapping, Optional, Type, TypeVar, Union

from tf_simclrv2.config import (
    Config,
    ConfigError,
    Section,
    TrainingConfig,
    place,
    refuse,
    sections_of,
)
from tf_simclrv2.config.words import shown
from tf_simclrv2.learners.steps import STEPS
from tf_simclrv2.runtime.files import write_whole

C = TypeVar("C", bound=Config)
# Where weights were converted from: google_checkpoint and kernel_scale, see interop/checkpoints.py.
Converted = Dict[str, Union[str, float]]


def config_to_dict(config: TrainingConfig) -> Dict[str, Dict[str, object]]:
    """Returns a config's sections as nested dicts of plain values."""
    return dataclasses.asdict(config)


# Any, since only the sections themselves check what JSON held.
def config_from_dict(config_class: Type[C], content: Mapping[str, Dict[str, Any]]) -> C:
    """The inverse of :func:`config_to_dict`.

    Raises:
      ConfigError: there is no such section, field or value.
    """
    sections = sections_of(config_class)
    for name, values in content.items():
        _check(values, isinstance(values, dict), f"config.{name}", "an object with settings")
    unknown = content.keys() - sections
    for name, section in sections.items():
        known = {field.name for field in dataclasses.fields(section)}
        unknown |= {f"{name}.{field}" for field in content.get(name, {}).keys() - known}
    if unknown:
        raise ConfigError(f"there is no setting {' or '.join(sorted(unknown))}")
    return config_class(
        **{
            name: kind(**{**_absent(kind), **content.get(name, {})})
            for name, kind in sections.items()
        }
    )


def _absent(section: Type[Section]) -> Dict[str, Any]:
    """What fields mean that a config.json of an earlier version doesn't have."""
    absent = {field.name: field.metadata["absent"] for field in dataclasses.fields(section)}
    return {name: value for name, value in absent.items() if value is not None}


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """The content of a run's ``config.json``.

    Attributes:
      step_of_method: pretrain, finetune or distill.
      config: the run's config.
      class_names: names of the classes; None without labels.
      class_names_known: False if the names are only numbers because nobody gave names.
      converted: what the weights were converted from; None if they were trained here.
    """

    step_of_method: str
    config: TrainingConfig
    class_names: Optional[List[str]]
    class_names_known: bool = True
    converted: Optional[Converted] = None

    def knows_classes(self, class_names: Optional[List[str]]) -> bool:
        """Whether a data set's classes are the run's: by name, or by number without names."""
        if self.class_names_known or class_names is None or self.class_names is None:
            return class_names == self.class_names
        return len(class_names) == len(self.class_names)

    def continued_by(self, new: "RunSettings", path: str) -> "RunSettings":
        """Returns the settings with which this run continues.

        Args:
          new: the settings of the command.
          path: the run directory, for the error.

        Raises:
          ConfigError: the settings describe another run; the message names what differs.
        """
        if self.step_of_method != new.step_of_method:
            raise refuse(
                "model_dir",
                path,
                f"holds a {self.step_of_method} run, so {new.step_of_method} needs another "
                "directory",
            )
        differing = _differences(self.config, new.config)
        if self.class_names != new.class_names:
            differing.append("the classes of the data differ")
        if differing:
            raise refuse(
                "model_dir",
                path,
                f"holds a run with other settings ({'; '.join(differing)}), so it must be "
                "continued with the same ones or started in another directory",
            )
        return dataclasses.replace(
            new,
            class_names_known=new.class_names_known and self.class_names_known,
            converted=new.converted or self.converted,
        )

    def spelled_as(self, before: TrainingConfig) -> "RunSettings":
        """Returns the settings with paths spelled as before, where they are the same places.

        Args:
          before: the config with which the run began; relative paths are looked up from there.
        """
        sections = {}
        for section in dataclasses.fields(before):
            old, new = (getattr(each, section.name) for each in (before, self.config))
            paths = [field.name for field in dataclasses.fields(old) if field.metadata["is_path"]]
            same = [each for each in paths if _same_path(getattr(old, each), getattr(new, each))]
            kept = {name: getattr(old, name) for name in same}
            sections[section.name] = dataclasses.replace(new, **kept)
        return dataclasses.replace(self, config=dataclasses.replace(self.config, **sections))

    def write(self, path: str) -> None:
        """Writes the settings to ``path``."""
        content: Dict[str, object] = {
            "step": self.step_of_method,
            "class_names": self.class_names,
            "config": config_to_dict(self.config),
        }
        if not self.class_names_known:
            content["class_names_known"] = False
        if self.converted is not None:
            content["converted"] = self.converted
        write_whole(path, json.dumps(content, indent=2, allow_nan=False) + "\n")

    @classmethod
    def read(cls, path: str) -> "RunSettings":
        """Reads the settings from ``path``.

        Raises:
          ConfigError: it is not a run's config.json.
        """
        try:
            with open(path, encoding="utf-8") as file:
                content = json.load(file)
            config_class, sections = STEPS[content["step"]].config, content["config"]
            names = content["class_names"]
        # RecursionError is what brackets in brackets end in.
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ConfigError(
                f"{path}: it must be a run's readable config.json ({type(error).__name__}: "
                f"{shown(error)})."
            ) from error
        known, converted = content.get("class_names_known", True), content.get("converted")
        origin = "null or an object with google_checkpoint and kernel_scale"
        try:
            _check(sections, isinstance(sections, dict), "config", "an object with sections")
            _check(names, names is None or _are_texts(names), "class_names", "null or texts")
            _check(known, isinstance(known, bool), "class_names_known", "true or false")
            _check(converted, converted is None or _is_origin(converted), "converted", origin)
            config = config_from_dict(config_class, sections)
        except ConfigError as error:
            raise ConfigError(f"{path}: {str(error).rstrip('.')}.") from error
        return cls(content["step"], config, names, known, converted)


def _check(value: object, good: bool, name: str, allowed: str) -> None:
    """Raises ConfigError, which says what is ``allowed``, about a value of config.json."""
    if not good:
        raise ConfigError(f"{name} must be {allowed}, not {shown(json.dumps(value))}")


def _are_texts(names: object) -> bool:
    try:
        # Also not with surrogates, which no file can hold.
        return isinstance(names, list) and bool(names) and bool("".join(names).encode())
    except (TypeError, UnicodeEncodeError):
        return False


def _is_origin(converted: object) -> bool:
    """Whether it is what the conversion writes, see interop/checkpoints.py."""
    if not isinstance(converted, dict) or not isinstance(converted.get("google_checkpoint"), str):
        return False
    scale = converted.get("kernel_scale")
    return isinstance(scale, (int, float)) and 0 < scale < math.inf


def _differences(before: TrainingConfig, now: TrainingConfig) -> List[str]:
    """The settings that must not change between two commands of a run, but did, in words."""
    differing = []
    for section in dataclasses.fields(now):
        sections = getattr(before, section.name), getattr(now, section.name)
        for field in dataclasses.fields(sections[0]):
            was, is_now = (getattr(each, field.name) for each in sections)
            same = _same_path(was, is_now) if field.metadata["is_path"] else was == is_now
            may_change = field.metadata["may_change"] or field.metadata["may_grow"]
            if not same and not may_change:
                differing.append(f"{field.name} was {was} and is now {is_now}")
    return differing


def _same_path(path: Optional[str], other: Optional[str]) -> bool:
    """Whether two paths, either of which may be None, are spellings of the same."""
    return place(path) == place(other)
