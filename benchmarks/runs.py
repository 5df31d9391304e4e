"""What experiments share: commands run once in this process, and the accuracies that they wrote."""

import os
import shutil
import statistics
from typing import TYPE_CHECKING, Callable, List, Sequence, Tuple

if TYPE_CHECKING:
    from tf_simclrv2.runtime.run_directory import RunDirectory


def _is_evaluated(run: "RunDirectory") -> bool:
    return run.result() is not None


def run_once(
    arguments: List[str],
    directory: str,
    has_ended: Callable[["RunDirectory"], bool] = _is_evaluated,
) -> None:
    """Runs a command that trains, unless it has ended before; one that was interrupted continues.

    Args:
      arguments: the command and its flags, without ``--model_dir``.
      directory: of the run.
      has_ended: whether a run has; by default, whether it was evaluated.

    Raises:
      SystemExit: the command failed.
    """
    from tf_simclrv2.keras2 import keras
    from tf_simclrv2.programs.main import main
    from tf_simclrv2.runtime.run_directory import RunDirectory

    if not has_ended(RunDirectory(directory)):
        keras.backend.clear_session()
        code = main([*arguments, f"--model_dir={directory}"])
        if code:
            raise SystemExit(code)


def write_once(directory: str, write: Callable[[str], None]) -> None:
    """Writes a directory, unless it is there; one that was left half written is written anew.

    Args:
      directory: to write.
      write: writes what is in it, given a path.
    """
    if not os.path.isdir(directory):
        half = f"{directory}.half"
        shutil.rmtree(half, ignore_errors=True)
        write(half)
        os.rename(half, directory)


def top_1(directory: str) -> float:
    """The test top-1 of a run, in %."""
    from tf_simclrv2.runtime.run_directory import RunDirectory

    result = RunDirectory(directory).result()
    assert result is not None
    return 100 * result["top_1_accuracy"]


def mean_and_error(values: Sequence[float]) -> Tuple[float, float]:
    """The mean and its standard error; of one value the error is 0."""
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return statistics.mean(values), error


def in_words(values: Sequence[float]) -> str:
    """The mean and, of several values, its standard error."""
    mean, error = mean_and_error(values)
    return f"{mean:.1f} ± {error:.1f}" if len(values) > 1 else f"{mean:.1f}"
