"""The wheel works where nothing of the checkout is: the commands, the export and the recipes."""

import csv
import os
import pathlib
import subprocess
import sys
import sysconfig

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import tf_simclrv2

pytestmark = pytest.mark.slow
FEW_STEPS = ["--train_steps=4", "--train_batch_size=20", "--log_every_steps=2"]
TINY = ["--width_multiplier=0.0625", "--image_size=8"]


class Installed:
    """An environment with the wheel and this environment's packages, and an empty directory."""

    def __init__(self, wheel: pathlib.Path, folder: pathlib.Path):
        self.folder = folder / "empty"
        self.folder.mkdir()
        self._bin = folder / "environment" / "bin"
        python = str(self._bin / "python")
        subprocess.run([sys.executable, "-m", "venv", str(folder / "environment")], check=True)
        # With the packages that are installed here no network is needed.
        (site,) = (folder / "environment").glob("lib/python*/site-packages")
        (site / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
        pip = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
        subprocess.run(pip, check=True)

    def run(self, *command: str, code: int = 0) -> str:
        """Runs a program of the environment in the empty directory; returns what it printed."""
        environment = {name: v for name, v in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [str(self._bin / command[0]), *command[1:]],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def installed(distributions, tmp_path_factory) -> Installed:
    return Installed(distributions.wheel, tmp_path_factory.mktemp("installed"))


def test_the_whole_method_runs_from_an_empty_directory(installed):
    installed.run(
        "simclrv2", "pretrain", "--recipe=digits/pretrain", *TINY, *FEW_STEPS, "--model_dir=a"
    )
    installed.run(
        "simclrv2", "finetune", "--recipe=digits/finetune_1pct", *FEW_STEPS, "--checkpoint=a",
        "--model_dir=b",
    )  # fmt: skip
    printed = installed.run("simclrv2", "export", "--model_dir=b", "--export_dir=out")
    assert printed.endswith("b exported to out\n")
    images = installed.folder / "images"
    images.mkdir()
    for index, digit in enumerate(load_digits().images[:3]):
        pixels = np.round(digit * (255 / 16)).astype(np.uint8)
        Image.fromarray(pixels).save(images / f"{index}.png")
    installed.run("simclrv2", "predict", "--saved_model=out", "--images=images", "--output=p.csv")
    with open(installed.folder / "p.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    assert {row["class"] for row in rows} <= {str(digit) for digit in range(10)}


def test_common_names_stay_free_and_the_library_comes_from_the_environment(installed):
    for name in "export", "flags", "tests":
        installed.run("python", "-c", f"import {name}", code=1)
    where = installed.run("python", "-c", "import tf_simclrv2; print(tf_simclrv2.__file__)")
    assert "site-packages" in where
    recipes = "import os, tf_simclrv2.recipes as r; print(*map(os.listdir, r.__path__))"
    assert "digits" in installed.run("python", "-c", recipes)


def test_recipes_are_listed_and_the_version_is_shown(installed):
    assert "digits/pretrain" in installed.run("simclrv2", "recipes")
    assert tf_simclrv2.__version__ in installed.run("simclrv2", "--version")
    assert "--export_dir" in installed.run("simclrv2", "export", "--help")
    assert "--export_dir" in installed.run("python", "-m", "tf_simclrv2.export", "--help")
