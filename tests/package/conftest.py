"""The wheel and the source distribution, built from a copy of the project."""

import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from typing import NamedTuple, Set

import pytest

ROOT = pathlib.Path(__file__).parents[2]
# All of the project but what belongs to a checkout: .git, .ci, .github.
FOLDERS = ("benchmarks", "docs", "examples", "export", "flags", "tests", "tf_simclrv2")
FILES = (
    "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "MANIFEST.in", "Makefile",
    "README.md", "pyproject.toml", "requirements.txt", "setup.py",
)  # fmt: skip
_LEFTOVERS = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")


class Distributions(NamedTuple):
    """What was built: paths of the wheel and of the source distribution."""

    wheel: pathlib.Path
    source: pathlib.Path

    def wheel_names(self) -> Set[str]:
        """The files in the wheel."""
        with zipfile.ZipFile(self.wheel) as archive:
            return set(archive.namelist())

    def source_names(self) -> Set[str]:
        """The files in the source distribution, without the directory that they are all in."""
        with tarfile.open(self.source) as archive:
            return {m.name.partition("/")[2] for m in archive.getmembers() if m.isfile()}


def project_files(folder: str) -> Set[str]:
    """The files of one of the project's folders, as paths from its root."""
    files = (path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file())
    return {
        path.as_posix()
        for path in files
        if path.suffix != ".pyc" and not any(part.startswith(".") for part in path.parts)
    }


@pytest.fixture(scope="session")
def distributions(tmp_path_factory) -> Distributions:
    """Builds the source distribution, and the wheel from that."""
    copy = tmp_path_factory.mktemp("project")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name, ignore=_LEFTOVERS)
    for name in FILES:
        shutil.copy(ROOT / name, copy)
    built = tmp_path_factory.mktemp("built")
    # Without isolation the tools of this environment do it, and no network is needed.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(built), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,), (source,) = built.glob("*.whl"), built.glob("*.tar.gz")
    return Distributions(wheel, source)
