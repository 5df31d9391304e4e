"""Random views for training, and the one deterministic view for evaluation.

SimCLR, appendix A; SimCLRv2, appendix B. A training view is made in two stages. The first works on
one image: decode, crop and resize, to uint8 (geometry.py), or decode and warp, crop and resize at
once (warp.py). The second, flips, colour distortion and blur (distortion.py), works on a batch of
these, on the host or on the device. All that is random is drawn beforehand (draws.py), so that it
does not matter where the second stage runs.
"""

from tf_simclrv2.data.views.blur import blur_by_products, blur_by_shifts
from tf_simclrv2.data.views.distortion import distort, distort_on_host, ready_for_network
from tf_simclrv2.data.views.draws import (
    BLUR_SIGMA_RANGE,
    DRAWS,
    FLIP_PROBABILITY,
    JITTER_PROBABILITY,
    Distortion,
    Warp,
    distortion_of,
    draw,
    draws_at,
    draws_from,
    warp_of,
)
from tf_simclrv2.data.views.geometry import (
    EVALUATION_CROP_PROPORTION,
    center_crop,
    crop_views,
    evaluation_view,
    random_window,
    resize,
)
from tf_simclrv2.data.views.image_parts import SMALLEST_PARTLY_DECODED
from tf_simclrv2.data.views.warp import warp_views

__all__ = [
    "BLUR_SIGMA_RANGE",
    "DRAWS",
    "EVALUATION_CROP_PROPORTION",
    "FLIP_PROBABILITY",
    "JITTER_PROBABILITY",
    "SMALLEST_PARTLY_DECODED",
    "Distortion",
    "Warp",
    "blur_by_products",
    "blur_by_shifts",
    "center_crop",
    "crop_views",
    "distort",
    "distort_on_host",
    "distortion_of",
    "draw",
    "draws_at",
    "draws_from",
    "evaluation_view",
    "random_window",
    "ready_for_network",
    "resize",
    "warp_of",
    "warp_views",
]
