"""The settings of plate quality, without the code that measures."""

from collections.abc import Mapping

from pydantic import Field, field_validator

from cellassets.configuration import Parameters

MIN_SCALE = {"focus": 0.1, "saturation_frac": 0.01, "background": 0.25, "illumination": 0.03, "debris_frac": 0.005}


class QualityParameters(Parameters):
    """How sites are measured and when they are flagged.

    `min_scale` prevents flags for noise on a very even plate, and for crowded sites on a plate with few cells. That of
    the background is of its logarithm.
    """

    nucleus_channel: int | None = Field(
        default=None, ge=0, description="0-based; null: the channel that is named after a DNA stain"
    )
    nucleus_diameter_um: float | None = Field(
        default=None, gt=0, description="expected diameter in micrometres; used where the pixel size is known"
    )
    nucleus_diameter_px: float | None = Field(
        default=None, gt=2, description="expected diameter in pixels; null: estimated from the experiment's images"
    )
    min_nuclei: int = Field(default=1, ge=0, description="a site with fewer nuclei is flagged")
    max_robust_z: float = Field(
        default=6.0, gt=0, description="a site is flagged beyond this many robust standard deviations from its plate"
    )
    max_saturation_frac: float = Field(
        default=0.05, gt=0, le=1, description="a site with a larger share of saturated pixels in a channel is flagged"
    )
    min_scale: Mapping[str, float] = Field(
        default=MIN_SCALE, description="smallest standard deviation that is assumed for each measure"
    )

    @field_validator("min_scale")
    @classmethod
    def _of_known_measures(cls, given: Mapping[str, float]) -> Mapping[str, float]:
        unknown = sorted(given.keys() - MIN_SCALE.keys())
        wrong = sorted(name for name, value in given.items() if not 0 < value < float("inf"))
        if unknown or wrong:
            what = f"unknown measure {unknown[0]!r}" if unknown else f"{wrong[0]}: expected a number above 0"
            message = f"{what}; the measures are {', '.join(MIN_SCALE)}"
            raise ValueError(message)
        return {**MIN_SCALE, **given}
