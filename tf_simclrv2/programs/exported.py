"""Applies an exported SavedModel to image files, batch by batch, for ``predict`` and ``embed``."""

import collections
import logging
import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Deque, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from tf_simclrv2.config import ConfigError, ExportedModelConfig, refuse
from tf_simclrv2.config.user_files import FILE, printable
from tf_simclrv2.data.decoding import PLAIN
from tf_simclrv2.data.listing import find_images
from tf_simclrv2.keras2 import tf
from tf_simclrv2.programs.encoded import EncodedImages
from tf_simclrv2.progress import bar
from tf_simclrv2.runtime.calibration_file import Calibration
from tf_simclrv2.runtime.files import check_can_write, check_place, temporary_of
from tf_simclrv2.runtime.served import (
    damaged_refused,
    find_saved_model,
    load_served,
    stored_calibration,
)

logger = logging.getLogger(__name__)

# While the network works on one batch, the images of another are decoded.
_BATCHES_AT_ONCE = 2


def check_output(output: str, *others: str) -> None:
    """Refuses an ``--output`` that can't be written, by writing a file next to it.

    Args:
      output: the path of the file to write.
      *others: files that are written next to it.

    Raises:
      ConfigError: something that is no file is there, or its directory is missing or can't be
        written.
    """
    for path in (output, *others):
        for written in (path, temporary_of(path)):
            check_place(written, "output", FILE, output)
    folder = os.path.dirname(os.path.abspath(output))
    if not os.path.isdir(folder):
        raise refuse("output", output, f"the directory {folder} must exist")
    check_can_write(folder, "output", output)


class ExportedModel:
    """An export and the image files to apply it to.

    All settings are checked before the model is loaded.

    Args:
      config: the model and the images.

    Attributes:
      paths: of the image files, whether or not they can be read.
      class_names: names of the classes; None for a model without a classifier.

    Raises:
      ConfigError: there is no such model, it is damaged, or there is no image.
    """

    def __init__(self, config: ExportedModelConfig):
        assert config.images is not None and config.saved_model is not None  # They are required.
        self._config = config
        self.paths = find_images(config.images)
        found = find_saved_model(config.saved_model)
        if found is None:
            raise refuse("saved_model", config.saved_model, "must be an export with a SavedModel")
        with damaged_refused(config.saved_model):
            self._served = load_served(found)
        self._directory = found
        self.class_names = self._served.class_names
        self._images = EncodedImages(config.max_image_pixels, self._served.marks_invalid)

    def calibration(self) -> Optional[Calibration]:
        """What was measured of the probabilities; None if the export doesn't say.

        Raises:
          ConfigError: what it says is damaged.
        """
        with damaged_refused(str(self._config.saved_model)):
            return stored_calibration(self._directory)

    def outputs(self, name: str) -> Iterator[Tuple[List[str], Dict[str, np.ndarray]]]:
        """Applies the model to all images, batch by batch, with a progress bar.

        Args:
          name: shown in front of the bar.

        Yields:
          The paths of a batch's readable images, and the outputs of ``serving_bytes`` for them.

        Raises:
          ConfigError: no image is readable, or the model can't take them.
        """
        any_readable = False
        with bar(len(self.paths), name, "image") as shown:
            for paths, outputs in self._all_outputs():
                shown.update(len(paths))
                if paths:
                    any_readable = True
                    yield paths, outputs
            shown.update(len(self.paths) - shown.n)
        for path, reason in self._images.unreadable.items():
            because = f" ({printable(reason)})" if reason else ""
            logger.error("unreadable, left out: %s%s", printable(path), because)
        if not any_readable:
            raise refuse("images", self._config.images, "every file is missing or corrupt")

    def _all_outputs(self) -> Iterator[Tuple[List[str], Dict[str, np.ndarray]]]:
        """Outputs in the order of the files; while one batch is computed, others are read."""
        size = self._config.batch_size
        waiting: Deque[Future[Tuple[List[str], Dict[str, np.ndarray]]]] = collections.deque()
        with ThreadPoolExecutor(_BATCHES_AT_ONCE) as pool:
            for start in range(0, len(self.paths), size):
                for batch in self._images.batches(self.paths[start : start + size]):
                    waiting.append(pool.submit(self._outputs_of, *batch))
                    if len(waiting) > _BATCHES_AT_ONCE:
                        yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _outputs_of(
        self, paths: List[str], contents: List[bytes]
    ) -> Tuple[List[str], Dict[str, np.ndarray]]:
        """The outputs of those of the images that can be decoded, and their paths."""
        if self._served.marks_invalid:
            outputs = self._apply_or_refuse(contents)
            valid = outputs.pop("valid")
            outputs = {name: value[valid] for name, value in outputs.items()}
            return self._kept(paths, valid.tolist()), outputs
        try:
            return paths, self._apply(contents)
        except tf.errors.InvalidArgumentError:
            # Earlier exports answer nothing if one image is corrupt.
            good = [_is_image(content) for content in contents]
            whole = [content for content, is_good in zip(contents, good) if is_good]
            return self._kept(paths, good), self._apply_or_refuse(whole)

    def _kept(self, paths: List[str], good: Sequence[bool]) -> List[str]:
        """The paths of good images; notes the others."""
        self._images.unreadable.update(
            {path: None for path, is_good in zip(paths, good) if not is_good}
        )
        return [path for path, is_good in zip(paths, good) if is_good]

    def _apply(self, contents: List[bytes]) -> Dict[str, np.ndarray]:
        if not contents:
            return {}
        outputs = self._served.serve(tf.constant(contents))
        return {name: value.numpy() for name, value in outputs.items()}

    def _apply_or_refuse(self, contents: List[bytes]) -> Dict[str, np.ndarray]:
        try:
            return self._apply(contents)
        except tf.errors.InvalidArgumentError as error:
            raise ConfigError(
                f"--saved_model={self._config.saved_model}: the model can't take these images "
                f"({error.message.splitlines()[0]})."
            ) from error


def _is_image(content: bytes) -> bool:
    try:
        PLAIN(tf.constant(content))
    except tf.errors.InvalidArgumentError:
        return False
    return True
