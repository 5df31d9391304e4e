"""Hostile images: the others are used, or the folder is refused in one line."""

import os
import pathlib
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.chaos.helpers import TINY

pytestmark = pytest.mark.chaos

GOOD = 110


def _image(path, size=20):
    Image.fromarray(np.random.randint(0, 256, (size, size, 3), np.uint8)).save(path, "PNG")


def _claims(path, width, height):
    """A small PNG whose header claims another size."""
    _image(path)
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    path.write_bytes(content)


def _zeros(path):
    """An endless file."""
    if os.getuid() != 0:
        pytest.skip("device nodes can only be made by root")
    device = path.parents[2] / "zeros"
    os.mknod(device, 0o20666, os.makedev(1, 5))
    path.symlink_to(device)


def _bomb(path, size):
    """A PNG of zeros whose few bytes are a large image."""
    row, packer = bytes(1 + size // 8), zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(size)) + packer.flush()

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(
            ">I", zlib.crc32(kind + content)
        )  # fmt: skip

    header = struct.pack(">IIBBBBB", size, size, 1, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


ODD = {
    "an empty file": lambda path: path.write_bytes(b""),
    "a text": lambda path: path.write_text("hello"),
    "noise": lambda path: path.write_bytes(os.urandom(5000)),
    "one pixel": lambda path: _image(path, 1),
    "a claim of 0 x 0": lambda path: _claims(path, 0, 0),
    "a claim of 100,000 x 100,000": lambda path: _claims(path, 100_000, 100_000),
    "a claim of 2**31 pixels": lambda path: _claims(path, 2**31 - 1, 2**31 - 1),
    "a bomb of 30,000 x 30,000": lambda path: _bomb(path, 30_000),
    "a GIF without data": lambda path: path.with_suffix(".gif").write_bytes(b"GIF89a\xff\xff\xff"),
    "a FIFO": lambda path: os.mkfifo(path),
    "a directory": lambda path: path.mkdir(),
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a link to the directory above": lambda path: (path.parent / "loop").symlink_to(".."),
    "an endless file": _zeros,
    "a name with a line break": lambda path: _image(path.with_name("o\nd.png")),
    "a name that is no UTF-8": lambda path: _image(path.with_name("o\udcff.png")),
    "a name with a comma and brackets": lambda path: _image(path.with_name("o,[1]*.png")),
    "a hidden file": lambda path: path.with_name("._odd.png").write_bytes(b"x"),
}


@pytest.fixture
def folder(tmp_path):
    """A folder of two classes of images."""
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(GOOD // 2):
            _image(tmp_path / "images" / name / f"{number}.png")
    return tmp_path / "images"


@pytest.mark.parametrize("odd", ODD)
def test_training_with_a_hostile_image(odd, folder, tmp_path, run_to_end, record_property):
    ODD[odd](folder / "a" / "odd.png")
    ended = run_to_end(
        "pretrain", "--dataset=folder", f"--data_dir={folder}", *TINY, "--train_batch_size=32",
        "--train_steps=6", "--use_blur=false", "--mode=train", f"--model_dir={tmp_path / 'run'}",
    )  # fmt: skip
    assert ended.code == 0 or ended.is_refusal, ended.story
    record_property("measured", f"training with {odd}: exit {ended.code}")


@pytest.mark.parametrize("odd", ODD)
def test_prediction_of_a_hostile_image(odd, folder, tmp_path, steps, run_to_end, record_property):
    for number in range(3, GOOD // 2):
        (folder / "a" / f"{number}.png").unlink()
    ODD[odd](folder / "a" / "odd.png")
    output = tmp_path / "out.csv"
    ended = run_to_end(
        "predict", f"--saved_model={steps('export')['run']}", f"--images={folder / 'a'}",
        f"--output={output}",
    )  # fmt: skip
    assert ended.code == 0, ended.story
    written = pathlib.Path(output).read_bytes()
    assert all(f"/{number}.png,".encode() in written for number in range(3))
    record_property("measured", f"prediction with {odd}: the others are predicted")
