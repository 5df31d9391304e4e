"""Flags derived from config dataclasses, and the parsing of a command line into a config."""

import dataclasses
import textwrap
import typing
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    Mapping,
    Optional,
    Sequence,
    Set,
    Type,
    TypeVar,
)

from absl import flags

from tf_simclrv2.config import (
    AugmentationConfig,
    Config,
    ConfigError,
    ContrastiveConfig,
    DevicesConfig,
    MemoryConfig,
    MonitorConfig,
    NetworkConfig,
    OptimizationConfig,
    ProjectionHeadConfig,
    RunConfig,
    Section,
    ViewsConfig,
    refuse,
    sections_of,
)
from tf_simclrv2.config.reporting import joined
from tf_simclrv2.config.settings import check_value, requirements
from tf_simclrv2.config.words import shown
from tf_simclrv2.programs import flagfiles, recipes

C = TypeVar("C", bound=Config)
S = TypeVar("S", bound=Section)
# Flags of google-research/simclr that are ours by another name; 0, never, leaves ours as it is.
_RENAMED = {"train_summary_steps": "log_every_steps"}
# Its other flags that are not ours, and what to do instead.
_WITHOUT_COUNTERPART = {
    "train_mode": "the command says which it is: pretrain or finetune",
    "master": "give the TPU's address as --tpu_name",
    "eval_name": "the run's result.json holds the results",
    "keep_hub_module_max": "the export command writes a module of any checkpoint that was kept",
    "variable_schema": "leave it out: fine-tuning takes the encoder's weights, and those of as "
    "many layers of the projection head as --ft_proj_selector says",
}
# Flags of pretraining that do not change the views, so that its recipes and its command lines fit.
_WITHOUT_EFFECT: Dict[Type[Config], Sequence[Type[Section]]] = {
    ViewsConfig: (
        RunConfig, NetworkConfig, ProjectionHeadConfig, ContrastiveConfig, MemoryConfig,
        OptimizationConfig, DevicesConfig, MonitorConfig,
    ),
}  # fmt: skip
_DEFINERS: Dict[type, Callable[..., object]] = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
}
# A flag of every command, and no setting of any.
QUIET = "quiet"
_LONGEST_NAME = 100
_WIDTH = 88
_INDENT = " " * 6


def _plain_type(hint: Any) -> type:
    """Returns T for Optional[T], and T for T."""
    arguments = [argument for argument in typing.get_args(hint) if argument is not type(None)]
    return arguments[0] if arguments else hint


def _section_defaults(config_class: Type[Config]) -> Dict[str, Section]:
    """Returns the sections that a config class fills by itself, with its own defaults."""
    return {
        field.name: field.default_factory()
        for field in dataclasses.fields(config_class)
        if field.default_factory is not dataclasses.MISSING
    }


def define_flags(config_class: Type[Config]) -> flags.FlagValues:
    """Defines a flag for every field of every section of a config class.

    Returns:
      The flags; those that a command line does not set are None.
    """
    values = flags.FlagValues()
    _define(values, sections_of(config_class).values())
    return values


def _define(values: flags.FlagValues, sections: Iterable[Type[Section]]) -> None:
    """Defines a flag for every field of sections, except where there is one of its name."""
    for section in sections:
        hints = typing.get_type_hints(section)
        for field in dataclasses.fields(section):
            if field.name in values:
                continue
            choices = field.metadata["choices"]
            kind = _plain_type(hints[field.name])
            if choices is not None and kind is str:
                flags.DEFINE_enum(
                    field.name, None, list(choices), field.metadata["help"], flag_values=values
                )
            else:
                _DEFINERS[kind](field.name, None, field.metadata["help"], flag_values=values)


def parse(config_class: Type[Config], arguments: Sequence[str]) -> Dict[str, object]:
    """Parses flags, flagfiles and recipes.

    Args:
      config_class: whose fields are the flags.
      arguments: the command line behind the command.

    Returns:
      The values of the flags that were given, by name. A typed flag replaces those of flagfiles and
      recipes that say the same in another way, such as ``--label_fraction`` where
      ``--labels_per_class`` is typed.

    Raises:
      ConfigError: an unknown flag or recipe, a value that is not allowed whatever the others are,
        or an argument that is no flag, of a command that takes none.
    """
    values = define_flags(config_class)
    without_effect = _WITHOUT_EFFECT.get(config_class, ())
    _define(values, without_effect)
    renamed = {theirs: ours for theirs, ours in _RENAMED.items() if ours in values}
    for theirs in renamed:
        flags.DEFINE_integer(theirs, None, "", flag_values=values)
    # Declared, so that flagfiles can name recipes; each gives way to the recipe's own flags.
    flags.DEFINE_string("recipe", None, "", flag_values=values)
    flags.DEFINE_bool(QUIET, None, "", flag_values=values)
    try:
        written = flagfiles.expanded(arguments)
        expanded = recipes.expanded(written)
        _check_names(expanded)
        values.set_gnu_getopt()  # Flags may also stand behind what is no flag.
        rest = values(["tf_simclrv2", *expanded])[1:]
    except flags.UnrecognizedFlagError as error:
        instead = _WITHOUT_COUNTERPART.get(error.flagname)
        if instead is None:
            raise _misread(error) from error
        raise ConfigError(
            f"--{error.flagname}: a flag of google-research/simclr without counterpart; {instead}."
        ) from error
    except flags.Error as error:
        raise _misread(error) from error
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        # A value given to --noFLAG, or a flagfile that is no text.
        raise _misread(error) from error
    given = {name: values[name].value for name in values if values[name].value is not None}
    if rest:
        _add_positional(config_class, given, rest)
    for name in _replaced(config_class, arguments):
        given.pop(name, None)
    for theirs, ours in renamed.items():
        steps = given.pop(theirs, 0)
        if steps:
            given.setdefault(ours, steps)
    for section in (*sections_of(config_class).values(), *without_effect):
        for name, value in _of(section, given).items():
            check_value(section, name, value)
    known = {QUIET, *(field.name for field in _fields_of(config_class))}
    return {name: value for name, value in given.items() if name in known}


def _fields_of(config_class: Type[Config]) -> "List[dataclasses.Field[Any]]":
    """The fields of all sections."""
    sections = sections_of(config_class).values()
    return [field for section in sections for field in dataclasses.fields(section)]


def _positional(config_class: Type[Config]) -> Optional[str]:
    """The flag that takes arguments which are no flags; None if the command has none."""
    fields = _fields_of(config_class)
    return next((field.name for field in fields if field.metadata["positional"]), None)


def _add_positional(config_class: Type[Config], given: Dict[str, object], rest: List[str]) -> None:
    """Gives the arguments that are no flags to the flag that takes them."""
    flag = _positional(config_class)
    if flag is None:
        raise ConfigError(f"{shown(rest[0])}: is not a flag; flags are written --name=value.")
    if flag in given:
        raise refuse(flag, given[flag], f"can't be given beside {shown(' '.join(rest))}")
    given[flag] = joined(rest)


def _replaced(config_class: Type[Config], arguments: Sequence[str]) -> Set[str]:
    """The flags of flagfiles and recipes that typed ones say in another way."""
    typed = {argument.partition("=")[0].lstrip("-") for argument in arguments}
    fields = _fields_of(config_class)
    return {
        other for field in fields if field.name in typed for other in field.metadata["replaces"]
    } - typed


def _check_names(arguments: Sequence[str]) -> None:
    """Refuses names much longer than a flag's, to which absl would look for similar ones."""
    for argument in arguments:
        name = argument.partition("=")[0]
        if name.startswith("-") and len(name) > _LONGEST_NAME:
            raise ConfigError(f"{shown(name)}: is not a flag; --help lists the flags.")


def _misread(error: Exception) -> ConfigError:
    """What absl said of a command line, for the user."""
    return ConfigError(f"{shown(error).rstrip('.')}; --help lists the flags.")


def _of(section: Type[Section], values: Mapping[str, object]) -> Dict[str, Any]:
    """Those of the flags' values that are a section's."""
    known = {field.name for field in dataclasses.fields(section)}
    return {name: value for name, value in values.items() if name in known}


def build_section(section: Type[S], values: Mapping[str, object]) -> S:
    """Builds one section from flags' values; fields without one take the section's default.

    Raises:
      ConfigError: a value that is not allowed.
    """
    return section(**_of(section, values))


def build(config_class: Type[C], values: Mapping[str, object]) -> C:
    """Builds a config from flags' values; fields without one take the class's default.

    Raises:
      ConfigError: a value that is not allowed.
    """
    defaults = _section_defaults(config_class)
    sections: Dict[str, Any] = {}
    for name, section in sections_of(config_class).items():
        if name in defaults:
            sections[name] = dataclasses.replace(defaults[name], **_of(section, values))
        else:
            sections[name] = build_section(section, values)
    return config_class(**sections)


def summary(documented: object) -> str:
    """Returns the first line of a docstring."""
    return (documented.__doc__ or "").splitlines()[0]


def help_text(called: str, config_class: Type[Config]) -> str:
    """Returns the help of a command: its flags with their defaults, grouped by section.

    Args:
      called: how the command is called, such as ``simclrv2 pretrain``.
      config_class: the class of its config.
    """
    sections, defaults = sections_of(config_class), _section_defaults(config_class)
    flags_usage = " --flag=value ... [--flagfile=FILE ...] [--recipe=NAME ...] [--quiet]"
    behind = "" if _positional(config_class) is None else " RUN [RUN ...]"
    usage = behind + (flags_usage if sections else "")
    lines: List[str] = [called + usage, "", summary(config_class)]
    if config_class in _WITHOUT_EFFECT:
        lines.append("Other flags of pretrain may stay in the command line; they change nothing.")
    for name, section in sections.items():
        lines += ["", summary(section)]
        for field in dataclasses.fields(section):
            default = getattr(defaults[name], field.name) if name in defaults else field.default
            # Fine-tuning and distillation distort no colours, whatever the data.
            fixed = section is AugmentationConfig and default != field.default
            follows = field.metadata["follows_data"] and not fixed
            lines += _flag_help(field, "follows the data" if follows else default)
    return "\n".join(lines)


def _flag_help(field: "dataclasses.Field[object]", default: object) -> List[str]:
    """A flag, its default, and what its value does and must be."""
    is_required = field.metadata["required"] is not None
    sentences = [field.metadata["help"]]
    sentences += [f"{words[0].upper()}{words[1:]}." for words, _ in requirements(field)]
    return [
        f"  --{field.name}  ({'required' if is_required else f'default: {default}'})",
        *textwrap.wrap(
            " ".join(sentences), _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT
        ),
    ]
