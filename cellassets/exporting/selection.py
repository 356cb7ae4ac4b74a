"""Which sites of a store are exported: those of a plate, of a well, or one site."""

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from cellassets.errors import ExportError
from cellassets.images.reader import ExperimentStore
from cellassets.screens.well import normalise_well

STORE_INDEX = "store_index"
N_NAMED = 12


@dataclass(frozen=True)
class Place:
    """A plate, one of its wells, or one site of that well.

    Attributes:
        plate_id: the plate.
        well_id: the well in the form B07; None for all wells of the plate.
        site_index: the site, 1-based; None for all sites of the well.
    """

    plate_id: str
    well_id: str | None = None
    site_index: int | None = None

    @classmethod
    def of(cls, name: str) -> "Place":
        """Returns the place with a name such as Plate1, Plate1/B07 or Plate1/B07/2.

        Raises:
            ExportError: the name has another form.
            LayoutError: the well is not made of row letters and a column number.
        """
        plate_id, *rest = name.split("/")
        if not plate_id or len(rest) > 2 or (len(rest) == 2 and not rest[1].isdecimal()):
            message = f"{name!r}: expected a plate, a well or a site, such as Plate1, Plate1/B07 or Plate1/B07/2"
            raise ExportError(message)
        well_id = normalise_well(rest[0]) if rest else None
        return cls(plate_id, well_id, int(rest[1]) if len(rest) == 2 else None)

    def __str__(self) -> str:
        return "/".join(str(part) for part in (self.plate_id, self.well_id, self.site_index) if part is not None)


def selected_sites(store: ExperimentStore, place: Place) -> pl.DataFrame:
    """Returns the stored sites of a place, sorted by well and site: store_index, plate_id, well_id, site_index.

    Args:
        store: the packed experiment.
        place: a plate, a well or a site.

    Raises:
        ExportError: the store has no such plate, well or site.
    """
    sites = store.sites.with_row_index(STORE_INDEX).select(STORE_INDEX, "plate_id", "well_id", "site_index")
    sites = _kept(sites, "plate_id", place.plate_id, what="plate", where=f"experiment {store.experiment_id}")
    where = f"plate {place.plate_id} of experiment {store.experiment_id}"
    if place.well_id is not None:
        sites = _kept(sites, "well_id", place.well_id, what="well", where=where)
        where = f"well {place.well_id} of {where}"
    if place.site_index is not None:
        sites = _kept(sites, "site_index", place.site_index, what="site", where=where)
    return sites.sort("well_id", "site_index")


def _kept(sites: pl.DataFrame, column: str, value: str | int, *, what: str, where: str) -> pl.DataFrame:
    found = sites.filter(pl.col(column) == value)
    if found.is_empty():
        message = f"{where} has no stored images of {what} {value}; there are {_named(sites[column].unique().sort())}"
        raise ExportError(message)
    return found


def _named(values: Iterable[object]) -> str:
    names = [str(value) for value in values]
    n_more = len(names) - N_NAMED
    return ", ".join(names[:N_NAMED]) + (f" and {n_more} more" if n_more > 0 else "")
