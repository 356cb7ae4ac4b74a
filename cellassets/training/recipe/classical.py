"""The recipe of a classical encoder, which is set up without training."""

from typing import Literal

from pydantic import Field, model_validator

from cellassets.configuration import Parameters

FeatureFamily = Literal["intensity", "texture", "granularity", "sizeshape", "radial_distribution"]


class ClassicalParameters(Parameters):
    """Parameters of classical features, as CellProfiler defines them.

    Lengths are in pixels of the site after downsampling.

    Attributes:
        n_channels: number of channels of a site.
        nucleus_channel: the channel in which nuclei are segmented, 0-based; null: in each experiment the one that its
            layout declares or that is named after a DNA stain.
        families: the families of features to measure, in the order of the vector.
        image_downsample: side of the squares of pixels that are averaged before anything is measured.
        nucleus_diameter_um: diameter of a typical nucleus in micrometres.
        nucleus_diameter_px: diameter of a typical nucleus.
        cell_growth_px: how far nuclei are grown to become cells.
        texture_scale_px: distance between the two pixels of a pair in the co-occurrence matrix.
        texture_grey_levels: number of grey levels of the co-occurrence matrix.
        granularity_spectrum_length: number of steps of the granularity spectrum.
    """

    n_channels: int = Field(default=6, ge=1, description="Channels of a site")
    nucleus_channel: int | None = Field(
        default=None,
        ge=0,
        description="The channel in which nuclei are found, 0-based; null: the DNA channel of each experiment",
    )
    families: tuple[FeatureFamily, ...] = Field(
        default=("intensity", "texture", "granularity", "sizeshape"), min_length=1, description="Families of features"
    )
    image_downsample: int = Field(
        default=1,
        ge=1,
        description="Factor by which width and height are reduced before; following lengths are in these pixels",
    )
    nucleus_diameter_um: float | None = Field(
        default=None, gt=0, description="Diameter of a nucleus in micrometres; used where the pixel size is known"
    )
    nucleus_diameter_px: float | None = Field(
        default=None, gt=2, description="Diameter of a nucleus in pixels; null: estimated from each experiment's images"
    )
    cell_growth_px: int = Field(
        default=12, ge=1, description="A cell is a nucleus, grown outwards by this length in pixels"
    )
    texture_scale_px: int = Field(
        default=3, ge=1, description="Distance of two pixels whose grey levels are compared, in pixels"
    )
    texture_grey_levels: int = Field(default=32, ge=4, le=256, description="Grey levels that texture distinguishes")
    granularity_spectrum_length: int = Field(
        default=8, ge=1, description="Number of openings of the image, each larger than the one before"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "ClassicalParameters":
        if self.nucleus_channel is not None and self.nucleus_channel >= self.n_channels:
            message = (
                f"nucleus_channel is {self.nucleus_channel}; it is 0-based and must be below n_channels, "
                f"{self.n_channels}"
            )
            raise ValueError(message)
        if len(set(self.families)) < len(self.families):
            message = f"a feature family is named twice: {', '.join(self.families)}"
            raise ValueError(message)
        return self


class ClassicalRecipe(Parameters):
    """A classical encoder. Nothing is trained; it is registered like any other model."""

    kind: Literal["classical"] = "classical"
    name: str
    parameters: ClassicalParameters = Field(default=ClassicalParameters(), description="How the features are measured")
