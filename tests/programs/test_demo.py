"""The demo's commands are ones that exist, with flags that they take."""

import os
import subprocess
import sys

import pytest

from tf_simclrv2.config.commands import DemoSection
from tf_simclrv2.programs import command_line, demo, demo_report
from tf_simclrv2.programs.main import COMMANDS
from tf_simclrv2.progress import hidden


@pytest.fixture(params=["digits", "tiles"])
def commands(request, monkeypatch, tmp_path):
    """The command lines of the demo, which is run elsewhere and without doing them."""
    done = []

    def note(arguments):
        done.append(arguments)
        return subprocess.CompletedProcess(arguments, 0)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo.subprocess, "run", note)
    monkeypatch.setattr(demo, "_predict", lambda output, dataset: None)
    monkeypatch.setattr(demo, "_filled_in", lambda selected, answers: f"{selected}/mine.csv")
    monkeypatch.setattr(demo_report, "write", lambda output, dataset, seconds: "the table")
    demo.run({"output_dir": "out", "label_seeds": "0,3", "dataset": request.param})
    return done


def dataset_of(commands):
    return "tiles" if "--recipe=tiles/pretrain" in commands[0] else "digits"


@pytest.mark.parametrize("is_quiet", [False, True])
def test_a_quiet_demo_has_quiet_commands(monkeypatch, is_quiet):
    done = []

    def note(arguments):
        done.append(arguments)
        return subprocess.CompletedProcess(arguments, 0)

    monkeypatch.setattr(demo.subprocess, "run", note)
    with hidden(is_quiet):
        demo._run("recipes")
    assert done == [[sys.executable, "-m", "tf_simclrv2", "recipes", *["--quiet"] * is_quiet]]
    assert command_line.parse(COMMANDS["recipes"].config, done[0][4:]) == (
        {command_line.QUIET: True} if is_quiet else {}
    )


def test_the_demo_runs_the_whole_method_from_any_directory(commands):
    names = [arguments[3] for arguments in commands]
    random = ["finetune", "finetune", "distill", "distill"]
    per_seed = [*random, "select", "probe", "finetune", "distill"]
    assert names == ["pretrain", *per_seed, *per_seed, "export", "report"]
    for python, module_flag, module, name, *flags in commands:
        assert (python, module_flag, module) == (sys.executable, "-m", "tf_simclrv2")
        kind = COMMANDS[name].config
        assert isinstance(command_line.build(kind, command_line.parse(kind, flags)), kind)
    # Of the first seed: the steps of the method, whose maps are drawn, and then the others.
    reported = [os.path.basename(path) for path in commands[-1][4:-1]]
    kinds = [kind for kind in demo_report.KINDS if kind != "supervised"]
    assert reported[:4] == ["pretrained", *(f"{kind}_0" for kind in kinds[:3])]
    assert {*reported[4:]} == {"supervised_0", *(f"{kind}_0" for kind in kinds[3:])}
    # Beside each fine-tuned run, on its labels, as the report reads them there.
    measured = [" ".join(arguments) for arguments in commands if "--baselines" in arguments]
    assert len(measured) == 2
    assert all("/fine_tuned_" in line and "--checkpoint=" in line for line in measured)
    # As many images as there are random labels, labelled before they are learnt from.
    chosen = [arguments for arguments in commands if "select" in arguments]
    budget = {"digits": 14, "tiles": 30}[dataset_of(commands)]
    assert all(f"--budget={budget}" in arguments for arguments in chosen)
    learning = [arguments for arguments in commands if "/mine.csv" in " ".join(arguments)]
    assert [arguments[3] for arguments in learning] == ["probe", "finetune"] * 2


def test_the_demo_prints_the_path_of_its_report_last(commands, command):
    outcome = command("demo", "--output_dir=out", f"--dataset={dataset_of(commands)}")
    assert outcome.code == 0, outcome.err
    assert commands[-1][3] == "report" and commands[-1][-1] == "--output=out/report.html"
    assert outcome.out.splitlines()[-1].rpartition(": ")[2] == "out/report.html"


def test_labelled_subsets_are_dealt_out_to_the_networks():
    section = DemoSection(label_seeds="5,6,7,8,9", seeds="1,0")
    assert section.dealt == {"1": ["5", "7", "9"], "0": ["6", "8"]}


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--seeds=0,1"], "--seeds=0,1: must be at most as many as --label_seeds=0."),
        (["--seeds=1,01"], "--seeds=1,01: must be numbers separated by commas, each once."),
        (["--label_seeds=1,1"], "--label_seeds=1,1: must be numbers separated by commas, each"),
        (["--seeds="], "--seeds=: must be numbers"),
        (["--seeds=\u0663"], "must be numbers"),
    ],
)
def test_seeds_that_can_not_be_are_refused(command, flags, said, tmp_path):
    outcome = command("demo", f"--output_dir={tmp_path / 'new'}", *flags)
    assert outcome.code == 1 and said in outcome.err and not (tmp_path / "new").exists()


def test_the_demo_enters_what_the_data_set_says(tmp_path):
    (tmp_path / "labels.csv").write_text("image,label,chosen_by\na,,centres\nc,,centres\n")
    path = demo._filled_in(str(tmp_path), {"a": "cat", "b": "dog", "c": "fox"})
    with open(path, newline="", encoding="utf-8") as file:
        assert file.read() == "image,label,chosen_by\r\na,cat,centres\r\nc,fox,centres\r\n"


def test_the_demo_refuses_a_directory_with_other_files(command, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    outcome = command("demo", f"--output_dir={tmp_path}")
    assert outcome.code == 1
    assert outcome.err == (
        f"error: --output_dir={tmp_path}: must be new, empty or an earlier demo's.\n"
    )
