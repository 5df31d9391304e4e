"""Reads image files as an export takes them: as bytes that it decodes, in batches that fit."""

import os
from typing import Dict, Iterator, List, Optional, Tuple

from tf_simclrv2.config.user_files import why_unreadable
from tf_simclrv2.data import host
from tf_simclrv2.data.decoding import (
    ONLY_ON_HOST,
    ORDINARY,
    Decoder,
    certainly_ordinary,
    needs_of,
)
from tf_simclrv2.data.images import why_too_large
from tf_simclrv2.keras2 import tf

# Pixels, and bytes of files, of a batch; a single file may have more.
_MOST_PIXELS = 1 << 27
_MOST_BYTES = 1 << 29
# Bytes of files that are glanced at together.
_MOST_BYTES_AT_A_GLANCE = 1 << 26
# Whether a file is certainly ordinary, and its pixels.
_Glance = Tuple[bool, float]
_CONTENT = [tf.TensorSpec([], tf.string)]


class EncodedImages:
    """Reads files, and finds out which can't be read.

    Args:
      max_pixels: that a file may have.
      decodes_unusual: whether the export decodes all but what only Pillow does. For one that
        doesn't, files are decoded here and handed over as PNG, and so is what only Pillow decodes.

    Attributes:
      unreadable: why a file was left out, as far as that is known, by path.
    """

    def __init__(self, max_pixels: int, decodes_unusual: bool):
        self.unreadable: Dict[str, Optional[str]] = {}
        self._max_pixels = max_pixels
        self._most = ORDINARY if not decodes_unusual else ONLY_ON_HOST - 1
        decoder = Decoder(on_host=False, max_pixels=max_pixels)

        # Most files need no more, and it is traced sooner. File by file it takes longer.
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
        def glance(contents):
            found = (tf.bool, tf.float64)
            return tf.map_fn(certainly_ordinary, contents, fn_output_signature=found)

        @tf.function(input_signature=_CONTENT, autograph=False)
        def look(content):
            header = decoder.header(content)
            return needs_of(header), header.pixels

        @tf.function(input_signature=_CONTENT, autograph=False)
        def as_png(content):
            # Smaller files would take longer.
            return tf.io.encode_png(decoder(content), compression=1)

        self._glance, self._look, self._as_png = glance, look, as_png

    def batches(self, paths: List[str]) -> Iterator[Tuple[List[str], List[bytes]]]:
        """Reads files, divided where they are many pixels or bytes.

        Yields:
          Paths, and the files' contents.
        """
        read: List[str] = []
        contents: List[bytes] = []
        pixels, size = 0.0, 0
        for path, content, glance in self._glanced(paths):
            taken = self._taken(path, content, glance)
            if taken is None:
                continue
            content, its_pixels = taken
            pixels, size = pixels + its_pixels, size + len(content)
            if read and (pixels > _MOST_PIXELS or size > _MOST_BYTES):
                yield read, contents
                read, contents, pixels, size = [], [], its_pixels, len(content)
            read.append(path)
            contents.append(content)
        if read:
            yield read, contents

    def _glanced(self, paths: List[str]) -> Iterator[Tuple[str, bytes, Optional[_Glance]]]:
        """Reads files and glances at many at once; yields None for those that this fails for."""
        read: List[Tuple[str, bytes]] = []
        size = 0
        for path in paths:
            content = self._content(path)
            if content is None:
                continue
            if read and size + len(content) > _MOST_BYTES_AT_A_GLANCE:
                yield from self._with_glances(read)
                read, size = [], 0
            read.append((path, content))
            size += len(content)
        if read:
            yield from self._with_glances(read)

    def _with_glances(
        self, read: List[Tuple[str, bytes]]
    ) -> Iterator[Tuple[str, bytes, Optional[_Glance]]]:
        try:
            found = self._glance(tf.constant([content for _, content in read]))
            glances: List[Optional[_Glance]] = list(zip(*(each.numpy().tolist() for each in found)))
        except tf.errors.InvalidArgumentError:
            # One of them is damaged.
            glances = [None] * len(read)
        for (path, content), glance in zip(read, glances):
            yield path, content, glance

    def _content(self, path: str) -> Optional[bytes]:
        reason = why_unreadable(path)
        try:
            if reason is None:
                with open(path, "rb") as file:
                    return file.read()
        except OSError as error:
            reason = error.strerror
        self.unreadable[path] = reason if os.path.lexists(path) else None
        return None

    def _taken(
        self, path: str, content: bytes, glance: Optional[_Glance]
    ) -> Optional[Tuple[bytes, float]]:
        """What to hand to the export of a file, and its pixels; None if it can't be read."""
        try:
            if glance is None:
                glance = tuple(each.numpy()[0] for each in self._glance(tf.constant([content])))
            ordinary, pixels = glance
            if ordinary and pixels <= self._max_pixels:
                return content, float(pixels)
            needs, pixels = (each.numpy() for each in self._look(content))
            if needs == ONLY_ON_HOST:
                height, width = host.size_of(content)
                pixels = height * width
            reason = why_too_large(pixels, self._max_pixels)
            if reason is None and needs == ONLY_ON_HOST:
                content = tf.io.encode_png(host.decode(content), compression=1).numpy()
            elif reason is None and needs > self._most:
                content = self._as_png(content).numpy()
        except host.Unreadable as error:
            reason = str(error)
        except tf.errors.InvalidArgumentError:
            self.unreadable[path] = None
            return None
        if reason is not None:
            self.unreadable[path] = reason
            return None
        return content, float(pixels)
