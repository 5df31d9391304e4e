"""Random views for training, and the one deterministic view for evaluation.

SimCLR, appendix A; SimCLRv2, appendix B. A training view is made in two stages. The first works on
one image: decode, crop and resize, to uint8 (geometry.py). The second, flip, colour distortion and
blur (distortion.py), works on a batch of these, on the host or on the device. All that is random is
drawn beforehand (draws.py), so that it does not matter where the second stage runs.
"""

from tf_simclrv2.data.views.blur import blur_by_products, blur_by_shifts
from tf_simclrv2.data.views.distortion import distort, distort_on_host, ready_for_network
from tf_simclrv2.data.views.draws import (
    BLUR_PROBABILITY,
    BLUR_SIGMA_RANGE,
    DRAWS,
    FLIP_PROBABILITY,
    GRAYSCALE_PROBABILITY,
    JITTER_PROBABILITY,
    Distortion,
    distortion_of,
    draw,
    draws_from,
)
from tf_simclrv2.data.views.geometry import (
    EVALUATION_CROP_PROPORTION,
    SMALLEST_PARTLY_DECODED,
    center_crop,
    crop_views,
    evaluation_view,
    random_window,
    resize,
)

__all__ = [
    "BLUR_PROBABILITY",
    "BLUR_SIGMA_RANGE",
    "DRAWS",
    "EVALUATION_CROP_PROPORTION",
    "FLIP_PROBABILITY",
    "GRAYSCALE_PROBABILITY",
    "JITTER_PROBABILITY",
    "SMALLEST_PARTLY_DECODED",
    "Distortion",
    "blur_by_products",
    "blur_by_shifts",
    "center_crop",
    "crop_views",
    "distort",
    "distort_on_host",
    "distortion_of",
    "draw",
    "draws_from",
    "evaluation_view",
    "random_window",
    "ready_for_network",
    "resize",
]
