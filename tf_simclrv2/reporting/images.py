"""What a report shows of images: maps of several networks, neighbours, and pictures by name."""

import dataclasses
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from tf_simclrv2.config import ConfigError, DataConfig
from tf_simclrv2.config.labelling import FrozenSection
from tf_simclrv2.config.user_files import printable
from tf_simclrv2.progress import progress
from tf_simclrv2.reporting import charts
from tf_simclrv2.reporting.album import Album, album, larger
from tf_simclrv2.reporting.answers import Answer
from tf_simclrv2.reporting.charts import Chart
from tf_simclrv2.reporting.maps import (
    Map,
    Shown,
    map_of,
    points,
    representations,
    samples_of,
    shown_images,
)
from tf_simclrv2.reporting.runs import Run
from tf_simclrv2.runtime.checkpoint import Checkpoint
from tf_simclrv2.training.frozen import Frozen

# Runs whose maps are drawn: those named first. Each takes seconds, and room on the page.
MOST_MAPS = 4
_SAMPLES, _ALIKE = 8, 6
_WITHOUT = "--max_images=0 writes the report without what needs images"


class Sample(NamedTuple):
    """An image and those that networks find most alike.

    Attributes:
      image: its place in the album.
      name: its name.
      label: its class; empty if it isn't known.
      rows: of each run the neighbours: place, name, and whether it is known to be of another class.
    """

    image: int
    name: str
    label: str
    rows: List[Tuple[str, List[Tuple[int, str, bool]]]]


@dataclasses.dataclass(frozen=True)
class Images:
    """The images of a report, and the networks that look at them.

    Attributes:
      frozen: the runs whose maps are drawn, by name.
      reference: the run whose data they are of.
      shown: which images.
    """

    frozen: Mapping[str, Frozen]
    reference: Frozen
    shown: Shown

    @classmethod
    def open(cls, runs: Sequence[Run], most: int) -> "Images":
        """Opens runs and images, before anything is computed.

        Args:
          runs: all runs of the report.
          most: images to show at most, above 0.

        Raises:
          ConfigError: a run has no checkpoint, or images are not there any more.
        """
        for run in runs:
            try:
                Checkpoint.open(run.directory.path, "runs", writable=False)
            except ConfigError as error:
                raise ConfigError(f"{str(error).rstrip('.')}; {_WITHOUT}.") from error
        # A run that has learnt labels says which images they are of.
        data = next((run for run in runs if run.directory.step_of_method != "pretrain"), runs[0])
        try:
            reference = _opened(data, data.config.data)
            shown = shown_images(reference, most)
            drawn = {run.name: _opened(run, reference.data) for run in runs[:MOST_MAPS]}
        except ConfigError as error:
            told = str(error).rstrip(".")
            raise ConfigError(f"{data.directory.path}: its images: {told}; {_WITHOUT}.") from error
        return cls(drawn, reference, shown)

    @property
    def names(self) -> List[str]:
        """The names of the images that are shown."""
        return list(map(printable, self.shown.ids))

    @property
    def classes(self) -> List[str]:
        """The classes of the images that are shown; empty where it isn't known."""
        known = self.reference.source.class_names or []
        return [known[label] if label >= 0 else "" for label in self.shown.labels]

    @property
    def about(self) -> str:
        """Which images they are."""
        called = f"{self.reference.data.described} {self.shown.split}"
        if len(self.shown.ids) < self.shown.total:
            return (
                f"{len(self.shown.ids):,} images, drawn at random from the {self.shown.total:,} "
                f"of {called}."
            )
        return f"The {self.shown.total:,} images of {called}."

    def album(self) -> Album:
        """The pictures of all images that are shown.

        Raises:
          ConfigError: an image can't be read any more.
        """
        return album(self.reference.source, self.shown.split, self.shown.ids)

    def maps(self) -> Dict[str, Map]:
        """Where each network puts the images, by run.

        Raises:
          ConfigError: representations can't be computed or stored.
        """
        samples, found = samples_of(self.shown, _SAMPLES), {}
        for name, frozen in progress(self.frozen.items(), "maps", "run"):
            try:
                values = representations(frozen, self.reference, self.shown)
            except ConfigError as error:
                raise ConfigError(f"{name}: {str(error).rstrip('.')}; {_WITHOUT}.") from error
            found[name] = map_of(values, samples, _ALIKE)
        return found

    def charts(self, maps: Mapping[str, Map], answers: Mapping[str, List[Answer]]) -> List[Chart]:
        """The maps as charts.

        Args:
          maps: by run.
          answers: by run, of those whose answers are known.
        """
        known = self.reference.source.class_names or []
        there = [name for name in known if name in set(self.classes)]
        found = []
        for run, one in maps.items():
            given = {answer.image: answer.predicted for answer in answers.get(run, [])}
            predicted = [given.get(name) for name in self.names]
            wrong = [
                answer is not None and label != "" and answer != label
                for answer, label in zip(predicted, self.classes)
            ]
            spec = charts.cloud(points(one.places, self.classes, wrong), there)
            spec["usermeta"] = {"album": True, "answers": predicted if given else []}
            about = f"Layer {self.frozen[run].weights.layer_name}; {one.by}."
            if not one.by:
                about = "All images have the same representation: the network has collapsed."
            found.append(Chart(f"map_{run}", run, spec, about))
        return found

    def samples(self, maps: Mapping[str, Map]) -> List[Sample]:
        """Some images with those that each network finds most alike.

        Args:
          maps: by run.
        """
        names, classes = self.names, self.classes
        found = []
        for number, row in enumerate(samples_of(self.shown, _SAMPLES)):
            rows = [(run, self._alike(row, one.neighbours[number])) for run, one in maps.items()]
            found.append(Sample(row, names[row], classes[row], rows))
        return found

    def _alike(self, row: int, neighbours: np.ndarray) -> List[Tuple[int, str, bool]]:
        names, classes = self.names, self.classes
        return [
            (int(n), names[n], "" not in (classes[n], classes[row]) and classes[n] != classes[row])
            for n in neighbours
        ]

    def tooltips(self) -> List[List[str]]:
        """What the pointer tells of each image: its name and its class."""
        return [[name, label] for name, label in zip(self.names, self.classes)]

    def pictures(self, names: Sequence[str], split: Optional[str] = None) -> Dict[str, str]:
        """Larger pictures of images, as addresses by name; those that are not there are left out.

        Args:
          names: of images, as files hold them.
          split: whose images they are; None is the split that is shown.

        Raises:
          ConfigError: an image can't be read any more.
        """
        split = self.shown.split if split is None else split
        if split not in self.reference.source.splits or not names:
            return {}
        wanted = set(names)
        ids = [each for each in self.reference.images_of(split)[0] if printable(each) in wanted]
        found = larger(self.reference.source, split, ids)
        return {printable(each): address for each, address in found.items()}


def _opened(run: Run, data: DataConfig) -> Frozen:
    """A run's frozen network, and these images for it."""
    section: Dict[str, Any] = {
        field.name: getattr(data, field.name)
        for field in dataclasses.fields(FrozenSection)
        if hasattr(data, field.name)
    }
    return Frozen.open(FrozenSection(model_dir=run.directory.path, **section))
