"""The images that monitors of pretraining are measured on."""

import dataclasses
import os
from typing import Callable, Optional

from tf_simclrv2.config import DataConfig, PretrainConfig, refuse
from tf_simclrv2.config.monitors import NEED_LABELS, NO_BEST
from tf_simclrv2.data.batches import Views
from tf_simclrv2.data.batches import batches as batches_of
from tf_simclrv2.data.reducing import read_reduced
from tf_simclrv2.data.sources import Source
from tf_simclrv2.data.stream import WHOLE, Part, Stream, only
from tf_simclrv2.evaluation.representation import FEWEST_OF_CLASS
from tf_simclrv2.keras2 import tf
from tf_simclrv2.runtime.devices import Devices

# Where labels are used, they are of more images than this.
_FEWEST_LABELS = 20
# Views that take more than so many bytes of memory are made anew each time.
_KEPT_BYTES = 100_000_000


class _Drawn(Stream):
    """The first examples of a stream, but for damaged ones, read once and kept undecoded.

    Attributes:
      count: how many they are.
      max_side: pixels to which the shorter side of larger images is reduced; None leaves them.
    """

    count = 0
    max_side: Optional[int] = None
    _whole: Optional[tf.data.Dataset] = None

    @property
    def is_checked(self) -> bool:
        """True, as :meth:`draw` has looked."""
        return True

    def draw(self, wanted: int) -> int:
        """Draws so many examples; returns how many of them decode.

        Raises:
          ConfigError: too many don't.
        """
        self._whole = super().examples().take(wanted)
        if not super().is_checked:
            ids = [os.fsdecode(each["id"]) for each in self._whole.as_numpy_iterator()]
            damaged = set(self.source.damaged(self._split, ids))
            ids = [each for each in ids if each not in damaged]
            self._whole = only(self._whole, ids)
            wanted = len(ids)
        return wanted

    def examples(self, start: int = 0, batch_size: int = 1, part: Part = WHOLE) -> tf.data.Dataset:
        assert self._whole is not None, "nothing was drawn"
        drawn = self._whole.skip(start).take(self.count)
        drawn = read_reduced(drawn, self.decoder, self.max_side).cache()
        return part.shared(drawn, start, batch_size)


@dataclasses.dataclass(frozen=True)
class Monitored:
    """The images that monitors are measured on, the same ones and the same views each time.

    Attributes:
      source: the data set.
      split: the split that they are drawn from.
      learnt: the end of a sentence, if training does not leave them out.
      count: how many they are; 0 or at least 2.
      chunk: how many are computed at once.
      batches: makes a part of them.
    """

    source: Source
    split: str
    learnt: str
    count: int
    chunk: int
    batches: Callable[[Part], tf.data.Dataset]

    @classmethod
    def of(cls, config: PretrainConfig, source: Source, devices: Devices) -> "Monitored":
        """Draws the images of a run.

        Args:
          config: of the run.
          source: its data.
          devices: what computes; the images are shared between its replicas.

        Raises:
          ConfigError: there is no such split.
        """
        data, size = config.data, config.data.resolved_image_size
        split = _split(source, data)
        # The whole split need not be cached.
        uncached = dataclasses.replace(
            data, cache_dataset=False, cache_path=None, cache_max_side=None
        )
        stream = _Drawn(source, split, config.run.seed, data=uncached)
        stream.max_side = data.cache_max_side
        wanted = stream.draw(min(config.monitors.monitor_images, source.num_examples(split)))
        replicas = devices.num_replicas
        steps = -(-wanted // max(config.optimization.train_batch_size, replicas)) or 1
        chunk = wanted // steps // replicas * replicas
        stream.count = count = steps * chunk if steps * chunk > 1 else 0
        by = config.monitors.keep_best
        if by != NO_BEST and not count:
            raise refuse("keep_best", by, f"needs two images at least, but {split} has {wanted}")
        views = Views.two(size, config.augmentation, devices.augments(config.augmentation))
        views = dataclasses.replace(views, with_whole=True)

        def batches(part: Part) -> tf.data.Dataset:
            made = batches_of(stream, views, chunk, part=part)
            return made.cache() if 9 * size**2 * count < _KEPT_BYTES else made

        found = cls(source, split, _learnt(split, data.train_split), count, chunk, batches)
        if by in NEED_LABELS:
            labelled = found.num_labelled(stream) if source.num_classes else 0
            if labelled < found.fewest_labels:
                raise refuse(
                    "keep_best", by, f"needs labels of at least {found.fewest_labels} of the "
                    f"{found.called}, on which monitors are measured, but {labelled} have one",
                )  # fmt: skip
        return found

    @property
    def fewest_labels(self) -> int:
        """How many of the images must be labelled for what needs labels."""
        return max(_FEWEST_LABELS, FEWEST_OF_CLASS * (self.source.num_classes or 0))

    def num_labelled(self, stream: Stream) -> int:
        """How many of the images, which are those of a stream, have a label."""
        labels = stream.examples().map(lambda example: example["label"])
        return sum(int(label >= 0) for label in labels.as_numpy_iterator())

    @property
    def called(self) -> str:
        """What they are, in words."""
        return f"{self.count} images of {self.source.name} {self.split}"


def _learnt(split: str, train_split: str) -> str:
    if train_split in (split, split.partition("[")[0]):
        return ", which it trained on"
    if split == train_split.partition("[")[0]:
        return ", some of which it trained on"
    # Who names two parts, such as train[:90%] and train[90%:], knows that they are apart.
    return ""


def _split(source: Source, data: DataConfig) -> str:
    if data.eval_split is not None:
        source.check_split(data.eval_split, "eval_split")
        return data.eval_split
    return source.usual_evaluation_split or data.train_split
