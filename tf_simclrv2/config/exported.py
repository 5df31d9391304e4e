"""The settings of commands that apply exports and convert checkpoints."""

import dataclasses
from typing import Optional

from tf_simclrv2.config.data import DataConfig
from tf_simclrv2.config.settings import (
    Must,
    Section,
    refuse,
    required,
    setting,
    setting_of,
)


@dataclasses.dataclass(frozen=True)
class ExportedModelConfig(Section):
    """Which exported model to apply to which images."""

    saved_model: str = required(
        "Directory of an export, or of the SavedModel in it.",
        "an export must be given",
        is_path=True,
    )
    images: str = required(
        "Image files, folders, globs or text files (.txt) with the path of an image on each line, "
        "separated by commas.",
        "image files or a folder must be given",
        is_path=True,
    )
    batch_size: int = setting(32, "Images at a time.", within="(0, inf)")
    max_image_pixels: int = setting_of(DataConfig, "max_image_pixels")


@dataclasses.dataclass(frozen=True)
class PredictionConfig(ExportedModelConfig):
    """Which exported model to apply to which images, and what to write."""

    output: str = setting(
        "predictions.csv",
        "File to write.",
        must=Must("end in .csv or .parquet", lambda path: path.endswith((".csv", ".parquet"))),
        is_path=True,
    )
    top_k: int = setting(
        5,
        "How many of an image's likeliest classes to write; more than there are means all.",
        within="(0, inf)",
    )
    abstain_below: Optional[float] = setting(
        None,
        "Leave the class empty where the likeliest one has a lower probability than this.",
        within="[0, 1]",
    )
    target_risk: Optional[float] = setting(
        None,
        "Leave the class empty where else more than this share of the answers would be wrong, by "
        "the risk that was measured on labelled images and is stored in the export.",
        within="[0, 1]",
    )

    def _check_combinations(self) -> None:
        if self.abstain_below is not None and self.target_risk is not None:
            raise refuse("target_risk", self.target_risk, "can't be combined with --abstain_below")


@dataclasses.dataclass(frozen=True)
class EmbeddingConfig(ExportedModelConfig):
    """Which exported model to apply to which images, and what to write."""

    output: str = setting(
        "embeddings.npy",
        "File to write; the images' paths go to a file of this name that ends in _ids.txt.",
        must=Must("end in .npy", lambda path: path.endswith(".npy")),
        is_path=True,
    )
    projector: bool = setting(
        False,
        "Also write files for TensorBoard's projector, to a directory that ends in _projector.",
    )
    labels: Optional[str] = setting(
        None,
        "Table with the columns image and label, as CSV or Parquet, of the true labels that the "
        "projector shows; by default the names of the folders that images are in.",
        is_path=True,
    )

    def _check_combinations(self) -> None:
        if self.labels and not self.projector:
            raise refuse("labels", self.labels, "is shown by the projector, so give --projector")


@dataclasses.dataclass(frozen=True)
class ConversionConfig(Section):
    """Which checkpoint to convert: google_checkpoint to model_dir, or model_dir to to_google."""

    google_checkpoint: Optional[str] = setting(
        None,
        "Checkpoint of google-research/simclr to read: of TF1 or TF2, or a TF2 SavedModel's "
        "directory.",
        is_path=True,
        may_be_remote=True,
    )
    model_dir: str = required(
        "Run directory to write; with --to_google the run, or one checkpoint in it, to read.",
        "a run directory must be given",
        is_path=True,
    )
    to_google: Optional[str] = setting(
        None, "Path of a TF2 checkpoint to write that google-research/simclr reads.", is_path=True
    )
    ft_proj_selector: Optional[int] = setting(
        None,
        "Output of the projection head that the checkpoint's classifier reads; by default 0, the "
        "head's input, unless only the last layer fits. The authors' models fine-tuned on 1% and "
        "10% of labels need 1.",
        within="[-1, inf)",
    )
    dataset: Optional[str] = setting(
        None,
        "Data set that the checkpoint's classifier was trained on, for the names of its classes; "
        "without it, classes are numbered.",
    )
    data_dir: Optional[str] = setting(None, "Where the data set is stored.", is_path=True)
    image_size: Optional[int] = setting(
        None,
        "Height and width of the images to use; by default 224, or 32 for the CIFAR stem.",
        within="(0, 16384]",
    )

    def _check_combinations(self) -> None:
        if not self.to_google and not self.google_checkpoint:
            raise refuse(
                "google_checkpoint",
                self.google_checkpoint,
                "a checkpoint to read must be given, or --to_google to write one",
            )
        only_for_reading = {
            "google_checkpoint": self.google_checkpoint,
            "ft_proj_selector": self.ft_proj_selector,
            "dataset": self.dataset,
            "data_dir": self.data_dir,
            "image_size": self.image_size,
        }
        for name, value in only_for_reading.items():
            if self.to_google and value is not None:
                raise refuse(name, value, "can't be combined with --to_google")
