"""A folder of images with labels to probe, and the table that ``probe`` writes."""

import csv
import os

from tests.training.test_frozen import write_images, write_table


class LabelledFolder:
    """A folder of 21 images at two depths, and what writes a table of labels of all classes."""

    def __init__(self, path):
        self._path = path
        self._class_of = write_images(path / "images")

    def __call__(self, count, **columns):
        """Writes the table of so many images; returns the flags that name both."""
        names = sorted(self._class_of, key=os.path.basename)[:count]
        labels = {name: self._class_of[name] for name in names}
        table = write_table(self._path / "labels.csv", labels, **columns)
        images = f"--data_dir={self._path / 'images'}"
        return ["--dataset=folder", images, "--holdout_fraction=0", f"--labels={table}"]


def table_of(path):
    """The rows of a directory's ``probe.csv``."""
    with open(path / "probe.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))
