"""What docs/security.md promises of the source: nothing that is read is executed."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FILES = sorted(path for room in ("tf_simclrv2", "export") for path in (ROOT / room).rglob("*.py"))
# Modules that unpickle, or load what does.
UNPICKLE = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
EXECUTE = {"eval", "exec", "compile", "__import__"}
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
UNPACK = {"extractall", "extract", "unpack_archive"}


def _imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module


def faults(source):
    """What a source does that docs/security.md says it doesn't."""
    tree = ast.parse(source)
    yield from (name for name in _imports(tree) if name.split(".")[0] in UNPICKLE)
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = ast.unparse(call.func)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        if name in EXECUTE | SHELLS or name.endswith((".read_pickle", ".to_pickle")):
            yield name
        if given.get("allow_pickle", "False") != "False" or given.get("shell") == "True":
            yield ast.unparse(call)
        if name.rpartition(".")[2] in UNPACK:
            yield name


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_is_read_is_executed(path):
    assert list(faults(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=wanted)",
        "pandas.read_pickle(path)",
        "eval(text)",
        "os.system(text)",
        "subprocess.run(text, shell=True)",
        "archive.extractall(path)",
    ],
)
def test_the_check_finds(source):
    assert list(faults(source))


@pytest.mark.parametrize("source", ["np.load(path)", "re.compile(x)", "model.compile(jit=True)"])
def test_the_check_lets_pass(source):
    assert not list(faults(source))
