"""Writing files so that a reader never sees half of one."""

import os


def write_whole(path: str, text: str) -> None:
    """Writes a text file under a temporary name, then moves it into place.

    Args:
      path: the file; an existing one is replaced.
      text: its content, written as UTF-8.
    """
    temporary = f"{path}.tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)
