"""Summary of a `plate_quality` record: the numbers that people see and that later stages decide by."""

from cellassets.configuration import Parameters


class PlateQualitySummary(Parameters):
    """Summary of the quality of one experiment.

    Attributes:
        n_sites: sites that were measured.
        n_flagged: sites that should not be used.
        flag_reasons: number of sites by reason; a site with several reasons counts once for each.
        nuclei_per_site: mean number of nuclei per site.
        nucleus_diameter_px: diameter of a typical nucleus with which nuclei were found; null in older records.
        nucleus_diameter_source: where it comes from: given_um, given_px, estimated or assumed; null in older records.
    """

    n_sites: int
    n_flagged: int
    flag_reasons: dict[str, int]
    nuclei_per_site: float
    nucleus_diameter_px: float | None = None
    nucleus_diameter_source: str | None = None
