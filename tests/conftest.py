"""What the tests share: commands run in this process, and one tiny run of the whole method."""

import contextlib
import glob
import os
import shutil
import subprocess
import sys
import tempfile
from typing import Callable, Dict, NamedTuple, Optional

import pytest

# Before TensorFlow Datasets is imported, which reads it once: tests prepare data of their own.
_DATA = tempfile.TemporaryDirectory(prefix="tf_simclrv2_tests_")
os.environ["TFDS_DATA_DIR"] = _DATA.name
# What commands keep of a user's images; TensorFlow Datasets takes what lies in its own for data.
_CACHE = tempfile.TemporaryDirectory(prefix="tf_simclrv2_cache_")
os.environ["XDG_CACHE_HOME"] = _CACHE.name
# Read by TensorFlow as it is imported; the command line does this in a process of its own.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tf_simclrv2.quiet import quiet  # noqa: E402

# What TensorFlow logs would stand among what commands print.
_QUIET = contextlib.ExitStack()
_QUIET.enter_context(quiet())

from tf_simclrv2.keras2 import keras  # noqa: E402

_TESTS = os.path.dirname(os.path.abspath(__file__))
TINY = ["--resnet_depth=18", "--width_multiplier=0.0625", "--image_size=8", "--seed=3"]
FEW_STEPS = ["--train_steps=4", "--train_batch_size=20", "--log_every_steps=2"]
DIGITS_VIEWS = ["--use_crop=true", "--use_flip=false", "--use_blur=false"]


class Outcome(NamedTuple):
    """How a command ended: its exit code and what it printed."""

    code: int
    out: str
    err: str


def pytest_collection_modifyitems(items) -> None:
    """Starts the folders that take minutes first, so that all processes end at about one time."""
    names = ("export", "interop", "learners", "net", "programs", "runtime")
    folders = [os.path.join(_TESTS, name) for name in names]
    items.sort(key=lambda item: os.path.dirname(item.path) not in folders)


def pytest_terminal_summary(terminalreporter) -> None:
    """Prints what tests have measured, from whatever process they ran in."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "measured":
                terminalreporter.write_line(value)


def interrupting(at: int) -> Callable[..., None]:
    """A callback's ``on_train_batch_end`` that is interrupted at a batch, as by Ctrl C."""

    def interrupt(self, batch, logs=None):
        if batch == at:
            raise KeyboardInterrupt

    return interrupt


@pytest.fixture(autouse=True)
def _float32():
    """Takes back the number format that a test has set, which is the whole process's."""
    yield
    keras.mixed_precision.set_global_policy("float32")


@pytest.fixture
def command(capfd) -> Callable[..., Outcome]:
    """Runs ``python -m tf_simclrv2 ...`` (or ``python -m export ...``) in this process."""
    from export.__main__ import main as export_main
    from tf_simclrv2.programs.main import main

    def run(*arguments: str) -> Outcome:
        capfd.readouterr()
        code = export_main(arguments[1:]) if arguments[0] == "export" else main(arguments)
        return Outcome(code, *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def method(tmp_path_factory) -> Dict[str, str]:
    """Every step of the method, on the digits, with a tiny network and a few steps.

    Returns:
      The directories of ``pretrained``, ``fine_tuned``, ``distilled`` and ``export``.
    """
    from export.__main__ import main as export_main
    from tf_simclrv2.programs.main import main

    root = tmp_path_factory.mktemp("method")
    paths = {name: str(root / name) for name in ("pretrained", "fine_tuned", "distilled", "export")}
    commands = [
        ["pretrain", *TINY, *FEW_STEPS, *DIGITS_VIEWS, f"--model_dir={paths['pretrained']}"],
        [
            "finetune",
            *FEW_STEPS,
            *DIGITS_VIEWS,
            "--label_fraction=0.02",
            "--ft_proj_selector=1",
            f"--checkpoint={paths['pretrained']}",
            f"--model_dir={paths['fine_tuned']}",
        ],
        [
            "distill",
            *FEW_STEPS,
            *DIGITS_VIEWS,
            "--width_multiplier=0.03125",
            f"--teacher={paths['fine_tuned']}",
            f"--model_dir={paths['distilled']}",
        ],
    ]
    for arguments in commands:
        assert main(arguments) == 0, arguments
    assert (
        export_main([f"--model_dir={paths['fine_tuned']}", f"--export_dir={paths['export']}"]) == 0
    )
    return paths


def _find_python(*versions: str) -> Optional[str]:
    """The first Python of these versions that runs, of those on the path and those of pyenv."""
    for version in versions:
        kept = os.path.expanduser(f"~/.pyenv/versions/{version}.*/bin/python")
        for path in [f"python{version}", *sorted(glob.glob(kept))]:
            found = shutil.which(path)
            if found and subprocess.run([found, "-c", ""], capture_output=True).returncode == 0:
                return found
    return None


@pytest.fixture(scope="session")
def other_python(tmp_path_factory) -> str:
    """The Python of a virtual environment with the other of the two stacks of requirements.txt.

    The one named by the environment variable OTHER_STACK_PYTHON, else one that is made here.
    """
    given = os.environ.get("OTHER_STACK_PYTHON")
    if given:
        return os.path.abspath(given)
    versions = ("3.12", "3.13") if sys.version_info < (3, 12) else ("3.11", "3.10", "3.9")
    python = _find_python(*versions)
    if python is None:
        pytest.skip(f"the other stack needs Python {' or '.join(versions)}, and none was found")
    environment = tmp_path_factory.mktemp("other_stack")
    subprocess.run([python, "-m", "venv", environment], check=True)
    python = str(environment / "bin" / "python")
    requirements = os.path.join(os.path.dirname(os.path.dirname(__file__)), "requirements.txt")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", requirements], check=True)
    return python
