"""What pip gets: the files of the wheel and of the source distribution, and their metadata."""

import ast
import email.message
import importlib.metadata
import importlib.util
import re
import sys
import zipfile
from typing import Dict, Iterator, List, Set

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import tf_simclrv2
from tests.package.conftest import FILES, FOLDERS, ROOT, project_files
from tf_simclrv2.config import ConfigError
from tf_simclrv2.config.extras import EXTRAS, check_installed

# Distributions of modules that are named otherwise.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "absl": "absl-py",
    "google": "protobuf",
    "lazy_loader": "lazy-loader",
    "sklearn": "scikit-learn",
    "tensorflow_addons": "tensorflow-addons",
    "tensorflow_datasets": "tensorflow-datasets",
    "tf_keras": "tf-keras",
    "vl_convert": "vl-convert-python",
}
PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13")
WITH_TF_KERAS = ("3.12", "3.13")
DEVELOPMENT = {
    "build",
    "hypothesis",
    "ipykernel",
    "mypy",
    "nbmake",
    "pytest",
    "pytest-xdist",
    "ruff",
}


@pytest.fixture(scope="module")
def metadata(distributions) -> email.message.Message:
    with zipfile.ZipFile(distributions.wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        return email.message_from_bytes(archive.read(name))


def requirements(metadata, python: str, extra: str = "") -> Dict[str, Requirement]:
    """What pip installs on a Python, by name."""
    environment = {"python_version": python, "python_full_version": f"{python}.0", "extra": extra}
    found = map(Requirement, metadata.get_all("Requires-Dist"))
    return {
        canonicalize_name(requirement.name): requirement
        for requirement in found
        if requirement.marker is None or requirement.marker.evaluate(environment)
    }


def test_the_wheel_claims_one_name(distributions):
    names = {name.partition("/")[0] for name in distributions.wheel_names()}
    assert names == {"tf_simclrv2", f"tf_simclrv2-{tf_simclrv2.__version__}.dist-info"}


def test_the_wheel_holds_library_export_and_recipes(distributions):
    expected = project_files("tf_simclrv2")
    expected |= {f"tf_simclrv2/{name}" for name in project_files("export")}
    expected |= {name.replace("flags", "tf_simclrv2/recipes", 1) for name in project_files("flags")}
    assert {"tf_simclrv2/py.typed", "tf_simclrv2/recipes/digits/pretrain.txt"} <= expected
    assert {n for n in distributions.wheel_names() if ".dist-info/" not in n} == expected


def test_the_source_distribution_holds_what_builds_and_tests_it(distributions):
    expected = {name for folder in FOLDERS for name in project_files(folder)} | set(FILES)
    assert expected - distributions.source_names() == set()


def test_metadata_says_whose_it_is_and_what_it_may_be_used_for(metadata):
    assert metadata["Name"] == "tf-simclrv2"
    assert metadata["Version"] == tf_simclrv2.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE"]
    assert metadata["Author"] == "The tf-simclrv2 maintainers"
    assert "Paper, https://arxiv.org/abs/2006.10029" in metadata.get_all("Project-URL")
    for python in PYTHONS:
        assert f"Programming Language :: Python :: {python}" in metadata.get_all("Classifier")


def test_the_description_needs_no_file_next_to_it(metadata):
    links = re.findall(r"\]\(([^)]*)\)", metadata.get_payload())
    assert links
    assert all(link.startswith("https://") for link in links), links


def test_nothing_is_pinned(metadata):
    for line in metadata.get_all("Requires-Dist"):
        assert not re.search("==[^']*$", line.partition(";")[0]), line


def imports_in(node: ast.AST) -> Iterator[str]:
    """The top-level modules that code imports, however late, but for a type checker's."""
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return
    if isinstance(node, ast.Import):
        yield from (alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
        yield node.module.partition(".")[0]
    for child in ast.iter_child_nodes(node):
        yield from imports_in(child)


def imported(*folders: str) -> Iterator[str]:
    """The top-level modules that the files of some folders import."""
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            yield from imports_in(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("python", PYTHONS)
def test_what_the_library_imports_is_asked_for(metadata, python):
    standard = getattr(sys, "stdlib_module_names", None)
    if standard is None:
        pytest.skip("needs a Python that can list the standard library: 3.10 or newer")
    modules = set(imported("tf_simclrv2", "export")) - standard - {"tf_simclrv2", "export"}
    names = {DISTRIBUTIONS.get(module, module) for module in modules}
    # Keras 2 has another name on each stack.
    names -= {"keras", "tf-keras"} | ({"tensorflow-addons"} if python in WITH_TF_KERAS else set())
    asked: Set[str] = set()
    for extra in ("", *metadata.get_all("Provides-Extra")):
        if extra != "dev":
            asked |= set(requirements(metadata, python, extra))
    assert names <= asked
    # What is optional is what the library can do without.
    assert {"pyarrow", "tensorflow-hub"}.isdisjoint(requirements(metadata, python))
    assert ("tf-keras" in asked) == (python in WITH_TF_KERAS)


def test_an_optional_package_is_in_its_extra(metadata):
    for package, extra in EXTRAS.items():
        assert package in requirements(metadata, "3.11", extra.name)
        assert package not in requirements(metadata, "3.11")
        assert bool(extra.where) == (package not in requirements(metadata, "3.12", extra.name))


@pytest.mark.parametrize(
    ("package", "extra"),
    [("pyarrow", "parquet"), ("scikit-image", "tiles"), ("tensorflow-addons", "addons")],
)
def test_a_missing_package_is_named_with_its_extra(package, extra, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as error:
        check_installed(package, "flag", "value")
    assert str(error.value).startswith(f"--flag=value: needs {package}, which is not installed; ")
    assert str(error.value).endswith(f"pip install 'tf-simclrv2[{extra}]' installs it.")


def pins(python: str) -> Dict[str, str]:
    """The versions that requirements.txt pins for a Python, by name."""
    lines: List[str] = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {
        canonicalize_name(r.name): str(r.specifier).replace("==", "")
        for r in found
        if r.marker is None or r.marker.evaluate({"python_version": python})
    }


@pytest.mark.parametrize("python", PYTHONS)
def test_the_tested_pins_are_in_the_ranges(metadata, python):
    pinned = pins(python)
    for extra in ("", *metadata.get_all("Provides-Extra")):
        for name, requirement in requirements(metadata, python, extra).items():
            if name in pinned:
                assert requirement.specifier.contains(pinned[name]), str(requirement)
    assert set(pinned) >= DEVELOPMENT
    assert set(requirements(metadata, python, "dev")) >= DEVELOPMENT
    assert DEVELOPMENT.isdisjoint(requirements(metadata, python))


def test_installed_packages_are_in_the_ranges(metadata):
    python = ".".join(map(str, sys.version_info[:2]))
    for name, requirement in requirements(metadata, python).items():
        assert requirement.specifier.contains(importlib.metadata.version(name)), name


def test_the_version_is_the_same_everywhere():
    version = tf_simclrv2.__version__
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    headings = re.findall(
        r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert headings[0] == version


def test_type_checkers_see_each_public_name():
    stub = ast.parse((ROOT / "tf_simclrv2" / "__init__.pyi").read_text())
    imported = [
        alias.name for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names
    ]
    (exported,) = (
        ast.literal_eval(node.value) for node in stub.body if isinstance(node, ast.Assign)
    )
    assert sorted(exported) == sorted(imported) == sorted(tf_simclrv2.__all__)


def test_the_files_that_contributing_names_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:[\w.]+/)+[\w.]*|\w+\.(?:md|txt|toml|cff))`", text))
    # Those that a contributor would write are in capitals.
    existing = {name for name in named if not re.search("[A-Z]{3}", name.replace("README", ""))}
    assert len(existing) > 10
    assert {name for name in existing if not (ROOT / name).exists()} == set()
