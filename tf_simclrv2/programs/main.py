"""The command line's entry: which command, its help, and errors as one sentence."""

import importlib
import signal
import sys
from typing import Callable, Sequence

from tf_simclrv2 import config
from tf_simclrv2.config import ConfigError
from tf_simclrv2.programs import command_line, logs

COMMANDS = {
    "views": config.ViewsConfig,
    "pretrain": config.PretrainConfig,
    "finetune": config.FinetuneConfig,
    "distill": config.DistillConfig,
    "evaluate": config.EvaluateConfig,
    "predict": config.PredictConfig,
    "embed": config.EmbedConfig,
    "convert": config.ConvertConfig,
}
TRAINING = ("pretrain", "finetune", "distill")
INTERRUPTED = 130


def overview() -> str:
    """Returns the list of commands, a line each."""
    lines = [
        "SimCLRv2: pretrain without labels, fine-tune on a few, distill with unlabelled images.",
        "",
        "python -m tf_simclrv2 COMMAND --flag=value ...",
        "",
    ]
    lines += [f"  {name:<9} {kind.__doc__.splitlines()[0]}" for name, kind in COMMANDS.items()]
    lines += ["", "python -m tf_simclrv2 COMMAND --help lists a command's flags.",
              "python -m export --help tells how to export a run."]  # fmt: skip
    return "\n".join(lines)


def report_errors(work: Callable[[], None], continues: bool = False) -> int:
    """Does ``work``; returns the exit code, with a user's error printed as one sentence.

    Args:
      work: what a command does.
      continues: whether the same command goes on where it was interrupted.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with logs.shown():
            work()
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        hint = ": the same command continues the run" if continues else ""
        print(f"interrupted{hint}", file=sys.stderr)
        return INTERRUPTED
    return 0


def main(arguments: Sequence[str]) -> int:
    """Runs a command.

    Args:
      arguments: the command and its flags.

    Returns:
      The exit code: 0, 1 for an error of the user's, 130 for an interrupted run.
    """
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        print(overview())
        return 0
    command, flags = arguments[0], arguments[1:]
    if command not in COMMANDS:
        names = ", ".join(COMMANDS)
        print(f"error: {command}: the command must be one of {names}.", file=sys.stderr)
        return 1
    if "--help" in flags or "-h" in flags:
        print(command_line.help_text(f"tf_simclrv2 {command}", COMMANDS[command]))
        return 0

    def work():
        values = command_line.parse(COMMANDS[command], flags)
        # Only now, since it loads TensorFlow: help and misspelt flags need not wait for that.
        importlib.import_module(f"tf_simclrv2.programs.{command}").run(values)

    return report_errors(work, continues=command in TRAINING)
