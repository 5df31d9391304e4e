"""The settings of the method's steps: the run, pretraining, fine-tuning and distillation."""

import dataclasses
from typing import Optional

from tf_simclrv2.config.settings import Section, refuse, required, setting, setting_of

MODES = ("train_then_eval", "train", "eval")
NAN_POLICIES = ("stop", "restore")
# Of the views of a batch, with --memory_batch_norm=split.
KEY_PARTS = 8
# Ways to say which examples' labels are used.
LABEL_CHOICES = ("label_fraction", "labels_per_class", "label_subset_file")


@dataclasses.dataclass(frozen=True)
class RunConfig(Section):
    """Where a run lives, and what it writes how often."""

    model_dir: str = required(
        "Directory of the run; if it holds the same run already, that is continued.",
        "a directory for the run must be given",
        may_change=True,
        is_path=True,
    )
    seed: int = setting(
        0,
        "Fixes everything random: weights, order of examples, augmentation.",
        within="[0, inf)",
    )
    mode: str = setting("train_then_eval", "What to do.", choices=MODES, may_change=True)
    log_every_steps: int = setting(
        50, "Steps between rows of metrics.csv.", within="(0, inf)", may_change=True
    )
    checkpoint_epochs: float = setting(
        1.0,
        "Epochs between checkpoints.",
        within="(0, inf)",
        may_change=True,
        replaces=("checkpoint_steps",),
    )
    checkpoint_min_steps: int = setting(
        50,
        "Steps between checkpoints at the least, where epochs are shorter than that.",
        within="(0, inf)",
        may_change=True,
    )
    checkpoint_steps: int = setting(
        0,
        "Steps between checkpoints; above 0 it overrides checkpoint_epochs and "
        "checkpoint_min_steps.",
        within="[0, inf)",
        may_change=True,
    )
    keep_checkpoint_max: int = setting(
        5, "How many of the newest checkpoints to keep.", within="(0, inf)", may_change=True
    )
    nan_policy: str = setting(
        "stop",
        "What to do at a loss that is not finite: stop, or restore the last good checkpoint and "
        "skip the batch, three times in a run at most.",
        choices=NAN_POLICIES,
        may_change=True,
    )


@dataclasses.dataclass(frozen=True)
class ContrastiveConfig(Section):
    """The contrastive task of pretraining (paper, section 2)."""

    temperature: float = setting(
        0.1, "Temperature of the contrastive loss.", within="(0, inf)", follows_data=True
    )
    hidden_norm: bool = setting(True, "L2-normalise projections before the contrastive loss.")
    lineareval_while_pretraining: bool = setting(
        True, "Train a linear probe on stop-gradient features while pretraining."
    )
    ft_proj_selector: int = setting(
        0,
        "Output of the projection head that the probe reads: 0 is the head's input, 1 its first "
        "layer, -1 its last.",
        within="[-1, inf)",
    )


@dataclasses.dataclass(frozen=True)
class MemoryConfig(Section):
    """The memory of pretraining: a moving average of the network and a queue of its keys."""

    use_memory: bool = setting(
        False, "Contrast with the keys of a memory network, of this and of past batches."
    )
    memory_size: int = setting(
        65536,
        "Keys kept from past batches; a step adds two per image.",
        within="(0, inf)",
        follows_data=True,
    )
    memory_ema_decay: float = setting(
        0.999,
        "Decay of the moving average of all weights that is the memory network.",
        within="[0, 1)",
    )
    memory_ema_ramp: bool = setting(
        True, "Bound the decay at step t by t / (t + 9), so that random weights are forgotten."
    )
    memory_batch_norm: str = setting(
        "batch",
        "Statistics of the memory network's batch norm: the batch's, those of each eighth of it "
        "(split), or the moving average of the trained network's moving statistics.",
        choices=("batch", "split", "moving"),
    )


@dataclasses.dataclass(frozen=True)
class LabelsConfig(Section):
    """Which examples' labels may be used."""

    label_fraction: Optional[float] = setting(
        None,
        "Fraction of the training split whose labels are used, spread over the classes.",
        within="(0, 1]",
        replaces=LABEL_CHOICES,
    )
    labels_per_class: Optional[int] = setting(
        None, "Labelled examples of each class.", within="(0, inf)", replaces=LABEL_CHOICES
    )
    label_seed: int = setting(0, "Chooses the labelled examples.", within="[0, inf)")
    label_subset_file: Optional[str] = setting(
        None,
        "File that lists the labelled examples, one on a line, by id or by image file name, as the "
        "paper's 1percent.txt or a run's labelled_examples.txt do.",
        is_path=True,
        replaces=LABEL_CHOICES,
    )

    def _check_combinations(self) -> None:
        if self.label_fraction is not None and self.labels_per_class is not None:
            raise refuse(
                "labels_per_class", self.labels_per_class, "can't be combined with --label_fraction"
            )
        counted = self.label_fraction is not None or self.labels_per_class is not None
        if counted and self.label_subset_file:
            raise refuse(
                "label_subset_file",
                self.label_subset_file,
                "can't be combined with --label_fraction or --labels_per_class",
            )

    def check_table(self, labels: Optional[str]) -> None:
        """Refuses a list of labelled examples beside a table of labels, which is one itself.

        Args:
          labels: the table, if there is one.

        Raises:
          ConfigError: both are given.
        """
        if labels and self.label_subset_file:
            raise refuse(
                "label_subset_file",
                self.label_subset_file,
                f"can't be combined with --labels={labels}, which says which images are labelled",
            )

    @property
    def is_everything(self) -> bool:
        """Whether all labels of the split are used."""
        chosen = self.labels_per_class is not None or self.label_subset_file is not None
        return not chosen and self.label_fraction in (None, 1.0)


@dataclasses.dataclass(frozen=True)
class FineTuningConfig(Section):
    """From which weights and which layer fine-tuning starts (paper, section 2)."""

    checkpoint: Optional[str] = setting(
        None,
        "Directory of the pretraining run to start from, or one checkpoint in it.",
        is_path=True,
        # A converted run names the authors' checkpoint here.
        may_be_remote=True,
    )
    use_ema_weights: bool = setting(
        False, "Start from the memory network of a pretraining run with --use_memory."
    )
    from_scratch: bool = setting(
        False, "Train the supervised baseline from random weights instead of a checkpoint."
    )
    ft_proj_selector: int = setting(
        0,
        "Output of the projection head to fine-tune from: 0 is the head's input, 1 its first "
        "layer, -1 its last.",
        within="[-1, inf)",
    )
    fine_tune_after_block: int = setting(
        -1,
        "Freeze the encoder up to this block group: -1 trains everything, 0 all after the stem, "
        "4 only the layers after the encoder.",
        choices=(-1, 0, 1, 2, 3, 4),
    )
    zero_init_logits_layer: bool = setting(False, "Start the classifier's layer from zeros.")
    head_start: str = setting(
        "random",
        "What the classifier's layer starts from: random numbers, or the ridge regression of the "
        "labels on the pretrained features, for few labels.",
        choices=("random", "ridge"),
    )

    def _check_combinations(self) -> None:
        if self.from_scratch and self.checkpoint:
            raise refuse("from_scratch", self.from_scratch, "can't be combined with --checkpoint")
        if self.from_scratch and self.use_ema_weights:
            raise refuse(
                "from_scratch", self.from_scratch, "can't be combined with --use_ema_weights"
            )
        if self.head_start == "ridge" and self.from_scratch:
            raise refuse(
                "head_start", self.head_start, "needs pretrained features, not --from_scratch"
            )
        if self.head_start == "ridge" and self.zero_init_logits_layer:
            raise refuse(
                "head_start", self.head_start, "can't be combined with --zero_init_logits_layer"
            )
        if not self.from_scratch and not self.checkpoint:
            raise refuse(
                "checkpoint",
                self.checkpoint,
                "a pretraining run must be given, or --from_scratch=true for the supervised "
                "baseline",
            )


@dataclasses.dataclass(frozen=True)
class StartConfig(Section):
    """From which weights pretraining goes on, if not from random ones."""

    checkpoint: Optional[str] = setting(
        None,
        "Directory of a run whose weights to go on from, or one checkpoint in it: the encoder, and "
        "the projection head where its shape fits; by default random weights.",
        is_path=True,
    )
    use_ema_weights: bool = setting_of(
        FineTuningConfig, "use_ema_weights", help="Take the memory network of that run."
    )

    def _check_combinations(self) -> None:
        if self.use_ema_weights and not self.checkpoint:
            raise refuse(
                "use_ema_weights",
                self.use_ema_weights,
                "needs --checkpoint, the run whose memory network to start from",
            )


@dataclasses.dataclass(frozen=True)
class DistillationConfig(Section):
    """How a student learns from a teacher's predictions (paper, section 2, equations 2 and 3)."""

    teacher: str = required(
        "Directory of the fine-tuned run that teaches.",
        "a fine-tuned run must be given",
        is_path=True,
    )
    distillation_temperature: float = setting(
        1.0, "Temperature of teacher's and student's predictions.", within="(0, inf)"
    )
    distillation_alpha: float = setting(
        1.0,
        "Weight of the teacher's predictions against the true labels of the labelled examples; 1 "
        "uses no labels.",
        within="[0, 1]",
    )
