"""The checksum of an exported graph, which TensorFlow does not check as it loads it.

TensorFlow may crash on a damaged graph, or compute with it. Its own ``fingerprint.pb`` can't be
compared from Python through a public function.
"""

import hashlib
import os
from typing import Optional

# SavedModel's place for files that only some programs know.
_FILE = os.path.join("assets.extra", "saved_model.sha256")
GRAPH = "saved_model.pb"


def write(directory: str) -> None:
    """Writes the checksum of the SavedModel in a directory next to it."""
    with open(os.path.join(directory, GRAPH), "rb") as file:
        checksum = hashlib.sha256(file.read()).hexdigest()
    path = os.path.join(directory, _FILE)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="ascii") as file:
        file.write(f"{checksum}\n")


def is_damaged(directory: str, content: bytes) -> bool:
    """Whether a graph is not the one that was exported.

    Args:
      directory: of the SavedModel.
      content: of its ``saved_model.pb``.

    Returns:
      False also if there is no checksum, as in exports of version 0.1.
    """
    saved = _saved(directory)
    return saved is not None and hashlib.sha256(content).hexdigest() != saved


def _saved(directory: str) -> Optional[str]:
    try:
        with open(os.path.join(directory, _FILE), encoding="ascii", errors="replace") as file:
            return file.read().strip()
    except FileNotFoundError:
        return None
