"""Random views for training, and the one deterministic view for evaluation.

SimCLR, appendix A; SimCLRv2, appendix B. Every random draw is a function of the seed passed in.
"""

from typing import Tuple

from tf_simclrv2.config import LARGEST_CIFAR_STEM_IMAGE, AugmentationConfig
from tf_simclrv2.keras2 import tf

JITTER_PROBABILITY = 0.8
GRAYSCALE_PROBABILITY = 0.2
BLUR_PROBABILITY = 0.5
BLUR_SIGMA_RANGE = (0.1, 2.0)
EVALUATION_CROP_PROPORTION = 0.875
_MAX_CROP_ATTEMPTS = 100
_MIN_CROP_COVERED = 0.1

# What each number of a seed's split is for.
_SEED_USES = ("crop", "flip", "jitter", "factors", "order", "grayscale", "blur", "sigma")


def random_view(
    image: tf.Tensor, image_size: int, seed: tf.Tensor, config: AugmentationConfig
) -> tf.Tensor:
    """Draws one view: random crop, flip, colour distortion and Gaussian blur.

    Args:
      image: uint8 [height, width, 3].
      image_size: height and width of the view in pixels.
      seed: int [2]; the same seed draws the same view.
      config: which distortions, and how strong.

    Returns:
      float32 [image_size, image_size, 3] in [0, 1].
    """
    seeds = dict(
        zip(_SEED_USES, tf.unstack(tf.random.experimental.stateless_split(seed, len(_SEED_USES))))
    )
    view = tf.image.convert_image_dtype(image, tf.float32)
    if config.use_crop:
        view = random_crop(view, seeds["crop"], config.crop_area_min, config.crop_aspect_max)
    view = resize(view, image_size)
    if config.use_flip:
        view = tf.image.stateless_random_flip_left_right(view, seeds["flip"])
    if config.color_jitter_strength > 0:
        view = color_distortion(view, seeds, config.color_jitter_strength)
    view = tf.clip_by_value(view, 0.0, 1.0)
    if config.use_blur:
        view = random_blur(view, seeds)
    return tf.ensure_shape(view, [image_size, image_size, 3])


def evaluation_view(image: tf.Tensor, image_size: int) -> tf.Tensor:
    """The view for evaluation: the centre of large images, small images as they are, resized.

    Args:
      image: uint8 [height, width, 3].
      image_size: height and width of the view in pixels.

    Returns:
      float32 [image_size, image_size, 3] in [0, 1].
    """
    view = tf.image.convert_image_dtype(image, tf.float32)
    if image_size > LARGEST_CIFAR_STEM_IMAGE:
        view = center_crop(view, EVALUATION_CROP_PROPORTION)
    view = tf.clip_by_value(resize(view, image_size), 0.0, 1.0)
    return tf.ensure_shape(view, [image_size, image_size, 3])


def resize(image: tf.Tensor, image_size: int) -> tf.Tensor:
    """Resizes ``image`` [height, width, 3] to a square by bicubic interpolation."""
    return tf.image.resize(image, [image_size, image_size], tf.image.ResizeMethod.BICUBIC)


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


def random_crop(
    image: tf.Tensor, seed: tf.Tensor, area_min: float = 0.08, aspect_max: float = 4 / 3
) -> tf.Tensor:
    """Cuts a rectangle of random area and aspect ratio out of an image.

    Args:
      image: [height, width, channels].
      seed: int [2].
      area_min: smallest area, of the image's.
      aspect_max: largest aspect ratio; its inverse is the smallest.

    Returns:
      [crop height, crop width, channels].
    """
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        bounding_boxes=tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        seed=seed,
        # The paper's code also asks for a tenth of the image, which is what binds below it.
        min_object_covered=_MIN_CROP_COVERED,
        aspect_ratio_range=(1 / aspect_max, aspect_max),
        area_range=(area_min, 1.0),
        max_attempts=_MAX_CROP_ATTEMPTS,
    )
    return tf.slice(image, begin, size)


def color_distortion(view: tf.Tensor, seeds: dict, strength: float) -> tf.Tensor:
    """Jitters brightness, contrast, saturation and hue in random order; then, rarely, drops colour.

    Args:
      view: float [height, width, 3] in [0, 1].
      seeds: int [2] each, for ``jitter``, ``factors``, ``order`` and ``grayscale``.
      strength: 1 for ImageNet, 0.5 for CIFAR-10.

    Returns:
      float [height, width, 3] in [0, 1].
    """
    jitter = tf.random.stateless_uniform([], seeds["jitter"]) < JITTER_PROBABILITY
    view = tf.cond(jitter, lambda: color_jitter(view, seeds, strength), lambda: view)
    grayscale = tf.random.stateless_uniform([], seeds["grayscale"]) < GRAYSCALE_PROBABILITY
    return tf.cond(
        grayscale,
        lambda: tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(view)),
        lambda: view,
    )


def jitter_factors(seeds: dict, strength: float) -> Tuple[tf.Tensor, tf.Tensor]:
    """Draws the factors of brightness, contrast, saturation and hue, and the order to apply them.

    Args:
      seeds: int [2] each, for ``factors`` and ``order``.
      strength: strength of the colour distortion.

    Returns:
      float [4], three multipliers around 1 and hue's shift in turns around 0; and int [4], a
      permutation of 0 to 3.
    """
    low, high = max(1 - 0.8 * strength, 0.0), 1 + 0.8 * strength
    factors = tf.random.stateless_uniform(
        [4],
        seeds["factors"],
        minval=tf.constant([low, low, low, -0.2 * strength]),
        maxval=tf.constant([high, high, high, 0.2 * strength]),
    )
    order = tf.argsort(tf.random.stateless_uniform([4], seeds["order"]))
    return factors, order


def color_jitter(view: tf.Tensor, seeds: dict, strength: float) -> tf.Tensor:
    """Changes brightness, contrast, saturation and hue by random factors in random order.

    Args:
      view: float [height, width, 3] in [0, 1].
      seeds: int [2] each, for ``factors`` and ``order``.
      strength: strength of the colour distortion.

    Returns:
      float [height, width, 3], clipped to [0, 1] after each change.
    """
    factors, order = jitter_factors(seeds, strength)
    changes = [
        lambda view: view * factors[0],
        lambda view: tf.image.adjust_contrast(view, factors[1]),
        lambda view: tf.image.adjust_saturation(view, factors[2]),
        lambda view: tf.image.adjust_hue(view, factors[3]),
    ]
    for position in range(len(changes)):
        branches = [lambda change=change, view=view: change(view) for change in changes]
        view = tf.clip_by_value(tf.switch_case(order[position], branches), 0.0, 1.0)
    return view


def random_blur(view: tf.Tensor, seeds: dict) -> tf.Tensor:
    """Blurs half of the views with a Gaussian of random width.

    Args:
      view: float [side, side, 3] in [0, 1].
      seeds: int [2] each, for ``blur`` and ``sigma``.

    Returns:
      float [side, side, 3] in [0, 1].
    """
    sigma = tf.random.stateless_uniform([], seeds["sigma"], *BLUR_SIGMA_RANGE)
    # The weights' sum is 1 up to rounding, which may leave the range.
    return tf.cond(
        tf.random.stateless_uniform([], seeds["blur"]) < BLUR_PROBABILITY,
        lambda: tf.clip_by_value(gaussian_blur(view, view.shape[0] // 10, sigma), 0.0, 1.0),
        lambda: view,
    )


def gaussian_blur(image: tf.Tensor, kernel_size: int, sigma: tf.Tensor) -> tf.Tensor:
    """Blurs an image with a truncated Gaussian, with zeros beyond the border.

    The Gaussian is separable, and a convolution along one axis is a product with a banded matrix,
    so that the blur is two matrix products.

    Args:
      image: float [height, width, channels].
      kernel_size: width of the kernel in pixels; an even one grows by one.
      sigma: standard deviation in pixels, scalar.

    Returns:
      float [height, width, channels].
    """
    radius = kernel_size // 2
    weights = tf.exp(
        -tf.square(tf.range(-radius, radius + 1, dtype=tf.float32)) / (2 * tf.square(sigma))
    )
    weights /= tf.reduce_sum(weights)

    def band(size):
        distance = tf.range(size)[:, tf.newaxis] - tf.range(size)[tf.newaxis, :]
        inside = tf.gather(weights, tf.clip_by_value(distance + radius, 0, 2 * radius))
        return tf.where(tf.abs(distance) <= radius, inside, 0.0)

    height, width = tf.unstack(tf.shape(image)[:2])
    return tf.einsum("ij,jkc,lk->ilc", band(height), image, band(width))
