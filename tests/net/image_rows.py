"""The rows of the training commands on images: which come, in what order, and how they look."""

from typing import List

from tests.net import looks
from tests.net import looks_at_images as images
from tests.net.table import IMAGES, Row, Rows, becomes, changes

_SAME = f"{IMAGES} --data_dir={{same}} --use_crop=true --image_size=16"
_FLIPPED = f"{IMAGES} --use_flip=true"
_DAMAGED = f"{IMAGES} --data_dir={{damaged}}"
_ON_DEVICE = f"{IMAGES} --augment_on=device"
_LARGER = "--image_size=24"
_WARPED = f"{IMAGES} --data_dir={{same}} --image_size=16"
# Makes it one of the jobs of test_counting.
_AS_COUNTED = "--log_every_steps=2"
_LABELS = f"{IMAGES} --labels_per_class=3 {_AS_COUNTED}"


def _all(good):
    return lambda seen: bool(seen) and all(map(good, seen))


_NONE, _ALL = _all(lambda share: share == 0), _all(lambda share: share == 1)
_SOME = _all(lambda share: 0.2 < share < 0.8)
_FEW = _all(lambda share: share < 0.5)
_MOST = _all(lambda share: share > 0.8)
_HALF = _all(lambda value: 0.4 < value < 0.51)


def _between(low: float, high: float):
    return lambda seen: low < seen < high


def _lower(before, after) -> None:
    assert all(now < 0.98 * once for once, now in zip(before, after)), (before, after)


_DATA = [
    Row("dataset", "digits", looks.steps, becomes(15, 1437 * 4 // 20 + 1), IMAGES,
        besides="--data_dir="),
    # How it is stored: tests/data/test_array_records.py.
    Row("file_format", "array_record", looks.refused, becomes(None, "file_format"),
        f"{IMAGES} --dataset=digits --data_dir="),
    Row("data_dir", "{others}", images.in_folder("{others}"), becomes(0, 100), IMAGES, group="a"),
    Row("holdout_fraction", 0.25, looks.steps, becomes(15, 60 * 4 // 20 + 1), IMAGES, group="a"),
    Row("train_split", "validation", images.held_out, becomes(0, 10), IMAGES,
        "--train_batch_size=5", group="evaluation"),
    Row("mode", "train_then_eval", looks.what_is_done, becomes((True, False), (True, True)),
        IMAGES, group="evaluation"),
    Row("mode", "eval", looks.refused, becomes(None, "mode"), IMAGES),
    Row("eval_split", "train", looks.split_and_count, becomes(None, ("train", 6)), IMAGES,
        group="evaluation"),
    Row("eval_batch_size", 3, looks.split_and_count, becomes(None, ("train", 6)), IMAGES,
        group="evaluation"),
    Row("eval_steps", 2, looks.split_and_count, becomes(None, ("train", 6)), IMAGES,
        group="evaluation"),
    Row("class_level", 2, looks.refused, becomes(None, "data_dir"), IMAGES),
    Row("holdout_seed", 1, images.which, changes, _FLIPPED, group="seeds"),
    Row("max_bad_images", 0.5, looks.refused, becomes("max_bad_images", None), _DAMAGED),
    Row("strict_images", "true", looks.refused, becomes(None, "strict_images"),
        f"{_DAMAGED} --max_bad_images=0.5"),
    Row("order", "buffer", images.order, changes, _FLIPPED),
    Row("max_image_pixels", 10, looks.refused, becomes(None, "max_bad_images"), IMAGES),
    Row("cache_dataset", "true", images.kept, becomes(0.0, 1.0), IMAGES, group="a"),
    Row("cache_path", "{new}_cache_{command}_", images.kept, becomes(0.0, 1.0), IMAGES,
        group="cache_path"),
    Row("cache_path", "{new}_cache_{command}_", images.kept_in_a_file, becomes(False, True),
        IMAGES, group="cache_path"),
    # Which images are reduced: tests/data/test_reducing.py, as these are too small.
    Row("cache_max_side", 64, looks.refused, becomes(None, "cache_max_side"), IMAGES),
    Row("seed", 4, looks.weights, changes, _FLIPPED, group="seeds"),
    Row("seed", 4, images.order, changes, _FLIPPED, group="seeds"),
    Row("seed", 4, images.flipped, changes, _FLIPPED, group="seeds"),
]  # fmt: skip

_UNLABELLED = [
    # Nothing is held out of four labelled images of a class.
    Row("labels", "{table}", looks.steps, becomes(15, 17), IMAGES, _AS_COUNTED),
    Row("unlabeled_data_dir", "{more}", looks.steps, becomes(15, 100 * 4 // 20 + 1), IMAGES,
        _AS_COUNTED, group="more"),
    Row("unlabeled_data_dir", "{more}", images.in_folder("{more}"), becomes(0, 30), IMAGES,
        group="more"),
]  # fmt: skip

_LABELS_ROWS = [
    Row("labels_per_class", 3, images.how_many_labelled, becomes(70, 30), IMAGES, _AS_COUNTED),
    Row("label_fraction", 0.5, images.how_many_labelled, becomes(70, 35), IMAGES),
    Row("label_seed", 1, images.labelled, changes, _LABELS),
    Row("labels", "{table}", images.how_many_labelled, becomes(70, 40), IMAGES),
    Row("label_subset_file", "{subset}", images.how_many_labelled, becomes(70, 20), IMAGES),
]


def _distortions(place: str) -> List[Row]:
    """The rows of what either the host or the device does to views."""
    jittered = f"{place} --color_jitter_strength=0.5"
    return [
        Row("use_flip", "true", images.mirrored, becomes(_NONE, _SOME), place),
        Row("use_blur", "true", images.contrasts, _lower, f"{place} {_LARGER}"),
        Row("color_jitter_strength", 0.5, images.untouched, becomes(_ALL, _FEW), place),
        Row("color_space", "yiq", images.distorted, changes, jittered),
        Row("use_vertical_flip", "true", images.reflected, becomes(_NONE, _SOME), place,
            group=f"turned {place}"),
        Row("rotate_90", "true", images.quarter_turned, becomes(_NONE, _SOME), place,
            group=f"turned {place}"),
        Row("blur_probability", 1.0, images.contrasts, _lower, f"{place} {_LARGER} --use_blur"),
        Row("grayscale_probability", 1.0, images.grey, becomes(_NONE, _ALL), place,
            group=f"inverted {place}"),
        Row("solarize_probability", 1.0, images.brightest, becomes(_MOST, _HALF), place,
            group=f"inverted {place}"),
    ]  # fmt: skip


def _same_distortions(place: str) -> List[Row]:
    """Rows of all of these at once: what fine-tuning makes of them is seen one by one."""
    values = {
        "use_flip": "true",
        "use_blur": "true",
        "color_jitter_strength": 0.5,
        "color_space": "yiq",
        "use_vertical_flip": "true",
        "rotate_90": "true",
        "blur_probability": 0.7,
        "grayscale_probability": 0.4,
        "solarize_probability": 0.6,
    }
    along = f"{place} {_LARGER}"
    flags = [f"--{name}={value}" for name, value in values.items()]
    expect = images.as_in_finetune(along, *flags)
    return [
        Row(name, value, images.distorted, expect, along, group=f"distorted {place}")
        for name, value in values.items()
    ]


_AUGMENTATION = [
    Row("augment_on", "device", images.untouched_by_the_host, becomes(_SOME, _ALL), _FLIPPED),
    Row("use_crop", "true", images.untouched, becomes(_ALL, _FEW), IMAGES),
    Row("crop_area_min", 0.5, images.smallest_area,
        becomes(lambda area: area < 0.35, lambda area: area > 0.4), _SAME, group="crop"),
    Row("crop_aspect_max", 1.0, images.largest_aspect,
        becomes(lambda aspect: aspect > 1.15, lambda aspect: aspect < 1.1), _SAME, group="crop"),
    Row("rotation_max_degrees", 30, images.largest_turn,
        becomes(_between(-1, 1), _between(15, 31)), _WARPED, group="warp"),
    Row("scale_min", 0.7, images.smallest_scale,
        becomes(_between(0.98, 1.02), _between(0.66, 0.9)), _WARPED, group="warp"),
    Row("scale_max", 1.5, images.largest_scale,
        becomes(_between(0.98, 1.02), _between(1.2, 1.52)), _WARPED, group="warp"),
    Row("shear_max", 0.3, images.largest_slant,
        becomes(_between(-0.02, 0.02), _between(0.15, 0.32)), _WARPED, group="warp"),
    Row("translate_max", 0.2, images.largest_shift,
        becomes(_between(-0.02, 0.02), _between(0.1, 0.21)), _WARPED, group="warp"),
    Row("fill_mode", "constant", images.black_at_the_border, becomes(_NONE, _MOST),
        f"{_WARPED} --translate_max=0.5"),
]  # fmt: skip

_CLASSES = [
    Row("classes", "{classes}", looks.num_classes, becomes(10, 12), f"{IMAGES} --labels={{table}}"),
]
# A student has the classes of its teacher.
_CLASSES_OF_TEACHER = [
    Row("classes", "{classes}", looks.refused, becomes(None, "teacher"),
        f"{IMAGES} --labels={{table}}"),
]  # fmt: skip
_SHARED = [*_DATA, *_AUGMENTATION]
_ONE_BY_ONE = [*_distortions(IMAGES), *_distortions(_ON_DEVICE)]
_AT_ONCE = [*_same_distortions(IMAGES), *_same_distortions(_ON_DEVICE)]


def _check_images(besides: str = "") -> Row:
    """Nobody looks at what is damaged before training meets it."""
    along = f"{_DAMAGED} --holdout_fraction=0 {besides}"
    return Row("check_images", "no", looks.refused, becomes("max_bad_images", None), along)


ROWS: Rows = {
    # Monitors look at the images that they are measured on.
    "pretrain": [
        *_SHARED, *_CLASSES, *_AT_ONCE, *_UNLABELLED, _check_images("--monitor_images=0"),
    ],
    "finetune": [*_SHARED, *_CLASSES, *_ONE_BY_ONE, *_LABELS_ROWS, _check_images()],
    "distill": [
        *_SHARED, *_CLASSES_OF_TEACHER, *_AT_ONCE, *_UNLABELLED, *_LABELS_ROWS, _check_images(),
    ],
}  # fmt: skip
