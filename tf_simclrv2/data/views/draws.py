"""What is random in a view, drawn before the view is made.

Draws are a function of the run's seed, the view's number and the example's position in the stream,
so that they don't depend on when or where a view is made, or on what else is drawn.
"""

import math
from typing import NamedTuple, Sequence, Tuple

from tf_simclrv2.config import AugmentationConfig
from tf_simclrv2.keras2 import tf

FLIP_PROBABILITY = 0.5
JITTER_PROBABILITY = 0.8
BLUR_SIGMA_RANGE = (0.1, 2.0)
# In a batch the draws of images stand under the images' name and this; they are there as long as
# the images are not distorted yet.
DRAWS = "_draws"

_CHANGES = ("brightness", "contrast", "saturation", "hue")
# What each of a view's draws is for.
_FIRST_USES = ("flip", "jitter", *_CHANGES, *(f"place of {change}" for change in _CHANGES),
               "grayscale", "blur", "sigma")  # fmt: skip
# Drawn from a seed of their own, so that those above are what they were before there were these.
_LATER_USES = ("vertical flip", "quarter turn", "half turn", "solarize", "rotation", "scale",
               "shear", "shift right", "shift down")  # fmt: skip
_USES = (*_FIRST_USES, *_LATER_USES)
# Views of one seed and position that draw differently.
_VIEWS_OF_SEED = 4
_DRAWN_AT_A_TIME = 1024


def draw(seed: tf.Tensor, count: int) -> Tuple[tf.Tensor, tf.Tensor]:
    """Draws all that is random in some views.

    Args:
      seed: int64 [2]; the same seed draws the same.
      count: how many views.

    Returns:
      int64 [count, 2], seeds of the views' crops; and float32 [count, 22], uniform in [0, 1), for
      all else, see :func:`distortion_of` and :func:`warp_of`.
    """

    def other(bit):
        return tf.bitwise.bitwise_xor(seed, tf.constant([1 << bit, 0], tf.int64))

    first = tf.random.stateless_uniform([count, len(_FIRST_USES)], seed)
    later = tf.random.stateless_uniform([count, len(_LATER_USES)], other(61))
    return (
        tf.random.stateless_uniform([count, 2], other(60), None, None, tf.int64),
        tf.concat([first, later], axis=1),
    )


def draws_from(seed: int, views: Sequence[int], start: int = 0) -> tf.data.Dataset:
    """Draws for the views of each position of a stream, see :func:`draw`.

    Many positions are drawn at a time, since one by one each would cost more than its crop.

    Args:
      seed: of the run.
      views: the views' numbers, 0 to 3.
      start: the first position.

    Returns:
      Pairs of int64 [views, 2] and float32 [views, 22], one for each position, without end.
    """

    def of_block(block):
        return tf.data.Dataset.from_tensor_slices(_drawn(seed, views, block))

    first_block, skipped = divmod(start, _DRAWN_AT_A_TIME)
    return tf.data.Dataset.range(first_block, tf.int64.max).flat_map(of_block).skip(skipped)


def draws_at(seed: int, views: Sequence[int], position: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
    """The draws of :func:`draws_from` for one position, int64 scalar."""
    seeds, draws = _drawn(seed, views, position // _DRAWN_AT_A_TIME)
    place = position % _DRAWN_AT_A_TIME
    return seeds[place], draws[place]


def _drawn(seed: int, views: Sequence[int], block: tf.Tensor) -> Tuple[tf.Tensor, ...]:
    """The draws for the views of a block of positions."""
    of_views = [
        draw(
            tf.stack([tf.constant(seed * _VIEWS_OF_SEED + view, tf.int64), block]),
            _DRAWN_AT_A_TIME,
        )
        for view in views
    ]
    return tuple(tf.stack(parts, axis=1) for parts in zip(*of_views))


class Distortion(NamedTuple):
    """What draws mean for flips and turns, colour distortion and blur.

    Attributes:
      flip: bool [...], whether to mirror left and right.
      vertical_flip: bool [...], whether to mirror top and bottom, after the flip.
      quarter_turn: bool [...], whether to turn by a quarter after that.
      half_turn: bool [...], whether to turn by a half after that.
      jitter: bool [...], whether to change colours.
      factors: float32 [..., 4], multipliers around 1 of brightness, contrast and saturation, and
        hue's shift in turns around 0.
      order: int32 [..., 4], which of these four changes comes first, second and so on.
      grayscale: bool [...], whether to drop colours.
      blur: bool [...], whether to blur.
      sigma: float32 [...], standard deviation of the blur in pixels.
      solarize: bool [...], whether to invert bright channels.
    """

    flip: tf.Tensor
    vertical_flip: tf.Tensor
    quarter_turn: tf.Tensor
    half_turn: tf.Tensor
    jitter: tf.Tensor
    factors: tf.Tensor
    order: tf.Tensor
    grayscale: tf.Tensor
    blur: tf.Tensor
    sigma: tf.Tensor
    solarize: tf.Tensor


def distortion_of(draws: tf.Tensor, config: AugmentationConfig) -> Distortion:
    """Turns draws, float32 [..., 22], into a distortion.

    Args:
      draws: of :func:`draw`.
      config: the colours' strength (1 is ImageNet's) and the probabilities.
    """
    drawn, strength = _by_use(draws), config.color_jitter_strength
    low, high = max(1 - 0.8 * strength, 0.0), 1 + 0.8 * strength
    factors = [low + (high - low) * drawn[change] for change in _CHANGES[:3]]
    factors.append(0.2 * strength * (2 * drawn["hue"] - 1))
    places = tf.stack([drawn[f"place of {change}"] for change in _CHANGES], axis=-1)
    sigma_min, sigma_max = BLUR_SIGMA_RANGE
    return Distortion(
        flip=drawn["flip"] < FLIP_PROBABILITY,
        vertical_flip=drawn["vertical flip"] < FLIP_PROBABILITY,
        quarter_turn=drawn["quarter turn"] < 0.5,
        half_turn=drawn["half turn"] < 0.5,
        jitter=drawn["jitter"] < JITTER_PROBABILITY,
        factors=tf.stack(factors, axis=-1),
        order=tf.argsort(places, axis=-1),
        grayscale=drawn["grayscale"] < config.grayscale,
        blur=drawn["blur"] < config.blur,
        sigma=sigma_min + (sigma_max - sigma_min) * drawn["sigma"],
        solarize=drawn["solarize"] < config.solarize_probability,
    )


class Warp(NamedTuple):
    """What draws mean for the shape of what a view shows.

    Attributes:
      angle: float32 [...], in radians, by which the view's window is turned in the image.
      scale: float32 [...], factor by which what is shown grows; as often above 1 as below, if both
        are allowed alike: its logarithm is uniform.
      shear: float32 [...], slant of vertical lines.
      shift: float32 [..., 2], to the right and downwards, of the view's side.
    """

    angle: tf.Tensor
    scale: tf.Tensor
    shear: tf.Tensor
    shift: tf.Tensor


def warp_of(draws: tf.Tensor, config: AugmentationConfig) -> Warp:
    """Turns draws, float32 [..., 22], into a warp within the config's bounds."""
    drawn = _by_use(draws)

    def within(largest, use):
        return largest * (2 * drawn[use] - 1)

    low, high = math.log(config.scale_min), math.log(config.scale_max)
    shifts = [within(config.translate_max, f"shift {way}") for way in ("right", "down")]
    return Warp(
        angle=within(math.radians(config.rotation_max_degrees), "rotation"),
        scale=tf.exp(low + (high - low) * drawn["scale"]),
        shear=within(config.shear_max, "shear"),
        shift=tf.stack(shifts, axis=-1),
    )


def _by_use(draws):
    return dict(zip(_USES, tf.unstack(draws, axis=-1)))
