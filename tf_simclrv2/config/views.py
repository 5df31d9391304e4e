"""The settings of random views: how they are drawn, and a picture of them."""

import dataclasses

from tf_simclrv2.config.settings import Must, Section, setting


@dataclasses.dataclass(frozen=True)
class AugmentationConfig(Section):
    """The random views that training draws (SimCLR, appendix A; SimCLRv2, appendix B)."""

    color_jitter_strength: float = setting(
        1.0,
        "Strength of the colour distortion; 0 turns off colour jitter and grayscale.",
        within="[0, inf)",
        must=Must(
            "be at most 1.25, above which the contrast factor could be negative",
            lambda strength: strength <= 1.25,
        ),
    )
    use_blur: bool = setting(True, "Blur half of the views with a Gaussian.")
    # Which flips and crops leave an image what it is depends on the data; later steps inherit it.
    use_flip: bool = setting(True, "Flip half of the views left to right.", inherits=True)
    use_crop: bool = setting(True, "Crop at random; otherwise only resize.", inherits=True)
    crop_area_min: float = setting(
        0.08,
        "Smallest area of a random crop, as a fraction of the image's.",
        within="(0, 1]",
        inherits=True,
    )
    crop_aspect_max: float = setting(
        4 / 3,
        "Largest aspect ratio of a random crop; its inverse is the smallest.",
        within="[1, inf)",
        inherits=True,
    )
    color_space: str = setting(
        "hsv",
        "Where saturation and hue change: hsv, as in the paper's code, or yiq, in which both are "
        "one linear map.",
        choices=("hsv", "yiq"),
    )
    augment_on: str = setting(
        "auto",
        "Where colours are distorted and views blurred: host, image by image on the CPU; device, "
        "the whole batch at once; auto takes the device if it is a GPU or TPU.",
        choices=("auto", "host", "device"),
        may_change=True,
    )

    @property
    def distorts(self) -> bool:
        """Whether views are distorted beyond the crop."""
        return self.use_flip or self.color_jitter_strength > 0 or self.use_blur

    @property
    def words(self) -> str:
        """The views in words, for the first line of a run."""
        crops = f"crops of {self.crop_area_min:g} to 1 of the area" if self.use_crop else "no crops"
        strength = self.color_jitter_strength
        return ", ".join(
            [
                crops,
                "flips" if self.use_flip else "no flips",
                f"colours of strength {strength:g}" if strength > 0 else "no colours",
                "blur" if self.use_blur else "no blur",
            ]
        )


@dataclasses.dataclass(frozen=True)
class ViewsSection(Section):
    """What to draw, and where to."""

    output: str = setting(
        "views.png",
        "Picture to write.",
        must=Must("end in .png", lambda path: path.endswith(".png")),
        is_path=True,
    )
    num_images: int = setting(8, "Images to draw the views of.", within="(0, 10000]")
    seed: int = setting(
        0,
        "Chooses images and views; a run with this seed begins with them.",
        within="[0, inf)",
    )
