"""The second stage of a view: flip, colour distortion and blur, on the host or on the device."""

from typing import Dict, Optional

from tf_simclrv2.config import AugmentationConfig
from tf_simclrv2.data.views.blur import blur_by_products, blur_by_shifts, blur_radius
from tf_simclrv2.data.views.colours import for_each, grayscale, jitter_each, jitter_one
from tf_simclrv2.data.views.draws import DRAWS, distortion_of
from tf_simclrv2.keras2 import start_xla, tf


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
    radius = blur_radius(views.shape[1])

    def of_one(arguments):
        view, drawn = arguments
        distortion = distortion_of(drawn, config.color_jitter_strength)
        planes = _to_planes(view)
        if config.use_flip:
            unflipped = planes
            flipped = lambda: tf.reverse(unflipped, [-1])  # noqa: E731
            planes = tf.cond(distortion.flip, flipped, lambda: unflipped)
        if config.color_jitter_strength > 0:
            plain = planes
            jittered = lambda: jitter_one(plain, distortion, config.color_space)  # noqa: E731
            planes = tf.cond(distortion.jitter, jittered, lambda: plain)
            colours = planes
            planes = tf.cond(distortion.grayscale, lambda: grayscale(colours), lambda: colours)
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

    Args:
      views: uint8 [batch, size, size, 3].
      draws: float32 [batch, 13].
      config: whether to flip and blur, and the strength of the colour distortion.

    Returns:
      float32 [batch, size, size, 3] in [0, 1].
    """
    distortion = distortion_of(draws, config.color_jitter_strength)
    planes = _to_planes(views)
    if config.use_flip:
        planes = tf.where(for_each(distortion.flip), tf.reverse(planes, [-1]), planes)
    if config.color_jitter_strength > 0:
        jittered = jitter_each(planes, distortion, config.color_space)
        planes = tf.where(for_each(distortion.jitter), jittered, planes)
        planes = tf.where(for_each(distortion.grayscale), grayscale(planes), planes)
    radius = blur_radius(views.shape[1])
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
