"""The leaderboard: all models side by side, ranked on wells that they have not seen; as tables for people.

Tables in, tables out. Which scores there are, and which are stale, is decided in `cellassets.stages.leaderboard`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from cellassets.benchmarks.over_correction import over_corrections
from cellassets.benchmarks.parts import TITLES, UNSEEN
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.tables.schemas import LEADERBOARD

if TYPE_CHECKING:
    from rich.table import Table

AXES = ["benchmark_name", "dataset_id", "protocol_fingerprint"]
COLUMNS = ("score", "95% interval", "chance", "p", "training wells")
OVER_CORRECTED = "below chance: over-corrected"
CAPTION = (
    "score: on the unseen wells named beside the dataset. training wells: the score on the wells that the networks "
    "were trained on; models that were not trained on them are scored on them too. The two columns are of different "
    "wells, and of different numbers of experiments: compare models within a column only."
)
OVER_CORRECTION_CAPTION = (
    f"{OVER_CORRECTED}: this score of a nuisance is below its null distribution. The map was changed by more than the "
    "nuisance, so a good rank in this benchmark is not a merit. The model's report says more."
)
IS_UNSEEN = pl.col("exposure").is_in(list(UNSEEN))


def rank_models(scores: pl.DataFrame, newest: Mapping[str, str | None]) -> pl.DataFrame:
    """Returns a LEADERBOARD row for every benchmark, dataset, part and model, best first.

    Models are ranked on wells that they have not seen; other rows have no rank. Stale rows are ranked among themselves.

    Args:
        scores: SCORES rows.
        newest: benchmark/dataset/model/part to the protocol of its score where that is current, None where it is stale.
    """
    headlines = pl.DataFrame(
        {"benchmark_name": list(BENCHMARKS), "metric": [b.headline_metric for b in BENCHMARKS.values()]}
    )
    rows = scores.filter(pl.col("level") == "summary").join(headlines, on=["benchmark_name", "metric"])
    signed = pl.when("is_higher_better").then(-pl.col("value")).otherwise("value")
    wanted = pl.DataFrame(
        {"name": list(newest), "newest": list(newest.values())}, schema={"name": pl.String, "newest": pl.String}
    )
    name = pl.concat_str("benchmark_name", "dataset_id", "model_key", "part_id", separator="/")
    is_stale = (pl.col("protocol_fingerprint") != pl.col("newest")).fill_null(value=True)
    dated = rows.with_columns(name.alias("name")).join(wanted, on="name", how="left")
    ranked = dated.with_columns(is_stale.alias("is_stale")).with_columns(
        pl.when(IS_UNSEEN).then(signed.rank("min").over([*AXES, "is_stale", IS_UNSEEN])).cast(pl.Int32).alias("rank")
    )
    main = ranked.join(main_parts(ranked), on="dataset_id", how="left", maintain_order="left").join(
        _over_corrected(scores), on=[*AXES, "model_key", "part_id"], how="left", maintain_order="left"
    )
    is_main = (pl.col("part_id") == pl.col("main_part_id")).fill_null(value=False)
    return LEADERBOARD.conform(main.with_columns(is_main.alias("is_main_part")), source="leaderboard").sort(
        "benchmark_name", "dataset_id", "is_stale", "protocol_fingerprint", "rank", "model_key", nulls_last=True
    )


def _over_corrected(scores: pl.DataFrame) -> pl.DataFrame:
    """Whether each score of a nuisance is below chance; no rows for benchmarks that declare no over-correction."""
    keys = [*AXES, "model_key", "part_id"]
    declared = [name for name, benchmark in BENCHMARKS.items() if benchmark.over_correction is not None]
    found = [
        {
            **dict(zip(keys, key, strict=True)),
            "is_over_corrected": bool(over_corrections(BENCHMARKS[str(key[0])], rows)),
        }
        for key, rows in scores.filter(pl.col("benchmark_name").is_in(declared)).group_by(keys, maintain_order=True)
    ]
    return pl.DataFrame(found, schema={**dict.fromkeys(keys, pl.String()), "is_over_corrected": pl.Boolean()})


def main_parts(rows: pl.DataFrame) -> pl.DataFrame:
    """Returns the part of each dataset that models are ranked on: dataset_id and main_part_id.

    It is the part that most models have not seen; of several the one with the most experiments. A dataset that every
    model has seen in full has none.

    Args:
        rows: rows with the columns of LEADERBOARD, without the rank.
    """
    by_part = rows.filter(IS_UNSEEN, ~pl.col("is_stale")).group_by("dataset_id", "part_id")
    counted = by_part.agg(pl.col("model_key").n_unique().alias("n_models"), pl.col("n_experiments").max())
    best = counted.sort("n_models", "n_experiments", "part_id", descending=[True, True, False])
    return best.group_by("dataset_id", maintain_order=True).agg(pl.col("part_id").first().alias("main_part_id"))


def shown_parts(leaderboard: pl.DataFrame, model_key: str) -> dict[str, str]:
    """Returns the part of each dataset that a model's scores are shown for.

    It is the part that models are ranked on; of a model that has seen it, or was not scored on it, the first of what it
    has: unseen before seen, and more experiments before fewer.

    Args:
        leaderboard: LEADERBOARD rows.
        model_key: the model.
    """
    own = leaderboard.filter(pl.col("model_key") == model_key).sort(
        ~(pl.col("is_main_part") & IS_UNSEEN), ~IS_UNSEEN, -pl.col("n_experiments"), "part_id"
    )
    first = own.group_by("dataset_id", maintain_order=True).agg(pl.col("part_id").first())
    return dict(first.iter_rows())


def headline_scores(leaderboard: pl.DataFrame, model_key: str, shown: Mapping[str, str]) -> dict[str, str]:
    """Returns a model's scores as text, such as '0.542 (0.30 to 0.77), p 0.001, unseen experiments', by
    `dataset/benchmark`. Stale ones are left out.

    Args:
        leaderboard: LEADERBOARD rows.
        model_key: the model.
        shown: the part of each dataset whose scores are shown (`shown_parts`).
    """
    own = leaderboard.filter((pl.col("model_key") == model_key) & ~pl.col("is_stale"))
    return {
        f"{row['dataset_id']}/{row['benchmark_name']}": _headline(row)
        for row in own.sort("dataset_id", "benchmark_name").iter_rows(named=True)
        if shown.get(row["dataset_id"]) == row["part_id"]
    }


def _headline(row: Mapping[str, Any]) -> str:
    low, high = row["interval_low"], row["interval_high"]
    interval = "" if low is None else f" ({low:.2f} to {high:.2f})"
    return f"{row['value']:.3f}{interval}, p {row['p_value']:.3g}, {TITLES[row['exposure']]}"


def leaderboard_table(leaderboard: pl.DataFrame) -> "Table":
    """Returns LEADERBOARD rows as a table for a terminal: scores on unseen wells, and those on training wells."""
    rows = _rows(leaderboard)
    table = _empty_table(CAPTION if not any(map(_is_over_corrected, rows)) else f"{CAPTION}\n{OVER_CORRECTION_CAPTION}")
    before = ("", "")
    for row in rows:
        axes = row["dataset_id"], row["benchmark_name"]
        if axes[0] != before[0]:
            table.add_section()
            wells = where(row) if row["rank"] is None else f"unseen wells ({row['experiments']})"
            table.add_row(f"[bold]{axes[0]}[/bold]: {wells}")
            if row["training_experiments"] is not None:
                table.add_row(f"  training wells ({row['training_experiments']})")
        if axes != before:
            table.add_section()
            table.add_row(axes[1].replace("_", " "))
        before = axes
        rank, model, *numbers = _cells(row)
        is_dim = row["is_stale"] or row["rank"] is None
        table.add_row(f"  {rank}  {model}", *numbers, style="dim" if is_dim else "")
    return table


def _empty_table(caption: str) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(
        title="Leaderboard",
        title_justify="left",
        caption=caption,
        caption_justify="left",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
    )
    table.add_column("model", overflow="fold")
    for name in COLUMNS:
        table.add_column(name.replace("training ", "training\n"), justify="right", no_wrap=True)
    return table


def leaderboard_markdown(leaderboard: pl.DataFrame) -> str:
    """Returns LEADERBOARD rows as a Markdown table, as the Dagster UI shows it."""
    lines = [
        f"| dataset | judged on | benchmark | rank | model | {' | '.join(COLUMNS)} |",
        f"| --- | --- | --- | ---: | --- |{' ---: |' * len(COLUMNS)}",
    ]
    rows = [
        f"| {' | '.join((row['dataset_id'], where(row), row['benchmark_name'], *_cells(row)))} |"
        for row in _rows(leaderboard)
    ]
    return "\n".join([*lines, *rows])


def where(row: Mapping[str, Any]) -> str:
    """Returns what a model has seen of the wells of a row, and which experiments they are from."""
    return f"{TITLES[row['exposure']]} ({row['experiments']})"


def _rows(leaderboard: pl.DataFrame) -> list[dict[str, Any]]:
    """One row per model, benchmark and dataset: its score on the main part, and on wells that trained models have seen.

    The latter are the wells that most trained models were trained on; models that were not trained on them are scored
    on them as well. A model without a score on the main part is shown with what it has, without a rank.
    """
    keys = ["dataset_id", "benchmark_name", "model_key", "is_stale"]
    training = leaderboard.filter(pl.col("exposure") == "training")
    seen_parts = training.group_by("dataset_id").agg(pl.col("part_id").mode().sort().first())
    seen = leaderboard.join(seen_parts, on=["dataset_id", "part_id"]).select(
        *keys, pl.col("value").alias("training_value")
    )
    named = training.join(seen_parts, on=["dataset_id", "part_id"]).group_by("dataset_id")
    experiments = named.agg(pl.col("experiments").first().alias("training_experiments"))
    order = ["dataset_id", "benchmark_name", "is_stale", "rank", "model_key"]
    is_shown = pl.col("is_main_part") & IS_UNSEEN
    first = leaderboard.sort((~is_shown), "n_experiments", descending=[False, True], maintain_order=True)
    chosen = first.unique(keys, keep="first", maintain_order=True)
    beside = chosen.with_columns(pl.when(is_shown).then("rank").alias("rank")).join(seen, on=keys, how="left")
    return beside.join(experiments, on="dataset_id", how="left").sort(order, nulls_last=True).to_dicts()


def _is_over_corrected(row: Mapping[str, Any]) -> bool:
    """False where the column is null: other benchmarks, and tables of earlier versions."""
    return bool(row["is_over_corrected"])


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    interval = "" if row["interval_low"] is None else f"{row['interval_low']:z.2f} to {row['interval_high']:z.2f}"
    note = " (stale)" if row["is_stale"] else ""
    if not row["rank"] or row["exposure"] == "unseen_cell_type":
        note += f" ({TITLES[row['exposure']]})"
    if _is_over_corrected(row):
        note += f" ({OVER_CORRECTED})"
    seen = "" if row["training_value"] is None else f"{row['training_value']:z.3f}"
    numbers = f"{row['value']:z.3f}", interval, f"{row['null_mean']:z.2f}", f"{row['p_value']:.2g}", seen
    return str(row["rank"] or "-"), row["model_key"] + note, *numbers
