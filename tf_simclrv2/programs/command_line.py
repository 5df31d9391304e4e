"""Flags derived from config dataclasses, and the parsing of a command line into a config."""

import dataclasses
import textwrap
import typing
from typing import Any, Dict, List, Sequence, Type, TypeVar

from absl import flags

from tf_simclrv2.config import ConfigError

T = TypeVar("T")
# Flags of google-research/simclr that are ours by another name; 0, never, leaves ours as it is.
_RENAMED = {"train_summary_steps": "log_every_steps"}
# Its other flags that are not ours, and what to do instead.
_WITHOUT_COUNTERPART = {
    "train_mode": "the command tells it: pretrain or finetune",
    "master": "give the TPU's address as --tpu_name",
    "eval_name": "results stand in the run's result.json",
    "keep_hub_module_max": "python -m export writes a module of any checkpoint that was kept",
}
_DEFINERS = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
}


def _plain_type(hint: Any) -> type:
    """Returns T for Optional[T], and T for T."""
    arguments = [argument for argument in typing.get_args(hint) if argument is not type(None)]
    return arguments[0] if arguments else hint


def sections_of(config_class: type) -> Dict[str, type]:
    """Returns the sections of a config class by name."""
    return typing.get_type_hints(config_class)


def _section_defaults(config_class: type) -> Dict[str, Any]:
    """Returns the sections that a config class fills by itself, with its own defaults."""
    return {
        field.name: field.default_factory()
        for field in dataclasses.fields(config_class)
        if field.default_factory is not dataclasses.MISSING
    }


def define_flags(config_class: type) -> flags.FlagValues:
    """Defines a flag for every field of every section of a config class.

    Returns:
      The flags; those that a command line does not set are None.
    """
    values = flags.FlagValues()
    for section in sections_of(config_class).values():
        hints = typing.get_type_hints(section)
        for field in dataclasses.fields(section):
            choices = field.metadata["choices"]
            kind = _plain_type(hints[field.name])
            if choices is not None and kind is str:
                flags.DEFINE_enum(
                    field.name, None, list(choices), field.metadata["help"], flag_values=values
                )
            else:
                _DEFINERS[kind](field.name, None, field.metadata["help"], flag_values=values)
    return values


def parse(config_class: type, arguments: Sequence[str]) -> Dict[str, Any]:
    """Parses flags and flagfiles.

    Args:
      config_class: whose fields are the flags.
      arguments: the command line behind the command.

    Returns:
      The values of the flags that were given, by name.

    Raises:
      ConfigError: an unknown flag, a value of another type, or an argument that is no flag.
    """
    values = define_flags(config_class)
    renamed = {theirs: ours for theirs, ours in _RENAMED.items() if ours in values}
    for theirs in renamed:
        flags.DEFINE_integer(theirs, None, "", flag_values=values)
    try:
        rest = values(["tf_simclrv2", *arguments])[1:]
    except flags.UnrecognizedFlagError as error:
        instead = _WITHOUT_COUNTERPART.get(error.flagname)
        if instead is None:
            raise ConfigError(f"{str(error).rstrip('.')}; --help lists the flags.") from error
        raise ConfigError(
            f"--{error.flagname}: a flag of google-research/simclr without counterpart; {instead}."
        ) from error
    except flags.Error as error:
        raise ConfigError(f"{str(error).rstrip('.')}; --help lists the flags.") from error
    if rest:
        raise ConfigError(f"{rest[0]}: is not a flag; flags are written --name=value.")
    given = {name: values[name].value for name in values if values[name].value is not None}
    for theirs, ours in renamed.items():
        steps = given.pop(theirs, 0)
        if steps:
            given.setdefault(ours, steps)
    return given


def build(config_class: Type[T], values: Dict[str, Any]) -> T:
    """Builds a config from flags' values; fields without one take the class's default.

    Raises:
      ConfigError: a value that is not allowed.
    """
    defaults = _section_defaults(config_class)
    sections = {}
    for name, section in sections_of(config_class).items():
        known = {field.name for field in dataclasses.fields(section)}
        given = {field: value for field, value in values.items() if field in known}
        if name in defaults:
            sections[name] = dataclasses.replace(defaults[name], **given)
        else:
            sections[name] = section(**given)
    return config_class(**sections)


def help_text(command: str, config_class: type) -> str:
    """Returns the help of a command: its flags with their defaults, grouped by section."""
    defaults = _section_defaults(config_class)
    lines: List[str] = [
        f"python -m {command} --flag=value ... [--flagfile=FILE ...]",
        "",
        config_class.__doc__.splitlines()[0],
    ]
    for name, section in sections_of(config_class).items():
        lines += ["", section.__doc__.splitlines()[0]]
        for field in dataclasses.fields(section):
            default = getattr(defaults[name], field.name) if name in defaults else field.default
            lines.append(f"  --{field.name}  (default: {default})")
            help_and_choices = field.metadata["help"]
            if field.metadata["choices"]:
                choices = ", ".join(str(choice) for choice in field.metadata["choices"])
                help_and_choices += f" One of {choices}."
            lines += textwrap.wrap(
                help_and_choices, 88, initial_indent=" " * 6, subsequent_indent=" " * 6
            )
    return "\n".join(lines)
