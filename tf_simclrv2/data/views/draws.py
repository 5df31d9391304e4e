"""What is random in a view, drawn before the view is made.

Draws are a function of the run's seed, the view's number and the example's position in the stream,
so that they don't depend on when or where a view is made, or on what else is drawn.
"""

from typing import NamedTuple, Sequence, Tuple

from tf_simclrv2.keras2 import tf

FLIP_PROBABILITY = 0.5
JITTER_PROBABILITY = 0.8
GRAYSCALE_PROBABILITY = 0.2
BLUR_PROBABILITY = 0.5
BLUR_SIGMA_RANGE = (0.1, 2.0)
# In a batch the draws of images stand under the images' name and this; they are there as long as
# the images are not distorted yet.
DRAWS = "_draws"

_CHANGES = ("brightness", "contrast", "saturation", "hue")
# What each of a view's draws is for.
_USES = ("flip", "jitter", *_CHANGES, *(f"place of {change}" for change in _CHANGES),
         "grayscale", "blur", "sigma")  # fmt: skip
# Views of one seed and position that draw differently.
_VIEWS_OF_SEED = 4
_DRAWN_AT_A_TIME = 1024


def draw(seed: tf.Tensor, count: int) -> Tuple[tf.Tensor, tf.Tensor]:
    """Draws all that is random in some views.

    Args:
      seed: int64 [2]; the same seed draws the same.
      count: how many views.

    Returns:
      int64 [count, 2], seeds of the views' crops; and float32 [count, 13], uniform in [0, 1), for
      all else, see :func:`distortion_of`.
    """
    of_crops = tf.bitwise.bitwise_xor(seed, tf.constant([1 << 60, 0], tf.int64))
    return (
        tf.random.stateless_uniform([count, 2], of_crops, None, None, tf.int64),
        tf.random.stateless_uniform([count, len(_USES)], seed),
    )


def draws_from(seed: int, views: Sequence[int], start: int = 0) -> tf.data.Dataset:
    """Draws for the views of each position of a stream, see :func:`draw`.

    Many positions are drawn at a time, since one by one each would cost more than its crop.

    Args:
      seed: of the run.
      views: the views' numbers, 0 to 3.
      start: the first position.

    Returns:
      Pairs of int64 [views, 2] and float32 [views, 13], one for each position, without end.
    """

    def of_block(block):
        of_views = [
            draw(
                tf.stack([tf.constant(seed * _VIEWS_OF_SEED + view, tf.int64), block]),
                _DRAWN_AT_A_TIME,
            )
            for view in views
        ]
        drawn = tuple(tf.stack(parts, axis=1) for parts in zip(*of_views))
        return tf.data.Dataset.from_tensor_slices(drawn)

    first_block, skipped = divmod(start, _DRAWN_AT_A_TIME)
    return tf.data.Dataset.range(first_block, tf.int64.max).flat_map(of_block).skip(skipped)


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
