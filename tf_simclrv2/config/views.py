"""The settings of random views: how they are drawn, and a picture of them."""

import dataclasses
from typing import List, Optional

from tf_simclrv2.config.settings import Must, Section, refuse, setting

# The fractions of views that SimCLR, appendix A, makes grey and blurs.
PAPERS_GRAYSCALE, PAPERS_BLUR = 0.2, 0.5
# Below so many pixels on a side the blur's kernel, a tenth of it, is a single pixel.
SMALLEST_BLURRED = 20
# Fields that change the shape of what a view shows, and fields that change its colours.
GEOMETRY_FIELDS = frozenset(
    {
        "use_flip", "use_vertical_flip", "rotate_90", "use_crop", "crop_area_min",
        "crop_aspect_max", "rotation_max_degrees", "scale_min", "scale_max", "shear_max",
        "translate_max",
    }
)  # fmt: skip
COLOUR_FIELDS = frozenset(
    {
        "color_jitter_strength", "grayscale_probability", "use_blur", "blur_probability",
        "solarize_probability",
    }
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class AugmentationConfig(Section):
    """The random views that training draws (SimCLR, appendix A; SimCLRv2, appendix B)."""

    color_jitter_strength: float = setting(
        1.0,
        "Strength of the colour distortion; 0 turns off colour jitter and, unless "
        "grayscale_probability is given, grayscale.",
        within="[0, inf)",
        must=Must(
            "be at most 1.25, above which the contrast factor could be negative",
            lambda strength: strength <= 1.25,
        ),
        follows_data=True,
    )
    grayscale_probability: Optional[float] = setting(
        None,
        "Fraction of the views that lose their colours; by default 0.2 where colours are distorted "
        "and 0 where not.",
        within="[0, 1]",
    )
    use_blur: bool = setting(True, "Blur views with a Gaussian.", follows_data=True)
    blur_probability: Optional[float] = setting(
        None, "Fraction of the views that use_blur blurs; by default half.", within="[0, 1]"
    )
    solarize_probability: float = setting(
        0.0,
        "Fraction of the views in which, after the blur, channels of at least half of the range "
        "are inverted, as in BYOL.",
        within="[0, 1]",
    )
    # Which flips, crops and warps leave an image what it is depends on the data; later steps
    # inherit it.
    use_flip: bool = setting(
        True, "Flip half of the views left to right.", inherits=True, follows_data=True
    )
    use_vertical_flip: bool = setting(False, "Flip half of the views top to bottom.", inherits=True)
    rotate_90: bool = setting(
        False, "Turn views by no, one, two or three quarters, all as often.", inherits=True
    )
    use_crop: bool = setting(
        True, "Crop at random; otherwise only resize.", inherits=True, follows_data=True
    )
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
    rotation_max_degrees: float = setting(
        0.0,
        "Largest angle by which views are turned, either way.",
        within="[0, 180]",
        inherits=True,
        follows_data=True,
    )
    scale_min: float = setting(
        1.0,
        "Smallest factor by which what a view shows is scaled; below 1 more is seen.",
        within="[0.1, 1]",
        inherits=True,
        follows_data=True,
    )
    scale_max: float = setting(
        1.0,
        "Largest factor by which what a view shows is scaled; as many views grow as shrink if it "
        "is the inverse of scale_min.",
        within="[1, 10]",
        inherits=True,
        follows_data=True,
    )
    shear_max: float = setting(
        0.0,
        "Largest slant of vertical lines, to either side, in pixels for each pixel of height.",
        within="[0, 1]",
        inherits=True,
        follows_data=True,
    )
    translate_max: float = setting(
        0.0,
        "Largest shift of what a view shows, as a fraction of the view's side, along each.",
        within="[0, 0.5]",
        inherits=True,
        follows_data=True,
    )
    fill_mode: str = setting(
        "edge",
        "What stands beyond the image's border where a turned, scaled, sheared or shifted view "
        "reaches there: the pixel at the edge, black (constant), or the mirrored image (reflect).",
        choices=("edge", "constant", "reflect"),
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

    def _check_combinations(self) -> None:
        if self.blur_probability and not self.use_blur:
            raise refuse(
                "blur_probability",
                self.blur_probability,
                "has no effect without --use_blur=true, so give that too",
            )

    @property
    def grayscale(self) -> float:
        """The fraction of views that lose their colours."""
        if self.grayscale_probability is not None:
            return self.grayscale_probability
        return PAPERS_GRAYSCALE if self.color_jitter_strength > 0 else 0.0

    @property
    def blur(self) -> float:
        """The fraction of views that are blurred."""
        if self.use_blur and self.blur_probability is not None:
            return self.blur_probability
        return PAPERS_BLUR if self.use_blur else 0.0

    @property
    def warps(self) -> bool:
        """Whether views are turned, scaled, sheared or shifted, beyond crop and quarter turns."""
        stretched = self.scale_min < 1 or self.scale_max > 1 or self.shear_max > 0
        return stretched or self.rotation_max_degrees > 0 or self.translate_max > 0

    @property
    def distorts(self) -> bool:
        """Whether views are distorted beyond crop and warp."""
        turns = self.use_flip or self.use_vertical_flip or self.rotate_90
        colours = max(self.color_jitter_strength, self.grayscale, self.solarize_probability) > 0
        return turns or colours or self.blur > 0

    def in_words(self, size: int) -> str:
        """The views in words, for the first line of a run.

        Args:
          size: of a view in pixels.
        """
        strength, grayscale = self.color_jitter_strength, self.grayscale
        blur = self.blur if size >= SMALLEST_BLURRED else 0.0
        crops = f"crops of {self.crop_area_min:g} to 1 of the area" if self.use_crop else "no crops"
        said = [crops, *self._geometry_words]
        said.append(f"colours of strength {strength:g}" if strength > 0 else "no colours")
        if grayscale != AugmentationConfig(strength).grayscale:
            said.append(f"{grayscale:g} grey")
        said.append(
            "no blur" if blur == 0 else "blur" if blur == PAPERS_BLUR else f"{blur:g} blurred"
        )
        if self.solarize_probability > 0:
            said.append(f"{self.solarize_probability:g} solarized")
        return ", ".join(said)

    @property
    def _geometry_words(self) -> List[str]:
        """What happens to the shape of what a view shows, in words."""
        said = ["flips" if self.use_flip else "no flips"]
        if self.use_vertical_flip:
            said.append("vertical flips")
        if self.rotate_90:
            said.append("quarter turns")
        if self.rotation_max_degrees > 0:
            said.append(f"turns of up to {self.rotation_max_degrees:g} degrees")
        if self.scale_min < self.scale_max:
            said.append(f"scales of {self.scale_min:g} to {self.scale_max:g}")
        if self.shear_max > 0:
            said.append(f"slants of up to {self.shear_max:g}")
        if self.translate_max > 0:
            said.append(f"shifts of up to {self.translate_max:g} of the side")
        if self.warps:
            said.append(f"beyond the border {self.fill_mode}")
        return said


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
