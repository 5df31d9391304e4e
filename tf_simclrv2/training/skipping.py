"""``--nan_policy``: batches that a run leaves out because their loss was not finite."""

import json
import logging
import os
from typing import Callable, List

from tf_simclrv2.config import ConfigError
from tf_simclrv2.data.stream import Part
from tf_simclrv2.keras2 import tf
from tf_simclrv2.runtime.files import write_whole
from tf_simclrv2.runtime.health import NotFiniteError
from tf_simclrv2.runtime.run_directory import RunDirectory

logger = logging.getLogger(__name__)

_MOST = 3
_ADVICE = "a lower --learning_rate or a longer --warmup_epochs needs another --model_dir"


class SkippedBatches:
    """The batches that a run leaves out, by number, in ``skipped_batches.json``.

    They are part of what a run is: one that is continued leaves out the same.

    Args:
      run: the run.

    Attributes:
      numbers: of the batches, ascending; without any, the batch of step ``k`` has number ``k - 1``.

    Raises:
      ConfigError: the file is no list of numbers.
    """

    def __init__(self, run: RunDirectory):
        self._run = run
        self._path = run.file("skipped_batches.json")
        self.numbers: List[int] = []
        if os.path.exists(self._path):
            try:
                with open(self._path, encoding="utf-8") as file:
                    self.numbers = sorted(int(number) for number in json.load(file))
            except (ValueError, TypeError) as error:
                raise ConfigError(
                    f"{self._path}: it must be a list of numbers of batches ({error})."
                ) from error

    @property
    def restores(self) -> bool:
        """Whether the run goes back to a checkpoint, so that it needs one from the start."""
        return self._run.config.run.nan_policy == "restore"

    @property
    def advice(self) -> str:
        """What a user can do about a loss that is not finite, as the end of a sentence."""
        if self.restores:
            return f"--nan_policy=restore skips up to {_MOST} batches of a run; {_ADVICE}"
        return f"the same command with --nan_policy=restore skips the batch; {_ADVICE}"

    def number(self, step: int) -> int:
        """The number of the batch that follows after ``step`` steps."""
        number = step
        for skipped in self.numbers:
            number += skipped <= number
        return number

    def add(self, error: NotFiniteError) -> str:
        """Notes the batch of an error as one to leave out.

        Args:
          error: of the training.

        Returns:
          The checkpoint to go back to.

        Raises:
          NotFiniteError: the same error, if the run is to stop, or has nothing to go back to.
        """
        checkpoint = self._run.latest_checkpoint()
        if not self.restores or len(self.numbers) >= _MOST or checkpoint is None:
            raise error
        self.numbers = sorted([*self.numbers, self.number(error.step - 1)])
        if self._run.writable:
            write_whole(self._path, json.dumps(self.numbers) + "\n")
            logger.warning(f"{error} It goes back to {checkpoint} and skips the batch")
        return checkpoint

    def batches(
        self, batches_from: Callable[[int, Part], tf.data.Dataset], step: int, part: Part
    ) -> tf.data.Dataset:
        """A part of the batches after ``step`` steps, without those that are left out.

        Args:
          batches_from: makes the batches from a number on.
          step: training steps done before.
          part: which part.
        """
        number = self.number(step)
        later = [skipped for skipped in self.numbers if skipped > number]
        if not later:
            return batches_from(number, part)
        pieces = [batches_from(number, part).take(later[0] - number)]
        for skipped, until in zip(later, [*later[1:], None]):
            piece = batches_from(skipped + 1, part)
            pieces.append(piece if until is None else piece.take(until - skipped - 1))
        whole = pieces[0]
        for piece in pieces[1:]:
            whole = whole.concatenate(piece)
        return whole
