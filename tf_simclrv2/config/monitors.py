"""The settings of what pretraining tells of itself without labels."""

import dataclasses

from tf_simclrv2.config.settings import Must, Section, refuse, setting

# What may choose the best checkpoint: the monitor's name, and whether more of it is better.
BEST_BY = {
    "knn": ("knn", True),
    "ridge": ("ridge", True),
    "rankme": ("rank_h", True),
    "rankme_z": ("rank_z", True),
    "alignment": ("alignment", False),
    "uniformity": ("uniformity", False),
    "loss": ("loss", False),
    "accuracy": ("accuracy", True),
}
NO_BEST = "none"
# Of these, the monitors that need labels.
NEED_LABELS = ("knn", "ridge")
# By default a run is monitored so often at the most, and only when so many times as many images as
# monitors are measured on were trained on. A monitor computes each image and two views of it; a
# step computes two views, forwards and backwards, which is thrice as much. So 50 are 1% of the run;
# the other 1% is for what is done once, and for the numbers.
_MOST_TIMES = 20
_LEAST_IMAGES_BETWEEN = 50


@dataclasses.dataclass(frozen=True)
class MonitorConfig(Section):
    """What pretraining tells of itself, on images that it does not train on."""

    monitor_images: int = setting(
        512,
        "Images, drawn once by the seed, that monitors are measured on, which are not trained on "
        "if the data hold some out; 0 leaves monitors out.",
        must=Must("be 0 or at least 2", lambda images: images == 0 or images >= 2),
        within="[0, inf)",
        may_change=True,
    )
    monitor_every_steps: int = setting(
        0,
        "Steps between monitors, which the last step always has; 0 takes so many that monitors "
        "compute 1% of what the run does, and a twentieth of the run at least.",
        within="[0, inf)",
        may_change=True,
    )
    keep_best: str = setting(
        NO_BEST,
        "Monitor by which the best checkpoint is kept in best/, next to the newest ones in "
        "checkpoints/.",
        choices=(NO_BEST, *BEST_BY),
        may_change=True,
    )

    def _check_combinations(self) -> None:
        if self.keep_best != NO_BEST and not self.monitor_images:
            raise refuse(
                "keep_best", self.keep_best, "needs monitors, which --monitor_images=0 leaves out"
            )

    def steps_between(self, total_steps: int, batch_size: int, images: int) -> int:
        """Steps from one monitor to the next.

        Args:
          total_steps: of the whole run.
          batch_size: images in a step.
          images: that monitors are measured on.
        """
        cheap = -(-_LEAST_IMAGES_BETWEEN * images // batch_size)
        return self.monitor_every_steps or max(cheap, -(-total_steps // _MOST_TIMES))
