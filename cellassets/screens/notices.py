"""Notices: what is not wrong with an experiment and will surprise its owner later. They drop nothing.

The manifest adds them to its findings, so that `screen check`, `raw_plates` and the checks in the UI show them.
"""

import difflib
from collections.abc import Iterator, Sequence

import polars as pl

from cellassets.screens.findings import FindingKind
from cellassets.screens.imaging import Imaging

MIN_LIKENESS = 0.6


def notices_of(wells: pl.DataFrame, imaging: Imaging, column_notes: Sequence[str]) -> Iterator[tuple[FindingKind, str]]:
    """Yields kind and message of what an experiment lacks for the stages after `raw_plates`.

    Args:
        wells: one row per well with `plate_id` and `control_kind`.
        imaging: how the images were taken.
        column_notes: notes about the columns of its tables.
    """
    is_negative = pl.col("control_kind") == "negative"
    counts = wells.group_by("plate_id").agg(is_negative.fill_null(value=False).sum().alias("n")).sort("plate_id")
    for plate_id in counts.filter(pl.col("n") == 0)["plate_id"]:
        message = (
            f"{plate_id}: no well has control_kind negative; batches are aligned by their negative controls, so say in "
            "the metadata which wells they are"
        )
        yield "no_negative_control", message
    if imaging.dna_index is None:
        message = (
            f"none of the channels {', '.join(imaging.channel_names)} is declared or named as the DNA stain, which "
            "plate quality and classical features need; set `is_dna: true` for one of `channels` in experiment.yaml"
        )
        yield "no_dna_channel", message
    for note in column_notes:
        yield "unused_column", note


def column_notes(source: str, columns: Sequence[str], missing: Sequence[str]) -> list[str]:
    """Returns a note for each column that is probably a known one, misnamed.

    Args:
        source: name of the table.
        columns: columns of the table that nothing reads.
        missing: columns that would be read and are not there.
    """
    found = []
    for column in columns:
        like = [name for name in missing if name.startswith(column) or column.startswith(name)]
        like += difflib.get_close_matches(column, missing, n=1, cutoff=MIN_LIKENESS)
        if like:
            found.append(f"{source}: the column {column} is not read; rename it if it is {like[0]}")
    return found
