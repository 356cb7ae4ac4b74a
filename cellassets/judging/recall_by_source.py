"""Recall of known relationships source by source: one table as in the EFAAR paper, models as rows, sources as columns.

Tables in, tables out. The numbers are those that `known_relationships` publishes beside its headline. Nothing is
recomputed, and models are not ranked here.

Source: Celik et al. (2024), PLOS Comput Biol 20:e1012463, the table of recall by map and annotation source.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import polars as pl

from cellassets.tables.schemas import RECALL_BY_SOURCE

if TYPE_CHECKING:
    from rich.table import Table

BENCHMARK, POOLED = "known_relationships", "all sources"
PATTERN = r"^recall(?:\[(.+)\])?$"  # without a source: over the pairs of all sources together
GROUP = ["dataset_id", "protocol_fingerprint"]  # models are beside each other only where these are equal


def recall_by_source(scores: pl.DataFrame) -> pl.DataFrame:
    """Returns a RECALL_BY_SOURCE table: one row per dataset, model and source, and one for all sources together.

    With one source only there is no row of its own: all sources are then that one.

    Args:
        scores: SCORES rows; only those of `known_relationships` count.
    """
    rows = scores.filter(
        pl.col("benchmark_name") == BENCHMARK, pl.col("level") == "summary", pl.col("metric").str.contains(PATTERN)
    )
    source = pl.col("metric").str.extract(PATTERN, 1).fill_null(POOLED).alias("source")
    table = RECALL_BY_SOURCE.conform(rows.with_columns(source), source="recall by source")
    return table.sort(*GROUP, "model_key", pl.col("source") != POOLED, "source")


def by_dataset(table: pl.DataFrame) -> Iterator[tuple[str, list[str], list[dict[str, Any]]]]:
    """Yields dataset, sources and models, for each dataset and protocol: the table with one row per model.

    A model has its key under `model_key`, and under the name of each source its RECALL_BY_SOURCE row, or None.
    """
    for (dataset_id, _), rows in table.group_by(GROUP, maintain_order=True):
        sources = sorted(rows["source"].unique().to_list(), key=lambda name: (name != POOLED, name))
        models = []
        for (model_key,), own in rows.sort("model_key").group_by("model_key", maintain_order=True):
            cells = {row["source"]: row for row in own.iter_rows(named=True)}
            models.append({"model_key": model_key, **{name: cells.get(name) for name in sources}})
        yield str(dataset_id), sources, models


def n_pairs(models: list[dict[str, Any]], source: str) -> str:
    """Returns the number of pairs of a source, which is the same for all models of one protocol; a range otherwise."""
    counts = sorted({model[source]["n_units"] for model in models if model[source] is not None})
    return f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def source_tables(table: pl.DataFrame) -> "Iterator[Table]":
    """Yields a table for a terminal, for each dataset: recall, mean of the null distribution and p by source."""
    from rich.table import Table

    for dataset_id, sources, models in by_dataset(table):
        shown = Table(title=f"{dataset_id}: recall of known relationships by source", title_justify="left")
        shown.add_column("model", overflow="fold")
        for source in sources:
            shown.add_column(f"{source}\nn = {n_pairs(models, source)}", justify="right")
        for model in models:
            shown.add_row(model["model_key"], *(_cell(model[source]) for source in sources))
            shown.add_section()
        yield shown


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    return f"{row['value']:z.3f}\nnull {row['null_mean']:z.3f}\np {row['p_value']:.2g}"
