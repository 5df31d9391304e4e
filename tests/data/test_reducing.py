"""Large photographs, reduced once as the cache keeps them."""

import dataclasses
import glob
import io
import os
import re

import numpy as np
import pytest
from PIL import Image

from export.signatures import decode_batch
from tests.conftest import DIGITS_VIEWS, TINY
from tf_simclrv2.config import AugmentationConfig, DataConfig, PretrainConfig, RunConfig
from tf_simclrv2.data.batches import evaluation_batches
from tf_simclrv2.data.decoding import ANY
from tf_simclrv2.data.reducing import reduced
from tf_simclrv2.data.sources import open_source
from tf_simclrv2.data.stream import Part, Stream
from tf_simclrv2.keras2 import tf
from tf_simclrv2.runtime.devices import Devices
from tf_simclrv2.training import inputs

PLAIN = AugmentationConfig(
    use_crop=False, use_flip=False, color_jitter_strength=0, grayscale_probability=0,
    use_blur=False,
)  # fmt: skip


def _gradient(height, width, shade=0):
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack([across, down, np.full_like(down, shade)], axis=-1).astype(np.uint8)


def _encoded(pixels, kind):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind, quality=100)
    return content.getvalue()


def _pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize(
    ("height", "width", "sides"),
    [(120, 160, (60, 80)), (125, 61, (123, 60)), (540, 180, (180, 60))],
)
def test_the_shorter_side_has_the_pixels_asked_for(kind, height, width, sides):
    pixels = _gradient(height, width)
    made = _pixels(reduced(_encoded(pixels, kind), 60, ANY).numpy())
    assert made.shape == (*sides, 3)
    if height % sides[0] == 0:
        # Averages as Pillow has them, but for what JPEG changes.
        expected = Image.fromarray(pixels).reduce(height // sides[0])
        assert np.abs(made.astype(int) - np.asarray(expected)).max() <= 6


def test_stripes_finer_than_a_pixel_turn_grey():
    pixels = np.repeat(np.tile(np.array([0, 255], np.uint8), 80)[None, :, None], 160, 0)
    made = _pixels(reduced(_encoded(np.repeat(pixels, 3, 2), "PNG"), 40, ANY).numpy())
    assert np.abs(made.astype(int) - 128).max() <= 2


@pytest.mark.parametrize(("height", "width"), [(60, 100), (100, 60), (8, 200), (61, 70_000)])
def test_what_is_small_or_no_jpeg_could_hold_stays_byte_by_byte(height, width):
    content = _encoded(np.zeros([height, width, 3], np.uint8), "PNG")
    assert reduced(content, 60, ANY).numpy() == content


@pytest.fixture
def folder(tmp_path):
    """Eight images of 48 x 64 pixels, and one that is small."""
    os.makedirs(tmp_path / "images/0")
    os.makedirs(tmp_path / "images/1")
    for number in range(8):
        shown = Image.fromarray(_gradient(48, 64, 20 * number))
        shown.save(tmp_path / f"images/{number % 2}/{number}.png")
    Image.fromarray(_gradient(10, 12)).save(tmp_path / "images/0/small.png")
    return tmp_path


def _sides(folder, ids=None, **settings):
    data = DataConfig(
        dataset="folder", data_dir=f"{folder}/images", holdout_fraction=0.0,
        cache_path=f"{folder}/cache_", **settings,
    )  # fmt: skip
    stream = Stream(open_source(data), "train", 0, data=data, ids=ids)
    examples = stream.examples().take(2 * stream.num_examples).as_numpy_iterator()
    return {each["id"].decode(): _pixels(each["image"]).shape[:2] for each in examples}


@pytest.mark.parametrize("order", ["index", "buffer"])
def test_a_cache_holds_reduced_images_and_each_size_has_its_own(folder, order):
    for side, sides in ((32, (32, 43)), (40, (40, 53)), (None, (48, 64)), (64, (48, 64))):
        seen = _sides(folder, order=order, cache_max_side=side)
        assert seen.pop("0/small.png") == (10, 12)
        assert len(seen) == 8 and set(seen.values()) == {sides}
    assert len(glob.glob(f"{folder}/cache_folder_train_9_*")) == 4
    # None was written anew in the place of another one.
    assert set(_sides(folder, order=order, cache_max_side=32).values()) == {(32, 43), (10, 12)}
    assert len(glob.glob(f"{folder}/cache_*")) == 4


@pytest.mark.parametrize("order", ["index", "buffer"])
def test_labelled_images_are_reduced_as_they_are_kept_in_memory(folder, order):
    ids = ["0/2.png", "1/1.png"]
    assert _sides(folder, ids, order=order, cache_max_side=32) == dict.fromkeys(ids, (32, 43))
    assert glob.glob(f"{folder}/cache_*") == []


def test_evaluation_monitors_and_exports_see_images_as_training_does(folder):
    from tf_simclrv2.training.monitored import Monitored

    # Stripes of three pixels, which averages of three turn grey. Without them other greys result.
    stripes = np.tile(np.array([0, 0, 255], np.uint8), 32)[None, :, None].repeat(96, 0).repeat(3, 2)
    for path in glob.glob(f"{folder}/images/*/*"):
        Image.fromarray(stripes).save(f"{path}.png")
        os.remove(path)
    data = DataConfig(
        dataset="folder", data_dir=f"{folder}/images", image_size=16, holdout_fraction=0,
        cache_path=f"{folder}/cache_", cache_max_side=32,
    )  # fmt: skip
    source = open_source(data)
    grey = np.full([16, 16, 3], 85 / 255)
    (batch,) = evaluation_batches(source, data, "train").as_numpy_iterator()
    np.testing.assert_allclose(batch["image"], [grey] * len(batch["image"]), atol=0.01)
    content = [next(iter(source.examples("train").as_numpy_iterator()))["image"]]
    served, valid = decode_batch(tf.constant(content), 16, max_side=32)
    np.testing.assert_array_equal(served, batch["image"][:1])
    assert valid.numpy().all()
    config = PretrainConfig(RunConfig("run"), data=data, augmentation=PLAIN)
    (batch,) = Monitored.of(config, source, Devices()).batches(Part()).as_numpy_iterator()
    for name in ("image", "view_1", "view_2"):
        np.testing.assert_allclose(batch[name] / 255, [grey] * len(batch["image"]), atol=0.03)
    unreduced = dataclasses.replace(data, cache_max_side=None)
    (batch,) = evaluation_batches(source, unreduced, "train").as_numpy_iterator()
    assert np.abs(batch["image"] - grey).min() > 0.15


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [("--cache_max_side=64", "--cache_max_side=64: needs --cache_path"),
     ("--cache_max_side=64 --cache_path={0}/cache_ --check_images=quick",
      "--cache_max_side=64: decodes all images before training.*--check_images=quick"),
     ("--cache_max_side=64 --cache_path={0}/cache_ --image_size=96",
      "--cache_max_side=64: must be at least --image_size=96"),
     ("--cache_max_side=31 --cache_path={0}/cache_", "--cache_max_side=31: must be .*32"),
     ("--cache_max_side=large --cache_path={0}/cache_", "flag --cache_max_side=large")],
)  # fmt: skip
def test_refusals(command, folder, flags, sentence):
    places = [f"--data_dir={folder}/images", f"--model_dir={folder}/run"]
    outcome = command("pretrain", "--dataset=folder", *places, *flags.format(folder).split())
    assert outcome.code == 1
    assert re.search(f"error: {sentence}", outcome.err), outcome.err
    assert not os.path.exists(folder / "run") and glob.glob(f"{folder}/cache_*") == []


def test_a_first_run_on_photographs_tells_of_it(command, folder, monkeypatch):
    monkeypatch.setattr(inputs, "_LARGE_SIDE", 48)
    flags = [
        "--dataset=folder", f"--data_dir={folder}/images", *TINY, *DIGITS_VIEWS,
        "--train_steps=2", "--train_batch_size=4", "--holdout_fraction=0", "--mode=train",
        f"--model_dir={folder}/run",
    ]  # fmt: skip
    said = "have 48 pixels and more on their shorter side"
    outcome = command("pretrain", *flags)
    assert outcome.code == 0 and said in outcome.out
    assert "--cache_path=PREFIX --cache_max_side=512" in outcome.out
    assert said not in command("pretrain", *flags).out
    reducing = [f"--cache_path={folder}/cache_", "--cache_max_side=32"]
    flags[-1] = f"--model_dir={folder}/other"
    outcome = command("pretrain", *flags, *reducing)
    assert outcome.code == 0 and said not in outcome.out
    # Which images are trained on is settled when a run begins.
    reducing[-1] = "--cache_max_side=40"
    outcome = command("pretrain", *flags, *reducing)
    assert outcome.code == 1 and "cache_max_side was 32 and is now 40" in outcome.err
