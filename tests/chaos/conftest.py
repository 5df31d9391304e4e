"""Runs that nothing disturbs, to compare with."""

import os
from typing import Callable, Dict

import pytest

from tests.chaos.helpers import LENGTH, PRETRAIN, Ended, Running


@pytest.fixture(scope="session")
def steps(tmp_path_factory) -> Callable[[str], Dict[str, object]]:
    """The command of each kind of run, without its directory, and the undisturbed run."""
    root = tmp_path_factory.mktemp("undisturbed")
    made: Dict[str, Dict[str, object]] = {}

    def step(kind: str) -> Dict[str, object]:
        if kind not in made:
            path = str(root / kind)
            command = {
                "pretrain": lambda: PRETRAIN,
                "memory": lambda: [*PRETRAIN, "--use_memory", "--memory_size=200"],
                "finetune": lambda: [
                    "finetune", *LENGTH, f"--checkpoint={step('pretrain')['run']}",
                    "--label_fraction=0.1", "--optimizer=adam", "--learning_rate=0.001",
                ],
                "distill": lambda: [
                    "distill", *LENGTH, f"--teacher={step('finetune')['run']}",
                    "--distillation_alpha=0.5", "--label_fraction=0.1",
                ],
                "export": lambda: ["export", f"--model_dir={step('finetune')['run']}"],
            }[kind]()  # fmt: skip
            where = "--export_dir" if kind == "export" else "--model_dir"
            ended = Running([*command, f"{where}={path}"], f"{path}.log").end()
            assert ended.code == 0, ended.story
            made[kind] = {"command": command, "run": path}
        return made[kind]

    return step


@pytest.fixture
def run_to_end(tmp_path) -> Callable[..., Ended]:
    """Runs a command in a process of its own, to its end."""

    def run(*arguments: str, **how) -> Ended:
        return Running(arguments, os.path.join(tmp_path, "command.log"), **how).end()

    return run
