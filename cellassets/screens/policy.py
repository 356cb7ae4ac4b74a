"""What an experiment has to be, and what happens where it is not."""

from typing import Literal

from pydantic import Field, model_validator

from cellassets.configuration import Parameters


class IngestPolicy(Parameters):
    """When a site is dropped and when a whole experiment is refused.

    Args:
        channel_names: stains in the order of the channel numbers on disk (RxRx1's by default).
        image_size_px: height and width that every image must have; null: what most images of the experiment have.
        n_rows, n_columns: plate geometry; null: the smallest of 96, 384 and 1,536 wells that holds the metadata's.
        on_bad_site: drop the site, or refuse the experiment as soon as one is bad.
        max_dropped_frac: refuse the experiment where more than this share of its sites would be dropped.
    """

    channel_names: tuple[str, ...] = ("Hoechst", "ConA", "Phalloidin", "SYTO14", "MitoTracker", "WGA")
    image_size_px: tuple[int, int] | None = None
    n_rows: int | None = Field(default=None, ge=1)
    n_columns: int | None = Field(default=None, ge=1)
    on_bad_site: Literal["drop", "refuse"] = "drop"
    max_dropped_frac: float = Field(default=0.2, ge=0, le=1)

    @model_validator(mode="after")
    def _geometry_is_whole(self) -> "IngestPolicy":
        if (self.n_rows is None) != (self.n_columns is None):
            message = "n_rows and n_columns: give both or neither"
            raise ValueError(message)
        return self

    @property
    def n_channels(self) -> int:
        """Images that every site must have."""
        return len(self.channel_names)
