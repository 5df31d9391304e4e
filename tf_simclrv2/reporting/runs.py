"""What a run is, read from its files, and which runs belong in one report."""

import contextlib
import dataclasses
import json
import os
import re
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from tf_simclrv2.config import (
    ConfigError,
    DistillConfig,
    FinetuneConfig,
    TrainingConfig,
    place,
    refuse,
)
from tf_simclrv2.config.user_files import printable
from tf_simclrv2.config.words import in_one_line
from tf_simclrv2.learners.steps import SOLVED, STEPS
from tf_simclrv2.runtime.checkpoint_folder import saved_steps
from tf_simclrv2.runtime.results import Result
from tf_simclrv2.runtime.run_directory import RunDirectory, open_run
from tf_simclrv2.runtime.settings import RunSettings

# Of a lineage, in case two runs name each other.
_LONGEST = 20
_CHECKPOINT = re.compile(r"/checkpoints/[^/]*$")


class Setting(NamedTuple):
    """A setting of a run.

    Attributes:
      name: of its flag.
      value: as text.
      is_default: whether it is what the flag is without being given.
    """

    name: str
    value: str
    is_default: bool


@dataclasses.dataclass(frozen=True)
class Run:
    """A run that is reported on.

    Attributes:
      directory: its files.
      name: how the report calls it, which no other run is called.
    """

    directory: RunDirectory
    name: str

    @property
    def config(self) -> TrainingConfig:
        """The run's config."""
        return self.directory.config

    @property
    def step_in_words(self) -> str:
        """What the run is in the method."""
        config = self.config
        if isinstance(config, FinetuneConfig) and config.fine_tuning.from_scratch:
            return "supervised baseline, trained from random weights"
        if self.directory.converted is not None:
            return f"converted from {self.directory.converted['google_checkpoint']}"
        if self.is_solved:
            return SOLVED
        return STEPS[self.directory.step_of_method].words

    @property
    def has_taken_no_step(self) -> bool:
        """Whether its weights are there, but no training step made them."""
        with contextlib.suppress(ConfigError):  # A directory that can't be read tells nothing.
            return saved_steps(self.directory.file("checkpoints")) == [0]
        return False

    @property
    def is_solved(self) -> bool:
        """Whether its classifier is a ridge regression on frozen features, and nothing more."""
        config = self.config
        is_ridge = isinstance(config, FinetuneConfig) and config.fine_tuning.head_start == "ridge"
        return is_ridge and self.has_taken_no_step

    @property
    def data(self) -> Result:
        """What it was trained on, counted."""
        return self.directory.data()

    @property
    def environment(self) -> Dict[str, str]:
        """Command line and versions; empty if they can't be read."""
        try:
            with open(self.directory.file("environment.json"), encoding="utf-8") as file:
                content = json.load(file)
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(content, dict):
            return {}
        return {str(name): _as_text(value) for name, value in content.items()}

    @property
    def network(self) -> str:
        """The network in words."""
        network = self.config.network
        kernels = "selective kernels, " * bool(network.sk_ratio)
        size = self.config.data.resolved_image_size
        return (
            f"ResNet-{network.resnet_depth}, width {network.width_multiplier:g}, {kernels}"
            f"{size} px images"
        )

    @property
    def settings(self) -> Dict[str, List[Setting]]:
        """All settings by section."""
        found = {}
        for section in dataclasses.fields(self.config):
            values = getattr(self.config, section.name)
            found[section.name] = [
                Setting(field.name, _as_text(value), value == field.default)
                for field in dataclasses.fields(values)
                for value in [getattr(values, field.name)]
            ]
        return found

    @property
    def lineage(self) -> List[str]:
        """The runs that it stems from, the first one first, and itself, as paths."""
        paths = [self.directory.path]
        config: Optional[TrainingConfig] = self.config
        while config is not None and len(paths) < _LONGEST:
            origin = origin_of(config)
            config = None
            if origin is not None:
                paths.append(origin)
                file = os.path.join(os.path.expanduser(origin), "config.json")
                try:
                    config = RunSettings.read(file).config if os.path.isfile(file) else None
                except ConfigError:
                    config = None
        return paths[::-1]


def origin_of(config: TrainingConfig) -> Optional[str]:
    """The directory of the run that a run started from, as it was given; None if there is none."""
    if isinstance(config, DistillConfig):
        path: Optional[str] = config.distillation.teacher
    elif isinstance(config, FinetuneConfig):
        path = config.fine_tuning.checkpoint
    else:
        path = config.start.checkpoint
    return None if path is None else _CHECKPOINT.sub("", path)


def open_runs(paths: Sequence[str], flag: str) -> List[Run]:
    """Opens runs that belong in one report.

    Args:
      paths: directories; one that is named twice counts once.
      flag: the flag that named them, for errors.

    Raises:
      ConfigError: one is no run, or does not belong to the others.
    """
    directories: Dict[str, RunDirectory] = {}
    for path in paths:
        directory = open_run(path, flag, writable=False)
        directory.settings  # noqa: B018  read, so that a damaged one is refused here
        directories.setdefault(os.path.realpath(directory.path), directory)
    runs = [
        Run(directory, name)
        for directory, name in zip(directories.values(), _names(list(directories)))
    ]
    _check_belonging(runs, flag)
    return runs


def _names(paths: Sequence[str]) -> List[str]:
    """The ends of paths that tell them apart, of as few parts as possible."""
    longest = max(path.count(os.sep) for path in paths)
    for parts in range(1, longest + 1):
        names = [os.sep.join(path.split(os.sep)[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return list(map(printable, names))
    return list(map(printable, paths))


def _check_belonging(runs: Sequence[Run], flag: str) -> None:
    """Refuses runs that neither stem from one another nor learn from the same images."""
    together, others = [runs[0]], list(runs[1:])
    while others:
        found = [run for run in others if any(_are_related(run, other) for other in together)]
        if not found:
            path = others[0].directory.path
            mine, other = (run.config.data.described for run in (others[0], runs[0]))
            raise refuse(
                flag,
                path,
                f"does not belong to {runs[0].directory.path}: it was trained on {mine}, and that "
                f"on {other}; runs of one report must have the same images, or stem from one "
                "another",
            )
        together += found
        others = [run for run in others if run not in found]


def _are_related(one: Run, other: Run) -> bool:
    if one.config.data.has_images_of(other.config.data) or _same_images(one.data, other.data):
        return True
    return _stems_from(one, other) or _stems_from(other, one)


def _same_images(one: Result, other: Result) -> bool:
    """Whether the images are the same by their fingerprint: their directory may have moved."""
    names = ("dataset", "fingerprint")
    return all(one.get(name) is not None and one.get(name) == other.get(name) for name in names)


def _stems_from(run: Run, ancestor: Run) -> bool:
    # A run that was moved is known by the directory in which it began.
    known = {place(ancestor.directory.path), place(ancestor.config.run.model_dir)}
    return any(place(path) in known for path in run.lineage[:-1])


def labels_used(run: Run) -> Optional[int]:
    """How many labelled images a run learnt from, a student from its teacher; None if unknown."""
    for path in reversed(run.lineage):
        directory = RunDirectory(path, writable=False)
        data = directory.data()
        count = data.get("num_labelled")
        if isinstance(count, int) and count >= 0:
            return int(count)
        try:
            is_student = directory.exists and isinstance(directory.config, DistillConfig)
            has_labels = directory.exists and directory.class_names is not None
        except ConfigError:
            return None
        if not is_student:
            # Without a number all labels were used.
            total = data.get("num_examples")
            return total if has_labels and isinstance(total, int) else None
    return None


# Any, since JSON has no types.
def _as_text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return in_one_line(text) if text else '""'
