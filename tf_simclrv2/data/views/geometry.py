"""Which part of an image a view shows: random crops, the centre crop, and resizing."""

from typing import Optional, Tuple

from tf_simclrv2.config import LARGEST_CIFAR_STEM_IMAGE, AugmentationConfig
from tf_simclrv2.data.decoding import ANY, Decoder
from tf_simclrv2.data.pixels import MOST_IN_FLOATS, averaged
from tf_simclrv2.data.views.image_parts import of_parts
from tf_simclrv2.keras2 import tf

EVALUATION_CROP_PROPORTION = 0.875
_MAX_CROP_ATTEMPTS = 100
_MIN_CROP_COVERED = 0.1


def crop_views(
    image: tf.Tensor,
    image_size: int,
    seeds: tf.Tensor,
    config: AugmentationConfig,
    decoder: Decoder = ANY,
) -> tf.Tensor:
    """The first stage of an image's views: decode, random crop and resize.

    For large views only the rectangle around all crops of an encoded JPEG is decoded.

    Args:
      image: string scalar, the content of an image file, or uint8 [height, width, 3].
      image_size: height and width of the views in pixels.
      seeds: int64 [views, 2]; the same seed makes the same crop.
      config: whether to crop, and the bounds of crops.
      decoder: what decodes the file; an orientation that it honours is that of the crops.

    Returns:
      uint8 [views, image_size, image_size, 3].
    """
    count = seeds.shape[0]

    def resized(crops):
        views = [resize(crop, image_size) for crop in crops]
        return tf.cast(tf.clip_by_value(tf.stack(views), 0.0, 255.0) + 0.5, tf.uint8)

    def windows(shape):
        return [
            random_window(shape, seed, config.crop_area_min, config.crop_aspect_max)
            for seed in tf.unstack(seeds)
        ]

    def of_jpeg(parts):
        drawn = windows(parts.jpeg_shape())
        first = tf.reduce_min([begin for begin, _ in drawn], axis=0)
        last = tf.reduce_max([begin + size for begin, size in drawn], axis=0)
        part = parts.jpeg_part(tf.concat([first[:2], (last - first)[:2]], 0))
        return resized([tf.slice(part, begin - first, size) for begin, size in drawn])

    def of_others(parts):
        whole = parts.whole()
        return resized([tf.slice(whole, *window) for window in windows(tf.shape(whole))])

    def views(parts):
        if not config.use_crop:
            return tf.repeat(resized([parts.whole()]), count, axis=0)
        return parts.views(image_size, lambda: of_jpeg(parts), lambda: of_others(parts))

    made = of_parts(image, decoder, views)
    return tf.ensure_shape(made, [count, image_size, image_size, 3])


def random_window(
    shape: tf.Tensor, seed: tf.Tensor, area_min: float = 0.08, aspect_max: float = 4 / 3
) -> Tuple[tf.Tensor, tf.Tensor]:
    """Draws a rectangle of random area and aspect ratio in an image.

    Args:
      shape: int32 [3], height, width and channels of the image.
      seed: int [2].
      area_min: smallest area, of the image's.
      aspect_max: largest aspect ratio; its inverse is the smallest.

    Returns:
      Where it begins, and its size: int32 [3] each, height, width and channels.
    """
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        shape,
        bounding_boxes=tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        seed=seed,
        # The paper's code also asks for a tenth of the image, which is what binds below it.
        min_object_covered=_MIN_CROP_COVERED,
        aspect_ratio_range=(1 / aspect_max, aspect_max),
        area_range=(area_min, 1.0),
        max_attempts=_MAX_CROP_ATTEMPTS,
    )
    return begin, size


def resize(image: tf.Tensor, image_size: int) -> tf.Tensor:
    """Resizes ``image`` [height, width, 3] to a square by bicubic interpolation, to float32."""
    return tf.image.resize(image, [image_size, image_size], tf.image.ResizeMethod.BICUBIC)


def evaluation_view(
    image: tf.Tensor, image_size: int, may_be_large: bool = True, max_side: Optional[int] = None
) -> tf.Tensor:
    """The view for evaluation: the centre of large images, small images as they are, resized.

    Args:
      image: uint8 [height, width, 3].
      image_size: height and width of the view in pixels.
      may_be_large: whether to look if there are so many pixels that no copy in floating point fits.
      max_side: pixels that the shorter side may have; an image with more is averaged first, as
        those that the network learnt from were.

    Returns:
      float32 [image_size, image_size, 3] in [0, 1].
    """
    image = tf.convert_to_tensor(image)
    if max_side is not None:
        image = averaged(image, max_side)
    if image_size > LARGEST_CIFAR_STEM_IMAGE:
        image = center_crop(image, EVALUATION_CROP_PROPORTION)

    def resized():
        return resize(tf.image.convert_image_dtype(image, tf.float32), image_size)

    def resized_first():
        # The last bits differ.
        return resize(image, image_size) / image.dtype.max

    few = tf.reduce_prod(tf.shape(image, tf.int64)[:2]) <= MOST_IN_FLOATS
    view = tf.cond(few, resized, resized_first) if may_be_large else resized()
    view = tf.clip_by_value(view, 0.0, 1.0)
    return tf.ensure_shape(view, [image_size, image_size, 3])


def center_crop(image: tf.Tensor, proportion: float) -> tf.Tensor:
    """Cuts the centre square of ``proportion`` of the shorter side out of an image.

    Args:
      image: [height, width, channels].
      proportion: side of the square, of the shorter side.

    Returns:
      [side, side, channels], ``side`` rounded to even at halves.
    """
    height, width = tf.unstack(tf.shape(image)[:2])
    side = tf.math.rint(proportion * tf.cast(tf.minimum(height, width), tf.float32))
    side = tf.cast(side, tf.int32)
    top, left = (height - side + 1) // 2, (width - side + 1) // 2
    return tf.image.crop_to_bounding_box(image, top, left, side, side)
