"""Colour distortion: brightness, contrast, saturation and hue in an order that is drawn; grayscale.

SimCLR, appendix A; and solarization. Images are planes, float32 [..., 3, height, width] in [0, 1].
"""

import math
from typing import Callable, List

import numpy as np

from tf_simclrv2.data.views.draws import Distortion
from tf_simclrv2.keras2 import tf

_LUMINANCE = (0.2989, 0.587, 0.114)
_RGB_TO_YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))

# A function of planes, the change's factor and the whole distortion.
Change = Callable[[tf.Tensor, tf.Tensor, Distortion], tf.Tensor]


def jitter_one(planes: tf.Tensor, distortion: Distortion, color_space: str) -> tf.Tensor:
    """Makes the four changes of one image in the order that was drawn.

    Args:
      planes: float32 [3, height, width].
      distortion: of this image.
      color_space: where saturation and hue change, ``hsv`` or ``yiq``.

    Returns:
      float32 [3, height, width].
    """
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


def jitter_each(planes: tf.Tensor, distortion: Distortion, color_space: str) -> tf.Tensor:
    """Makes the four changes of each image of a batch, all at once.

    Each image has its own order of changes: at each place all four are made, and one is chosen.

    Args:
      planes: float32 [batch, 3, height, width].
      distortion: of the batch.
      color_space: where saturation and hue change, ``hsv`` or ``yiq``.

    Returns:
      float32 [batch, 3, height, width].
    """
    changes = _changes(color_space)

    def at_one_place(before, chosen):
        planes = before
        for index, change in enumerate(changes):
            changed = change(before, for_each(distortion.factors[:, index]), distortion)
            changed = tf.clip_by_value(changed, 0.0, 1.0)
            planes = tf.where(for_each(chosen == index), changed, planes)
        return planes

    # A loop, whose state XLA keeps in memory: unrolled, it would make all earlier changes anew for
    # each reader of each place, such as contrast's mean, which takes 7 times as long on a GPU.
    return tf.foldl(at_one_place, tf.transpose(distortion.order), planes)


def for_each(values: tf.Tensor) -> tf.Tensor:
    """Shapes values [batch], one for each image, to [batch, 1, 1, 1]."""
    return values[:, tf.newaxis, tf.newaxis, tf.newaxis]


def grayscale(planes: tf.Tensor) -> tf.Tensor:
    """Replaces the three channels of planes [..., 3, height, width] by their luminance."""
    return tf.repeat(_weighted_sum(planes, _LUMINANCE), 3, axis=-3)


def solarize(planes: tf.Tensor) -> tf.Tensor:
    """Inverts the values of planes that are at least a half (BYOL, appendix B)."""
    return tf.where(planes < 0.5, planes, 1 - planes)


def _changes(color_space: str) -> List[Change]:
    """The changes in the order of their factors."""
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
