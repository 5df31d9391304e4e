"""``python -m export --model_dir=RUN --export_dir=OUT``."""

import sys
from typing import Sequence

from tf_simclrv2.programs.main import console, run_command

_CALLED = "python -m export"


def main(arguments: Sequence[str]) -> int:
    """Exports a run; returns the exit code."""
    return run_command("export", arguments, _CALLED)


if __name__ == "__main__":
    sys.exit(console(_CALLED, "export"))
