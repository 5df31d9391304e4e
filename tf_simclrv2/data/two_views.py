"""Two random views of images that someone reads with a ``tf.data`` pipeline of their own."""

from typing import Dict, Optional, Union

from tf_simclrv2.config import AugmentationConfig
from tf_simclrv2.data.batches import Views
from tf_simclrv2.data.views import DRAWS, distort_on_host
from tf_simclrv2.keras2 import tf

# Resizing takes pixels a little above 1; in an image that goes to 255 nearly all exceed this.
_LARGEST_PIXEL = 2.0


def two_views(
    dataset: tf.data.Dataset,
    image_size: int,
    config: Optional[AugmentationConfig] = None,
    seed: int = 0,
) -> tf.data.Dataset:
    """Makes two random views of each image of a data set of one's own.

    The views are by default the paper's (SimCLR, appendix A; SimCLRv2, appendix B). They are a
    function of the seed and of the element's position, so repeat the data set before, not after:
    only then does every epoch draw other views::

      images = tf.data.Dataset.from_tensor_slices(photographs).shuffle(10_000).repeat()
      batches = two_views(images, image_size=96).batch(256, drop_remainder=True)

    Args:
      dataset: images one by one, of any and varying size: uint8 [height, width, 3], float
        [height, width, 3] in [0, 1], or string scalars, the contents of image files; with one
        channel, images are taken for grayscale. Or dicts of such an ``image`` and of anything else.
      image_size: height and width of the views in pixels.
      config: how views are drawn; by default as in the paper.
      seed: the same seed draws the same views.

    Returns:
      Dicts of ``view_1`` and ``view_2``, uint8 [image_size, image_size, 3], and of what else the
      data set's dicts hold. With ``augment_on="device"`` in the config, flip, colour distortion and
      blur are left to :func:`ready_for_network`, and the dicts also hold the views' draws.

    Raises:
      ValueError: the data set's elements are not images one by one.
    """
    config = config or AugmentationConfig()
    views = Views.two(image_size, config, on_device=config.augment_on == "device")

    def made(element: Union[tf.Tensor, Dict[str, tf.Tensor]], drawn):
        if not isinstance(element, dict):
            element = {"image": element}
        others = {name: value for name, value in element.items() if name != "image"}
        seeds, draws = drawn
        images = views.crops(_as_pixels(element.get("image")), seeds, draws)
        if config.distorts and views.on_device:
            others.update({name + DRAWS: d for name, d in zip(views.names, tf.unstack(draws))})
        elif config.distorts:
            images = distort_on_host(images, draws, config)
        return {**dict(zip(views.names, tf.unstack(images))), **others}

    return tf.data.Dataset.zip((dataset, views.draws(seed))).map(made, tf.data.AUTOTUNE)


def _as_pixels(image) -> tf.Tensor:
    """One of a user's images as :func:`crop_views` takes it: encoded, or uint8."""
    if not isinstance(image, tf.Tensor):
        raise ValueError(
            "two_views: an element of the data set must be an image, or a dict with an image under "
            f"the name image, but is {image}."
        )
    if image.dtype == tf.string and image.shape.rank in (None, 0):
        return tf.ensure_shape(image, [])
    if image.shape.rank is None:
        image = tf.ensure_shape(image, [None, None, 3])
    if image.shape.rank != 3 or image.shape[2] not in (None, 1, 3):
        raise ValueError(
            "two_views: images must come one by one, of shape [height, width, 3], but have shape "
            f"{image.shape}; unbatch() takes batches apart."
        )
    if image.dtype != tf.uint8 and not image.dtype.is_floating:
        raise ValueError(
            "two_views: images must be uint8, float in [0, 1] or the contents of image files "
            f"(strings), but are {image.dtype.name}."
        )
    if image.dtype.is_floating:
        in_range = tf.reduce_max(image) <= _LARGEST_PIXEL
        message = "two_views: float images must be in [0, 1]; divide those in [0, 255] by 255."
        with tf.control_dependencies([tf.debugging.Assert(in_range, [message])]):
            image = tf.cast(image, tf.float32)
        image = tf.image.convert_image_dtype(image, tf.uint8, saturate=True)
    if image.shape[2] == 1:
        image = tf.image.grayscale_to_rgb(image)
    return tf.ensure_shape(image, [None, None, 3])
