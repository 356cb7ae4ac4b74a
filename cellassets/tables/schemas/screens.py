"""Tables of what landed: wells, images, findings, stored sites and their quality."""

import polars as pl

from cellassets.tables.schema import Column, TableSchema
from cellassets.tables.schemas.columns import EXPERIMENT, PERTURBATION_COLUMNS, PLATE, SITE, WELL

WELLS = TableSchema(
    "wells",
    (EXPERIMENT, PLATE, WELL, Column("cell_type", pl.String(), "cell line or type"), *PERTURBATION_COLUMNS),
)

IMAGES = TableSchema(
    "images",
    (
        EXPERIMENT,
        PLATE,
        WELL,
        SITE,
        Column("channel_index", pl.Int32(), "channel, 1-based as on disk"),
        Column("channel_name", pl.String(), "stain or channel name"),
        Column("z_index", pl.Int32(), "plane, as on disk; null where there is one", is_nullable=True),
        Column("path", pl.String(), "file below the experiment's landing folder"),
        Column("part", pl.String(), "part of the file that holds the image; null for the whole file", is_nullable=True),
        Column("n_bytes", pl.Int64(), "size of the file or the part in bytes"),
        Column("crc32c", pl.UInt32(), "CRC32C of these bytes"),
        Column("height", pl.Int32(), "image height in pixels"),
        Column("width", pl.Int32(), "image width in pixels"),
        Column("dtype", pl.String(), "numpy dtype of the pixels"),
        Column("is_usable", pl.Boolean(), "false where the site of the image is dropped"),
    ),
)

FINDINGS = TableSchema(
    "findings",
    (
        Column("finding_kind", pl.String(), "kind of finding, one of cellassets.screens.findings.FindingKind"),
        EXPERIMENT,
        Column("plate_id", pl.String(), "plate", is_nullable=True),
        Column("well_id", pl.String(), "well", is_nullable=True),
        Column("site_index", pl.Int32(), "site, 1-based", is_nullable=True),
        Column("channel_index", pl.Int32(), "channel, 1-based", is_nullable=True),
        Column("path", pl.String(), "file below the experiment's landing folder", is_nullable=True),
        Column("message", pl.String(), "what was found and what was expected"),
        Column(
            "consequence",
            pl.String(),
            "what the finding costs: refused, plate_dropped, site_dropped, well_dropped, file_ignored or none",
        ),
    ),
)

SITES = TableSchema(
    "sites",
    (
        EXPERIMENT,
        PLATE,
        WELL,
        SITE,
        Column("row_index", pl.Int32(), "row in the plate's Zarr array, 0-based"),
        Column("channel_mean", pl.Array(pl.Float32, 1), "mean pixel value per channel in grey levels"),
        Column(
            "channel_std", pl.Array(pl.Float32, 1), "standard deviation of the pixel values per channel in grey levels"
        ),
    ),
)

QUALITY = TableSchema(
    "quality",
    (
        EXPERIMENT,
        PLATE,
        WELL,
        SITE,
        Column(
            "focus", pl.Float32(), "log-log slope of the nuclear channel's power spectrum; lower values are blurrier"
        ),
        Column(
            "saturation_frac",
            pl.Float32(),
            "fraction of pixels at the camera's highest grey level, in the worst channel",
        ),
        Column("background", pl.Float32(), "5th percentile of the pixel values, mean over channels, in grey levels"),
        Column("illumination", pl.Float32(), "coefficient of variation of the smoothed background field"),
        Column("n_nuclei", pl.Int32(), "number of nuclei"),
        Column(
            "debris_frac",
            pl.Float32(),
            "fraction of pixels in bright areas of the nuclear channel that are much larger than a nucleus; null in "
            "tables of earlier versions",
            is_nullable=True,
        ),
        Column("is_flagged", pl.Boolean(), "true where the site should not be used"),
        Column("flag_reason", pl.String(), "reasons for the flag, joined by ';'", is_nullable=True),
    ),
)
