"""Images that are found not to decode only when they are met, as nobody decoded them before."""

import logging
import os
import re
import threading
from typing import Callable, Dict, List, Optional

from tf_simclrv2.config import DataConfig
from tf_simclrv2.config.user_files import printable
from tf_simclrv2.keras2 import tf

logger = logging.getLogger(__name__)

_NAMES_SHOWN = 20
# Elements after which those that could not be made are filled in at the latest.
_BLOCK = 256
# Around what a pipeline's error says.
_OPEN, _CLOSE = "damaged image <", ">damaged image"

Tensors = Dict[str, tf.Tensor]


class Damaged:
    """The damaged images that a stream has met, each replaced by another one.

    Args:
      data: how many may be damaged.
      count: of images in an epoch.

    Attributes:
      ids: of the images, in the order in which they were met.
    """

    def __init__(self, data: DataConfig, count: int):
        self.ids: List[str] = []
        self._data, self._count = data, count
        self._lock = threading.Lock()

    def note(self, example_id: bytes) -> None:
        """Notes a damaged image."""
        name = os.fsdecode(example_id)
        with self._lock:
            if name not in self.ids:
                self.ids.append(name)
                if not self.refusal and len(self.ids) <= _NAMES_SHOWN:
                    logger.warning("damaged, another image takes its place: %s", printable(name))

    @property
    def refusal(self) -> str:
        """Why training can't go on, as a sentence; empty if it can."""
        if not self.ids:
            return ""
        data, first = self._data, printable(self.ids[0])
        if data.strict_images:
            return f"--strict_images=True: {first} is no whole image (corrupt)."
        if len(self.ids) > data.max_bad_images * self._count:
            return (
                f"--max_bad_images={data.max_bad_images}: {len(self.ids)} of the {self._count} "
                f"images are corrupt (no whole image), such as {first}, which "
                f"--check_images={data.check_images} has not found; remove them, or allow for as "
                "many."
            )
        return ""

    def report(self) -> None:
        """Says how many there were, if there were any."""
        if self.ids:
            logger.warning(
                "%d of the %d images that were trained on are damaged, and others took their "
                "places: %s%s", len(self.ids), self._count,
                ", ".join(map(printable, sorted(self.ids)[:_NAMES_SHOWN])),
                ", ..." * (len(self.ids) > _NAMES_SHOWN),
            )  # fmt: skip

    def filled(
        self,
        drawn: tf.data.Dataset,
        make: Callable[..., Tensors],
        again: Callable[[int], Tensors],
    ) -> tf.data.Dataset:
        """Makes elements, and fills the places of those that could not be made.

        Args:
          drawn: what they are made from, without end.
          make: makes an element; it may fail for some.
          again: makes the element of a number, from 0 on, by all means, eagerly; it notes damaged
            images, and fails where one can't be read.

        Returns:
          All elements, in their order.
        """

        def of_block(numbers, block):
            # By blocks, as one after which nothing could be made would be waited for for ever.
            made = tf.data.Dataset.from_tensor_slices((numbers, block))
            made = made.map(lambda number, each: (number, True, make(*each)), tf.data.AUTOTUNE)
            nothing = tf.nest.map_structure(
                lambda spec: tf.zeros(spec.shape, spec.dtype), made.element_spec[2]
            )
            end = tf.data.Dataset.from_tensors((numbers[-1] + 1, False, nothing))
            return made.ignore_errors().concatenate(end)

        def with_number_before(before, element):
            number, is_there, made = element
            return number - 1 + tf.cast(is_there, tf.int64), (before, number, is_there, made)

        def missing(before, number):
            elements = [
                again(turn) for turn in range(int(before) + 1, int(number)) if not self.refusal
            ]
            if self.refusal:
                empty = [tf.zeros([0, *each.shape], each.dtype) for each in spec.values()]
                return [self.refusal, *empty]
            return ["", *(tf.stack([each[name] for each in elements]) for name in spec)]

        def with_missing(before, number, present):
            # Eagerly, since a graph of it would be optimised at each start, for what is rare.
            types = [tf.string, *(each.dtype for each in spec.values())]
            refusal, *columns = tf.py_function(missing, [before, number], types)
            said = tf.strings.join([_OPEN, refusal, _CLOSE])
            fine = tf.debugging.Assert(tf.strings.length(refusal) == 0, [said])
            with tf.control_dependencies([fine]):
                columns = [
                    tf.ensure_shape(column, [None, *each.shape])
                    for column, each in zip(columns, spec.values())
                ]
            return {
                name: tf.concat([column, present[name]], 0) for name, column in zip(spec, columns)
            }

        def stacked(before, number, is_there, element):
            count = tf.cast(is_there, tf.int32)
            present = {name: each[tf.newaxis][:count] for name, each in element.items()}
            return tf.cond(
                number == before + 1, lambda: present, lambda: with_missing(before, number, present)
            )

        blocks = drawn.enumerate().batch(_BLOCK).flat_map(of_block)
        spec = blocks.element_spec[2]
        numbered = blocks.scan(tf.constant(-1, tf.int64), with_number_before)
        # One by one, so that damaged images are noted in their order.
        return numbered.map(stacked).unbatch()


def why_refused(error: tf.errors.InvalidArgumentError) -> Optional[str]:
    """What a pipeline's error says of damaged images, as a sentence for users; None of others."""
    found = re.search(f"{_OPEN}(.*?){_CLOSE}", error.message, re.DOTALL)
    # TensorFlow writes quotes and backslashes as escapes.
    return found and re.sub(r"\\([\\'\"])", r"\1", found[1])
