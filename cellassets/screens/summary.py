"""Summary of a `raw_plates` record: the numbers that people see and that later stages decide by.

Light to import: sensors read summaries of many experiments and need neither polars nor numpy for it.
"""

from pydantic import Field

from cellassets.configuration import Parameters
from cellassets.screens.imaging import Imaging


class RawPlatesSummary(Parameters):
    """Summary of the manifest of one experiment.

    Attributes:
        n_plates: plates with at least one well.
        n_wells: wells that are kept.
        n_sites: sites of these wells, dropped ones included.
        n_images: image files of these sites.
        n_bytes: size of these files in bytes.
        n_findings: findings of every kind.
        n_dropped: sites that are dropped.
        cell_types: cell types of the wells, sorted.
        channel_names: names of the channels, in order.
        imaging: how the images were taken; null in records that were published before the field existed.
        wells_fingerprint: fingerprint of the WELLS table.
        wells_fingerprints: fingerprint of the wells that a dataset keeps, by the key of its selection (see
            `cellassets.screens.well_selection`). Empty in records that were published before the field existed.
        landing_signature: signature of the landing folder when it was checked.
        landing: path or URL of the landing folder.
    """

    n_plates: int
    n_wells: int
    n_sites: int
    n_images: int
    n_bytes: int
    n_findings: int
    n_dropped: int
    cell_types: tuple[str, ...]
    channel_names: tuple[str, ...]
    imaging: Imaging | None = None
    wells_fingerprint: str
    wells_fingerprints: dict[str, str] = Field(default_factory=dict)
    landing_signature: str
    landing: str
