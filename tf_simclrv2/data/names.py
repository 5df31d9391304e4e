"""Examples that users name: by id, by path, or by the name of the image's file."""

import functools
import os
import unicodedata
from typing import Dict, Iterator, List, Sequence

from tf_simclrv2.config.user_files import printable, spellings


class Names:
    """The names of a split's examples.

    Args:
      ids: of the examples.
      file_names: of their images, in the same order.
      roots: spellings of the directory that ids are relative to, if they are paths.
    """

    def __init__(self, ids: Sequence[str], file_names: Sequence[str], roots: Sequence[str] = ()):
        self.ids, self._file_names, self._roots = ids, file_names, roots
        # Also as a run's labelled_examples.txt writes them.
        self._by_id = {printable(example_id): index for index, example_id in enumerate(ids)}
        self._by_id.update((example_id, index) for index, example_id in enumerate(ids))

    @functools.cached_property
    def _by_name(self) -> Dict[str, List[int]]:
        found: Dict[str, List[int]] = {}
        for index, name in enumerate(self._file_names):
            for spelling in {name, printable(name)}:
                found.setdefault(spelling, []).append(index)
        return found

    def find(self, text: str) -> List[int]:
        """Finds what a text names.

        Returns:
          Indices of the examples: one, or several that have a file of this name, or none.
        """
        if text in self._by_id:  # As nearly always.
            return [self._by_id[text]]
        candidates = list(self._spelled(text))
        for meant in candidates:
            if meant in self._by_id:
                return [self._by_id[meant]]
        return next((self._by_name[meant] for meant in candidates if meant in self._by_name), [])

    def _spelled(self, text: str) -> Iterator[str]:
        """What may be meant: the text itself, then, as a path, other spellings of the same."""
        for meant in spellings(text):
            yield from (meant, meant.strip())
            # macOS writes the names of files in another spelling than keyboards do.
            yield unicodedata.normalize("NFC", meant.strip())
            yield unicodedata.normalize("NFD", meant.strip())
        for meant in spellings(text.strip()):
            for path in (meant, meant.replace("\\", "/")):
                yield os.path.normpath(path)
                if os.path.isabs(path):
                    yield from (os.path.relpath(path, root) for root in self._roots)
