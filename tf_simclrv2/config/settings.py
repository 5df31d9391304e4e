"""What a field of a config says of itself, and the one function that checks it.

A command's config is a :class:`Config`, a frozen dataclass of sections; a section is a
:class:`Section`, a frozen dataclass whose fields are made by :func:`setting`. What a field's value
may be, whether a later step inherits it and how ``--help`` explains it stand in the field's line.
"""

import dataclasses
import re
import typing
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Type,
    TypedDict,
    TypeVar,
)

from tf_simclrv2.config.intervals import Interval
from tf_simclrv2.config.words import in_one_line, shown

if TYPE_CHECKING:
    from typing_extensions import Unpack

T = TypeVar("T")
# Larger numbers overflow when they are multiplied by numbers of images.
_LARGEST_FLOAT = 1e9
# NumPy takes no larger seeds.
_LARGEST_INTEGER = 2**32 - 1
# How a remote path begins, such as gs://bucket; a value may list several paths.
_REMOTE = re.compile(r"(?:^|,)\s*([A-Za-z][A-Za-z0-9+.-]*)://")


class ConfigError(ValueError):
    """A setting, file or directory that a user gave can't be used; the message is for that user.

    The message is one line: what can't be printed in one, such as a line break, is shown escaped.
    """

    def __init__(self, message: str):
        super().__init__(in_one_line(message))


def refuse(flag: str, value: object, allowed: str) -> ConfigError:
    """Returns the error for a flag's value, in the one form that all such errors have.

    Args:
      flag: the flag's name, without dashes.
      value: what was received.
      allowed: what would be accepted, as the end of a sentence.
    """
    return ConfigError(f"--{flag}={shown(value)}: {allowed}.")


def check_local(flag: str, path: str) -> None:
    """Refuses a remote path, such as gs://bucket/run, which the file system would take for a name.

    Args:
      flag: the flag's name, without dashes.
      path: one path, or several separated by commas.

    Raises:
      ConfigError: one of them is remote.
    """
    remote = _REMOTE.search(path)
    if remote is not None:
        raise refuse(
            flag,
            path,
            f"must be a path of this machine's file system, not a {remote[1]}:// address; mount "
            "the remote place, or copy it here",
        )


class Must(NamedTuple):
    """A requirement of a field's own, for what is no interval and no choice.

    Attributes:
      words: what the value must do or be, as in "must {words}".
      holds: whether a value does.
    """

    words: str
    holds: Callable[[Any], bool]


class Facts(TypedDict, total=False):
    """What else a field may say of itself.

    Attributes:
      required: what to tell someone who gives no value; without it the value may be missing.
      must: a requirement of the field's own.
      inherits: whether a run takes the value over from the run that it starts from.
      of_dataset: whether it inherits only as long as ``--dataset`` and ``--data_dir`` name no other
        data set.
      architecture: whether it inherits and belongs to the network's architecture, so that
        fine-tuning refuses another value.
      is_path: whether it is a path, or several separated by commas: two spellings can be the same,
        and remote ones are refused.
      may_be_remote: whether remote paths are not refused, as only TensorFlow reads them.
      may_grow: whether it is a part of the training's length, with which a run may only be
        continued for as long or longer.
      follows_data: whether a training command that isn't given it takes what suits its images or
        their number, see ``following``; the field's own default is that of the paper's scale.
      absent: what a config.json without the field means; None is the default.
      replaces: fields that say the same in another way: a flag of this one that is typed at the
        command line goes before theirs in flagfiles and recipes.
      positional: whether arguments of the command that are no flags are its values, joined as
        ``reporting.joined`` does.
    """

    required: str
    must: Must
    inherits: bool
    of_dataset: bool
    architecture: bool
    is_path: bool
    may_be_remote: bool
    may_grow: bool
    follows_data: bool
    absent: object
    replaces: Tuple[str, ...]
    positional: bool


def setting(
    default: T,
    help: str,
    *,
    within: Optional[str] = None,
    choices: Optional[Sequence[object]] = None,
    may_change: bool = False,
    **facts: "Unpack[Facts]",
) -> T:
    """Makes a section's field.

    Args:
      default: the default value.
      help: the flag's help text; what the value may be is added to it.
      within: the interval that a number must be in, such as ``(0, 1]``.
      choices: the allowed values, if there are only some.
      may_change: whether a run may be continued with another value.
      **facts: see :class:`Facts`.

    Raises:
      TypeError: there is no such fact.
      ValueError: ``within`` is no interval.
    """
    unknown = facts.keys() - Facts.__annotations__.keys()
    if unknown:
        raise TypeError(f"a setting has no {', '.join(sorted(unknown))}")
    of_dataset, architecture = facts.get("of_dataset", False), facts.get("architecture", False)
    metadata = {
        "help": help,
        "within": None if within is None else Interval.parse(within),
        "choices": choices,
        "must": facts.get("must"),
        "required": facts.get("required"),
        "may_change": may_change,
        "inherits": facts.get("inherits", False) or of_dataset or architecture,
        "of_dataset": of_dataset,
        "architecture": architecture,
        "is_path": facts.get("is_path", False),
        "may_be_remote": facts.get("may_be_remote", False),
        "may_grow": facts.get("may_grow", False),
        "follows_data": facts.get("follows_data", False),
        "absent": facts.get("absent"),
        "replaces": facts.get("replaces", ()),
        "positional": facts.get("positional", False),
    }
    return dataclasses.field(default=default, metadata=metadata)


# Any, like dataclasses.field: what it returns stands for a value that is there once it was checked.
def required(
    help: str,
    words: str,
    *,
    within: Optional[str] = None,
    may_change: bool = False,
    is_path: bool = False,
    positional: bool = False,
) -> Any:
    """Makes a section's field that a command can't do without.

    Args:
      help: the flag's help text.
      words: what to tell someone who gives no value.
      within: see :func:`setting`.
      may_change: see :func:`setting`.
      is_path, positional: see :class:`Facts`.
    """
    facts: Facts = {"required": words, "is_path": is_path, "positional": positional}
    return setting(None, help, within=within, may_change=may_change, **facts)


# Any, since a type checker can't look up the type of a field by the field's name.
def setting_of(
    section: "Type[Section]",
    name: str,
    *,
    default: Any = dataclasses.MISSING,
    help: Optional[str] = None,
) -> Any:
    """Makes a field like one of another section, so that its facts stand once.

    Args:
      section: the section that declares the field.
      name: the field's name.
      default: the default value, if it is another one.
      help: the help text, if it is another one.
    """
    field = next(field for field in dataclasses.fields(section) if field.name == name)
    return dataclasses.field(
        default=field.default if default is dataclasses.MISSING else default,
        metadata={**field.metadata, "help": help or field.metadata["help"]},
    )


def requirements(field: "dataclasses.Field[object]") -> List[Tuple[str, Callable[[Any], bool]]]:
    """What a field's value must be.

    Returns:
      Requirements in words, each as the end of a sentence, with the function that checks it.
    """
    found: List[Tuple[str, Callable[[Any], bool]]] = []
    choices, within, must = (field.metadata[name] for name in ("choices", "within", "must"))
    if choices is not None:
        found.append((f"must be one of {', '.join(map(str, choices))}", choices.__contains__))
    if within is not None:
        found.append((within.requirement, within.__contains__))
    if must is not None:
        found.append((f"must {must.words}", must.holds))
    return found


# What a field of a type must be, in words, and what it takes for that.
_KINDS: Dict[type, Tuple[str, Tuple[type, ...]]] = {
    bool: ("true or false", (bool,)),
    int: ("a whole number", (int,)),
    float: ("a number", (int, float)),
    str: ("a text", (str,)),
}


def _types_of(section: "Type[Section]") -> Dict[str, Tuple[type, ...]]:
    """The types that each field of a section may have."""
    hints = typing.get_type_hints(section)
    return {name: typing.get_args(hint) or (hint,) for name, hint in hints.items()}


def _is_a(value: object, kind: type) -> bool:
    """Whether a value is of a field's type; True and False are no numbers here."""
    return isinstance(value, _KINDS[kind][1]) and (kind is bool or not isinstance(value, bool))


def _can_be_passed_on(value: object) -> Optional[str]:
    """What a text must be so that file systems and TensorFlow take it; None if it is."""
    if isinstance(value, str):
        try:
            # File names that are no UTF-8 are texts with surrogates, but only with some of them.
            value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            return "must be text without surrogates"
        if "\0" in value:
            return "must not hold the character NUL"
    return None


def _can_be_computed_with(value: object) -> Optional[str]:
    """What a number must be so that all can compute with it; None if it is."""
    if isinstance(value, float) and not abs(value) <= _LARGEST_FLOAT:
        return f"must be a number of at most {_LARGEST_FLOAT:,.0f}"
    if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        return f"must be at most {_LARGEST_INTEGER}"
    return None


def check_value(section: "Type[Section]", name: str, value: Any) -> None:
    """Checks what a field's own line says of a value, first of all its type.

    Args:
      section: whose field it is.
      name: the field's name.
      value: which value.

    Raises:
      ConfigError: it is not allowed, whatever the other fields are.
    """
    _check(section.__dataclass_fields__[name], _types_of(section)[name], value)


def _check(field: "dataclasses.Field[object]", types: Tuple[type, ...], value: Any) -> None:
    name = field.name
    required = field.metadata["required"]
    if required is not None and value in (None, ""):
        raise refuse(name, value, required)
    if value is None and len(types) > 1:
        return
    if not _is_a(value, types[0]):
        raise refuse(name, value, f"must be {_KINDS[types[0]][0]}")
    unusable = _can_be_computed_with(value) or _can_be_passed_on(value)
    if unusable is not None:
        raise refuse(name, value, unusable)
    for words, holds in requirements(field):
        if not holds(value):
            raise refuse(name, value, words)
    if field.metadata["is_path"] and not field.metadata["may_be_remote"]:
        check_local(name, value)


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of a config: a frozen dataclass of settings, which are checked as it is made."""

    @typing.final
    def __post_init__(self) -> None:
        types = _types_of(type(self))
        for field in dataclasses.fields(self):
            _check(field, types[field.name], getattr(self, field.name))
        self._check_combinations()

    def _check_combinations(self) -> None:
        """Checks what concerns several fields, each of which has been checked for itself.

        Raises:
          ConfigError: they can't be combined.
        """


@dataclasses.dataclass(frozen=True)
class Config:
    """What a command does: a frozen dataclass of sections."""


def sections_of(config_class: Type[Config]) -> Dict[str, Type[Section]]:
    """Returns the sections of a config class by name."""
    return typing.get_type_hints(config_class)
