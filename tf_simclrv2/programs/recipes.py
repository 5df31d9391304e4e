"""``recipes``: the flagfiles that come with the package, by name."""

import difflib
import logging
import os
import re
from typing import Dict, Iterator, List, Mapping, Sequence

import tf_simclrv2
from tf_simclrv2.config import ConfigError, refuse

logger = logging.getLogger(__name__)

_NUM_SUGGESTED = 3
_LEAST_SIMILARITY = 0.4
# In recipes, other recipes are named as in the checkout: --flagfile=flags/digits/data.txt.
_INCLUDED = re.compile(r"--(?:recipe=|flagfile=flags/)(.+?)(?:\.txt)?")


def directory() -> str:
    """Returns the directory of the recipes.

    Raises:
      ConfigError: this installation has none.
    """
    package = os.path.dirname(os.path.abspath(tf_simclrv2.__file__))
    # An installed package holds them; in the checkout they stand next to the package.
    places = [os.path.join(package, "recipes"), os.path.join(os.path.dirname(package), "flags")]
    for place in places:
        if os.path.isdir(place):
            return place
    raise ConfigError(f"{places[0]}: the recipes of this installation are missing.")


def recipes() -> Dict[str, str]:
    """Returns the paths of the recipes by name, such as ``digits/pretrain``, in order."""
    root = directory()
    paths = [
        os.path.join(folder, file)
        for folder, _, files in os.walk(root)
        for file in files
        if file.endswith(".txt")
    ]
    names = (os.path.relpath(path, root)[: -len(".txt")].replace(os.sep, "/") for path in paths)
    return dict(sorted(zip(names, paths)))


def _lines(path: str) -> Iterator[str]:
    with open(path, encoding="utf-8") as file:
        yield from (line.strip() for line in file)


def title(path: str) -> str:
    """Returns what a recipe says of itself in its first line."""
    return next(_lines(path), "").lstrip("# ")


def flags_of(name: str) -> List[str]:
    """Returns a recipe's flags, with those of the recipes that it includes in their place.

    Args:
      name: the recipe's name, such as ``digits/pretrain``.

    Raises:
      ConfigError: there is no such recipe.
    """
    known = recipes()
    if name not in known:
        closest = difflib.get_close_matches(name, known, _NUM_SUGGESTED, _LEAST_SIMILARITY)
        suggested = f"; the closest are {', '.join(closest)}" if closest else ""
        raise refuse(
            "recipe",
            name,
            f"there is no such recipe{suggested}; the command recipes lists them all",
        )
    flags: List[str] = []
    for line in _lines(known[name]):
        included = _INCLUDED.fullmatch(line)
        if included:
            flags += flags_of(included[1])
        elif line and not line.startswith(("#", "//")):
            flags.append(line)
    return flags


def expanded(arguments: Sequence[str]) -> List[str]:
    """Puts a recipe's flags in the place of each ``--recipe=NAME``, so that later flags override.

    Args:
      arguments: a command line, without its command.

    Raises:
      ConfigError: there is no such recipe, or no name was given.
    """
    flags: List[str] = []
    rest = iter(arguments)
    for argument in rest:
        flag, has_name, name = argument.partition("=")
        if flag not in ("--recipe", "-recipe"):
            flags.append(argument)
            continue
        name = name if has_name else next(rest, "")
        flags += flags_of(name)
    return flags


def catalogue() -> str:
    """Returns the list of recipes, a line each."""
    titles = {name: title(path) for name, path in recipes().items()}
    width = max(map(len, titles))
    return "\n".join(f"{name:<{width}}  {text}" for name, text in titles.items())


def run(values: Mapping[str, object]) -> None:
    """Lists the recipes.

    Args:
      values: the flags that were given; there are none.
    """
    logger.info(catalogue())
