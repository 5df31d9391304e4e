"""The entry: every command is a row, and calling one leaves the process as it was."""

import functools
import logging
import os
import signal
import subprocess
import sys
import threading
import types

import pytest

import tf_simclrv2
from tests.conftest import Outcome
from tf_simclrv2 import progress
from tf_simclrv2.config import ConfigError, RecipesConfig
from tf_simclrv2.programs import main as entry
from tf_simclrv2.programs import recipes
from tf_simclrv2.programs.main import COMMANDS, Command, main

LOGGERS = ("tf_simclrv2", "tensorflow")


@pytest.fixture
def pretend(monkeypatch):
    """Makes a function the work of a command named ``pretend``."""

    def add(work, continues=False):
        module = types.ModuleType("pretend")
        module.run = lambda values: work()
        monkeypatch.setitem(sys.modules, "pretend", module)
        monkeypatch.setitem(COMMANDS, "pretend", Command(RecipesConfig, "pretend", continues))

    return add


def _python(*arguments: str) -> Outcome:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    return Outcome(done.returncode, done.stdout, done.stderr)


def test_the_version_is_shown(command):
    assert command("--version") == Outcome(0, f"simclrv2 {tf_simclrv2.__version__}\n", "")
    assert _python("-m", "tf_simclrv2", "--version").out == command("--version").out


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_the_overview_says_how_it_was_called(arguments, capsys):
    assert main(arguments, "simclrv2") == 0
    shown = capsys.readouterr().out
    assert "\nsimclrv2 COMMAND --flag=value ...\n" in shown
    assert "python -m" not in shown


@pytest.mark.parametrize(
    ("arguments", "called"),
    [
        (["tf_simclrv2", "export"], "python -m tf_simclrv2 export"),
        (["export"], "python -m export"),
        (["tf_simclrv2", "demo"], "python -m tf_simclrv2 demo"),
        (["tf_simclrv2.programs.demo"], "python -m tf_simclrv2.programs.demo"),
    ],
)
def test_help_of_the_two_ways_to_call_a_command(arguments, called):
    outcome = _python("-m", *arguments, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"{called} --flag=value ...")


@pytest.mark.parametrize("name", ["export", "demo"])
def test_export_and_demo_report_errors_as_all_commands_do(name):
    outcome = _python("-m", "tf_simclrv2", name, "--misspelt=1")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("error: Unknown command line flag 'misspelt'")
    assert outcome.err.count("\n") == 1


def test_neither_help_nor_refused_values_load_tensorflow():
    code = "import sys; from tf_simclrv2.programs.main import COMMANDS, main\n"
    code += "for name in COMMANDS: main([name, '--help'])\n"
    for value in ("temperature=-1", "model_dir=", "resnet_depth=7", "cache_path=s3://x"):
        code += f"assert main(['pretrain', '--{value}']) == 1\n"
    code += "sys.exit('tensorflow' in sys.modules)"
    outcome = _python("-c", code)
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize(
    "arguments",
    [["tf_simclrv2", "--help"], ["tf_simclrv2", "recipes"], ["export", "--help"]],
    ids=" ".join,
)
def test_a_reader_that_closes_the_pipe_ends_a_command_quietly(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    # Buffered, as usual, so that Python has something left to write at its end.
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, "-m", *arguments], stdout=writer, stderr=subprocess.PIPE, env=buffered
    )
    os.close(writer)
    assert done.stderr == b""
    assert done.returncode == 128 + signal.SIGPIPE


def test_the_console_script_takes_its_arguments_from_the_process(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/simclrv2", "pretrain", "--help"])
    assert entry.console() == 0
    assert capsys.readouterr().out.startswith("simclrv2 pretrain --flag=value ...")
    monkeypatch.setattr(sys, "argv", ["export/__main__.py", "--misspelt=1"])
    assert entry.console("python -m export", "export") == 1


def _state_of_loggers():
    loggers = [logging.getLogger(name) for name in LOGGERS]
    return [(logger.level, logger.propagate, list(logger.handlers)) for logger in loggers]


@pytest.mark.parametrize("end", [None, ConfigError("no"), KeyboardInterrupt(), RuntimeError()])
def test_a_command_leaves_signals_and_loggers_as_they_were(end, pretend, caplog, monkeypatch):
    meanwhile = {}

    def work():
        meanwhile["handled"] = signal.getsignal(signal.SIGTERM) is not own_handler
        meanwhile["tensorflow"] = logging.getLogger("tensorflow").level
        if end is not None:
            raise end

    def own_handler(*arguments):
        raise AssertionError

    pretend(work)
    for name in LOGGERS:
        caplog.set_level(logging.DEBUG, name)
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
    first = signal.signal(signal.SIGTERM, own_handler)
    before = _state_of_loggers()
    try:
        if isinstance(end, RuntimeError):
            with pytest.raises(RuntimeError):
                main(["pretend"])
        else:
            main(["pretend"])
        assert signal.getsignal(signal.SIGTERM) is own_handler
    finally:
        signal.signal(signal.SIGTERM, first)
    assert _state_of_loggers() == before
    assert meanwhile == {"handled": True, "tensorflow": logging.ERROR}


def test_a_command_can_run_in_any_thread(command):
    codes = []
    thread = threading.Thread(target=lambda: codes.append(main(["recipes"])))
    thread.start()
    thread.join()
    assert codes == [0]


@pytest.mark.parametrize(
    ("continues", "sentence"),
    [(True, "interrupted: the same command continues the run\n"), (False, "interrupted\n")],
)
def test_termination_ends_a_command_in_order(continues, sentence, pretend, command):
    ended = []

    def work():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            ended.append(True)

    pretend(work, continues)
    assert command("pretend") == Outcome(130, "", sentence)
    assert ended == [True]


@pytest.mark.parametrize(
    ("name", "code", "sentence"),
    [
        ("SIGHUP", 130, "interrupted: the same command continues the run\n"),
        ("SIGQUIT", 130, "interrupted: the same command continues the run\n"),
        ("SIGUSR1", 75, "interrupted by SIGUSR1: the same command continues the run\n"),
        ("SIGUSR2", 75, "interrupted by SIGUSR2: the same command continues the run\n"),
    ],
)
def test_every_signal_to_end_does_so_in_order_also_if_it_comes_twice(
    name, code, sentence, pretend, command, request
):
    ended, number = [], getattr(signal, name)
    # Who runs the tests in the background may ignore some, as commands then do too.
    request.addfinalizer(functools.partial(signal.signal, number, signal.getsignal(number)))
    before = signal.SIG_DFL
    signal.signal(number, before)

    def work():
        try:
            os.kill(os.getpid(), number)
        finally:
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), signal.SIGTERM)
            ended.append(True)

    pretend(work, continues=True)
    assert command("pretend") == Outcome(code, "", sentence)
    assert ended == [True]
    assert signal.getsignal(number) == before


def test_a_process_that_was_ended_by_a_signal_ignores_further_ones():
    code = (
        "import os, signal, sys, types\n"
        "from tf_simclrv2.config import RecipesConfig\n"
        "from tf_simclrv2.programs import main\n"
        "module = types.ModuleType('pretend')\n"
        "module.run = lambda values: os.kill(os.getpid(), signal.SIGUSR1)\n"
        "sys.modules['pretend'] = module\n"
        "main.COMMANDS['pretend'] = main.Command(RecipesConfig, 'pretend')\n"
        "sys.argv = ['simclrv2', 'pretend']\n"
        "code = main.console()\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "sys.exit(code)\n"
    )
    outcome = _python("-c", code)
    assert (outcome.code, outcome.err) == (75, "interrupted by SIGUSR1\n")


def test_an_ignored_signal_stays_ignored(pretend, command):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        pretend(lambda: os.kill(os.getpid(), signal.SIGHUP))
        assert command("pretend").code == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_third_interrupt_is_not_ignored(pretend, command):
    left = []

    def work():
        try:
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            left.append(True)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        pretend(work)
        assert command("pretend").code == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert left == []


@pytest.mark.parametrize(("flags", "hidden"), [([], False), (["--quiet"], True)])
def test_quiet_hides_progress_of_any_command(flags, hidden, monkeypatch):
    seen = []
    monkeypatch.setattr(recipes, "run", lambda values: seen.append((progress._is_hidden, values)))
    assert main(["recipes", *flags]) == 0
    assert seen == [(hidden, {})] and not progress._is_hidden


def test_only_training_continues():
    continuing = [name for name, row in COMMANDS.items() if row.continues]
    assert continuing == ["pretrain", "finetune", "distill"]
