"""What is told, once, of a pretraining that goes wrong, with what to try."""

import math
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from tf_simclrv2.objectives.contrastive import loss_of_guessing

# Nothing is told before this share of the run, nor before the warmup has ended.
_EARLIEST = 0.2
# In that part of the run a loss that is flat means something: later the learning rate, which goes
# to 0, ends its fall.
_FLAT_WITHIN = (0.4, 0.8)
# Rows of metrics.csv, of each of the two quarters that are compared.
_FEWEST_ROWS = 4
# A loss that has fallen by less, of what it could fall, is where guessing is.
_GUESSES = 0.03
# A loss that falls by less in a quarter of the steps so far, of what it has fallen before, is flat.
# Runs that went well fell by 2.8% to 8.6%.
_FLAT = 0.005
_COLLAPSE = (
    "the network has collapsed by step {step}: it maps all images to nearly the same projection "
    "({measured}); a lower --learning_rate, a longer --warmup_epochs or a lower --weight_decay, in "
    "another --model_dir, may help"
)
_GUESSING = (
    "the contrastive loss is {loss:.4g} at step {step}, where guessing gives {guessing:.4g}: the "
    "network doesn't tell images apart; a higher --learning_rate, milder views (a higher "
    "--crop_area_min, a lower --color_jitter_strength) or another --temperature, in another "
    "--model_dir, may help"
)
_NO_LONGER_FALLS = (
    "the contrastive loss no longer falls: it is {now:.4g} in the last quarter of the steps up to "
    "{step}, after {was:.4g} in the one before; if monitors don't rise either, more steps are of "
    "little use, and stronger views, another --learning_rate or a larger network, in another "
    "--model_dir, may help"
)
_COLLAPSED_RANK, _COLLAPSED_UNIFORMITY = 1.5, -0.05


class Pace(NamedTuple):
    """How long a run is, and when it can be judged.

    Attributes:
      total_steps: of the whole run.
      warmup_steps: in which the learning rate rises.
      settling_steps: after which batch norm's moving statistics have forgotten where they began.
    """

    total_steps: int
    warmup_steps: int
    settling_steps: int

    @property
    def first(self) -> float:
        """The first step at which the run can be judged."""
        return max(_EARLIEST * self.total_steps, self.warmup_steps, self.settling_steps)


class Loss(NamedTuple):
    """What the contrastive loss is measured by.

    Attributes:
      images: in a batch.
      temperature: of the loss.
      past_keys: in the queue of a memory.
    """

    images: int
    temperature: float
    past_keys: int = 0

    @property
    def of_guessing(self) -> float:
        """The loss if all similarities are the same."""
        return loss_of_guessing(self.images, self.past_keys)

    @property
    def least(self) -> float:
        """The loss if views are alike and images are orthogonal."""
        others = math.exp(self.of_guessing / 2) - 1
        return 2 * math.log1p(others * math.exp(-1 / self.temperature))

    def fallen(self, loss: float) -> float:
        """How far a loss is from that of guessing, where 1 is the way to ``least``."""
        return (self.of_guessing - loss) / (self.of_guessing - self.least)


class Advice:
    """Finds what goes wrong, each thing once.

    Args:
      pace: of the run.
      told: what it was told of before it was interrupted.

    Attributes:
      told: the step at which each thing was told, by its name.
    """

    def __init__(self, pace: Pace, told: Optional[Mapping[str, int]] = None):
        self._pace = pace
        self.told: Dict[str, int] = dict(told or {})

    def of(
        self, step: int, values: Dict[str, float], loss: Loss, losses: Sequence[Tuple[int, float]]
    ) -> Optional[str]:
        """Returns what to tell after a step, as the end of a sentence; None if there is nothing.

        Args:
          step: the step.
          values: the monitors by name.
          loss: what the contrastive loss is measured by.
          losses: the contrastive losses so far, with their steps, oldest first.
        """
        if step < self._pace.first or not losses:
            return None
        for name, said in self._found(step, values, loss, losses):
            # What is found first explains the others.
            if name in self.told:
                return None
            self.told[name] = step
            return said
        return None

    def _found(
        self, step: int, values: Dict[str, float], loss: Loss, losses: Sequence[Tuple[int, float]]
    ) -> Iterator[Tuple[str, str]]:
        newest = losses[-1][1]
        rank, uniformity = values["rank_z"], values["uniformity"]
        if rank < _COLLAPSED_RANK or uniformity > _COLLAPSED_UNIFORMITY:
            measured = f"rank {rank:.2f}, uniformity {uniformity:.3f}"
            yield "collapse", _COLLAPSE.format(step=step, measured=measured)
        if loss.fallen(newest) < _GUESSES:
            yield "guessing", _GUESSING.format(step=step, loss=newest, guessing=loss.of_guessing)
        before, recent = _quarters(losses, step)
        early, late = (share * self._pace.total_steps for share in _FLAT_WITHIN)
        if early <= step <= late and min(len(before), len(recent)) >= _FEWEST_ROWS:
            was, now = (sum(each) / len(each) for each in (before, recent))
            if was - now < _FLAT * (loss.of_guessing - was):
                yield "flat", _NO_LONGER_FALLS.format(step=step, was=was, now=now)


def _quarters(losses: Sequence[Tuple[int, float]], step: int) -> Tuple[List[float], List[float]]:
    """The losses of the third and of the last quarter of the steps so far."""
    before = [loss for at, loss in losses if step / 2 < at <= 0.75 * step]
    return before, [loss for at, loss in losses if 0.75 * step < at <= step]
