"""Checks of a folder's files: which are found by which, what is kept, what takes their places."""

import glob
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.data.samples import KINDS
from tf_simclrv2.config import AugmentationConfig, ConfigError, DataConfig
from tf_simclrv2.data import checking, kept_checks
from tf_simclrv2.data.batches import Views, batches, evaluation_batches
from tf_simclrv2.data.quick_look import look
from tf_simclrv2.data.sources import open_source
from tf_simclrv2.data.stream import Part, Stream
from tf_simclrv2.keras2 import tf
from tf_simclrv2.training.pictures import reading

PLAIN = AugmentationConfig(color_jitter_strength=0, use_blur=False)


def spoil(path):
    """Damages what is in the middle of a PNG, and neither header nor end."""
    with open(path, "rb") as file:
        content = file.read()
    middle = content.index(b"IDAT") + 6
    with open(path, "wb") as file:
        file.write(content[:middle] + b"spoilt" + content[middle + 6 :])


@pytest.fixture(autouse=True)
def _kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # As if all files had been there for a while.
    monkeypatch.setattr(kept_checks, "_SETTLED", 0)


@pytest.fixture
def folder(tmp_path):
    """Twenty images, each of its own colour."""
    (tmp_path / "images").mkdir()
    for number in range(20):
        pixels = np.full((12, 10, 3), 10 * number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"images/{number:02}.png")
    return tmp_path / "images"


@pytest.fixture
def decoded(monkeypatch):
    """The files that were decoded by a check."""
    found = []

    def counted(root, files, *more):
        found.extend(files)
        return shapes_of(root, files, *more)

    shapes_of = checking.shapes_of
    monkeypatch.setattr(checking, "shapes_of", counted)
    return found


def _open(folder, how="full", **more):
    data = DataConfig(
        dataset="folder", data_dir=str(folder), image_size=8, check_images=how,
        **{"max_bad_images": 0.5, **more},
    )  # fmt: skip
    return open_source(data), data


def _ids_of(stream, count):
    return [each["id"].decode() for each in stream.examples().take(count).as_numpy_iterator()]


def _files(folder, how="full"):
    return sorted(each.decode() for each in _open(folder, how)[0].columns("train").ids)


def test_a_second_start_decodes_nothing(folder, decoded):
    names = [f"{number:02}.png" for number in range(20)]
    assert _files(folder) == names == sorted(decoded)
    for how in ("full", "quick", "no"):
        decoded.clear()
        assert _files(folder, how) == names and decoded == []
    # Changed, with the same size and time of its content.
    before = os.stat(folder / "03.png")
    spoil(folder / "03.png")
    os.utime(folder / "03.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(folder / "03.png").st_size == before.st_size
    Image.new("RGB", (9, 9)).save(folder / "new.png")
    assert _files(folder) == sorted({*names, "new.png"} - {"03.png"})
    assert sorted(decoded) == ["03.png", "new.png"]
    decoded.clear()
    # What does not decode is tried each time, as the disk may have failed.
    _files(folder)
    assert decoded == ["03.png"]


def test_another_limit_of_pixels_or_a_look_alone_does_not_stand_for_a_check(folder, decoded):
    _files(folder, "quick")
    # Whether any decodes.
    assert decoded == ["00.png"]
    _files(folder)
    assert len(decoded) == 20
    assert len(_open(folder, max_image_pixels=200)[0].columns("train").ids) == 20
    assert len(decoded) == 40


@pytest.mark.parametrize("how", ["quick", "no"])
def test_a_folder_of_damaged_images_alone_is_refused(folder, how):
    for path in folder.glob("*.png"):
        spoil(path)
    sentence = rf"--check_images={how}: none of 20 files of train that were tried, out of 20, is"
    with pytest.raises(ConfigError, match=sentence):
        _open(folder, how, max_bad_images=0.9)[0].num_examples("train")


def test_files_that_were_just_written_are_not_trusted(folder, decoded, monkeypatch):
    monkeypatch.setattr(kept_checks, "_SETTLED", 10**12)
    _files(folder)
    _files(folder)
    assert len(decoded) == 40


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "a directory"])
def test_a_damaged_record_of_a_check_is_not_used(folder, decoded, tmp_path, damage):
    _files(folder)
    (kept,) = glob.glob(f"{tmp_path}/cache/tf_simclrv2/checked_images/*")
    with open(kept, "rb") as file:
        content = file.read()
    if damage == "a directory":
        os.remove(kept)
        os.mkdir(kept)
    else:
        flipped = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
        with open(kept, "wb") as file:
            file.write({"cut": content[:-3], "flipped": flipped, "empty": b""}[damage])
    decoded.clear()
    assert len(_files(folder)) == 20 == len(decoded)
    assert len(os.listdir(os.path.dirname(kept))) == 1


def test_a_place_that_can_not_be_written_only_costs_the_check(folder, decoded, monkeypatch):
    for place in ("/dev/null", "/proc/1", str(folder / "00.png")):
        monkeypatch.setenv("XDG_CACHE_HOME", place)
        assert len(_files(folder)) == 20
    full = OSError(28, "No space left on device")
    monkeypatch.setattr(kept_checks.os, "replace", lambda *_: (_ for _ in ()).throw(full))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder.parent / "full"))
    assert len(_files(folder)) == 20 and len(decoded) == 80
    assert os.listdir(kept_checks.directory()) == []


@pytest.mark.parametrize("name", [name for name in KINDS if name.startswith(("JPEG", "PNG"))])
def test_a_look_vouches_only_for_files_that_are_whole(tmp_path, name):
    content = KINDS[name].content
    path = tmp_path / "image"
    path.write_bytes(content)
    with Image.open(path) as image:
        assert look(str(path)) == (image.height, image.width)
    ends = sorted({*range(0, len(content), 1 + len(content) // 40), len(content) - 1})
    for end in ends:
        path.write_bytes(content[:end])
        assert look(str(path)) is None, end
    path.write_bytes(content + b"\0")
    assert look(str(path)) is None


def test_a_look_follows_long_headers_and_survives_any_bytes(tmp_path):
    path = tmp_path / "image.jpg"
    exif = Image.Exif()
    exif[0x010E] = "x" * 60000
    Image.new("RGB", (40, 30)).save(path, exif=exif, icc_profile=bytes(200_000))
    assert look(str(path)) == (30, 40)
    content, random = path.read_bytes(), np.random.RandomState(0)
    for _ in range(200):
        some = bytearray(content[:300] + content[-300:])
        for place in random.randint(0, len(some), 5):
            some[place] = random.randint(256)
        path.write_bytes(bytes(some))
        look(str(path))


def _batches(folder, how="no", start=0, part=None, **more):
    source, data = _open(folder, how, **more)
    stream = Stream(source, "train", 3, data=data)
    made = batches(stream, Views.two(8, PLAIN), 10, start, part or Part())
    return stream, list(made.take(6 - start).as_numpy_iterator())


def _assert_same(some, others):
    assert len(some) == len(others) > 0
    for one, other in zip(some, others):
        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name], name)


def test_whole_files_are_the_same_however_they_are_checked(folder):
    _, full = _batches(folder, "full")
    for how in ("quick", "no"):
        stream, made = _batches(folder, how)
        _assert_same(made, full)
        assert stream.damaged.ids == []


def test_what_replaces_a_damaged_image_is_a_function_of_seed_and_position(folder, caplog):
    _, whole = _batches(folder)
    spoil(folder / "04.png")
    spoil(folder / "05.png")
    stream, made = _batches(folder)
    assert sorted(stream.damaged.ids) == ["04.png", "05.png"]
    stream.damaged.report()
    assert "2 of the 20 images that were trained on are damaged" in caplog.text
    assert "04.png, 05.png" in caplog.text
    # Three epochs, in each of which two images are others, and only they.
    for epoch in range(3):
        pairs = zip(whole[2 * epoch : 2 * epoch + 2], made[2 * epoch : 2 * epoch + 2])
        differ = [np.any(w != m) for ws, ms in pairs for w, m in zip(ws["view_1"], ms["view_1"])]
        assert sum(differ) == 2
        seen = {int(each[0, 0, 0]) for ms in made for each in ms["view_1"]}
        assert not seen & {40, 50}
    # Continued at another step, by several workers, found by a look, and read from a cache.
    _assert_same(_batches(folder, start=3)[1], made[3:])
    parts = [_batches(folder, part=Part(index, 2, 2))[1] for index in range(2)]
    joined = [
        {name: np.concatenate([one[name], other[name]]) for name in one}
        for one, other in zip(*parts)
    ]
    _assert_same(joined, made)
    _assert_same(_batches(folder, "quick")[1], made)
    _assert_same(_batches(folder, cache_dataset=True)[1], made)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [({"max_bad_images": 0.05}, r"--max_bad_images=0.05: 2 of the 20 images .*--check_images=no"),
     ({"strict_images": True}, r"--strict_images=True: 0[45].png is no whole image")],
)  # fmt: skip
def test_too_many_damaged_images_end_the_stream_with_a_sentence(folder, flags, sentence):
    from tf_simclrv2.training.evaluating import labels_checked

    spoil(folder / "04.png")
    spoil(folder / "05.png")
    with pytest.raises(ConfigError, match=sentence), labels_checked(None, "train_split", "train"):
        _batches(folder, **flags)


def test_an_evaluation_does_not_count_what_is_damaged(folder):
    spoil(folder / "04.png")
    source, data = _open(folder, "quick")
    made = evaluation_batches(source, data, "train")
    sentence = r"04.png is no whole image .*--check_images=full"
    with pytest.raises(ConfigError, match=sentence), reading(source):
        list(made)
    # What is only evaluated on is always decoded before.
    os.makedirs(folder / "train")
    os.makedirs(folder / "test")
    for path in folder.glob("*.png"):
        os.rename(path, folder / ("test" if path.name < "06" else "train") / path.name)
    source = _open(folder, "no")[0]
    assert (source.num_examples("test"), source.num_examples("train")) == (5, 14)
    assert source.is_checked("test") and not source.is_checked("train")


def test_images_read_one_after_the_other_can_not_be_replaced(folder):
    source, data = _open(folder, "no")
    digits = open_source(DataConfig())
    with pytest.raises(ConfigError, match=r"--check_images=no: .*digits is read one image after"):
        Stream(digits, "train", 0, data=data, unlabelled=source)
    with pytest.raises(ConfigError, match=r"--check_images=quick: .*--order=buffer"):
        DataConfig(check_images="quick", order="buffer")


def test_a_file_that_vanishes_is_no_damaged_image(folder):
    source, data = _open(folder, "no")
    os.remove(folder / "04.png")
    stream = Stream(source, "train", 3, data=data)
    with pytest.raises(tf.errors.OpError, match="No such file"):
        list(batches(stream, Views.two(8, PLAIN), 10).take(3))
    assert stream.damaged.ids == []
    # Nor does a folder that is gone keep the run waiting.
    shutil.rmtree(folder)
    with pytest.raises(tf.errors.OpError, match="No such file"):
        next(iter(batches(stream, Views.two(8, PLAIN), 10)))


def test_nothing_is_kept_for_a_user_without_a_directory(folder, decoded, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.chdir(folder.parent)
    assert len(_files(folder)) == len(_files(folder)) == 20
    assert len(decoded) == 40 and not os.path.exists("~")


def test_a_record_of_another_user_is_not_used(folder, decoded, monkeypatch):
    _files(folder)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    _files(folder)
    assert len(decoded) == 40


@pytest.mark.parametrize("how", ["quick", "no"])
def test_images_that_a_table_holds_out_are_checked_in_full(folder, how, caplog):
    table = folder.parent / "labels.csv"
    rows = [f"{n:02}.png,{'ab'[n % 2]},{'validation' if n < 6 else 'train'}" for n in range(20)]
    table.write_text("\n".join(["image,label,split", *rows]))
    spoil(folder / "04.png")
    spoil(folder / "15.png")
    source, data = _open(folder, how, labels=str(table))
    assert source.is_checked("validation") and not source.is_checked("train")
    assert (source.num_examples("validation"), source.num_examples("train")) == (5, 14)
    assert "corrupt, left out: 04.png" in caplog.text and "15.png" not in caplog.text
    images = [batch["image"] for batch in evaluation_batches(source, data, "validation")]
    assert sum(map(len, images)) == 5


def _monitored(data, images):
    from tf_simclrv2.config import MonitorConfig, PretrainConfig, RunConfig
    from tf_simclrv2.runtime.devices import Devices
    from tf_simclrv2.training.monitored import Monitored

    monitors = MonitorConfig(monitor_images=images)
    config = PretrainConfig(RunConfig("run"), data=data, augmentation=PLAIN, monitors=monitors)
    return Monitored.of(config, open_source(data), Devices())


def test_monitors_leave_damaged_images_out(folder):
    # Two of the six that are monitored, but no more than a tenth of all.
    source, data = _open(folder, "no", holdout_fraction=0.0, max_bad_images=0.1)
    drawn = _ids_of(Stream(source, "train", 0, data=data), 6)
    for name in (drawn[2], drawn[5]):
        spoil(folder / name)
    assert _monitored(data, 0).count == 0
    monitored = _monitored(data, 6)
    assert monitored.count == 4
    seen = [int(image[0, 0, 0]) for batch in monitored.batches(Part()) for image in batch["image"]]
    whole = [name for name in drawn if name not in (drawn[2], drawn[5])]
    assert seen == [10 * int(name[:2]) for name in whole]
