"""The stage `benchmark/<name>`: one benchmark on one map.

Reads `perturbation_map` and, where the benchmark asks for them, the lake's annotations; publishes `scores.parquet`.
"""

from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl

from cellassets.artifact import Plan, Record
from cellassets.configuration import Parameters
from cellassets.errors import BenchmarkError
from cellassets.lake import Lake
from cellassets.mapping.aggregate import unit_labels
from cellassets.mapping.build import MapParameters, map_held_out_controls
from cellassets.mapping.controls import is_treatment
from cellassets.mapping.dataset import Dataset
from cellassets.scoring.annotations import annotation_fingerprints, annotation_sources, read_pairs
from cellassets.scoring.benchmark import BENCHMARKS
from cellassets.scoring.definition import Benchmark, Score
from cellassets.scoring.judged import JudgedMap
from cellassets.scoring.relationships import pairs_in_map
from cellassets.tables.parquet import read_table, vectors, write_table
from cellassets.tables.schemas import PERTURBATION_MAP, SCORES, WELL_EMBEDDINGS

ALPHA = 0.05


def plan_scores(lake: Lake, benchmark_name: str, dataset: Dataset, *, model_key: str, parameters: Parameters) -> Plan:
    """Returns what the scores would be made from now.

    Raises:
        ArtifactMissing: there is no map of this dataset by this model.
        BenchmarkError: there is no such benchmark.
    """
    chosen = _find(benchmark_name)
    record = lake.perturbation_map(dataset.dataset_id, model_key).record()
    inputs: dict[str, Any] = {
        "benchmark_name": benchmark_name,
        "perturbation_map": record.fingerprint,
        "dataset_id": dataset.dataset_id,
        "dataset_fingerprint": record.inputs["dataset_fingerprint"],
        "model_key": model_key,
        "parameters": parameters.model_dump(mode="json"),
        "code_version": chosen.code_version,
    }
    if chosen.uses_annotations:
        inputs["annotations"] = annotation_fingerprints(lake.annotations)
    return Plan("scores", inputs)


def score_map(lake: Lake, benchmark_name: str, dataset: Dataset, *, model_key: str, parameters: Parameters) -> Record:
    """Returns the record of a benchmark's scores of one map, after scoring it where that is not done.

    Raises:
        ArtifactMissing: there is no map of this dataset by this model.
        BenchmarkError: there is no such benchmark, or it cannot be computed on this map.
        AnnotationError: an annotation source cannot be read.
    """
    plan = plan_scores(lake, benchmark_name, dataset, model_key=model_key, parameters=parameters)
    artifact = lake.scores(benchmark_name, dataset.dataset_id, model_key)
    if artifact.is_done(plan):
        return artifact.record()
    chosen = _find(benchmark_name)
    judged = open_map(lake, dataset.dataset_id, model_key, with_annotations=chosen.uses_annotations)
    rows = chosen.score(judged, parameters)
    labels = {name: plan.inputs[name] for name in ("benchmark_name", "dataset_id", "dataset_fingerprint", "model_key")}
    table = scores_table(rows, is_higher_better=chosen.is_higher_better, **labels)
    write_table(table, artifact.folder(plan.fingerprint) / "scores.parquet", SCORES)
    summary = _summary(chosen, rows) | (_coverage(judged) if chosen.uses_annotations else {})
    return artifact.publish(plan, ["scores.parquet"], summary)


def open_map(lake: Lake, dataset_id: str, model_key: str, *, with_annotations: bool) -> JudgedMap:
    """Returns what benchmarks look at, read from one published map."""
    artifact = lake.perturbation_map(dataset_id, model_key)
    record = artifact.record()
    wells = read_table(artifact.path("wells.parquet", record), WELL_EMBEDDINGS)
    sources = annotation_sources(lake.annotations) if with_annotations else {}
    return judged_map(
        wells,
        read_table(artifact.path("map.parquet", record), PERTURBATION_MAP),
        parameters=MapParameters.model_validate(record.inputs["parameters"]),
        known_pairs={name: read_pairs(path) for name, path in sources.items()},
    )


def judged_map(
    wells: pl.DataFrame,
    map_table: pl.DataFrame,
    *,
    parameters: MapParameters,
    known_pairs: dict[str, pl.DataFrame],
) -> JudgedMap:
    """Returns what benchmarks look at.

    Args:
        wells: aligned WELL_EMBEDDINGS rows.
        map_table: PERTURBATION_MAP rows.
        parameters: what the map was made with; they say which controls alignment never saw.
        known_pairs: annotation sources.
    """
    plates = wells.select(pl.concat_str("experiment_id", "plate_id", separator="/")).to_series().to_numpy()
    return JudgedMap(
        wells=wells,
        vectors=vectors(wells),
        units=tuple(unit_labels(wells, parameters.aggregate_by)),
        is_treatment=is_treatment(wells),
        is_held_out_control=map_held_out_controls(wells, parameters),
        plate_index=np.unique(plates, return_inverse=True)[1],
        map_table=map_table,
        known_pairs=known_pairs,
    )


def scores_table(rows: list[Score], *, is_higher_better: bool, **labels: str) -> pl.DataFrame:
    """Returns a SCORES table.

    Args:
        rows: what a benchmark returned.
        is_higher_better: direction of a better model.
        labels: the columns that all rows share.
    """
    table = pl.DataFrame([asdict(row) for row in rows], infer_schema_length=None)
    shared = [pl.lit(value).alias(name) for name, value in labels.items()]
    return SCORES.conform(
        table.with_columns(*shared, pl.lit(is_higher_better).alias("is_higher_better")), source="scores"
    )


def _find(benchmark_name: str) -> Benchmark:
    if benchmark_name not in BENCHMARKS:
        message = f"no benchmark {benchmark_name!r}; there are {', '.join(sorted(BENCHMARKS))}"
        raise BenchmarkError(message)
    return BENCHMARKS[benchmark_name]


def _coverage(judged: JudgedMap) -> dict[str, Any]:
    """How many known pairs each source has, and how many of them have both genes in the map."""
    in_map = pairs_in_map(judged)
    return {
        "known_pairs": {name: pairs.height for name, pairs in judged.known_pairs.items()},
        "known_pairs_in_map": in_map,
        "sources_without_pairs": sorted(name for name, n in in_map.items() if n == 0),
    }


def _summary(chosen: Benchmark, rows: list[Score]) -> dict[str, Any]:
    headline = next(row for row in rows if row.level == "summary" and row.metric == chosen.headline_metric)
    units = [row for row in rows if row.level == "perturbation" and row.metric == chosen.unit_metric]
    n_significant = sum(row.q_value is not None and row.q_value <= ALPHA for row in units)
    summary = {
        "metric": chosen.headline_metric,
        "value": headline.value,
        "null_mean": headline.null_mean,
        "p_value": headline.p_value,
        "interval_low": headline.interval_low,
        "interval_high": headline.interval_high,
        "n_units": headline.n_units,
    }
    # a pair's q-value only says whether it is at the very end of the tail that recall already counts
    return summary if headline.unit == "pair" else summary | {"significant_frac": n_significant / len(units)}
