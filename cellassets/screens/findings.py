"""Findings: problems of a landed experiment, each with its place and its consequence."""

from dataclasses import asdict, dataclass
from typing import Literal

import polars as pl

from cellassets.tables.schemas import FINDINGS

FindingKind = Literal[
    "missing_image",
    "truncated_image",
    "wrong_size",
    "wrong_dtype",
    "duplicate_image",
    "blank_image",
    "unknown_well",
    "row_without_images",
    "images_without_row",
    "unexpected_file",
    "contradicting_rows",
    "row_without_experiment",
    "excluded",
    "no_negative_control",
    "no_dna_channel",
    "unused_column",
    "plate_refused",
]
Consequence = Literal["refused", "plate_dropped", "site_dropped", "well_dropped", "file_ignored", "none"]


@dataclass(frozen=True)
class Finding:
    """One problem and its place. `site_index` and `channel_index` are 1-based as on disk."""

    finding_kind: FindingKind
    experiment_id: str
    message: str
    consequence: Consequence
    plate_id: str | None = None
    well_id: str | None = None
    site_index: int | None = None
    channel_index: int | None = None
    path: str | None = None

    @property
    def site(self) -> tuple[str | None, str | None, int | None]:
        """Plate, well and site of the problem."""
        return self.plate_id, self.well_id, self.site_index


def findings_table(findings: list[Finding]) -> pl.DataFrame:
    """Returns findings as a FINDINGS table, sorted by plate, well, site, channel and path."""
    if not findings:
        return FINDINGS.empty()
    rows = pl.DataFrame([asdict(f) for f in findings], infer_schema_length=None)
    table = FINDINGS.conform(rows, source="findings")
    return table.sort("plate_id", "well_id", "site_index", "channel_index", "path", nulls_last=True)
