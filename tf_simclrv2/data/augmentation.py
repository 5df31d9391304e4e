"""Random views for training, and the one deterministic view for evaluation.

SimCLR, appendix A; SimCLRv2, appendix B. A training view is made in two stages. The first works on
one encoded image: decode, crop and resize, to uint8. The second, flip, colour distortion and blur,
works on a batch of these, on the host or on the device. What is random is drawn beforehand, so that
it does not matter where the second one runs.
"""

import math
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from tf_simclrv2.config import LARGEST_CIFAR_STEM_IMAGE, AugmentationConfig
from tf_simclrv2.data.sources import decode
from tf_simclrv2.keras2 import start_xla, tf

# Below this many pixels telling JPEGs from other files costs more than their whole decoding.
SMALLEST_PARTLY_DECODED = 64
FLIP_PROBABILITY = 0.5
JITTER_PROBABILITY = 0.8
GRAYSCALE_PROBABILITY = 0.2
BLUR_PROBABILITY = 0.5
BLUR_SIGMA_RANGE = (0.1, 2.0)
EVALUATION_CROP_PROPORTION = 0.875
_MAX_CROP_ATTEMPTS = 100
_MIN_CROP_COVERED = 0.1
_LUMINANCE = (0.2989, 0.587, 0.114)
_RGB_TO_YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))

_CHANGES = ("brightness", "contrast", "saturation", "hue")
# What each of a view's draws is for.
_USES = ("flip", "jitter", *_CHANGES, *(f"place of {change}" for change in _CHANGES),
         "grayscale", "blur", "sigma")  # fmt: skip
# Behind the name of a batch's images: the draws that their distortion is still to be made from.
DRAWS = "_draws"


def draw(seed: tf.Tensor, count: int) -> Tuple[tf.Tensor, tf.Tensor]:
    """Draws all that is random in some views.

    Args:
      seed: int64 [2]; the same seed draws the same.
      count: how many views.

    Returns:
      int64 [count, 2], seeds of the views' crops; and float32 [count, 13], uniform in [0, 1), of
      all else, see :func:`distortion_of`.
    """
    of_crops = tf.bitwise.bitwise_xor(seed, tf.constant([1 << 60, 0], tf.int64))
    return (
        tf.random.stateless_uniform([count, 2], of_crops, None, None, tf.int64),
        tf.random.stateless_uniform([count, len(_USES)], seed),
    )


def crop_views(
    encoded: tf.Tensor, image_size: int, seeds: tf.Tensor, config: AugmentationConfig
) -> tf.Tensor:
    """The first stage of an image's views: decode, random crop and resize.

    For large views only the rectangle around all crops of a JPEG is decoded.

    Args:
      encoded: string scalar, the content of an image file.
      image_size: height and width of the views in pixels.
      seeds: int64 [views, 2]; the same seed makes the same crop.
      config: whether to crop, and the bounds of crops.

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

    def of_jpeg():
        drawn = windows(tf.io.extract_jpeg_shape(encoded))
        first = tf.reduce_min([begin for begin, _ in drawn], axis=0)
        last = tf.reduce_max([begin + size for begin, size in drawn], axis=0)
        around = tf.concat([first[:2], (last - first)[:2]], 0)
        image = tf.io.decode_and_crop_jpeg(encoded, around, channels=3)
        return resized([tf.slice(image, begin - first, size) for begin, size in drawn])

    def of_others():
        image = decode(encoded)
        return resized([tf.slice(image, *window) for window in windows(tf.shape(image))])

    if not config.use_crop:
        views = tf.repeat(resized([decode(encoded)]), count, axis=0)
    elif image_size < SMALLEST_PARTLY_DECODED:
        views = of_others()
    else:
        views = tf.cond(tf.io.is_jpeg(encoded), of_jpeg, of_others)
    return tf.ensure_shape(views, [count, image_size, image_size, 3])


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


class Distortion(NamedTuple):
    """What draws mean for flip, colour distortion and blur.

    Attributes:
      flip: bool [...], whether to mirror left and right.
      jitter: bool [...], whether to change colours.
      factors: float32 [..., 4], multipliers around 1 of brightness, contrast and saturation, and
        hue's shift in turns around 0.
      order: int32 [..., 4], which of these four changes comes first, second and so on.
      grayscale: bool [...], whether to drop colours.
      blur: bool [...], whether to blur.
      sigma: float32 [...], standard deviation of the blur in pixels.
    """

    flip: tf.Tensor
    jitter: tf.Tensor
    factors: tf.Tensor
    order: tf.Tensor
    grayscale: tf.Tensor
    blur: tf.Tensor
    sigma: tf.Tensor


def distortion_of(draws: tf.Tensor, strength: float) -> Distortion:
    """Turns draws, float32 [..., 13], into a distortion of ``strength``: 1 is ImageNet's."""
    drawn = dict(zip(_USES, tf.unstack(draws, axis=-1)))
    low, high = max(1 - 0.8 * strength, 0.0), 1 + 0.8 * strength
    factors = [low + (high - low) * drawn[change] for change in _CHANGES[:3]]
    factors.append(0.2 * strength * (2 * drawn["hue"] - 1))
    places = tf.stack([drawn[f"place of {change}"] for change in _CHANGES], axis=-1)
    sigma_min, sigma_max = BLUR_SIGMA_RANGE
    return Distortion(
        flip=drawn["flip"] < FLIP_PROBABILITY,
        jitter=drawn["jitter"] < JITTER_PROBABILITY,
        factors=tf.stack(factors, axis=-1),
        order=tf.argsort(places, axis=-1),
        grayscale=drawn["grayscale"] < GRAYSCALE_PROBABILITY,
        blur=drawn["blur"] < BLUR_PROBABILITY,
        sigma=sigma_min + (sigma_max - sigma_min) * drawn["sigma"],
    )


def distort_on_host(views: tf.Tensor, draws: tf.Tensor, config: AugmentationConfig) -> tf.Tensor:
    """The second stage, image by image, and for each only what was drawn.

    Compiled by XLA, it makes one pass over an image for each change, where TensorFlow's own
    operations make dozens (docs/data.md has the measurement).

    Args:
      views: uint8 [batch, size, size, 3].
      draws: float32 [batch, 13].
      config: whether to flip and blur, and the strength of the colour distortion.

    Returns:
      uint8 [batch, size, size, 3].
    """
    start_xla()
    radius = _blur_radius(views.shape[1])

    def of_one(arguments):
        view, drawn = arguments
        distortion = distortion_of(drawn, config.color_jitter_strength)
        planes = _to_planes(view)
        if config.use_flip:
            unflipped = planes
            flipped = lambda: tf.reverse(unflipped, [-1])  # noqa: E731
            planes = tf.cond(distortion.flip, flipped, lambda: unflipped)
        if config.color_jitter_strength > 0:
            jittered = lambda: _jitter_in_order(planes, distortion, config.color_space)  # noqa: E731
            planes = tf.cond(distortion.jitter, jittered, lambda: planes)
            colours = planes
            planes = tf.cond(distortion.grayscale, lambda: _grayscale(colours), lambda: colours)
        if config.use_blur and radius:
            sharp = planes
            blurred = lambda: blur_by_shifts(sharp, radius, distortion.sigma)  # noqa: E731
            planes = tf.cond(distortion.blur, blurred, lambda: sharp)
        return _to_pixels(planes)

    @tf.function(jit_compile=True)
    def of_all(views, draws):
        return tf.map_fn(of_one, (views, draws), fn_output_signature=tf.uint8)

    return tf.ensure_shape(of_all(views, draws), views.shape)


def distort(views: tf.Tensor, draws: tf.Tensor, config: AugmentationConfig) -> tf.Tensor:
    """The second stage on a whole batch at once, for a GPU or TPU.

    Each image has its own order of changes: at each place all four are made, and one is chosen.

    Args:
      views: uint8 [batch, size, size, 3].
      draws: float32 [batch, 13].
      config: whether to flip and blur, and the strength of the colour distortion.

    Returns:
      float32 [batch, size, size, 3] in [0, 1].
    """

    def for_each(values):
        return values[:, tf.newaxis, tf.newaxis, tf.newaxis]

    distortion = distortion_of(draws, config.color_jitter_strength)
    planes = _to_planes(views)
    if config.use_flip:
        planes = tf.where(for_each(distortion.flip), tf.reverse(planes, [-1]), planes)
    if config.color_jitter_strength > 0:
        changes = _changes(config.color_space)
        jittered = planes
        for place in range(len(changes)):
            before = jittered
            for index, change in enumerate(changes):
                changed = change(before, for_each(distortion.factors[:, index]), distortion)
                chosen = for_each(distortion.order[:, place] == index)
                jittered = tf.where(chosen, tf.clip_by_value(changed, 0.0, 1.0), jittered)
        planes = tf.where(for_each(distortion.jitter), jittered, planes)
        planes = tf.where(for_each(distortion.grayscale), _grayscale(planes), planes)
    radius = _blur_radius(views.shape[1])
    if config.use_blur and radius:
        # So narrow a Gaussian is the identity.
        sigma = tf.where(distortion.blur, distortion.sigma, 1e-3)
        planes = blur_by_products(planes, radius, sigma)
    return _from_planes(planes)


def ready_for_network(
    batch: Dict[str, tf.Tensor], config: Optional[AugmentationConfig] = None
) -> Dict[str, tf.Tensor]:
    """Makes a batch's uint8 images float32 in [0, 1], and distorts those that still have draws.

    Args:
      batch: tensors by name, images among them as the pipeline makes them.
      config: needed where there are draws.

    Returns:
      The batch, without draws; what is float already is as it was.
    """
    ready = {}
    for name, value in batch.items():
        if name.endswith(DRAWS):
            continue
        if name + DRAWS in batch:
            value = distort(value, batch[name + DRAWS], config)
        elif value.dtype == tf.uint8:
            value = tf.image.convert_image_dtype(value, tf.float32)
        ready[name] = value
    return ready


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


def _jitter_in_order(planes, distortion, color_space):
    """The four changes of one image, planes [3, height, width], in the order that was drawn."""
    changes = _changes(color_space)
    for place in range(len(changes)):
        branches = [
            lambda change=change, index=index, planes=planes: change(
                planes, distortion.factors[index], distortion
            )
            for index, change in enumerate(changes)
        ]
        planes = tf.clip_by_value(tf.switch_case(distortion.order[place], branches), 0.0, 1.0)
    return planes


def _changes(color_space) -> List[Callable]:
    """Functions of planes, the change's factor and the distortion, in the order of the factors."""
    if color_space == "yiq":
        # Saturation is part of the linear transform that stands in hue's place.
        return [_brightness, _contrast, lambda planes, factor, distortion: planes, _hue_in_yiq]
    return [_brightness, _contrast, _saturation, _hue]


def _brightness(planes, factor, _):
    return planes * factor


def _contrast(planes, factor, _):
    mean = tf.reduce_mean(planes, axis=[-2, -1], keepdims=True)
    return (planes - mean) * factor + mean


def _value_and_chroma(planes):
    red, green, blue = tf.split(planes, 3, axis=-3)
    value = tf.maximum(tf.maximum(red, green), blue)
    return value, value - tf.minimum(tf.minimum(red, green), blue)


def _saturation(planes, factor, _):
    """Multiplies HSV's saturation, at most to 1: colours move away from their largest channel."""
    value, chroma = _value_and_chroma(planes)
    # Where the product would exceed 1, the smallest channel becomes 0.
    full = value / tf.maximum(chroma, 1e-12)
    return value - (value - planes) * tf.minimum(factor, full)


def _hue(planes, turns, _):
    """Turns HSV's hue; value and chroma stay."""
    value, chroma = _value_and_chroma(planes)
    red, green, blue = tf.split(planes, 3, axis=-3)
    scale = 1 / tf.maximum(chroma, 1e-12)
    # In sixths of a turn.
    hue = tf.where(
        value == red,
        (green - blue) * scale,
        tf.where(value == green, 2 + (blue - red) * scale, 4 + (red - green) * scale),
    )
    sixths = hue + 6 * turns + tf.constant([5.0, 3.0, 1.0])[:, tf.newaxis, tf.newaxis]
    sixths -= 6 * tf.floor(sixths / 6)
    return value - chroma * tf.clip_by_value(tf.minimum(sixths, 4 - sixths), 0.0, 1.0)


def _hue_in_yiq(planes, turns, distortion):
    """Turns and stretches the plane of I and Q of each image, one linear map of its colours."""
    shape = tf.shape(turns)
    saturation = tf.reshape(distortion.factors[..., 2], shape)
    cosine = saturation * tf.cos(2 * math.pi * turns)
    sine = saturation * tf.sin(2 * math.pi * turns)
    luma, in_phase, quadrature = (_weighted_sum(planes, row) for row in _RGB_TO_YIQ)
    turned = (luma, cosine * in_phase - sine * quadrature, sine * in_phase + cosine * quadrature)
    return tf.concat(
        [sum(w * part for w, part in zip(row, turned)) for row in np.linalg.inv(_RGB_TO_YIQ)], -3
    )


def _weighted_sum(planes, weights):
    parts = tf.split(planes, 3, axis=-3)
    return sum(weight * part for weight, part in zip(weights, parts))


def _grayscale(planes):
    return tf.repeat(_weighted_sum(planes, _LUMINANCE), 3, axis=-3)


def _blur_radius(image_size):
    # The paper's kernel is a tenth of the image wide, or a pixel more to be odd.
    return image_size // 10 // 2


def _gaussian(radius, sigma):
    """Weights of a truncated Gaussian, [..., 2 * radius + 1], of standard deviations [...]."""
    distances = tf.range(-radius, radius + 1, dtype=tf.float32)
    weights = tf.exp(-tf.square(distances) / (2 * tf.square(sigma[..., tf.newaxis])))
    return weights / tf.reduce_sum(weights, axis=-1, keepdims=True)


def blur_by_products(planes: tf.Tensor, radius: int, sigma: tf.Tensor) -> tf.Tensor:
    """Blurs images with a truncated Gaussian each, with zeros beyond the border.

    The Gaussian is separable, and a convolution along one axis is a product with a banded matrix,
    so that the blur is two matrix products, which suit GPUs and TPUs.

    Args:
      planes: float32 [batch, 3, height, width].
      radius: pixels on each side of the kernel's middle.
      sigma: float32 [batch], standard deviations in pixels.

    Returns:
      float32 [batch, 3, height, width].
    """
    weights = _gaussian(radius, sigma)

    def bands(size):
        distance = tf.range(size)[:, tf.newaxis] - tf.range(size)[tf.newaxis, :]
        inside = tf.gather(weights, tf.clip_by_value(distance + radius, 0, 2 * radius), axis=1)
        return tf.where(tf.abs(distance) <= radius, inside, 0.0)[:, tf.newaxis]

    rows = tf.matmul(bands(planes.shape[2]), planes)
    return tf.clip_by_value(tf.matmul(rows, bands(planes.shape[3]), transpose_b=True), 0.0, 1.0)


def blur_by_shifts(planes: tf.Tensor, radius: int, sigma: tf.Tensor) -> tf.Tensor:
    """The blur of :func:`blur_by_products` for one image, as sums of shifted images.

    A CPU for which XLA makes one loop of each sum needs half the time of the products.

    Args:
      planes: float32 [3, height, width].
      radius: pixels on each side of the kernel's middle.
      sigma: float32 scalar, standard deviation in pixels.

    Returns:
      float32 [3, height, width].
    """
    middle, *sides = tf.unstack(_gaussian(radius, sigma))[radius:]
    # Padded once, not for each axis, or XLA would check every pixel of every sum for the border.
    planes = tf.pad(planes, [[0, 0], [radius, radius], [radius, radius]])
    for axis in (1, 2):
        size = planes.shape[axis] - 2 * radius

        def shifted(by, planes=planes, axis=axis, size=size):
            first = radius + by
            return planes[(slice(None),) * axis + (slice(first, first + size),)]

        total = middle * shifted(0)
        for by, weight in enumerate(sides, start=1):
            total += weight * (shifted(-by) + shifted(by))
        planes = total
    return tf.clip_by_value(planes, 0.0, 1.0)


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
