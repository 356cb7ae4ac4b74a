"""What the page says of one dataset: its benchmarks in the order of the gate's policy, its map and its perturbations.

Returns the values that the template fills in; charts are made here, words stand in the template.
"""

from collections.abc import Iterable
from typing import Any

import polars as pl

from cellassets.benchmarks.parts import WHOLE
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.judging.gate import GatePolicy
from cellassets.judging.leaderboard import shown_parts, where
from cellassets.reporting.benchmark_section import benchmark_section
from cellassets.reporting.cluster_section import cluster_section
from cellassets.reporting.clustered_map import clustered_map, genes_of
from cellassets.reporting.contents import DatasetPage, ReportPage
from cellassets.reporting.examples import Example, encoded_pictures, unit_scores
from cellassets.reporting.heat_map import heat_map
from cellassets.reporting.hits_section import hits_section
from cellassets.reporting.parts_table import parts_table
from cellassets.reporting.recall_by_source import source_section
from cellassets.reporting.steps_chart import steps_chart
from cellassets.statistics.significance import SIGNIFICANCE_LEVEL

N_STRONGEST = 12
BATCH_MEASURES = {
    "batch_accuracy": "The fraction of negative control wells whose nearest other control is of the same batch. The "
    "alignment did not see these wells. Lower is better; chance means that batches cannot be distinguished.",
    "replicate_retrieval": "The fraction of treated wells whose nearest well in another batch has the same "
    "perturbation. Higher is better.",
}


def in_order(names: Iterable[str], policy: GatePolicy) -> list[str]:
    """Returns benchmarks in the order of the page: the deciding one, the guarded ones, then the others by name."""
    first = [policy.deciding, *(guard.benchmark_name for guard in policy.guarded)]
    found = set(names)
    return [*(name for name in first if name in found), *sorted(found - set(first))]


def dataset_section(page: ReportPage, dataset: DatasetPage) -> dict[str, Any]:
    """Returns everything that the page shows of one dataset."""
    every = page.leaderboard.filter(
        (pl.col("model_key") == page.model.key) & (pl.col("dataset_id") == dataset.dataset_id)
    )
    own = every.filter(pl.col("part_id") == shown_parts(every, page.model.key).get(dataset.dataset_id, WHOLE))
    rows = {row["benchmark_name"]: row for row in own.iter_rows(named=True) if row["benchmark_name"] in BENCHMARKS}
    benchmarks = [benchmark_section(page, dataset, rows[name]) for name in in_order(rows, page.policy)]
    return {
        "dataset_id": dataset.dataset_id,
        "n_wells": dataset.wells.height,
        "n_perturbations": dataset.map_table.filter(pl.col("control_kind").is_null()).height,
        "n_batches": dataset.wells["batch_id"].n_unique(),
        "benchmarks": benchmarks,
        "parts": parts_table(every, in_order(rows, page.policy), is_trained=page.model.kind != "classical"),
        "where": where(own.row(0, named=True)) if own.height else "",
        "missing": sorted(set(BENCHMARKS) - set(rows) - set(dataset.does_not_apply)),
        "does_not_apply": dict(sorted(dataset.does_not_apply.items())),
        "verdict": benchmarks[0]["verdict"] if benchmarks else "",
        "by_source": source_section(page.recall_by_source, dataset.dataset_id, page.model.key),
        "map": _map(page.model.key, dataset),
        "clusters": cluster_section(dataset.clusters, alpha=SIGNIFICANCE_LEVEL),
        "batch_effect": _batch_charts(dataset.batch_effect),
        "strongest": _strongest(page, dataset),
        "hits": None if dataset.hits is None else hits_section(dataset.hits),
        "examples": [_example(example) for example in dataset.examples],
    }


def _map(model_key: str, dataset: DatasetPage) -> dict[str, Any] | None:
    if genes_of(dataset.map_table).height < 2:
        return None
    pairs = pl.concat(list(dataset.known_pairs.values())) if dataset.known_pairs else None
    clustered = clustered_map(dataset.map_table, pairs)
    title = f"Cosine similarity of the genes of {dataset.dataset_id} by {model_key}"
    chart = heat_map(title, clustered)
    return {"chart": chart, "sources": sorted(dataset.known_pairs), "n_left_out": clustered.n_left_out}


def _batch_charts(batch_effect: pl.DataFrame) -> list[dict[str, Any]]:
    charts = []
    for (metric,), rows in batch_effect.group_by("metric", maintain_order=True):
        name = str(metric).replace("_", " ")
        chance = float(rows["chance"].mean())  # type: ignore[arg-type]
        chart = steps_chart(name, rows["step"].to_list(), rows["value"].to_list(), chance)
        charts.append({"name": name, "words": BATCH_MEASURES.get(str(metric), ""), "chart": chart})
    return charts


def _strongest(page: ReportPage, dataset: DatasetPage) -> dict[str, Any] | None:
    """The units with the best values by the benchmark that says how strong a perturbation is."""
    scores = dataset.scores.get(page.strongest_by)
    if scores is None:
        return None
    units = unit_scores(scores, BENCHMARKS[page.strongest_by])
    if units.is_empty():
        return None
    return {
        "rows": units.head(N_STRONGEST).to_dicts(),
        "n_judged": units.height,
        "n_significant": units.filter(pl.col("q_value") <= SIGNIFICANCE_LEVEL).height,
        "metric": BENCHMARKS[page.strongest_by].unit_metric.replace("_", " "),
    }


def _example(example: Example) -> dict[str, Any]:
    treated, control = encoded_pictures(example)
    return {"example": example, "treated": treated, "control": control}
