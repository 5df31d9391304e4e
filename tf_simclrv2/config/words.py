"""How messages show what users gave: in one line, and not at any length."""

_LONGEST_SHOWN = 1000


def in_one_line(text: str) -> str:
    """Escapes the characters of a text that would break its line, or that can't be printed."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in text
    )


def shown(value: object) -> str:
    """Returns a value as messages show it: the beginning and the length of a very long one."""
    text = str(value)
    if len(text) <= _LONGEST_SHOWN:
        return text
    return f"{text[: _LONGEST_SHOWN // 2]}... ({len(text)} characters)"
