"""The stage `model_report`: one page on a model for people who decide, in one file that loads nothing from elsewhere.

Reads leaderboard, scores, maps and images; publishes `report.html`. What it says about better and worse is in
`verdict.py`, what it draws in `charts.py`, how it looks in `templates/`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from cellassets.benchmarks.registry import BENCHMARKS, Benchmark
from cellassets.registry import ModelEntry, Registry
from cellassets.storage.artifact import Plan, Record, write_bytes
from cellassets.storage.lake import Lake
from cellassets.tables.parquet import read_table
from cellassets.tables.schemas import BATCH_EFFECT, DIFFERENCES, LEADERBOARD, PERTURBATION_MAP, SCORES, WELL_EMBEDDINGS

CODE_VERSION = "2"
TEMPLATES = Path(__file__).parent / "templates"
# decides where a sentence must choose one benchmark
DECISIVE = ("known_relationships", "perturbation_consistency", "perturbation_magnitude")
N_EXAMPLES = 4
N_STRONGEST = 12


def plan_report(lake: Lake, registry: Registry, model_key: str) -> Plan:
    """Returns what a model's report would be made from now.

    Raises:
        ArtifactMissing: there is no leaderboard yet.
        RegistryError: there is no such model.
    """
    maps = {dataset_id: lake.perturbation_map(dataset_id, model_key).find_record() for dataset_id in _datasets(lake)}
    inputs: dict[str, Any] = {
        "leaderboard": lake.leaderboard().record().fingerprint,
        "model": registry.find(model_key).model_dump(mode="json", include={"key", "fingerprint", "aliases"}),
        "maps": {name: record.fingerprint for name, record in maps.items() if record is not None},
        "code_version": CODE_VERSION,
    }
    return Plan("model_report", inputs)


def build_report(lake: Lake, registry: Registry, model_key: str) -> Record:
    """Returns the record of a model's report, after making it where it is not what it would be now.

    Raises:
        ArtifactMissing: there is no leaderboard yet.
        RegistryError: there is no such model.
    """
    artifact, plan = lake.model_report(model_key), plan_report(lake, registry, model_key)
    if artifact.is_done(plan):
        return artifact.record()
    page = render(lake, registry.find(model_key), plan)
    write_bytes(artifact.folder(plan.fingerprint) / "report.html", page.encode())
    return artifact.publish(plan, ["report.html"], {"n_datasets": len(plan.inputs["maps"]), "n_bytes": len(page)})


def render(lake: Lake, entry: ModelEntry, plan: Plan) -> str:
    """Returns the page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    leaderboard = lake.leaderboard().record()
    board = _Board(
        rows=read_table(lake.leaderboard().path("leaderboard.parquet", leaderboard), LEADERBOARD),
        differences=read_table(lake.leaderboard().path("differences.parquet", leaderboard), DIFFERENCES),
    )
    sections = [_dataset_section(lake, entry, board, dataset_id) for dataset_id in plan.inputs["maps"]]
    judged = [section for section in sections if section["benchmarks"]]
    return environment.get_template("report.html.j2").render(
        model=entry,
        sections=sections,
        verdicts=[section["verdict"] for section in judged],
        tally=_tally(judged),
        provenance=_provenance(lake, entry, plan),
        style=(TEMPLATES / "style.css").read_text(),
    )


@dataclass(frozen=True)
class _Board:
    rows: pl.DataFrame
    differences: pl.DataFrame


def _dataset_section(lake: Lake, entry: ModelEntry, board: _Board, dataset_id: str) -> dict[str, Any]:
    """Everything that the page shows of one dataset."""
    artifact = lake.perturbation_map(dataset_id, entry.key)
    record = artifact.record()
    map_table = read_table(artifact.path("map.parquet", record), PERTURBATION_MAP)
    wells = read_table(artifact.path("wells.parquet", record), WELL_EMBEDDINGS)
    benchmarks = _benchmarks(lake, board, entry.key, dataset_id)
    silent = _silent(lake, entry.key, dataset_id)
    return {
        "dataset_id": dataset_id,
        "n_wells": wells.height,
        "n_perturbations": record.summary["n_perturbations"],
        "n_batches": record.summary["n_batches"],
        "benchmarks": benchmarks,
        "missing": sorted(set(BENCHMARKS) - {found["name"] for found in benchmarks} - set(silent)),
        "silent": silent,
        "verdict": benchmarks[0]["verdict"] if benchmarks else "",
        "heat_map": _heat_map(lake, entry.key, dataset_id, map_table),
        "batch_effect": _batch_charts(read_table(artifact.path("batch_effect.parquet", record), BATCH_EFFECT)),
        **_strongest(lake, entry.key, dataset_id, wells, record),
    }


def _silent(lake: Lake, model_key: str, dataset_id: str) -> dict[str, str]:
    """Benchmarks that have nothing to look at in this dataset, and why."""
    records = {name: lake.scores(name, dataset_id, model_key).find_record() for name in sorted(BENCHMARKS)}
    return {
        name: record.summary["does_not_apply"]
        for name, record in records.items()
        if record is not None and "does_not_apply" in record.summary
    }


def _benchmarks(lake: Lake, board: _Board, model_key: str, dataset_id: str) -> list[dict[str, Any]]:
    own = board.rows.filter((pl.col("model_key") == model_key) & (pl.col("dataset_id") == dataset_id))
    by_name = {row["benchmark_name"]: row for row in own.iter_rows(named=True)}
    ordered = [*(n for n in DECISIVE if n in by_name), *sorted(set(by_name) - set(DECISIVE))]
    return [
        {**_benchmark(board, by_name[name], BENCHMARKS[name]), **_units(lake, by_name[name])}
        for name in ordered
        if name in BENCHMARKS
    ]


def _units(lake: Lake, row: dict[str, Any]) -> dict[str, Any]:
    """What the benchmark says beside its headline: its other summaries, and a picture of every unit."""
    from cellassets.reporting.unit_picture import unit_chart

    artifact = lake.scores(row["benchmark_name"], row["dataset_id"], row["model_key"])
    scores = read_table(artifact.path("scores.parquet"), SCORES)
    others = scores.filter((pl.col("level") == "summary") & (pl.col("metric") != row["metric"]))
    return {"unit_chart": unit_chart(scores), "others": others.to_dicts()}


def _benchmark(board: _Board, row: dict[str, Any], described: Benchmark) -> dict[str, Any]:
    from cellassets.judging.verdict import standing_of, verdict, versus
    from cellassets.reporting.charts import Band, Estimate, interval_chart

    on_same_wells = [pl.col(name) == row[name] for name in ("benchmark_name", "dataset_id", "protocol_fingerprint")]
    are_peers = [*on_same_wells, pl.col("is_stale") == row["is_stale"]]
    peers = board.rows.filter(*are_peers).sort("rank", "model_key").to_dicts()
    compared = versus(board.differences.filter(*on_same_wells), row["model_key"]).to_dicts()
    for other in compared:
        other["standing"] = standing_of(
            other["difference"], other["q_value"], is_higher_better=described.is_higher_better
        )
    estimates = [
        Estimate(
            peer["model_key"],
            peer["value"],
            peer["interval_low"],
            peer["interval_high"],
            is_highlighted=peer["model_key"] == row["model_key"],
        )
        for peer in peers
    ]
    spread = [v for e in estimates for v in (e.value, e.low, e.high) if v is not None]
    reach = min(0.0, *spread), max(1.0, *spread)
    band = Band(row["null_low"], row["null_mean"], row["null_high"])
    told = {**row, "title": described.title}
    return {
        **told,
        "name": described.name,
        "description": described.description,
        "chart": interval_chart(described.title, estimates, band, axis=described.headline_metric, reach=reach),
        "compared": compared,
        "n_models": len(peers),
        "verdict": verdict(told, compared, is_higher_better=described.is_higher_better),
    }


def _heat_map(lake: Lake, model_key: str, dataset_id: str, map_table: pl.DataFrame) -> dict[str, Any] | None:
    from cellassets.knowledge.annotations import read_annotations
    from cellassets.reporting.charts import heat_map
    from cellassets.reporting.picture import clustered_map

    genes = map_table.filter((pl.col("perturbation_kind") == "gene") & pl.col("control_kind").is_null())
    if genes.height < 2:
        return None
    sources = read_annotations(lake.annotations, ("pairs",)).pairs
    pairs = pl.concat(list(sources.values())) if sources else None
    clustered = clustered_map(map_table, pairs)
    title = f"Cosine similarity of the genes of {dataset_id} by {model_key}"
    return {
        "svg": heat_map(title, clustered.cosines, clustered.names, clustered.groups),
        "sources": sorted(sources),
        "n_left_out": clustered.n_left_out,
    }


def _batch_charts(batch_effect: pl.DataFrame) -> list[dict[str, str]]:
    from cellassets.reporting.charts import steps_chart

    charts = []
    for (metric,), rows in batch_effect.group_by("metric", maintain_order=True):
        name = str(metric).replace("_", " ")
        chance = float(rows["chance"].mean())  # type: ignore[arg-type]
        svg = steps_chart(
            name, rows["step"].to_list(), rows["value"].to_list(), chance, axis=f"{name}, after each step"
        )
        charts.append({"name": str(metric), "svg": svg})
    return charts


def _strongest(lake: Lake, model_key: str, dataset_id: str, wells: pl.DataFrame, map_record: Record) -> dict[str, Any]:
    """The strongest perturbations by magnitude, and pictures of the first few."""
    from cellassets.mapping.aggregate import unit_labels
    from cellassets.reporting.picture import examples

    artifact = lake.scores("perturbation_magnitude", dataset_id, model_key)
    record = artifact.find_record()
    if record is None:
        return {"strongest": [], "examples": []}
    rows = read_table(artifact.path("scores.parquet", record), SCORES)
    rows = rows.filter((pl.col("level") == "perturbation") & (pl.col("metric") == "magnitude"))
    rows = rows.sort(["q_value", "value"], descending=[False, True])
    units = unit_labels(wells, map_record.inputs["parameters"]["aggregate_by"])
    by_value = rows.sort("value", descending=True)
    return {
        "strongest": by_value.head(N_STRONGEST).to_dicts(),
        "n_judged": rows.height,
        "n_significant": rows.filter(pl.col("q_value") <= 0.05).height,
        "examples": examples(lake, wells, by_value.head(N_EXAMPLES), units),
    }


def _tally(sections: list[dict[str, Any]]) -> dict[str, int]:
    """How many comparisons with other models came out which way, over all datasets and benchmarks."""
    standings = [
        row["standing"] for section in sections for found in section["benchmarks"] for row in found["compared"]
    ]
    return {name: standings.count(name) for name in ("better", "worse", "not distinguishable")}


def _provenance(lake: Lake, entry: ModelEntry, plan: Plan) -> list[tuple[str, str]]:
    rows = [
        ("model fingerprint", entry.fingerprint),
        ("MLflow run", entry.run_id or "none"),
        *((name.replace("_", " "), value) for name, value in sorted(entry.tags.items()) if name != "fingerprint"),
    ]
    for dataset_id, fingerprint in plan.inputs["maps"].items():
        record = lake.perturbation_map(dataset_id, entry.key).record()
        parameters = record.inputs["parameters"]
        steps = " → ".join(step["kind"] for step in parameters["steps"])
        rows += [
            (f"{dataset_id}: wells", record.inputs["dataset_fingerprint"]),
            (
                f"{dataset_id}: map",
                f"{fingerprint}, {steps}, {parameters['aggregation']} by {parameters['aggregate_by']}",
            ),
            (f"{dataset_id}: experiments", ", ".join(sorted(record.inputs["site_embeddings"]))),
        ]
    return [*rows, ("leaderboard", plan.inputs["leaderboard"])]


def _datasets(lake: Lake) -> list[str]:
    return lake.keys("perturbation_map")
