"""The settings of data sets: to train on, and to evaluate on."""

import dataclasses
import os
from typing import List, Optional

from tf_simclrv2.config.settings import Must, Section, refuse, required, setting, setting_of
from tf_simclrv2.config.steps import LABEL_CHOICES

# From here on Pillow suspects an attack; decoded they take half a gigabyte.
MAX_IMAGE_PIXELS = 178_956_970
# Ways to check a folder's files.
CHECKS = ("full", "quick", "no")
# Ways in which TensorFlow Datasets stores a data set.
TFRECORD, ARRAY_RECORD = "tfrecord", "array_record"
# Sizes that suit data sets of small images; all others default to ImageNet's 224.
DEFAULT_IMAGE_SIZES = {
    "digits": 16,
    "tiles": 32,
    "cifar10": 32,
    "cifar100": 32,
    "svhn_cropped": 32,
    "mnist": 32,
}


@dataclasses.dataclass(frozen=True)
class DataConfig(Section):
    """Which images, and how many at a time."""

    dataset: str = setting(
        "digits",
        "Name of a TensorFlow Datasets data set; digits or tiles, which need no download; or "
        "folder, for image files in DATA_DIR as split/class/file, class/file or, without labels, "
        "file.",
        must=Must("name a data set", bool),
        inherits=True,
    )
    data_dir: Optional[str] = setting(
        None,
        "The folder, or where TensorFlow Datasets stores data sets.",
        may_change=True,
        of_dataset=True,
        is_path=True,
    )
    train_split: str = setting("train", "Split to train on.", of_dataset=True)
    eval_split: Optional[str] = setting(
        None,
        "Split to evaluate on; by default validation if there is one, else test.",
        may_change=True,
        of_dataset=True,
    )
    image_size: Optional[int] = setting(
        None,
        "Height and width of the network's input in pixels.",
        within="(0, 16384]",
        inherits=True,
        follows_data=True,
    )
    class_level: Optional[int] = setting(
        None,
        "Level of the folder's directories that names the class: 1 for class/patient/file, 2 for "
        "split/class/patient/file, 0 for images at any depth without labels; by default the "
        "directory that the file is in. With LABELS directories name no classes.",
        choices=(0, 1, 2),
        of_dataset=True,
    )
    labels: Optional[str] = setting(
        None,
        "Table with the columns image and label, and perhaps split, as CSV or Parquet; all images "
        "that it gives no label have none.",
        of_dataset=True,
        is_path=True,
        replaces=LABEL_CHOICES,
    )
    classes: Optional[str] = setting(
        None,
        "Text file with a class on each line, in their order; by default the classes are those of "
        "LABELS, sorted.",
        of_dataset=True,
        is_path=True,
    )
    holdout_fraction: float = setting(
        0.1,
        "Fraction of each class of a folder class/file, or of LABELS without a column split, that "
        "is held out as validation.",
        within="[0, 1)",
        of_dataset=True,
    )
    holdout_seed: int = setting(
        0, "Chooses the images that are held out.", within="[0, inf)", of_dataset=True
    )
    max_bad_images: float = setting(
        0.01,
        "Fraction of a folder's files that may be corrupt.",
        within="[0, 1)",
        may_change=True,
    )
    strict_images: bool = setting(False, "Stop at a folder's first corrupt file.", may_change=True)
    max_image_pixels: int = setting(
        MAX_IMAGE_PIXELS,
        "Pixels that an image file may have; one that claims more counts as corrupt.",
        within="(0, inf)",
        may_change=True,
    )
    check_images: str = setting(
        "full",
        "How a folder's files to train on are checked for corrupt ones before the first step: full "
        "decodes each once, quick looks at its header and end, no at nothing; a corrupt one that "
        "training then meets is replaced by another image.",
        choices=CHECKS,
        of_dataset=True,
    )
    order: str = setting(
        "index",
        "Where the next image of a folder or an array_record is found: by index, which any step "
        "reaches at once, or in a buffer, as runs of earlier versions did, which keep to it.",
        choices=("index", "buffer"),
        absent="buffer",
    )
    file_format: Optional[str] = setting(
        None,
        "How TensorFlow Datasets stores a data set that it prepares: tfrecord, or array_record, "
        "which any step reaches at once and of which each worker reads only its own images; by "
        "default as it is stored, or tfrecord. A run keeps to it.",
        choices=(TFRECORD, ARRAY_RECORD),
        may_change=True,
        of_dataset=True,
        follows_data=True,
    )
    cache_dataset: bool = setting(
        False, "Keep the data set's undecoded examples in memory.", may_change=True
    )
    cache_path: Optional[str] = setting(
        None,
        "Keep the undecoded examples on disk, in a directory whose name begins with this path.",
        may_change=True,
        is_path=True,
    )
    cache_max_side: Optional[int] = setting(
        None,
        "Reduce larger images so that their shorter side has so many pixels: once, as CACHE_PATH "
        "keeps them.",
        within="[32, 16384]",
    )
    eval_batch_size: int = setting(
        256, "Images evaluated at a time.", within="(0, inf)", may_change=True
    )
    eval_steps: int = setting(
        0, "Batches to evaluate; 0 is the whole split.", within="[0, inf)", may_change=True
    )

    def _check_combinations(self) -> None:
        if self.classes and not self.labels:
            raise refuse("classes", self.classes, "needs --labels, the table of their images")
        if self.check_images != "full" and self.order != "index":
            raise refuse(
                "check_images",
                self.check_images,
                f"finds another image for a damaged one by its index, so it can't be combined with "
                f"--order={self.order}",
            )
        if self.cache_max_side is not None:
            self._check_reducing(self.cache_max_side)

    def _check_reducing(self, side: int) -> None:
        if not self.cache_path:
            raise refuse("cache_max_side", side, "needs --cache_path, where reduced images lie")
        if self.check_images != "full":
            raise refuse(
                "cache_max_side",
                side,
                "decodes all images before training, so it can't be combined with "
                f"--check_images={self.check_images}",
            )
        if self.image_size and side < self.image_size:
            raise refuse("cache_max_side", side, f"must be at least --image_size={self.image_size}")

    @property
    def resolved_image_size(self) -> int:
        """The image size in pixels: the one given, or what suits the data set."""
        return self.image_size or DEFAULT_IMAGE_SIZES.get(self.dataset, 224)

    @property
    def described(self) -> str:
        """Name and directory, for messages."""
        return self.dataset + (f" in {self.data_dir}" if self.data_dir else "")

    def is_also(self, dataset: Optional[str], data_dir: Optional[str]) -> bool:
        """Whether these flags name the same data set: the same name in the same directory.

        Args:
          dataset: its name; None stands for this one's.
          data_dir: its directory; None stands for this one's.
        """
        same_name = dataset in (None, self.dataset)
        return same_name and (data_dir is None or place(data_dir) == place(self.data_dir))

    def has_labels_of(self, labels: Optional[str]) -> bool:
        """Whether a flag names the same table of labels; None stands for this one's."""
        return labels is None or place(labels or None) == place(self.labels or None)

    def has_images_of(self, other: "DataConfig") -> bool:
        """Whether another config names the same data set: the same name in the same directory."""
        return (self.dataset, place(self.data_dir)) == (other.dataset, place(other.data_dir))

    def is_same(self, other: "DataConfig") -> bool:
        """Whether another config names the same data set with labels of the same table."""
        return self.has_images_of(other) and self.has_labels_of(other.labels or "")


def place(directory: Optional[str]) -> Optional[str]:
    """The one spelling of a path that all its spellings share; None stays None."""
    if directory is None or "://" in directory:
        return directory
    return os.path.realpath(os.path.expanduser(directory))


@dataclasses.dataclass(frozen=True)
class UnlabelledConfig(Section):
    """Images without labels to train on in addition to the data set's."""

    unlabeled_data_dir: Optional[str] = setting(
        None,
        "Folder of further images, at any depth, whose labels are not used.",
        is_path=True,
    )


EVALUATORS = ("classifier", "knn", "ridge")


def _are_evaluators(text: str) -> bool:
    """Whether a text is evaluators separated by commas, each once."""
    names = text.split(",")
    return set(names) <= {*EVALUATORS} and len(set(names)) == len(names)


@dataclasses.dataclass(frozen=True)
class EvaluationConfig(Section):
    """Which run to evaluate, or which runs to compare, and on what."""

    model_dir: str = required(
        "Directory of the run to evaluate, or a checkpoint in it; several, separated by commas, "
        "are compared on the same images.",
        "the directory of a run must be given",
        is_path=True,
    )
    evaluators: Optional[str] = setting(
        None,
        "What to evaluate, separated by commas: the run's classifier, and nearest neighbours and "
        "ridge regression on its frozen features, which learn from the labels that it learnt from; "
        "by default classifier, or knn,ridge where a run has no classifier.",
        must=Must(
            f"be among {', '.join(EVALUATORS)}, separated by commas, each once", _are_evaluators
        ),
    )
    dataset: Optional[str] = setting_of(
        DataConfig, "dataset", default=None, help="Data set; by default the run's."
    )
    data_dir: Optional[str] = setting_of(DataConfig, "data_dir")
    labels: Optional[str] = setting_of(
        DataConfig,
        "labels",
        help="Table of the labels to evaluate on, with the columns image and label, and perhaps "
        "split; by default the run's.",
    )
    eval_split: Optional[str] = setting_of(DataConfig, "eval_split")
    eval_batch_size: int = setting_of(DataConfig, "eval_batch_size")
    eval_steps: int = setting_of(DataConfig, "eval_steps")

    @property
    def runs(self) -> List[str]:
        """The runs in ``model_dir``; a directory whose name holds commas is one."""
        if os.path.exists(os.path.expanduser(self.model_dir)):
            return [self.model_dir]
        return self.model_dir.split(",")

    def applied_to(self, data: DataConfig) -> DataConfig:
        """Returns what to evaluate a run on.

        Args:
          data: the run's data, from which this takes what no flag asks for; the splits and the
            table only as long as the data set is the run's, and the directory as long as its name
            is.
        """
        dataset = self.dataset or data.dataset
        same = data.is_also(self.dataset, self.data_dir)
        kept_dir = data.data_dir if dataset == data.dataset else None
        kept_labels = data.labels if same else None
        labels = kept_labels if self.labels is None else self.labels
        same_labels = same and data.has_labels_of(labels or "")
        return dataclasses.replace(
            data,
            dataset=dataset,
            data_dir=kept_dir if self.data_dir is None else self.data_dir,
            # Which split another table is about, the run doesn't know.
            train_split=DataConfig.train_split if labels and not same else data.train_split,
            labels=labels,
            classes=data.classes if labels and same else None,
            # Another folder may have its classes in its directories.
            class_level=data.class_level if same else data.class_level or None,
            eval_split=self.eval_split or (data.eval_split if same_labels else None),
            # As it is stored.
            file_format=data.file_format if same else None,
            eval_batch_size=self.eval_batch_size,
            eval_steps=self.eval_steps,
        )
