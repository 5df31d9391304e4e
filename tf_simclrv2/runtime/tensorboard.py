"""What TensorBoard shows of a run besides curves: its settings, and what guessing would give."""

import contextlib
import dataclasses
import os
import shutil
from typing import Dict, Iterator, Mapping, Union

from tf_simclrv2.keras2 import tf
from tf_simclrv2.runtime.results import Result
from tf_simclrv2.runtime.run_directory import RunDirectory

# Sections of a config whose settings make runs differ; the others say where things are.
_SECTIONS = (
    "network", "projection_head", "contrastive", "memory", "augmentation", "optimization",
    "fine_tuning", "labels", "distillation",
)  # fmt: skip
# Folders in events/, which TensorBoard shows as runs of their own.
_GUESSING, _EVALUATION = "guessing", "evaluation"


def settings_of(run: RunDirectory) -> Dict[str, Union[bool, int, float, str]]:
    """The settings that make runs differ, by the name of their flag."""
    config = run.config
    found: Dict[str, Union[bool, int, float, str]] = {
        "step": run.step_of_method,
        "dataset": config.data.dataset,
        "seed": config.run.seed,
    }
    for section in (getattr(config, name, None) for name in _SECTIONS):
        if section is not None:
            given = dataclasses.asdict(section).items()
            found.update({name: value for name, value in given if value is not None})
    return found


def write_settings(run: RunDirectory) -> None:
    """Writes a run's settings for the table of TensorBoard's hparams plugin."""
    # It comes with TensorBoard, which TensorFlow need not bring along.
    with contextlib.suppress(ImportError):
        from tensorboard.plugins.hparams import api

        writer = tf.summary.create_file_writer(run.file("events"))
        with writer.as_default(step=0):
            # The table shows how a name begins, and counts runs of one name as one.
            folder, name = os.path.split(os.path.abspath(run.path))
            api.hparams(settings_of(run), trial_id=f"{name} in {folder}")
        writer.close()


def draw_guessing(run: RunDirectory, last_step: int, values: Mapping[str, float]) -> None:
    """Draws straight lines into the charts of curves, as those of another run called guessing.

    Args:
      run: the run.
      last_step: where the lines end.
      values: by the name of the curve.
    """
    with _anew(run.file("events", _GUESSING)):
        for step in (0, last_step):
            for name, value in values.items():
                tf.summary.scalar(name, value, step=step)


def write_evaluation(run: RunDirectory, result: Result) -> None:
    """Writes the run's newest evaluation as the group eval, with its confusion matrices.

    Args:
      run: the run.
      result: the evaluation, as ``result.json`` has it.
    """
    step = result["step"]
    numbers = {name: value for name, value in result.items() if isinstance(value, float)}
    with _anew(run.file("events", _EVALUATION)):
        for evaluator, measured in result.items():
            if not isinstance(measured, dict):
                continue
            for name, value in measured.items():
                if isinstance(value, float):
                    numbers[f"{evaluator}_{name}"] = value
            path = run.file(str(measured.get("files", "")), "confusion.png")
            if os.path.isfile(path):
                pixels = tf.io.decode_png(tf.io.read_file(path), channels=3)
                name = f"eval/confusion_{evaluator}"
                tf.summary.image(name, pixels[tf.newaxis], step=step)
        for name, value in numbers.items():
            tf.summary.scalar(f"eval/{name}", value, step=step)


@contextlib.contextmanager
def _anew(folder: str) -> Iterator[None]:
    """Writes events to a folder, from which those of before are removed."""
    shutil.rmtree(folder, ignore_errors=True)
    writer = tf.summary.create_file_writer(folder)
    with writer.as_default():
        yield
    writer.close()
