"""Requirements on a landed experiment, and what happens when it does not meet them."""

from typing import Literal

from pydantic import Field, model_validator

from cellassets.configuration import Parameters


class IngestPolicy(Parameters):
    """When a site is dropped, when a whole plate is, and when the experiment is refused.

    Args:
        image_size_px: height and width that every image must have; null: the size of most images of the experiment.
        n_rows: rows of a plate; null: the smallest of 96, 384 and 1,536 wells that contains all wells of the metadata.
        n_columns: columns of a plate; null as for `n_rows`.
        on_bad_site: drop a bad site, or refuse the experiment if any site is bad.
        max_dropped_frac: refuse the experiment if more than this fraction of its sites would be dropped. Plates that
            are dropped as a whole do not count.
        max_dropped_frac_of_plate: a plate is bad if more than this fraction of its sites would be dropped; null: never.
        on_bad_plate: drop a bad plate as a whole, or refuse the experiment.
    """

    image_size_px: tuple[int, int] | None = None
    n_rows: int | None = Field(default=None, ge=1)
    n_columns: int | None = Field(default=None, ge=1)
    on_bad_site: Literal["drop", "refuse"] = "drop"
    max_dropped_frac: float = Field(default=0.2, ge=0, le=1)
    max_dropped_frac_of_plate: float | None = Field(default=0.5, ge=0, le=1)
    on_bad_plate: Literal["drop", "refuse"] = "drop"

    @model_validator(mode="after")
    def _geometry_is_whole(self) -> "IngestPolicy":
        if (self.n_rows is None) != (self.n_columns is None):
            message = "n_rows and n_columns: set both or neither"
            raise ValueError(message)
        return self
