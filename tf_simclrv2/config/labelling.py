"""The settings of what works on a run's frozen features: which run, which layer, which images."""

import dataclasses
import re
from typing import Any, Dict, List, NamedTuple, Optional

from tf_simclrv2.config.data import DataConfig
from tf_simclrv2.config.settings import Must, Section, required, setting, setting_of

_OF_RUN = "by default the run's."


@dataclasses.dataclass(frozen=True)
class FrozenSection(Section):
    """Which run, frozen, and which images."""

    model_dir: str = required(
        "Directory of the run whose features to use, or one checkpoint in it.",
        "the directory of a run must be given",
        is_path=True,
    )
    use_ema_weights: bool = setting(
        False, "Take the memory network of a pretraining run with --use_memory."
    )
    layer: Optional[int] = setting(
        None,
        "Output of the projection head to use: 0 is the head's input, 1 its first layer, -1 its "
        "last; by default 1 where the run has more than one layer, else 0, and of a fine-tuned or "
        "distilled run the one that its classifier reads.",
        within="[-1, inf)",
    )
    dataset: Optional[str] = setting_of(
        DataConfig, "dataset", default=None, help=f"Data set; {_OF_RUN}"
    )
    data_dir: Optional[str] = setting_of(DataConfig, "data_dir")
    train_split: Optional[str] = setting_of(
        DataConfig, "train_split", default=None, help=f"Split whose labels are used; {_OF_RUN}"
    )
    eval_split: Optional[str] = setting_of(DataConfig, "eval_split")
    labels: Optional[str] = setting_of(
        DataConfig,
        "labels",
        help="Table of the labels, with the columns image and label, and perhaps split; by default "
        "the run's.",
    )
    classes: Optional[str] = setting_of(DataConfig, "classes")
    class_level: Optional[int] = setting_of(DataConfig, "class_level")
    holdout_fraction: Optional[float] = setting_of(
        DataConfig,
        "holdout_fraction",
        default=None,
        help=f"Fraction of each class that is held out as validation; {_OF_RUN}",
    )
    eval_batch_size: Optional[int] = setting_of(
        DataConfig, "eval_batch_size", default=None, help=f"Images at a time; {_OF_RUN}"
    )
    feature_type: str = setting(
        "float32",
        "Number format in which features are kept; float16 takes half the space.",
        choices=("float32", "float16"),
    )

    def applied_to(self, data: DataConfig) -> DataConfig:
        """Returns which images to use.

        Args:
          data: the run's data, from which this takes what no flag asks for; directory, splits and
            labels only as long as no flag names another data set, and splits to evaluate on, and
            those of a folder, only as long as none names another table.
        """
        fields = dataclasses.fields(DataConfig)
        values: Dict[str, Any] = {"eval_steps": 0}
        if not data.is_also(self.dataset, self.data_dir):
            values.update({f.name: f.default for f in fields if f.metadata["of_dataset"]})
        elif not data.has_labels_of(self.labels):
            is_folder = data.dataset == "folder"
            values.update({"eval_split": None}, **({"train_split": "train"} if is_folder else {}))
        given = {field.name: getattr(self, field.name, None) for field in fields}
        values.update({name: value for name, value in given.items() if value is not None})
        return dataclasses.replace(data, **values)


# What can make an audit fail.
FINDINGS = ("labels", "duplicates", "conflicts", "leaks", "unlike")
_LIMIT = re.compile(rf"({'|'.join(FINDINGS)})(?::([0-9]{{1,9}}|[01]?\.[0-9]{{1,9}}))?", re.ASCII)


class Limit(NamedTuple):
    """What an audit may find at most.

    Attributes:
      finding: of ``FINDINGS``.
      most: how many, or which share of those that were examined.
      is_share: whether it is a share.
    """

    finding: str
    most: float
    is_share: bool


def limits_of(text: str) -> Optional[List[Limit]]:
    """Reads limits such as ``leaks,duplicates:5,labels:0.01``; None if they are no limits.

    A whole number is a number of findings, one with a point a share; without either none is
    allowed.
    """
    found: Dict[str, Limit] = {}
    for part in text.split(","):
        match = _LIMIT.fullmatch(part.strip())
        if match is None or match[1] in found:
            return None
        number = match[2] or "0"
        if float(number) > 1 and "." in number:
            return None
        found[match[1]] = Limit(match[1], float(number), "." in number)
    return list(found.values())


@dataclasses.dataclass(frozen=True)
class AuditSection(FrozenSection):
    """Which run, frozen, which images, and what to do with what is found."""

    output_dir: Optional[str] = setting(
        None,
        "Directory for tables and contact sheets, which is new or an earlier audit's; by default "
        "audit in the run's directory.",
        is_path=True,
    )
    fail_on: Optional[str] = setting(
        None,
        "End with exit code 3 if more is found than this allows, such as "
        "leaks,duplicates:5,labels:0.01 for any leak, more than 5 duplicates, or more than 1% of "
        "the labels.",
        must=Must(
            f"be some of {', '.join(FINDINGS)}, separated by commas, each alone or with what is "
            "allowed: a whole number, or a share from 0.0 to 1.0",
            lambda text: limits_of(text) is not None,
        ),
    )

    @property
    def limits(self) -> List[Limit]:
        """What may be found at most."""
        return limits_of(self.fail_on) or [] if self.fail_on else []
