"""``--flagfile=FILE``: flags in a file, a flag on a line.

As in absl, except that files are read as editors on every system write them.
"""

import os
from typing import List, Sequence, Tuple

from tf_simclrv2.config import ConfigError
from tf_simclrv2.config.user_files import is_utf8, not_text, printable, read_lines

_FLAGS = ("--flagfile", "-flagfile")


def expanded(arguments: Sequence[str], inside: Tuple[str, ...] = ()) -> List[str]:
    """Puts a file's flags in the place of each ``--flagfile=FILE``, so that later flags override.

    Args:
      arguments: a command line, without its command.
      inside: the files that these are read from, each named by the one before.

    Raises:
      ConfigError: a file can't be read, is not text, or names itself.
    """
    flags: List[str] = []
    rest = iter(arguments)
    for argument in rest:
        flag, has_name, path = argument.partition("=")
        if argument == "--":
            return [*flags, argument, *rest]
        if flag not in _FLAGS:
            flags.append(argument)
            continue
        path = path if has_name else next(rest, "")
        flags += _flags_of(path.strip(), inside) if path.strip() else []
    return flags


def _flags_of(path: str, inside: Tuple[str, ...]) -> List[str]:
    """The flags of a file, with those of the files that it names in their place."""
    real = os.path.realpath(os.path.expanduser(path))
    if real in inside:
        raise ConfigError(f"--flagfile={printable(path)}: it names itself, in a circle.")
    flags = []
    for number, text in read_lines(path, "flagfile"):
        if not is_utf8(text):
            raise not_text("flagfile", path, number, f"it reads {printable(text)[:40]}")
        if text.strip() and not text.startswith(("#", "//")):
            flags.append(text.strip())
    return expanded(flags, (*inside, real))
