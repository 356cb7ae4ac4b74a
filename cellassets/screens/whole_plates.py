"""Which plates of an experiment are dropped as a whole, because too many of their sites would be.

Tables of sites in, plates out. `cellassets.screens.manifest` reports them.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class BadPlate:
    """A plate, the number of sites that the metadata name on it, and how many of them would be lost."""

    plate_id: str
    n_sites: int
    n_lost: int

    def message(self, max_frac: float) -> str:
        """Returns what is wrong with it, for people."""
        lost = f"{self.n_lost} of its {self.n_sites} sites would be dropped ({self.n_lost / self.n_sites:.0%})"
        return (
            f"{self.plate_id}: {lost}; ingest.max_dropped_frac_of_plate allows {max_frac:.0%}, so the whole plate is "
            "dropped; correct what the other findings of this plate name"
        )


def bad_plates(
    named: pl.DataFrame, kept: pl.DataFrame, dropped: AbstractSet[tuple[str, str, int]], max_frac: float | None
) -> list[BadPlate]:
    """Returns the plates that would lose more than a share of their sites, sorted.

    Args:
        named: plate, well and site of every site in the metadata.
        kept: the same of the sites in wells that are on the plate and described once.
        dropped: sites among these that are dropped.
        max_frac: the share, from 0 to 1; None for no limit.
    """
    if max_frac is None:
        return []
    site = ["plate_id", "well_id", "site_index"]
    n_named = dict(named.unique(site).group_by("plate_id").len().rows())
    n_left = dict(kept.unique(site).group_by("plate_id").len().rows())
    for plate_id, _, _ in dropped:
        n_left[plate_id] -= 1
    plates = [BadPlate(plate, n, n - n_left.get(plate, 0)) for plate, n in sorted(n_named.items())]
    return [plate for plate in plates if plate.n_lost > max_frac * plate.n_sites]
