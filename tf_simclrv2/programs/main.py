"""The command line's entry: which command, its help, and errors as one sentence."""

import importlib
import importlib.util
import os
import re
import signal
import sys
from typing import Callable, Dict, NamedTuple, Optional, Sequence, Tuple, Type

import tf_simclrv2
from tf_simclrv2 import config
from tf_simclrv2.config.words import in_one_line, shown
from tf_simclrv2.programs import command_line, logs
from tf_simclrv2.progress import hidden
from tf_simclrv2.quiet import quiet
from tf_simclrv2.runtime import signals

# Where the package is installed, the exports' code is a part of it; in the checkout it is not.
_EXPORT = "tf_simclrv2.export" if importlib.util.find_spec("tf_simclrv2.export") else "export"
_PROGRAMS = "tf_simclrv2.programs"


class Command(NamedTuple):
    """A command.

    Attributes:
      config: the class of its config.
      module: the module whose ``run`` does it, given the flags' values. It may return an exit
        code. It is imported when the command runs, since it may load TensorFlow.
      continues: whether the same command continues what was interrupted.
    """

    config: Type[config.Config]
    module: str
    continues: bool = False


COMMANDS: Dict[str, Command] = {
    "views": Command(config.ViewsConfig, f"{_PROGRAMS}.views"),
    "pretrain": Command(config.PretrainConfig, f"{_PROGRAMS}.pretrain", continues=True),
    "select": Command(config.SelectConfig, f"{_PROGRAMS}.select"),
    "finetune": Command(config.FinetuneConfig, f"{_PROGRAMS}.finetune", continues=True),
    "distill": Command(config.DistillConfig, f"{_PROGRAMS}.distill", continues=True),
    "evaluate": Command(config.EvaluateConfig, f"{_PROGRAMS}.evaluate"),
    "probe": Command(config.ProbeConfig, f"{_PROGRAMS}.probe"),
    "audit": Command(config.AuditConfig, f"{_PROGRAMS}.audit"),
    "report": Command(config.RunsReportConfig, f"{_PROGRAMS}.report"),
    "predict": Command(config.PredictConfig, f"{_PROGRAMS}.predict"),
    "embed": Command(config.EmbedConfig, f"{_PROGRAMS}.embed"),
    "convert": Command(config.ConvertConfig, f"{_PROGRAMS}.convert"),
    "export": Command(
        importlib.import_module(f"{_EXPORT}.config").ExportConfig, f"{_EXPORT}.export"
    ),
    "recipes": Command(config.RecipesConfig, f"{_PROGRAMS}.recipes"),
    "demo": Command(config.DemoConfig, f"{_PROGRAMS}.demo"),
}
_FAILED = 1
_INTERRUPTED = 128 + signal.SIGINT
# EX_TEMPFAIL of sysexits.h: what failed may succeed if it is tried again.
_PREEMPTED = 75
_READER_GONE = 128 + signal.SIGPIPE
_SMALLER = "a smaller batch, image size or network may fit"
_NO_SPACE = "No space left on device"
# Of TensorFlow's reader of TFRecord, and of ours of ArrayRecord.
_DAMAGED_RECORD = re.compile(r"(?:corrupted|truncated) record at (?:\S+ can't be read|\d+)")
_HELP = ("--help", "-h")


def overview(called: str) -> str:
    """Returns the list of commands, a line each.

    Args:
      called: how the program is called, such as ``simclrv2``.
    """
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            command_line.summary(tf_simclrv2),
            "",
            f"{called} COMMAND --flag=value ...",
            "",
            *(
                f"  {name:<{width}}  {command_line.summary(command.config)}"
                for name, command in COMMANDS.items()
            ),
            "",
            f"{called} COMMAND --help lists a command's flags.",
            f"{called} --version shows the version.",
        ]
    )


def _out_of_memory() -> Tuple[Type[BaseException], ...]:
    """What is raised where memory is short; TensorFlow's own error only where it was loaded."""
    tensorflow = sys.modules.get("tensorflow")
    return (MemoryError, *([tensorflow.errors.ResourceExhaustedError] if tensorflow else []))


def _reads_data() -> Tuple[Type[BaseException], ...]:
    """What is raised where stored data can't be read, among other things."""
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None:
        return ()
    return (tensorflow.errors.DataLossError, tensorflow.errors.UnknownError)


def report_errors(work: Callable[[], Optional[int]], continues: bool = False) -> int:
    """Does ``work``; returns the exit code, with a user's error printed as one sentence.

    Args:
      work: what a command does; it may return an exit code, None being 0.
      continues: whether the same command continues what was interrupted.
    """
    name: Optional[str] = None
    try:
        with signals.handled():
            try:
                with logs.shown(), quiet():
                    code = work()
            finally:
                name = signals.received()
    except config.ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return _FAILED
    except _out_of_memory() as error:
        if _NO_SPACE in str(error):  # TensorFlow has one error for memory and for disks.
            raise
        reason = in_one_line((str(error).splitlines() or ["MemoryError"])[0])
        print(f"error: the memory doesn't suffice; {_SMALLER} ({reason}).", file=sys.stderr)
        return _FAILED
    except _reads_data() as error:
        damage = _DAMAGED_RECORD.search(str(error))
        if damage is None:
            raise
        print(
            f"error: a file of the stored data set is damaged ({damage.group()}); delete the data "
            "set from --data_dir, and it is prepared again.",
            file=sys.stderr,
        )
        return _FAILED
    except KeyboardInterrupt:
        by = f" by {name}" if name in signals.PREEMPTING else ""
        hint = ": the same command continues the run" if continues else ""
        print(f"interrupted{by}{hint}", file=sys.stderr)
        return _PREEMPTED if by else _INTERRUPTED
    return code or 0


def run_command(name: str, arguments: Sequence[str], called: str) -> int:
    """Runs a command, or prints its help.

    Args:
      name: the command.
      arguments: its flags.
      called: how the command is called, for its help.

    Returns:
      The exit code, see :func:`main`.
    """
    command = COMMANDS[name]
    if any(flag in arguments for flag in _HELP):
        print(command_line.help_text(called, command.config))
        return 0

    def work() -> Optional[int]:
        values = command_line.parse(command.config, arguments)
        with hidden(bool(values.pop(command_line.QUIET, False))):
            # Only now, since it loads TensorFlow: help and misspelt flags need not wait for that.
            code: Optional[int] = importlib.import_module(command.module).run(values)
        return code

    return report_errors(work, command.continues)


def main(arguments: Sequence[str], called: str = "python -m tf_simclrv2") -> int:
    """Runs a command line.

    Signal handlers and logging are afterwards as they were, so that a notebook can call this.

    Args:
      arguments: the command and its flags.
      called: how the program is called, for the help.

    Returns:
      The exit code: 0, 1 for an error of the user's, 130 for an interrupted command, 75 for one
      that SIGUSR1 or SIGUSR2 has interrupted and that is to be started again, 3 for an audit that
      found more than ``--fail_on`` allows.
    """
    if not arguments or arguments[0] in (*_HELP, "help"):
        print(overview(called))
        return 0
    name, *flags = arguments
    if name == "--version":
        print(f"simclrv2 {tf_simclrv2.__version__}")
        return 0
    if name not in COMMANDS:
        names = ", ".join(COMMANDS)
        error = config.ConfigError(f"{shown(name)}: the command must be one of {names}.")
        print(f"error: {error}", file=sys.stderr)
        return _FAILED
    return run_command(name, flags, f"{called} {name}")


def console(called: str = "simclrv2", command: Optional[str] = None) -> int:
    """Does what this process was started for: the command line in ``sys.argv``.

    Args:
      called: how the process was started, for the help.
      command: the command; None if it is the first argument.

    Returns:
      The exit code, see :func:`main`; 141 if whoever read the output, such as ``head``, has gone.
    """
    arguments = sys.argv[1:]
    try:
        with signals.own_process():
            if command is None:
                code = main(arguments, called)
            else:
                code = run_command(command, arguments, called)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes stdout once more at its end, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _READER_GONE
    return code
