"""The second stage of a view, on the host or on the device: all that keeps its pixels in place.

In this order: flips and quarter turns, colour jitter, grayscale, blur, solarization. These are
SimCLR's (appendix A), and solarization comes last, as in BYOL (Grill et al., 2020, appendix B).
"""

import functools
from typing import Callable, Dict, List, Optional, Tuple

from tf_simclrv2.config import AugmentationConfig
from tf_simclrv2.data.views.blur import blur_by_products, blur_by_shifts, blur_radius
from tf_simclrv2.data.views.colours import (
    for_each,
    grayscale,
    jitter_each,
    jitter_one,
    solarize,
)
from tf_simclrv2.data.views.draws import DRAWS, Distortion, distortion_of
from tf_simclrv2.keras2 import start_xla, tf


def distort_on_host(views: tf.Tensor, draws: tf.Tensor, config: AugmentationConfig) -> tf.Tensor:
    """The second stage, image by image, and for each only what was drawn.

    Compiled by XLA, it makes one pass over an image for each change, where TensorFlow's own
    operations make dozens (docs/data.md has the measurement).

    Args:
      views: uint8 [batch, size, size, 3].
      draws: float32 [batch, 22].
      config: which distortions, how strong and how probable.

    Returns:
      uint8 [batch, size, size, 3].
    """
    start_xla()
    radius = blur_radius(views.shape[1])

    def of_one(arguments):
        view, drawn = arguments
        distortion = distortion_of(drawn, config)
        planes = _to_planes(view)
        for turn, turned in _turns(config, distortion):
            unturned = planes
            planes = tf.cond(turn, functools.partial(turned, unturned), lambda p=unturned: p)
        if config.color_jitter_strength > 0:
            plain = planes
            jittered = lambda: jitter_one(plain, distortion, config.color_space)  # noqa: E731
            planes = tf.cond(distortion.jitter, jittered, lambda: plain)
        if config.grayscale > 0:
            colours = planes
            planes = tf.cond(distortion.grayscale, lambda: grayscale(colours), lambda: colours)
        if config.blur > 0 and radius:
            sharp = planes
            blurred = lambda: blur_by_shifts(sharp, radius, distortion.sigma)  # noqa: E731
            planes = tf.cond(distortion.blur, blurred, lambda: sharp)
        if config.solarize_probability > 0:
            before = planes
            planes = tf.cond(distortion.solarize, lambda: solarize(before), lambda: before)
        return _to_pixels(planes)

    @tf.function(autograph=False, jit_compile=True)
    def of_all(views, draws):
        return tf.map_fn(of_one, (views, draws), fn_output_signature=tf.uint8)

    return tf.ensure_shape(of_all(views, draws), views.shape)


def distort(views: tf.Tensor, draws: tf.Tensor, config: AugmentationConfig) -> tf.Tensor:
    """The second stage on a whole batch at once, for a GPU or TPU.

    Args:
      views: uint8 [batch, size, size, 3].
      draws: float32 [batch, 22].
      config: which distortions, how strong and how probable.

    Returns:
      float32 [batch, size, size, 3] in [0, 1].
    """
    distortion = distortion_of(draws, config)
    planes = _to_planes(views)
    for turn, turned in _turns(config, distortion):
        planes = tf.where(for_each(turn), turned(planes), planes)
    if config.color_jitter_strength > 0:
        jittered = jitter_each(planes, distortion, config.color_space)
        planes = tf.where(for_each(distortion.jitter), jittered, planes)
    if config.grayscale > 0:
        planes = tf.where(for_each(distortion.grayscale), grayscale(planes), planes)
    radius = blur_radius(views.shape[1])
    if config.blur > 0 and radius:
        # So narrow a Gaussian is the identity.
        sigma = tf.where(distortion.blur, distortion.sigma, 1e-3)
        planes = blur_by_products(planes, radius, sigma)
    if config.solarize_probability > 0:
        planes = tf.where(for_each(distortion.solarize), solarize(planes), planes)
    return _from_planes(planes)


def ready_for_network(
    batch: Dict[str, tf.Tensor], config: Optional[AugmentationConfig] = None
) -> Dict[str, tf.Tensor]:
    """Makes a batch's uint8 images float32 in [0, 1], and distorts those that still have draws.

    Args:
      batch: tensors by name, images among them as the pipeline makes them.
      config: needed where there are draws.

    Returns:
      The batch without draws; tensors that are not uint8 are unchanged.

    Raises:
      ValueError: there are draws, but no config.
    """
    ready = {}
    for name, value in batch.items():
        if name.endswith(DRAWS):
            continue
        if name + DRAWS in batch:
            if config is None:
                raise ValueError(f"The batch has draws for {name}, which need a config.")
            value = distort(value, batch[name + DRAWS], config)
        elif value.dtype == tf.uint8:
            value = tf.image.convert_image_dtype(value, tf.float32)
        ready[name] = value
    return ready


# Makes planes [..., 3, size, size] of others.
_Turn = Callable[[tf.Tensor], tf.Tensor]


def _turns(config: AugmentationConfig, distortion: Distortion) -> List[Tuple[tf.Tensor, _Turn]]:
    """The flips and turns that may be drawn, in their order: whether they are, and what they do."""
    turns: List[Tuple[tf.Tensor, _Turn]] = []
    if config.use_flip:
        turns.append((distortion.flip, lambda planes: tf.reverse(planes, [-1])))
    if config.use_vertical_flip:
        turns.append((distortion.vertical_flip, lambda planes: tf.reverse(planes, [-2])))
    if config.rotate_90:
        turns.append((distortion.quarter_turn, _quarter_turn))
        turns.append((distortion.half_turn, lambda planes: tf.reverse(planes, [-2, -1])))
    return turns


def _quarter_turn(planes):
    rank = planes.shape.rank
    return tf.reverse(tf.transpose(planes, [*range(rank - 2), rank - 1, rank - 2]), [-2])


def _to_planes(views):
    """uint8 [..., height, width, 3] to float32 [..., 3, height, width] in [0, 1].

    Channels of their own let every operation run over whole rows of neighbouring pixels.
    """
    rank = views.shape.rank
    order = [*range(rank - 3), rank - 1, rank - 3, rank - 2]
    return tf.transpose(tf.image.convert_image_dtype(views, tf.float32), order)


def _to_pixels(planes):
    """float32 [3, height, width] in [0, 1] to uint8 [height, width, 3].

    XLA moves pixels as words of four bytes in half the time of their bytes.
    """
    red, green, blue = tf.unstack(tf.cast(planes * 255.0 + 0.5, tf.int32))
    words = red + green * (1 << 8) + blue * (1 << 16)
    return tf.bitcast(words, tf.uint8)[..., :3]


def _from_planes(planes):
    rank = planes.shape.rank
    return tf.transpose(planes, [*range(rank - 3), rank - 2, rank - 1, rank - 3])
