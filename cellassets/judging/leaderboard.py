"""The stage `leaderboard`: all models side by side, ranked where they were judged on equal wells.

Reads every published `scores`; publishes `leaderboard.parquet` and `differences.parquet`.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import compress
from typing import TYPE_CHECKING, Any

import polars as pl

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.storage.artifact import Artifact, Plan, Record
from cellassets.storage.lake import Lake
from cellassets.tables.parquet import read_table, write_table
from cellassets.tables.schemas import DIFFERENCES, INFLUENCES, LEADERBOARD, SCORES

if TYPE_CHECKING:
    from rich.table import Table

CODE_VERSION = "3"
Protocols = Callable[[str, str, str], str | None]  # of benchmark, dataset and model
Published = tuple[str, Artifact, Record]  # benchmark/dataset/model
AXES = ["benchmark_name", "dataset_id", "protocol_fingerprint"]


def published_scores(lake: Lake) -> Iterator[Published]:
    """Yields a name, the artefact and the record of every published score, in order of the names."""
    for benchmark_name in lake.keys("scores"):
        for dataset_id in lake.keys("scores", benchmark_name):
            for model_key in lake.keys("scores", benchmark_name, dataset_id):
                artifact = lake.scores(benchmark_name, dataset_id, model_key)
                record = artifact.find_record()
                if record is not None and benchmark_name in BENCHMARKS:
                    yield f"{benchmark_name}/{dataset_id}/{model_key}", artifact, record


def protocol_now(lake: Lake, record: Record, protocols: Protocols) -> str | None:
    """Returns the protocol by which a published score would be taken now; None where a map that it is of was made anew.

    Args:
        lake: where the map is.
        record: of the scores.
        protocols: how scores would be taken now.
    """
    benchmark_name, dataset_id, model_key = (
        str(record.inputs[axis]) for axis in ("benchmark_name", "dataset_id", "model_key")
    )
    judged = {dataset_id: record.inputs["perturbation_map"], **record.inputs.get("made_from_maps", {})}
    found = {name: lake.perturbation_map(name, model_key).find_record() for name in judged}
    if judged != {name: None if its is None else its.fingerprint for name, its in found.items()}:
        return None
    return protocols(benchmark_name, dataset_id, model_key)


def plan_leaderboard(lake: Lake, protocols: Protocols) -> Plan:
    """Returns what the leaderboard would be made from now; its `scores` are empty where nothing is scored yet.

    Args:
        lake: where the scores are.
        protocols: how a score of a benchmark, dataset and model would be taken now (`score_protocol`'s fingerprint);
            those taken otherwise, or of a map that was made anew since, are stale.
    """
    return _plan(lake, protocols, list(published_scores(lake)))


def _plan(lake: Lake, protocols: Protocols, published: list[Published]) -> Plan:
    scores = {name: record.fingerprint for name, _, record in published}
    newest = {name: protocol_now(lake, record, protocols) for name, _, record in published}
    return Plan("leaderboard", {"scores": scores, "protocols": newest, "code_version": CODE_VERSION})


def build_leaderboard(lake: Lake, protocols: Protocols) -> Record:
    """Returns the record of the leaderboard, after making it where scores were published that it does not show.

    Raises:
        SchemaError: a score's file is not a SCORES table.
    """
    from cellassets.judging.comparison import compare_models

    published = list(published_scores(lake))  # once: others may publish meanwhile
    artifact, plan = lake.leaderboard(), _plan(lake, protocols, published)
    if artifact.is_done(plan):
        return artifact.record()
    newest = plan.inputs["protocols"]
    tables = [read_table(found.path("scores.parquet", record), SCORES) for _, found, record in published]
    is_fresh = [record.inputs["protocol_fingerprint"] == newest[name] for name, _, record in published]
    rows = rank_models(pl.concat([SCORES.empty(), *tables]), newest)
    influences = [
        read_table(found.path("influences.parquet", record), INFLUENCES)
        for _, found, record in compress(published, is_fresh)
    ]
    differences = compare_models(
        pl.concat([SCORES.empty(), *compress(tables, is_fresh)]), pl.concat([INFLUENCES.empty(), *influences])
    )
    folder = artifact.folder(plan.fingerprint)
    write_table(rows, folder / "leaderboard.parquet", LEADERBOARD)
    write_table(differences, folder / "differences.parquet", DIFFERENCES)
    summary = {
        "n_models": rows["model_key"].n_unique(),
        "n_datasets": rows["dataset_id"].n_unique(),
        "n_stale": int(rows["is_stale"].sum()),
        "n_comparisons": differences.height,
        "n_differences": differences.filter(pl.col("q_value") <= 0.05).height,
    }
    return artifact.publish(plan, ["leaderboard.parquet", "differences.parquet"], summary)


def rank_models(scores: pl.DataFrame, newest: Mapping[str, str | None]) -> pl.DataFrame:
    """Returns a LEADERBOARD row for every benchmark, dataset and model, best first; stale ones among themselves.

    Args:
        scores: SCORES rows.
        newest: benchmark/dataset/model to the protocol by which it would be scored now; scores by others are stale.
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


def leaderboard_table(lake: Lake) -> "Table":
    """Returns the leaderboard as a table for a terminal.

    Raises:
        ArtifactMissing: there is no leaderboard yet.
    """
    from rich.table import Table

    table = Table(title="Leaderboard", title_justify="left")
    table.add_column("model", overflow="fold")
    for name in ("score", "95% interval", "by chance", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    before = ("", "")
    for row in _rows(lake):
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


def leaderboard_markdown(lake: Lake) -> str:
    """Returns the leaderboard as a Markdown table, as the Dagster UI shows it.

    Raises:
        ArtifactMissing: there is no leaderboard yet.
    """
    lines = [
        "| dataset | benchmark | rank | model | score | 95% interval | by chance | p |",
        "| --- | --- | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    rows = [f"| {' | '.join((row['dataset_id'], row['benchmark_name'], *_cells(row)))} |" for row in _rows(lake)]
    return "\n".join([*lines, *rows])


def _rows(lake: Lake) -> list[dict[str, Any]]:
    rows = read_table(lake.leaderboard().path("leaderboard.parquet"), LEADERBOARD)
    return rows.sort("dataset_id", "benchmark_name", "is_stale", "rank", "model_key").to_dicts()


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    interval = "" if row["interval_low"] is None else f"{row['interval_low']:z.2f} to {row['interval_high']:z.2f}"
    model = row["model_key"] + (" (stale)" if row["is_stale"] else "")
    numbers = f"{row['value']:z.3f}", interval, f"{row['null_mean']:z.2f}", f"{row['p_value']:.2g}"
    return str(row["rank"]), model, *numbers
