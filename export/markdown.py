"""Text of others, such as names of classes and files, as a part of Markdown."""

import html
import re

# Markdown's own characters where they mean something, and what divides the cells of a table. An
# underscore inside of a word means nothing.
_SPECIAL = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")
# What begins a new line somewhere, and control characters. A bare address would become a link.
_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_ADDRESS = re.compile(r"(?i)\b(https?|ftp|mailto|javascript|data):|\bwww\.")


def escaped(text: str) -> str:
    """Escapes a text so that Markdown and HTML show it as it is, in one line.

    Args:
      text: any text; characters that UTF-8 can't write are shown by their numbers.
    """
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    text = _SPECIAL.sub(lambda found: "\\" + found.group(), _BREAKS.sub(" ", text))
    text = html.escape(text, quote=False)
    return _ADDRESS.sub(lambda f: f"{f.group()[:-1]}&#{ord(f.group()[-1])};", text)
