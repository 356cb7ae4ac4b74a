"""The leaderboard: all models side by side, ranked where they were judged on equal wells; as tables for people.

Tables in, tables out. Which scores there are, and which are stale, is the business of `cellassets.stages.leaderboard`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.tables.schemas import LEADERBOARD

if TYPE_CHECKING:
    from rich.table import Table

AXES = ["benchmark_name", "dataset_id", "protocol_fingerprint"]


def rank_models(scores: pl.DataFrame, newest: Mapping[str, str | None]) -> pl.DataFrame:
    """Returns a LEADERBOARD row for every benchmark, dataset and model, best first; stale ones among themselves.

    Args:
        scores: SCORES rows.
        newest: benchmark/dataset/model to the protocol of its score where that is current, None where it is stale.
    """
    headlines = pl.DataFrame(
        {"benchmark_name": list(BENCHMARKS), "metric": [b.headline_metric for b in BENCHMARKS.values()]}
    )
    rows = scores.filter(pl.col("level") == "summary").join(headlines, on=["benchmark_name", "metric"])
    signed = pl.when("is_higher_better").then(-pl.col("value")).otherwise("value")
    wanted = pl.DataFrame(
        {"name": list(newest), "newest": list(newest.values())}, schema={"name": pl.String, "newest": pl.String}
    )
    name = pl.concat_str("benchmark_name", "dataset_id", "model_key", separator="/")
    is_stale = (pl.col("protocol_fingerprint") != pl.col("newest")).fill_null(value=True)
    dated = rows.with_columns(name.alias("name")).join(wanted, on="name", how="left")
    ranked = dated.with_columns(is_stale.alias("is_stale")).with_columns(
        signed.rank("min").over([*AXES, "is_stale"]).cast(pl.Int32).alias("rank")
    )
    return LEADERBOARD.conform(ranked, source="leaderboard").sort(
        "benchmark_name", "dataset_id", "is_stale", "protocol_fingerprint", "rank", "model_key"
    )


def leaderboard_table(leaderboard: pl.DataFrame) -> "Table":
    """Returns LEADERBOARD rows as a table for a terminal."""
    from rich.table import Table

    table = Table(title="Leaderboard", title_justify="left")
    table.add_column("model", overflow="fold")
    for name in ("score", "95% interval", "by chance", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    before = ("", "")
    for row in _rows(leaderboard):
        axes = row["dataset_id"], row["benchmark_name"]
        if axes[0] != before[0]:
            table.add_section()
            table.add_row(f"[bold]{axes[0]}[/bold]")
        if axes != before:
            table.add_section()
            table.add_row(axes[1].replace("_", " "))
        before = axes
        rank, model, *numbers = _cells(row)
        table.add_row(f"  {rank}  {model}", *numbers, style="dim" if row["is_stale"] else "")
    return table


def leaderboard_markdown(leaderboard: pl.DataFrame) -> str:
    """Returns LEADERBOARD rows as a Markdown table, as the Dagster UI shows it."""
    lines = [
        "| dataset | benchmark | rank | model | score | 95% interval | by chance | p |",
        "| --- | --- | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    rows = [f"| {' | '.join((row['dataset_id'], row['benchmark_name'], *_cells(row)))} |" for row in _rows(leaderboard)]
    return "\n".join([*lines, *rows])


def _rows(leaderboard: pl.DataFrame) -> list[dict[str, Any]]:
    return leaderboard.sort("dataset_id", "benchmark_name", "is_stale", "rank", "model_key").to_dicts()


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    interval = "" if row["interval_low"] is None else f"{row['interval_low']:z.2f} to {row['interval_high']:z.2f}"
    model = row["model_key"] + (" (stale)" if row["is_stale"] else "")
    numbers = f"{row['value']:z.3f}", interval, f"{row['null_mean']:z.2f}", f"{row['p_value']:.2g}"
    return str(row["rank"]), model, *numbers
