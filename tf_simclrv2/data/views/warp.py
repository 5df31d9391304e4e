"""Views whose window is turned, scaled, sheared and shifted: crop, warp and resize at once.

The window of a crop, or the whole image, is moved by the warp that was drawn, and each pixel of the
view is interpolated once, where it then lies in the image. So a turned window shows what stands
around the crop, and is filled up only beyond the border of the image.
"""

from typing import List, NamedTuple, Tuple

from tf_simclrv2.config import AugmentationConfig
from tf_simclrv2.data.decoding import ANY, Decoder
from tf_simclrv2.data.views.draws import warp_of
from tf_simclrv2.data.views.geometry import random_window
from tf_simclrv2.data.views.image_parts import of_parts
from tf_simclrv2.keras2 import tf

_FILL_MODES = {"edge": "NEAREST", "constant": "CONSTANT", "reflect": "REFLECT"}


def warp_views(
    image: tf.Tensor,
    image_size: int,
    seeds: tf.Tensor,
    draws: tf.Tensor,
    config: AugmentationConfig,
    decoder: Decoder = ANY,
) -> tf.Tensor:
    """The first stage of an image's views: decode, and crop, warp and resize at once.

    Interpolation is bilinear. Where neighbouring pixels of a view lie two or more pixels apart in
    the image, blocks of as many whole pixels are averaged first, or the view would be aliased. Of
    an encoded JPEG, large views decode only the rectangle around all that they need.

    Args:
      image: string scalar, the content of an image file, or uint8 [height, width, 3].
      image_size: height and width of the views in pixels.
      seeds: int64 [views, 2]; the same seed makes the same crop.
      draws: float32 [views, 22]; the same draws make the same warp.
      config: whether to crop, and the bounds of crops and warps.
      decoder: what decodes the file; an orientation that it honours is that of the views.

    Returns:
      uint8 [views, image_size, image_size, 3].
    """

    def placements(shape):
        windows = _windows(shape, seeds, config)
        return _placements(shape, windows, draws, image_size, config)

    def of_jpeg(parts):
        placed = placements(parts.jpeg_shape())
        begin, end = tf.reduce_min(placed.begins, axis=0), tf.reduce_max(placed.ends, axis=0)
        part = parts.jpeg_part(tf.concat([begin, end - begin], 0))
        return _sampled(part, begin, placed, image_size, config.fill_mode)

    def of_others(parts):
        whole = parts.whole()
        placed = placements(tf.shape(whole))
        return _sampled(whole, tf.zeros([2], tf.int32), placed, image_size, config.fill_mode)

    def views(parts):
        return parts.views(image_size, lambda: of_jpeg(parts), lambda: of_others(parts))

    made = of_parts(image, decoder, views)
    return tf.ensure_shape(made, [seeds.shape[0], image_size, image_size, 3])


class _Placements(NamedTuple):
    """Where views lie in an image: (down, right) in its pixels, of which k reaches from k to k + 1.

    Attributes:
      steps: float32 [views, 2, 2], from a view's pixel to the next one below, and to the right.
      firsts: float32 [views, 2], the middle of each view's first pixel.
      begins, ends: int32 [views, 2], the rectangle of the image that each view needs.
    """

    steps: tf.Tensor
    firsts: tf.Tensor
    begins: tf.Tensor
    ends: tf.Tensor


def _windows(shape, seeds, config) -> Tuple[tf.Tensor, tf.Tensor]:
    """Where the views' windows begin, and their sizes: float32 [views, 2] each."""
    if config.use_crop:
        drawn = [
            random_window(shape, seed, config.crop_area_min, config.crop_aspect_max)
            for seed in tf.unstack(seeds)
        ]
        begins, sizes = (tf.stack(part)[:, :2] for part in zip(*drawn))
    else:
        sizes = tf.repeat(shape[tf.newaxis, :2], seeds.shape[0], axis=0)
        begins = tf.zeros_like(sizes)
    return tf.cast(begins, tf.float32), tf.cast(sizes, tf.float32)


def _placements(shape, windows, draws, image_size, config) -> _Placements:
    """Moves the views' windows in the image as was drawn for them."""
    (begins, sizes), warp = windows, warp_of(draws, config)
    cosine, sine = tf.cos(warp.angle), tf.sin(warp.angle)
    # Columns of a matrix, for a view's two axes: sheared along the rows, then turned.
    down = tf.stack([cosine + sine * warp.shear, cosine * warp.shear - sine], axis=-1)
    right = tf.stack([sine, cosine], axis=-1)
    spans = tf.stack([down, right], axis=-1) * (sizes / warp.scale[:, tf.newaxis])[:, tf.newaxis]
    # What a view shows moves against the window.
    shift = tf.linalg.matvec(spans, warp.shift[:, ::-1])
    middles, steps = begins + sizes / 2 - shift, spans / image_size
    firsts = middles - tf.reduce_sum(steps, axis=-1) * (image_size - 1) / 2

    # Interpolation and averages reach this far beyond the middles of a view's outermost pixels.
    margins = _blocks(steps) + 1
    reach = tf.reduce_sum(tf.abs(spans), axis=-1) / 2 + margins
    lowest, highest, limits = middles - reach, middles + reach, tf.cast(shape[:2], tf.float32)
    if config.fill_mode == "reflect":
        # What stands behind a border is seen in front of it as well.
        mirrored = tf.minimum(lowest, 2 * limits - highest), tf.maximum(highest, -lowest)
        lowest, highest = mirrored
    lowest = tf.clip_by_value(tf.floor(lowest), 0.0, limits - 1)
    highest = tf.clip_by_value(tf.math.ceil(highest), lowest + 1, limits)
    return _Placements(steps, firsts, tf.cast(lowest, tf.int32), tf.cast(highest, tf.int32))


def _blocks(steps):
    """Height and width of the blocks to average: whole pixels that a view's pixel reaches over."""
    # A thousandth more, or rounding would decide for turned views of exactly whole steps.
    return tf.maximum(tf.floor(tf.norm(steps, axis=-1) + 1e-3), 1.0)


def _sampled(part, origin, placed: _Placements, image_size: int, fill_mode: str) -> tf.Tensor:
    """Interpolates views of a part of the image that begins at ``origin`` and holds all they need.

    Returns:
      uint8 [views, image_size, image_size, 3].
    """
    needed = placed.ends - placed.begins
    sizes = tf.cast(needed, tf.float32)
    reduced = tf.maximum(tf.round(sizes / _blocks(placed.steps)), 1.0)
    # From pixels of the image to those of the rectangle when it was reduced.
    factors = reduced / sizes
    steps = placed.steps * factors[..., tf.newaxis]
    # The operation counts from the middle of the first pixel.
    firsts = (placed.firsts - tf.cast(placed.begins, tf.float32)) * factors - 0.5
    # Its rows are (right, down) in the order right, down, first pixel.
    rows = tf.concat([steps[..., ::-1], firsts[..., tf.newaxis]], axis=-1)[:, ::-1]
    transforms = tf.pad(tf.reshape(rows, [-1, 6]), [[0, 0], [0, 2]])
    views: List[tf.Tensor] = []
    for index in range(placed.steps.shape[0]):
        begin = tf.pad(placed.begins[index] - origin, [[0, 1]])
        rectangle = tf.slice(part, begin, tf.pad(needed[index], [[0, 1]], constant_values=3))
        size = tf.cast(reduced[index], tf.int32)
        pixels = tf.cond(
            tf.reduce_all(size == needed[index]),
            lambda r=rectangle: tf.cast(r, tf.float32),
            lambda r=rectangle, s=size: tf.image.resize(r, s, tf.image.ResizeMethod.AREA),
        )
        views.append(
            # XLA lacks this operation, but this stage can't be compiled anyway: images differ in
            # size.
            tf.raw_ops.ImageProjectiveTransformV3(
                images=tf.ensure_shape(pixels, [None, None, 3])[tf.newaxis],
                transforms=transforms[index : index + 1],
                output_shape=[image_size, image_size],
                fill_value=0.0,
                interpolation="BILINEAR",
                fill_mode=_FILL_MODES[fill_mode],
            )
        )
    return tf.cast(tf.concat(views, axis=0) + 0.5, tf.uint8)
