"""``calibration.json``: by which temperature a run's probabilities are calibrated, and their risk.

An export carries the part that is about its weights.
"""

import json
import logging
import os
from typing import TYPE_CHECKING, Any, Dict, Mapping, NamedTuple, Optional

import numpy as np
from scipy.special import softmax

from tf_simclrv2.evaluation.calibration import Curve, Point, risk_coverage
from tf_simclrv2.runtime.disk import writing
from tf_simclrv2.runtime.files import write_whole

if TYPE_CHECKING:
    # It loads scikit-learn, which predict does without.
    from tf_simclrv2.evaluation.measures import Answers

logger = logging.getLogger(__name__)

CALIBRATION = "calibration.json"


class Calibration(NamedTuple):
    """The calibration of a run's classifier.

    Attributes:
      temperature: that logits are divided by before their softmax.
      measured_on: which images, in words.
      is_own: whether they are those of the run's own evaluation.
      error: expected calibration error of the probabilities as they are.
      error_scaled: that of scaled ones, each by the temperature of other images.
      curve: risk by coverage of scaled probabilities.
    """

    temperature: float
    measured_on: str
    is_own: bool
    error: float
    error_scaled: float
    curve: Curve

    @classmethod
    def measured(
        cls, answers: "Answers", numbers: Mapping[str, Any], on: str, is_own: bool
    ) -> "Calibration":
        """The calibration by answers to at least ``calibration.FEWEST`` images.

        Args:
          answers: to images that were not trained on.
          numbers: what :func:`tf_simclrv2.evaluation.measures.measures` found of them.
          on, is_own: see above.
        """
        scaled = softmax(answers.logits.astype(np.float64) / numbers["temperature"], axis=1)
        return cls(
            numbers["temperature"],
            on,
            is_own,
            numbers["calibration_error"],
            numbers["calibration_error_scaled"],
            risk_coverage(scaled.max(axis=1), answers.right),
        )

    def as_json(self) -> Dict[str, Any]:
        """The content of a file."""
        curve = {"images": self.curve.images, **self.curve.columns()}
        return {**self._asdict(), "curve": curve}

    @classmethod
    def of_json(cls, content: Any) -> "Calibration":
        """The inverse of :meth:`as_json`.

        Raises:
          ValueError, LookupError, TypeError: it is no such content.
        """
        curve = content["curve"]
        columns = [list(map(float, curve[name])) for name in Point._fields]
        points = [Point(*row) for row in zip(*columns)]
        temperature = float(content["temperature"])
        if not points or len({*map(len, columns)}) > 1 or not 0 < temperature < float("inf"):
            raise ValueError("it has no curve, or no temperature")
        return cls(
            temperature,
            str(content["measured_on"]),
            bool(content["is_own"]),
            float(content["error"]),
            float(content["error_scaled"]),
            Curve(points, int(curve["images"])),
        )


def read(run: str, step: int) -> Optional[Calibration]:
    """The calibration of the weights of a step; None if there is none that can be read.

    Args:
      run: the run's directory.
      step: of training.
    """
    found = _steps(run).get(str(step))
    try:
        return None if found is None else Calibration.of_json(found)
    except (ValueError, LookupError, TypeError, AttributeError):
        _warn(run)
        return None


def write(run: str, step: int, calibration: Calibration) -> None:
    """Keeps the calibration of the weights of a step.

    Args:
      run: the run's directory.
      step: of training.
      calibration: one on other images than the run's own doesn't replace one on these.

    Raises:
      ConfigError: it can't be written.
    """
    before = read(run, step)
    if before is not None and before.is_own and not calibration.is_own:
        return
    content = {"version": 1, "steps": {**_steps(run), str(step): calibration.as_json()}}
    with writing("model_dir", run):
        write_whole(os.path.join(run, CALIBRATION), json.dumps(content, allow_nan=False) + "\n")


def _steps(run: str) -> Dict[str, Any]:
    try:
        with open(os.path.join(run, CALIBRATION), encoding="utf-8") as file:
            steps = json.load(file)["steps"]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        _warn(run)
        return {}
    return steps if isinstance(steps, dict) else {}


def _warn(run: str) -> None:
    logger.warning("%s can't be read; evaluate writes it anew", os.path.join(run, CALIBRATION))
