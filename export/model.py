"""What every format is given."""

import dataclasses
from typing import List, Optional

from tf_simclrv2.config import OptimizationConfig
from tf_simclrv2.config.data import MAX_IMAGE_PIXELS
from tf_simclrv2.networks.network import Network
from tf_simclrv2.runtime.calibration_file import Calibration


@dataclasses.dataclass(frozen=True)
class Model:
    """A trained network, and what those who load it should get with it.

    Attributes:
      network: with its variables. A format may make more of it trainable.
      image_size: side in pixels of the images that it was trained on.
      class_names: names of the classes; None without a classifier.
      optimization: how it was trained; modules that can be trained carry its weight decay.
      max_image_pixels: pixels that an image file may have.
      max_side: pixels to which the shorter side of larger image files is reduced first; None
        leaves them.
      calibration: by which probabilities are scaled; None leaves them the softmax of the logits.
    """

    network: Network
    image_size: int
    class_names: Optional[List[str]]
    optimization: OptimizationConfig
    max_image_pixels: int = MAX_IMAGE_PIXELS
    max_side: Optional[int] = None
    calibration: Optional[Calibration] = None

    @property
    def temperature(self) -> float:
        """What logits are divided by for the probabilities; they themselves stay as they are."""
        return 1.0 if self.calibration is None else self.calibration.temperature
