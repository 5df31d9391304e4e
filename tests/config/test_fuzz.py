"""Whatever flags, config.json and the cluster's variables hold: a config, or one line about it."""

import dataclasses
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tf_simclrv2 import config
from tf_simclrv2.config import ConfigError
from tf_simclrv2.programs import command_line
from tf_simclrv2.programs.main import COMMANDS
from tf_simclrv2.runtime import strategy as strategies
from tf_simclrv2.runtime.settings import RunSettings, config_to_dict

# The same examples on every machine, so that a test that passes here passes there.
fuzzed = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=250,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

NEEDED = {
    "model_dir": "m", "checkpoint": "c", "teacher": "t", "saved_model": "s", "images": "i",
    "google_checkpoint": "g", "export_dir": "e",
}  # fmt: skip
STRANGE = [
    "", " ", "-0", "0.5", "1e308", "1e-320", "nan", "-inf", "4294967296", "9" * 5000, "0x10", "1_0",
    "1,5", "٣", "²", "true", "None", "[]", "a\nb", "a\r\nb", "a\u2028b", "\x1b[31m", "%s%n", "{0}",
    "../x", "/dev/null", "x" * 9000, "\udcff", "\ud800", "\x00", "=", "~", ",", "--x=y",
]  # fmt: skip
TEXTS = st.sampled_from(STRANGE) | st.text(max_size=20)
VALUES = TEXTS | st.integers().map(str) | st.floats().map(str)
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, 2**63, -1, 0])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


def said_of(work):
    """What a ConfigError says of some work, checked to be one line; None without an error."""
    try:
        work()
    except ConfigError as error:
        said = str(error)
        assert said.endswith(".") and said.isprintable() and len(said) < 3000, said
        return said
    return None


def _fields(command):
    sections = config.sections_of(COMMANDS[command].config).values()
    return [field.name for section in sections for field in dataclasses.fields(section)]


FLAGS = [(command, name) for command in COMMANDS for name in _fields(command)]


@fuzzed
@given(
    st.sampled_from(FLAGS), VALUES, st.sampled_from(["--{}={}", "-{}={}", "--no{}={}", "--{}{}"])
)
def test_a_flag_of_any_value_is_taken_or_refused_in_one_line(flag, value, form):
    command, name = flag
    config_class, own = COMMANDS[command].config, _fields(command)
    needed = [f"--{each}={there}" for each, there in NEEDED.items() if each in own]

    def build():
        given = command_line.parse(config_class, [*needed, form.format(name, value)])
        command_line.build(config_class, given)

    said_of(build)


@fuzzed
@given(st.sampled_from(sorted(COMMANDS)), st.lists(VALUES, max_size=4))
def test_any_arguments_are_taken_or_refused_in_one_line(command, arguments):
    # Endless files and the screen's help belong to other tests.
    said_of(lambda: command_line.parse(COMMANDS[command].config, arguments))


def _content(step):
    run = config.RunConfig(model_dir="run")
    made = {
        "pretrain": lambda: config.PretrainConfig(run),
        "finetune": lambda: config.FinetuneConfig(run, config.FineTuningConfig(checkpoint="c")),
        "distill": lambda: config.DistillConfig(run, config.DistillationConfig("t")),
    }[step]()
    return {
        "step": step, "class_names": ["cat", "dog"], "config": config_to_dict(made),
        "class_names_known": True, "converted": {"google_checkpoint": "c", "kernel_scale": 1.5},
    }  # fmt: skip


def _spots(content):
    """Where a value stands in nested dicts: the keys that lead to it."""
    for key, value in content.items():
        yield (key,)
        if isinstance(value, dict):
            yield from ((key, *more) for more in _spots(value))


CONTENTS = {step: _content(step) for step in ("pretrain", "finetune", "distill")}
SPOTS = [(step, *spot) for step, content in CONTENTS.items() for spot in _spots(content)]


@pytest.fixture
def read(tmp_path):
    """Reads a text as config.json does, and uses what of it commands use."""
    path = tmp_path / "config.json"

    def attempt(text):
        path.write_bytes(text.encode("utf-8", "surrogatepass"))

        def use():
            settings = RunSettings.read(str(path))
            settings.knows_classes(["a", "b"])
            settings.config.network.resolved(settings.config.data.resolved_image_size)
            settings.continued_by(settings, "run").write(str(path))
            assert RunSettings.read(str(path)) == settings

        return said_of(use)

    return attempt


@fuzzed
@given(st.sampled_from(SPOTS), JSON | st.just("removed"))
def test_a_changed_config_is_read_or_refused_in_one_line(read, spot, value):
    step, *parents, last = spot
    content = json.loads(json.dumps(CONTENTS[step]))
    place = content
    for key in parents:
        place = place[key]
    place[last] = value
    if value == "removed":
        del place[last]
    read(json.dumps(content))


@fuzzed
@given(
    JSON.map(json.dumps)
    | TEXTS
    | st.just("[" * 100_000)
    | st.integers(1, 900).map(lambda end: json.dumps(CONTENTS)[:end])
)
def test_what_is_no_config_is_refused_in_one_line(read, text):
    assert "config.json" in read(text)


CLUSTERS = st.fixed_dictionaries(
    {},
    optional={
        "cluster": JSON
        | st.dictionaries(
            st.sampled_from(["chief", "worker", "ps"]),
            JSON | st.lists(st.sampled_from(["a:1", "b:2", "c:3", "d", ""]), max_size=3),
        ),
        "task": JSON
        | st.fixed_dictionaries({"type": st.sampled_from(["worker", "chief", "x"]), "index": JSON}),
    },
)


@fuzzed
@given(
    CLUSTERS.map(json.dumps) | JSON.map(json.dumps) | TEXTS.filter(lambda text: "\x00" not in text)
)
def test_any_tf_config_names_this_worker_or_is_refused_in_one_line(monkeypatch, text):
    try:
        monkeypatch.setenv("TF_CONFIG", text)
    except UnicodeEncodeError:  # No environment can hold it.
        return

    def use():
        assert strategies._num_workers() >= 1
        strategies._check_task(strategies._tf_config())

    said = said_of(use)
    assert said is None or said.startswith("TF_CONFIG=")


SLURM = st.sampled_from(
    ["0", "1", "2", "4", "99", "-1", "x", "", "2(x2)", "n[01-02]", "n[", "n[2-1]", "a,,b", "9" * 99]
)  # fmt: skip


@fuzzed
@given(
    st.dictionaries(
        st.sampled_from(["PROCID", "STEP_NUM_TASKS", "STEP_NODELIST", "STEP_TASKS_PER_NODE"]), SLURM
    )
)
def test_any_variables_of_slurm_name_workers_or_are_refused_in_one_line(monkeypatch, variables):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    for name in ("PROCID", "STEP_NUM_TASKS", "STEP_NODELIST", "STEP_TASKS_PER_NODE"):
        monkeypatch.delenv(f"SLURM_{name}", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(f"SLURM_{name}", value)

    def use():
        if strategies._num_workers() > 1:
            strategies._slurm_cluster()

    said_of(use)
