"""The settings of what an evaluation tells besides a network's own accuracy."""

import dataclasses
from typing import Optional

from tf_simclrv2.config.settings import Must, Section, refuse, setting


@dataclasses.dataclass(frozen=True)
class ReportConfig(Section):
    """What an evaluation tells besides the network's own accuracy."""

    baselines: bool = setting(
        False,
        "Also measure what a sceptic tries first, on the same labels and images: nearest "
        "neighbour, logistic regression and label spreading, on raw pixels and on the untrained "
        "network.",
        may_change=True,
    )

    def check_held_out(self, whose: str, advice: str) -> None:
        """Refuses baselines where there is nothing to evaluate on.

        Args:
          whose: the data.
          advice: what to do.

        Raises:
          ConfigError: they are asked for.
        """
        if self.baselines:
            raise refuse(
                "baselines",
                self.baselines,
                f"stands beside the evaluation, but {whose} holds out nothing; {advice}",
            )

    def check_evaluated(self, mode: str) -> None:
        """Refuses baselines of a run that is not evaluated.

        Args:
          mode: of the run.

        Raises:
          ConfigError: it leaves the evaluation out.
        """
        if self.baselines and mode == "train":
            raise refuse(
                "baselines",
                self.baselines,
                "stands beside the evaluation, which --mode=train leaves out",
            )


@dataclasses.dataclass(frozen=True)
class FineTuningReportConfig(ReportConfig):
    """What an evaluation tells besides the network's own accuracy, and how sure labels make it."""

    folds: Optional[int] = setting(
        None,
        "Also cross-validate the labels in so many parts, each answered by what has learnt from "
        "the others: ridge regression on the pretrained, frozen features; 0 is never. By default "
        "5 where fewer than 50 images are held out, and none elsewhere, nor of more than 5,000 "
        "labels, with --from_scratch or with --mode=train.",
        within="[0, 100]",
        must=Must("be 0 for none, or at least 2", lambda folds: folds != 1),
        may_change=True,
    )
    folds_of: str = setting(
        "head",
        "What is cross-validated: that regression, in seconds, or the whole fine-tuning, which is "
        "repeated from the same weights for each part (5 by default) and takes as many times as "
        "long.",
        choices=("head", "finetune"),
        may_change=True,
    )

    def check_folds(self, mode: str, from_scratch: bool) -> None:
        """Refuses a cross-validation that can't be.

        Args:
          mode: of the run.
          from_scratch: whether it starts from random weights.

        Raises:
          ConfigError: it needs what is not there.
        """
        if self.folds_of == "head" and self.folds and from_scratch:
            raise refuse(
                "folds",
                self.folds,
                "needs pretrained features, not --from_scratch; --folds_of=finetune does without",
            )
        if self.folds_of == "finetune" and self.folds == 0:
            raise refuse("folds_of", self.folds_of, "needs folds, but --folds=0 asks for none")
        if self.folds_of == "finetune" and mode == "eval":
            raise refuse("folds_of", self.folds_of, "trains, which --mode=eval leaves out")
