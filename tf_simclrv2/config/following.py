"""Defaults that follow the data: what is known of images and labels in, settings out.

At the scale of ImageNet they are the fields' own defaults, which are the paper's. Settings that
were given stay. docs/training.md has the formulas and their reasons.
"""

import dataclasses
import math
from typing import (
    Any,
    Callable,
    Collection,
    Dict,
    Mapping,
    NamedTuple,
    Optional,
    Tuple,
    TypeVar,
    Union,
    cast,
)

from tf_simclrv2.config.commands import (
    DistillConfig,
    FinetuneConfig,
    PretrainConfig,
    ViewsConfig,
)
from tf_simclrv2.config.data import DataConfig
from tf_simclrv2.config.optimization import OptimizationConfig
from tf_simclrv2.config.settings import sections_of
from tf_simclrv2.config.steps import KEY_PARTS
from tf_simclrv2.config.views import COLOUR_FIELDS, GEOMETRY_FIELDS, AugmentationConfig

C = TypeVar("C", PretrainConfig, FinetuneConfig, DistillConfig)
V = TypeVar("V", PretrainConfig, FinetuneConfig, DistillConfig, ViewsConfig)
# By flag.
Settings = Dict[str, Union[int, float]]

# Image sizes are multiples of this.
_SIDES = 16
_SMALLEST_BATCH = 64
# Of the optimizers that adapt each weight's rate; the fields' default is LARS's.
_ADAPTIVE_RATES = {"adam": 0.001, "lamb": 0.001}
# Fewer negatives need a higher temperature, and so do small data sets, which are mostly of a few
# classes, so that many negatives are of the query's own: 0.5 as for the 50,000 images of CIFAR-10
# (SimCLR, arXiv:2002.05709, appendix B.9).
_FEW_NEGATIVES_BELOW, _TEMPERATURE_OF_FEW = 1024, 0.2
_FEW_IMAGES, _TEMPERATURE_OF_FEW_IMAGES = 60_000, 0.5
# Up to this many pixels on a side images are small. The authors' code for CIFAR-10 halves their
# colour distortion and does not blur them.
_SMALL_SIDE = 64
_VIEWS_OF_SMALL: Dict[str, Any] = {"color_jitter_strength": 0.5, "use_blur": False}
# A part of a small grey image may be another one, and so may its mirror image: digits, letters. Of
# their colours only brightness and contrast change.
_VIEWS_OF_SMALL_GREY: Dict[str, Any] = {
    "use_crop": False,
    "use_flip": False,
    "rotation_max_degrees": 20.0,
    "scale_min": 0.8,
    "scale_max": 1.25,
    "shear_max": 0.3,
    "translate_max": 0.15,
    "color_jitter_strength": 1.0,
    "use_blur": False,
}
# Where a flag whose default depends on others has its value.
_EFFECTS = {"grayscale_probability": "grayscale", "blur_probability": "blur"}


class Scale(NamedTuple):
    """How the length of a training and its batch follow the number of examples.

    Attributes:
      share: the batch is at most this part of the examples, where they are more than a few.
      largest_batch: what the batch is where there are enough of them.
      fewest_steps: the training has at least this many.
      root_below: batches below this one take a rate that grows with their root, above by the batch.
    """

    share: int
    largest_batch: int
    fewest_steps: int
    root_below: int


OF_IMAGES = Scale(share=8, largest_batch=512, fewest_steps=1000, root_below=4096)
OF_LABELS = Scale(share=12, largest_batch=1024, fewest_steps=200, root_below=1024)


def until_known(values: Mapping[str, object]) -> Dict[str, object]:
    """Adds a batch that fits the other flags, until the number of images is known.

    Args:
      values: the flags that were given.
    """
    smallest = KEY_PARTS if values.get("memory_batch_norm") == "split" else 2
    parts = cast(int, values.get("gradient_accumulation_steps", 1))
    return {"train_batch_size": smallest * parts, **values}


def follow(config: C, given: Collection[str], count: int) -> Tuple[C, Settings]:
    """Settles the defaults that follow the data.

    Args:
      config: of a training command, with the values that flags have given.
      given: names of the flags that were given; their values stay.
      count: images to train on; for fine-tuning those with labels.

    Returns:
      The config with what suits that many, and the settings that were not given, by flag.
    """
    scale = OF_LABELS if isinstance(config, FinetuneConfig) else OF_IMAGES
    settings = _optimization(config.optimization, given, count, scale)
    if isinstance(config, PretrainConfig):
        batch = int(settings["train_batch_size"])
        settings.update(_contrast(config, count, batch))
    # Steps that were given go before epochs.
    others = {*given, "train_epochs"} if config.optimization.train_steps else given
    settings = {name: value for name, value in settings.items() if name not in others}
    sections: Dict[str, Any] = {}
    for name, kind in sections_of(type(config)).items():
        own = {field.name for field in dataclasses.fields(kind)} & settings.keys()
        changed = {field: settings[field] for field in own}
        sections[name] = dataclasses.replace(getattr(config, name), **changed)
    return dataclasses.replace(config, **sections), settings


def image_size(data: DataConfig, side: Optional[int]) -> int:
    """The size of the network's input: the one given, or what suits the images.

    Args:
      data: the settings of the data.
      side: the usual length of the images' shorter side in pixels, where it is known.
    """
    if data.image_size is not None or side is None:
        return data.resolved_image_size
    return min(math.ceil(side / _SIDES) * _SIDES, data.resolved_image_size)


def views(
    config: V, given: Collection[str], size: int, are_grey: Callable[[], bool]
) -> Tuple[V, str]:
    """Settles the views that suit the images, where no flag asks for others.

    A flag that asks for another shape leaves all of the shape to the user, and so do colours, with
    blur. Only pretraining distorts colours unasked.

    Args:
      config: of a command that draws views.
      given: names of the flags that were given.
      size: of the network's input in pixels.
      are_grey: finds out whether the images are; it is called only if this decides.

    Returns:
      The config, and the views in words, which say where they suit the images.
    """
    augmentation = config.augmentation
    fields = [GEOMETRY_FIELDS]
    if isinstance(config, (PretrainConfig, ViewsConfig)):
        fields.append(COLOUR_FIELDS)
    if size > _SMALL_SIDE or all(names <= {*given} for names in fields):
        return config, augmentation.in_words(size)
    grey = are_grey()
    suiting = _VIEWS_OF_SMALL_GREY if grey else _VIEWS_OF_SMALL
    ours = [names for names in fields if _agree(augmentation, names & {*given}, suiting)]
    settings = {name: suiting[name] for names in ours for name in names & suiting.keys()}
    settled = dataclasses.replace(augmentation, **settings)
    words = settled.in_words(size)
    if settings:
        what = "" if len(ours) > 1 else "shape " if GEOMETRY_FIELDS in ours else "colours "
        words += f" ({what}as for small {'grey ' if grey else ''}images)"
    return dataclasses.replace(config, augmentation=settled), words


def _agree(
    augmentation: AugmentationConfig, given: Collection[str], suiting: Dict[str, Any]
) -> bool:
    """Whether flags that were given ask for what suits the images, or for nothing special.

    Who says whether there are crops has decided on the shape.
    """
    usual = dataclasses.replace(AugmentationConfig(), **suiting)
    return "use_crop" not in given and all(
        getattr(augmentation, name) == getattr(usual, name)
        for name in (_EFFECTS.get(flag, flag) for flag in given)
    )


def _optimization(
    paper: OptimizationConfig, given: Collection[str], count: int, scale: Scale
) -> Settings:
    """Batch, length and rate; those that were given as they are."""
    batch, epochs, warmup = paper.train_batch_size, float(paper.train_epochs), paper.warmup_epochs
    if "train_batch_size" not in given:
        wanted = min(max(count // scale.share, _SMALLEST_BATCH), scale.largest_batch)
        if scale is OF_IMAGES:
            # An image must not be its own negative, and two are the fewest to contrast.
            wanted = max(2, min(wanted, count))
        parts = paper.gradient_accumulation_steps
        batch = max(_power_of_two(wanted) // parts, 1) * parts
    if "train_epochs" not in given:
        epochs = max(epochs, math.ceil(scale.fewest_steps * batch / count))
    length = paper.train_steps * batch / count or epochs
    return {
        "train_batch_size": batch,
        "train_epochs": int(epochs),
        "learning_rate": _rate(dataclasses.replace(paper, train_batch_size=batch), scale),
        "warmup_epochs": min(warmup, length / 10),
    }


def _rate(optimization: OptimizationConfig, scale: Scale) -> float:
    """The learning rate, before it is scaled by the batch size, whatever that scaling is."""
    batch, factor = optimization.train_batch_size, optimization.rate_scale
    if optimization.optimizer in _ADAPTIVE_RATES:
        return _ADAPTIVE_RATES[optimization.optimizer] / factor
    by_root = math.sqrt(max(scale.root_below / batch, 1.0))
    return float(f"{optimization.learning_rate * by_root * (batch / 256 / factor):.3g}")


def _contrast(config: PretrainConfig, count: int, batch: int) -> Settings:
    """Temperature and queue, of a batch."""
    temperature = config.contrastive.temperature
    if count <= _FEW_IMAGES:
        temperature = _TEMPERATURE_OF_FEW_IMAGES
    elif batch < _FEW_NEGATIVES_BELOW:
        temperature = _TEMPERATURE_OF_FEW
    settings: Settings = {"temperature": temperature}
    if config.memory.use_memory:
        # An image gives two keys in an epoch.
        tenth = 2 * count // 10
        settings["memory_size"] = min(config.memory.memory_size, max(tenth, 2 * batch))
    return settings


def _power_of_two(number: int) -> int:
    """The largest power of two that is at most ``number``."""
    return 1 << (number.bit_length() - 1)
