"""The tiles: real colours, each pixel in one split only, the same on every machine."""

import hashlib
import importlib.util

import numpy as np
import pytest
from PIL import Image

from tf_simclrv2.config import DataConfig
from tf_simclrv2.data.images import decode
from tf_simclrv2.data.sources import open_source, tiles

needs_photographs = pytest.mark.skipif(
    importlib.util.find_spec("skimage") is None, reason="needs scikit-image"
)
# Of the examples in their order: pixels, label and id.
CHECKSUMS = {"train": "32cf0c2080f8b8bb", "test": "4198a62e167391f4"}
CLASSES = ["astronaut", "cat", "coffee", "galaxies", "retina", "rocket", "tissue"]
MARGIN = 16


@pytest.fixture(scope="module")
def source():
    return open_source(DataConfig(dataset="tiles"))


@pytest.fixture(scope="module")
def examples(source):
    """The decoded examples of each split, in their order."""

    def decoded(example):
        return {**example, "image": decode(example["image"])}

    return {
        split: list(source.index(split).map(decoded).as_numpy_iterator())
        for split in ("train", "test")
    }


def _marked(shape, squares):
    """How often each pixel of a photograph is in one of the squares: top, left and side."""
    counts = np.zeros(shape, int)
    for top, left, side in squares:
        assert top >= 0 and left >= 0 and top + side <= shape[0] and left + side <= shape[1]
        counts[top : top + side, left : left + side] += 1
    return counts


def _means(square):
    """A square's averages over 32 x 32 cells, by how much of each pixel is in a cell."""
    side = len(square)
    edges = np.arange(33) * side / 32
    pixels = np.arange(side)
    ends = np.minimum(edges[1:, np.newaxis], pixels + 1)
    overlaps = np.maximum(ends - np.maximum(edges[:-1, np.newaxis], pixels), 0) * 32 / side
    return np.einsum("ij,jkc,lk->ilc", overlaps, square.astype(float), overlaps, optimize=True)


def _assert_apart(train, test):
    """No pixel is in both, nor nearer than the margin to one of the other split."""
    columns = np.flatnonzero(test.any(axis=0))
    near = np.zeros(test.shape[1], bool)
    for column in columns:
        near[max(0, column - MARGIN) : column + MARGIN + 1] = True
    assert train.any() and test.any()
    assert not (train.any(axis=0) & near).any()


@pytest.mark.parametrize("shape", [(512, 512), (300, 451), (872, 1000), (96, 368), (700, 2000)])
def test_splits_share_no_pixel_at_any_scale(shape):
    found = tiles.tiles_of(*shape)
    assert {tile.side for tile in found} == {32, 48, 64, 96}
    of_split = {}
    for split in ("train", "test"):
        for side in (32, 48, 64, 96):
            squares = [tile[1:] for tile in found if (tile.split, tile.side) == (split, side)]
            counts = _marked(shape, squares)
            assert squares and counts.max() == 1, "tiles of one scale overlap"
            of_split[split] = of_split.get(split, 0) + counts
    _assert_apart(of_split["train"], of_split["test"])


@needs_photographs
def test_examples_are_what_they_say_of_the_photographs(source, examples):
    """Marks the pixels of all examples, and cuts every tenth again."""
    photographs = {
        name: tiles.read_photograph(photograph) for name, photograph in tiles.PHOTOGRAPHS.items()
    }
    squares = {(name, split): [] for name in photographs for split in ("train", "test")}
    for split in ("train", "test"):
        for example in examples[split]:
            name, side, place = example["file_name"].decode().split("/")
            top, left = map(int, place.split(".")[0].split("_"))
            side = int(side)
            squares[name, split].append((top, left, side))
            image = example["image"].astype(int)
            assert image.shape == (32, 32, 3) and image.std() >= 3
            assert source.class_names[example["label"]] == name
            if len(squares[name, split]) % 10 == 0:
                square = photographs[name][top : top + side, left : left + side]
                assert abs(image - _means(square)).max() <= 0.5 + 1e-9
    for name, pixels in photographs.items():
        marked = [_marked(pixels.shape[:2], squares[name, split]) for split in ("train", "test")]
        _assert_apart(*marked)


@needs_photographs
def test_examples_are_the_same_everywhere(source, examples):
    assert source.class_names == CLASSES
    assert DataConfig(dataset="tiles").resolved_image_size == 32
    assert {split: source.num_examples(split) for split in source.splits} == {
        "train": 3049,
        "test": 741,
    }
    for split, expected in CHECKSUMS.items():
        digest = hashlib.sha256()
        for example in examples[split]:
            digest.update(example["image"].tobytes())
            digest.update(bytes([example["label"]]) + example["id"])
        assert digest.hexdigest()[:16] == expected


@needs_photographs
def test_photographs_are_real_colour():
    for photograph in tiles.PHOTOGRAPHS.values():
        pixels = tiles.read_photograph(photograph).astype(int)
        assert min(pixels.shape[:2]) >= 300
        assert np.ptp(pixels, axis=2).mean() > 4


def _without_scikit_image(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "skimage" else find(name)
    )


def test_without_scikit_image_the_extra_is_named(command, tmp_path, monkeypatch):
    _without_scikit_image(monkeypatch)
    outcome = command(
        "pretrain", "--dataset=tiles", f"--data_dir={tmp_path}", f"--model_dir={tmp_path}/run"
    )
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1] == (
        "error: --dataset=tiles: needs scikit-image, which is not installed; "
        "pip install 'tf-simclrv2[tiles]' installs it."
    )
    assert list(tmp_path.iterdir()) == []


@needs_photographs
def test_prepared_tiles_need_no_scikit_image(source, monkeypatch):
    _without_scikit_image(monkeypatch)
    assert open_source(DataConfig(dataset="tiles")).num_examples("test") == 741


@pytest.mark.parametrize("is_there", [True, False])
def test_another_photograph_is_refused(is_there, command, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    path = tmp_path / "astronaut.png"
    if is_there:
        path.write_bytes(b"another")
    monkeypatch.setattr(tiles, "check_installed", lambda *_: None)
    monkeypatch.setattr(tiles, "_path", lambda photograph: str(tmp_path / photograph.file_name))
    outcome = command(
        "views", "--dataset=tiles", f"--data_dir={tmp_path}/data", f"--output={tmp_path}/views.png"
    )
    assert outcome.code == 1
    reason = (
        "is not the photograph that the tiles are cut from"
        if is_there
        else "of scikit-image can't be read (No such file or directory)"
    )
    assert outcome.err.splitlines()[-1] == (
        f"error: --dataset=tiles: {path} {reason}; pip install --force-reinstall scikit-image "
        "brings it back."
    )


@needs_photographs
@pytest.mark.slow
def test_the_whole_way_with_tiles(source, command, tmp_path):
    few = ["--train_steps=2", "--train_batch_size=16", "--log_every_steps=1", "--jit_compile=false"]
    tiny = ["--resnet_depth=18", "--width_multiplier=0.0625", "--image_size=16", "--use_blur=false"]
    pretrained, run = f"{tmp_path}/pretrained", f"{tmp_path}/fine_tuned"
    outcome = command("pretrain", "--dataset=tiles", *tiny, *few, f"--model_dir={pretrained}")
    assert outcome.code == 0, outcome.err
    labels = [f"--checkpoint={pretrained}", "--labels_per_class=4"]
    outcome = command("finetune", *labels, *few, f"--model_dir={run}")
    assert outcome.code == 0, outcome.err
    assert "on 741 images of tiles test, " in outcome.out
    with open(f"{run}/labelled_examples.txt", encoding="utf-8") as file:
        assert sorted(line.split("\t")[1].strip() for line in file) == sorted(4 * CLASSES)
    outcome = command("evaluate", f"--model_dir={run}", "--jit_compile=false")
    assert outcome.code == 0 and "on 741 images of tiles test, " in outcome.out


@needs_photographs
def test_views_of_tiles(source, command, tmp_path):
    output = tmp_path / "views.png"
    plain = ("--color_jitter_strength=0", "--use_blur=false", "--num_images=4")
    outcome = command("views", "--dataset=tiles", f"--output={output}", *plain)
    assert outcome.code == 0
    with Image.open(output) as picture:
        assert np.ptp(np.asarray(picture.convert("RGB")).astype(int), axis=2).max() > 100
