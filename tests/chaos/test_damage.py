"""Damaged checkpoints: the one before is taken and the damage is told, or all is left as it is."""

import os
import pathlib
import shutil
from typing import Callable, Dict

import pytest

from tests.chaos.helpers import EVERY, STEPS, check_weights

pytestmark = pytest.mark.chaos

DATA, INDEX = ".data-00000-of-00001", ".index"


def _change(suffix: str, change: Callable[[bytes], bytes]) -> Callable[[str], None]:
    def damage(checkpoint: str) -> None:
        path = pathlib.Path(checkpoint + suffix)
        path.write_bytes(change(path.read_bytes()))

    return damage


def _flip(place: float) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        at = int(place * len(content))
        return content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :]

    return change


def _replace_by_directory(checkpoint: str) -> None:
    os.unlink(checkpoint + DATA)
    os.mkdir(checkpoint + DATA)


DAMAGES: Dict[str, Callable[[str], None]] = {
    "data cut by a byte": _change(DATA, lambda content: content[:-1]),
    "data cut to half": _change(DATA, lambda content: content[: len(content) // 2]),
    "data empty": _change(DATA, lambda content: b""),
    "data of zeros": _change(DATA, lambda content: bytes(len(content))),
    "bit flipped early in data": _change(DATA, _flip(0.1)),
    "bit flipped amid data": _change(DATA, _flip(0.5)),
    "bit flipped late in data": _change(DATA, _flip(0.999)),
    "index empty": _change(INDEX, lambda content: b""),
    "index cut to half": _change(INDEX, lambda content: content[: len(content) // 2]),
    "index of noise": _change(INDEX, lambda content: os.urandom(len(content))),
    "bit flipped in index": _change(INDEX, _flip(0.5)),
    "data missing": lambda checkpoint: os.unlink(checkpoint + DATA),
    "index missing": lambda checkpoint: os.unlink(checkpoint + INDEX),
    "data a directory": _replace_by_directory,
}
SURVIVED_LONG_SINCE = {"data missing", "index missing"}
STATES = {
    "empty": "",
    "noise": "\x00\x01garbage{{{",
    "torn": 'model_checkpoint_path: "ckpt-3',
    "of a checkpoint that is gone": 'model_checkpoint_path: "ckpt-99"\n',
    "of another machine": 'model_checkpoint_path: "/gone/ckpt-30"\n',
}


@pytest.fixture
def halfway(steps, tmp_path):
    """A run that ended after three quarters of its steps, and its command."""
    step, run = steps("pretrain"), str(tmp_path / "run")
    shutil.copytree(step["run"], run)
    last = 3 * STEPS // 4
    kept = []
    for number in range(EVERY, STEPS + 1, EVERY):
        path = pathlib.Path(run, "checkpoints", f"ckpt-{number}{INDEX}")
        if number > last:
            path.unlink()
            path.with_name(f"ckpt-{number}{DATA}").unlink()
        elif path.exists():
            kept.append(number)
    lines = [f'model_checkpoint_path: "ckpt-{last}"']
    lines += [f'all_model_checkpoint_paths: "ckpt-{number}"' for number in kept]
    pathlib.Path(run, "checkpoints", "checkpoint").write_text("\n".join(lines) + "\n")
    os.unlink(os.path.join(run, "result.json"))
    return run, kept, [*step["command"], f"--model_dir={run}"], step["run"]


@pytest.mark.parametrize(
    "damage",
    [pytest.param(name, marks=[pytest.mark.slow] if name == "data missing" else [])
     for name in DAMAGES],
)  # fmt: skip
def test_the_checkpoint_before_a_damaged_one_is_taken(damage, halfway, run_to_end, record_property):
    run, kept, command, reference = halfway
    DAMAGES[damage](os.path.join(run, "checkpoints", f"ckpt-{kept[-1]}"))
    ended = run_to_end(*command)
    assert ended.code == 0, ended.story
    assert f"ckpt-{kept[-1]}" in ended.err, "the damage is told"
    check_weights(run, reference)
    record_property("measured", f"newest checkpoint, {damage}: survived")


@pytest.mark.parametrize("damage", ["data cut to half", "bit flipped amid data", "index empty"])
def test_where_all_are_damaged_nothing_is_changed(damage, halfway, run_to_end):
    run, kept, command, _ = halfway
    for number in kept:
        DAMAGES[damage](os.path.join(run, "checkpoints", f"ckpt-{number}"))
    before = {path: path.read_bytes() for path in pathlib.Path(run).rglob("*") if path.is_file()}
    ended = run_to_end(*command)
    assert ended.is_refusal, ended.story
    assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.parametrize("state", STATES)
def test_a_damaged_state_file_stops_nothing(state, halfway, run_to_end, record_property):
    run, _, command, reference = halfway
    pathlib.Path(run, "checkpoints", "checkpoint").write_text(STATES[state])
    ended = run_to_end(*command)
    assert ended.code == 0, ended.story
    check_weights(run, reference)
    record_property("measured", f"state file {state}: survived")
