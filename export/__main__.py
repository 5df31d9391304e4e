"""``python -m export --model_dir=RUN --export_dir=OUT``."""

import sys

from tf_simclrv2.programs import command_line
from tf_simclrv2.programs.main import report_errors


def main(arguments) -> int:
    """Exports a run; returns the exit code."""
    # Only now, since it loads TensorFlow.
    from export import export

    if "--help" in arguments or "-h" in arguments:
        print(command_line.help_text("export", export.ExportConfig))
        return 0
    return report_errors(lambda: export.run(command_line.parse(export.ExportConfig, arguments)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
