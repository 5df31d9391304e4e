"""Images of a source as people look at them, by their ids."""

import contextlib
import errno
import os
import re
from typing import Iterator, List, Optional, Tuple

import numpy as np

from tf_simclrv2.config import ConfigError
from tf_simclrv2.config.user_files import printable
from tf_simclrv2.data.damaged import why_refused
from tf_simclrv2.data.images import read
from tf_simclrv2.data.sources import Source
from tf_simclrv2.data.sources.chosen import Chosen
from tf_simclrv2.keras2 import tf
from tf_simclrv2.progress import progress

# What TensorFlow's messages say of the operation and, in newer versions, of the pipeline.
_PIPELINE = r"\{\{.*?\}\}\s*|Error in user-defined function passed to .*? with iterator: \S+: "
_VANISHED = tuple(map(os.strerror, (errno.ENOENT, errno.EACCES, errno.EPERM)))


def pictures(source: Source, split: str, ids: List[str]) -> Iterator[Tuple[str, np.ndarray]]:
    """Decodes some images of a split, one at a time.

    Args:
      source: the data set.
      split: whose images they are.
      ids: of the images.

    Yields:
      An image's id, and its pixels, uint8 [height, width, 3]; in the order of the source.

    Raises:
      ConfigError: an image is not there any more, or may not be read.
    """
    decode = source.decoder(split)
    examples = Chosen(source, ids).index(split).map(read)
    decoded = examples.map(lambda example: (example["id"], decode(example["image"])))
    with reading(source):
        shown = progress(decoded.as_numpy_iterator(), "pictures", "image", len(ids))
        for example_id, image in shown:
            yield os.fsdecode(example_id), image


def _of_damaged(source: Source, error: tf.errors.InvalidArgumentError) -> Optional[ConfigError]:
    """The error for users if a pipeline has failed on a damaged image; None of other errors.

    Args:
      source: whose images were read.
      error: of the pipeline.
    """
    refused = why_refused(error)
    if refused is not None:
        return ConfigError(refused)
    damaged = source.first_damaged()
    if damaged is None:
        return None
    return ConfigError(
        f"{source.called}: {printable(damaged)} is no whole image (corrupt), and only training "
        "puts others in the place of such; remove it, or train with --check_images=full, which "
        "leaves it out."
    )


@contextlib.contextmanager
def reading(source: Source) -> Iterator[None]:
    """Turns the error of an image that can't be read or decoded any more into a ConfigError.

    Args:
      source: whose images are read.

    Raises:
      ConfigError: the message names the image.
    """
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        damaged = _of_damaged(source, error)
        if damaged is None:
            raise
        raise damaged from error
    except (OSError, tf.errors.NotFoundError, tf.errors.PermissionDeniedError) as error:
        if isinstance(error, OSError):
            said = f"{error.filename}; {error.strerror}"
        else:  # Its first line ends with the file and the reason.
            said = re.sub(_PIPELINE, "", str(error).split("\n")[0]).strip()
        if not said.endswith(_VANISHED):
            raise
        raise ConfigError(
            f"{source.called}: an image can't be read any more ({printable(said)})."
        ) from error
