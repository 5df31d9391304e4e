"""A trained tiny classifier, exported in every format, and images to try it on."""

import os
import pathlib
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from export.formats import FORMATS

CONSUMERS = pathlib.Path(__file__).parent / "consumers"


class Exported(NamedTuple):
    """A run and its export."""

    run: str
    path: str


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> Exported:
    """A classifier of digits that is right more often than not, in every format."""
    from export.__main__ import main as export_main
    from tf_simclrv2.programs.main import main

    root = tmp_path_factory.mktemp("exported")
    exported = Exported(str(root / "run"), str(root / "export"))
    train = [
        "finetune", "--from_scratch", "--resnet_depth=18", "--width_multiplier=0.0625",
        "--image_size=8", "--use_flip=false", "--use_crop=false", "--ft_proj_selector=1",
        "--train_batch_size=64", "--train_steps=80", "--optimizer=momentum",
        "--learning_rate=0.05", "--learning_rate_scaling=none", "--weight_decay=0.0001",
        "--checkpoint_min_steps=1", f"--model_dir={exported.run}",
    ]  # fmt: skip
    assert main(train) == 0
    formats = f"--formats={','.join(FORMATS)}"
    assert (
        export_main([f"--model_dir={exported.run}", f"--export_dir={exported.path}", formats]) == 0
    )
    return exported


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> pathlib.Path:
    """An .npz with a batch of images and labels, encoded images and the digits' test set."""
    digits = load_digits()
    pixels = np.round(digits.images[-360:] * (255 / 16)).astype(np.uint8)
    pixels = np.repeat(pixels[..., np.newaxis], 3, axis=-1)
    folder = tmp_path_factory.mktemp("data")
    encoded = []
    noise = np.random.RandomState(1).randint(0, 256, (3, 31, 23, 3), dtype=np.uint8)
    for name, image in zip(("small.png", "noise.png", "noise.jpg"), [pixels[0], *noise]):
        Image.fromarray(image).save(folder / name)
        encoded.append((folder / name).read_bytes())
    np.savez(
        folder / "data.npz",
        images=np.random.RandomState(0).uniform(size=(16, 8, 8, 3)).astype(np.float32),
        labels=np.arange(16) % 10,
        image_bytes=np.array(encoded),
        test_images=pixels.astype(np.float32) / 255,
        test_labels=digits.target[-360:],
    )
    return folder / "data.npz"


def run_consumer(name, folder, *arguments, python=sys.executable) -> None:
    """Runs a consumer in a process of its own, from a directory that can't see this project."""
    environment = {
        k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "TF_USE_LEGACY_KERAS")
    }
    environment["TF_CPP_MIN_LOG_LEVEL"] = "3"
    command = [python, str(CONSUMERS / f"{name}.py"), *map(str, arguments)]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
