"""The settings of what works on a run's frozen features: which run, which layer, which images."""

import dataclasses
import re
from typing import Any, Dict, List, NamedTuple, Optional

from tf_simclrv2.config.data import DataConfig
from tf_simclrv2.config.settings import Must, Section, required, setting, setting_of

_OF_RUN = "by default the run's."
_NAMED = Must("name a directory", bool)


@dataclasses.dataclass(frozen=True)
class FrozenSection(Section):
    """Which run, frozen, and which images."""

    model_dir: str = required(
        "Directory of the run whose features to use, one checkpoint in it, or an export.",
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


def _are_counts(budgets: str) -> bool:
    """Whether a text is numbers above 0 separated by commas."""
    parts = budgets.split(",")
    return all(re.fullmatch(r"\s*0*[1-9][0-9]{0,8}\s*", part, re.ASCII) for part in parts)


@dataclasses.dataclass(frozen=True)
class ProbeSection(FrozenSection):
    """Which run, frozen, on which images, and what to measure and write."""

    budgets: Optional[str] = setting(
        None,
        "Also measure what fewer labels are worth: numbers of labelled images to draw, separated "
        "by commas, such as 10,20,50.",
        must=Must("be numbers above 0 separated by commas", _are_counts),
    )
    seeds: int = setting(10, "Draws of each budget.", within="(0, 10000]")
    balanced: bool = setting(
        False, "Draw as many images of each class, rather than all images alike."
    )
    output_dir: Optional[str] = setting(
        None,
        "Directory for probe.csv and probe.png; by default probe in the run's directory.",
        must=_NAMED,
        is_path=True,
    )
    run_dir: Optional[str] = setting(
        None,
        "New directory for the ridge classifier as a run, which evaluate, distill, export and "
        "predict take like a fine-tuned one.",
        must=_NAMED,
        is_path=True,
    )

    @property
    def sorted_budgets(self) -> List[int]:
        """The budgets, each once, ascending."""
        return sorted({int(part) for part in (self.budgets or "").split(",") if part})


@dataclasses.dataclass(frozen=True)
class SelectSection(FrozenSection):
    """Which run, frozen, on which images, and how many of them to choose."""

    budget: int = required(
        "Images to choose.", "how many images to choose must be given", within="(0, inf)"
    )
    method: str = setting(
        "centres",
        "How to choose: centres takes the image nearest to each centre of k-means, typiclust the "
        "most typical one of each cluster, coreset the one farthest from all others, random any.",
        choices=("centres", "typiclust", "coreset", "random"),
    )
    seed: int = setting(0, "Of the choice.", within="[0, inf)")
    output_dir: Optional[str] = setting(
        None,
        "New directory for labels.csv, the contact sheet and the page; by default selected, or "
        "selected_2 and so on, in the run's directory.",
        must=_NAMED,
        is_path=True,
    )

    def applied_to(self, data: DataConfig) -> DataConfig:
        """Returns which images to choose from.

        Args:
          data: the run's data, see :meth:`FrozenSection.applied_to`. All labelled images count, so
            none is held out of a table unless that is asked for; and a first round may name
            classes before there is a table.
        """
        applied = FrozenSection.applied_to(dataclasses.replace(self, classes=None), data)
        if not applied.labels:
            return applied
        return dataclasses.replace(
            applied,
            classes=self.classes or applied.classes,
            holdout_fraction=self.holdout_fraction or 0.0,
        )


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
        must=_NAMED,
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
