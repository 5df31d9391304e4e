"""Where images come from: one file for each kind of source, and a row in ``SOURCES``."""

import dataclasses
from typing import Callable, Dict, List, Optional

from tf_simclrv2.config import DataConfig, refuse
from tf_simclrv2.data.sources.digits import DigitsSource
from tf_simclrv2.data.sources.folder import FolderSource
from tf_simclrv2.data.sources.source import SHUFFLE_BUFFER, UNLABELLED, Source, digest
from tf_simclrv2.data.sources.table import TableSource
from tf_simclrv2.data.sources.tfds import TfdsSource, UnknownDataset
from tf_simclrv2.data.sources.tiles import TilesSource

# What --dataset calls a source. All other names are those of TensorFlow Datasets.
SOURCES: Dict[str, Callable[[DataConfig], Source]] = {
    "digits": DigitsSource,
    "tiles": TilesSource,
    "folder": FolderSource,
}


def open_source(
    data: DataConfig, known: Optional[List[str]] = None, prepare: bool = True
) -> Source:
    """Opens the data set that a config names.

    Args:
      data: name and place of the data set, and of the table of its labels, if there is one.
      known: the classes of a run, of which a table may have only some.
      prepare: whether to download and prepare its images; the classes are known without.

    Raises:
      ConfigError: there is no such data set or table, or it can't be used.
    """
    if data.labels:
        return _open_table(data, known)
    return _open_plain(data, prepare)


def _open_plain(data: DataConfig, prepare: bool = True) -> Source:
    """Opens a data set with its own labels."""
    try:
        source = SOURCES.get(data.dataset, TfdsSource)(data)
    except UnknownDataset as error:
        name = data.dataset.replace("/", ":").split(":")[0]
        reason = f"; {error}" if name != data.dataset and name not in SOURCES else ""
        raise refuse(
            "dataset",
            data.dataset,
            f"must be {', '.join(SOURCES)}, or a data set of TensorFlow Datasets "
            f"(https://www.tensorflow.org/datasets/catalog){reason}",
        ) from error
    if prepare:
        source.prepare()
    return source


def _open_table(
    data: DataConfig, known: Optional[List[str]] = None, whole: bool = False
) -> TableSource:
    """Opens a data set with the labels of a table; of a folder all images, at any depth."""
    is_folder = SOURCES.get(data.dataset) is FolderSource
    base = _open_plain(dataclasses.replace(data, class_level=0) if is_folder else data)
    pool = "train" if is_folder else data.train_split
    if not is_folder:
        base.check_split(pool, "train_split")
    return TableSource(base, data, pool, known, whole)


def open_other(data: DataConfig, class_names: Optional[List[str]]) -> Source:
    """Opens another data set than a run's, to evaluate the run on it.

    Args:
      data: name and place of the data set. A folder ``class/file``, or a table without a column
        ``split``, is evaluated whole: nothing of it is held out.
      class_names: the classes that the run knows, of which a folder may have only some; None if
        they have no names.

    Raises:
      ConfigError: there is no such data set, or it can't be used.
    """
    # Nothing is known of it, and nothing of it is trained on.
    data = dataclasses.replace(data, check_images="full")
    if data.labels:
        return _open_table(data, class_names, whole=True)
    if SOURCES.get(data.dataset) is FolderSource:
        return FolderSource(data, classes=class_names)
    return open_source(data)


def open_unlabelled(directory: str, data: DataConfig) -> Source:
    """Opens a folder of images that are used without labels, next to a data set.

    Args:
      directory: image files in it, at any depth; its one split is ``train``.
      data: how many files may be corrupt.

    Raises:
      ConfigError: there are no images.
    """
    return FolderSource(dataclasses.replace(data, data_dir=directory), labelled=False)


__all__ = [
    "SHUFFLE_BUFFER",
    "SOURCES",
    "UNLABELLED",
    "DigitsSource",
    "FolderSource",
    "Source",
    "TableSource",
    "TfdsSource",
    "TilesSource",
    "digest",
    "open_other",
    "open_source",
    "open_unlabelled",
]
