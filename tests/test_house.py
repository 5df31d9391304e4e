"""The structure that docs/architecture.md promises, read from the source without importing it."""

import ast
import functools
import pathlib
import re
from typing import Dict, Iterator, List, Set, Tuple

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FLOORS = [
    {"config", "environment", "keras2", "optimizer_rows", "progress", "quiet", "__init__"},
    {"networks", "objectives", "optimization", "data"},
    {"learners", "evaluation", "labelling", "runtime", "interop"},
    {"training"},
    {"reporting"},
    {"programs", "export", "__main__"},
]
MOST_LINES, MOST_PARAMETERS = 350, 6


def _files(*folders: str) -> List[pathlib.Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


@functools.cache
def _tree(path: pathlib.Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _module(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module(path): path for path in _files("tf_simclrv2", "export")}


def _imported(path: pathlib.Path) -> Iterator[str]:
    """The project's modules that a file imports, those inside functions included."""
    package = _module(path) if path.name == "__init__.py" else _module(path).rpartition(".")[0]
    for node in ast.walk(_tree(path)):
        names: List[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        for name in names:
            while name and name not in MODULES:
                name = name.rpartition(".")[0]
            if name and name != "tf_simclrv2":
                yield name


def _room(module: str) -> str:
    parts = module.split(".")
    return parts[0] if parts[0] == "export" else (parts[1:] or ["__init__"])[0]


def _floor(room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def test_imports_go_one_way():
    upward = [
        f"{module} imports {other}"
        for module, path in MODULES.items()
        for other in _imported(path)
        if _floor(_room(other)) > _floor(_room(module))
    ]
    assert not upward


def test_labelling_works_on_arrays_alone():
    imported = {
        other
        for module, path in MODULES.items()
        if _room(module) == "labelling"
        for other in _imported(path)
    }
    assert {_room(other) for other in imported} <= {"labelling", "evaluation", "config"}
    for path in _files("tf_simclrv2/labelling"):
        assert not re.search(r"\btensorflow\b|keras2", path.read_text(encoding="utf-8"))


def _assert_no_circle(edges: Dict[str, Set[str]]) -> None:
    done: Set[str] = set()

    def visit(name: str, trail: Tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail, name])
        if name not in done:
            for other in sorted(edges[name]):
                visit(other, (*trail, name))
            done.add(name)

    for name in edges:
        visit(name, ())


def test_no_circle_of_modules_or_of_packages():
    modules = {name: set(_imported(path)) - {name} for name, path in MODULES.items()}
    _assert_no_circle(modules)
    rooms: Dict[str, Set[str]] = {}
    for name, others in modules.items():
        rooms.setdefault(_room(name), set()).update(map(_room, others))
    _assert_no_circle({room: others - {room} for room, others in rooms.items()})


def test_nothing_is_longer_than_a_reader_can_hold():
    files = _files("tf_simclrv2", "export", "tests", "benchmarks")
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


def _is_keras(base: ast.expr) -> bool:
    return "keras." in ast.unparse(base) or "tfa." in ast.unparse(base)


@functools.cache
def _keras_classes() -> Set[str]:
    """Names of the classes that inherit from one of Keras's, directly or not."""
    classes = [
        node
        for path in _files("tf_simclrv2", "export", "tests", "benchmarks")
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.ClassDef)
    ]
    found: Set[str] = set()
    while True:
        more = {
            node.name
            for node in classes
            if any(_is_keras(base) or ast.unparse(base) in found for base in node.bases)
        }
        if more <= found:
            return found
        found |= more


def _functions(node: ast.AST, owner: str = "") -> Iterator[Tuple[str, ast.FunctionDef]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef):
            yield owner, child
        yield from _functions(child, child.name if isinstance(child, ast.ClassDef) else owner)


def test_no_function_has_more_parameters_than_a_reader_can_hold():
    found = []
    for path in _files("tf_simclrv2", "export", "tests", "benchmarks"):
        for owner, function in _functions(_tree(path)):
            arguments = function.args
            names = [
                a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
            ]
            is_test = function.name.startswith("test_")
            is_keras = function.name == "__init__" and owner in _keras_classes()
            count = len([name for name in names if name not in ("self", "cls")])
            if count > MOST_PARAMETERS and not is_test and not is_keras:
                found.append(f"{path.relative_to(ROOT)}: {function.name} has {count}")
    assert found == []


def _calls(path: pathlib.Path) -> Set[str]:
    return {ast.unparse(n.func) for n in ast.walk(_tree(path)) if isinstance(n, ast.Call)}


# The command line's own text: help, errors, the lines of what the library logs, the demo's table.
PRINTS = {"tf_simclrv2/programs/main.py", "tf_simclrv2/programs/logs.py"}


@pytest.mark.parametrize("path", MODULES.values(), ids=MODULES)
def test_the_library_logs_and_reads_no_flags(path):
    relative = str(path.relative_to(ROOT))
    if relative not in PRINTS:
        assert "print" not in _calls(path)
    if re.search(r"^\s*(from|import) absl\b", path.read_text(encoding="utf-8"), re.MULTILINE):
        assert relative == "tf_simclrv2/programs/command_line.py"
