"""The stage `benchmark/<name>`: one benchmark on one map.

Reads `perturbation_map` and, where the benchmark asks for them, the lake's annotations and the model's other maps;
publishes `scores.parquet`. A benchmark that has nothing to look at in a dataset publishes no rows, and why.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl

from cellassets.benchmarks.definition import Benchmark, Score
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.configuration import Parameters
from cellassets.errors import BenchmarkError, NotApplicable
from cellassets.fingerprint import fingerprint
from cellassets.knowledge.annotations import Annotations, annotation_fingerprints, read_annotations
from cellassets.mapping.aggregate import unit_labels
from cellassets.mapping.build import MapParameters, map_held_out_controls
from cellassets.mapping.controls import is_treatment
from cellassets.mapping.dataset import Dataset
from cellassets.storage.artifact import Plan, Record
from cellassets.storage.lake import Lake
from cellassets.tables.parquet import read_table, vectors, write_table
from cellassets.tables.schemas import PERTURBATION_MAP, SCORES, WELL_EMBEDDINGS

ALPHA = 0.05
OF_THE_MODEL = ("model_key", "site_embeddings")  # inputs of a map that differ between models judged alike


def plan_scores(lake: Lake, benchmark_name: str, dataset: Dataset, *, model_key: str, parameters: Parameters) -> Plan:
    """Returns what the scores would be made from now.

    Raises:
        ArtifactMissing: there is no map of this dataset by this model.
        BenchmarkError: there is no such benchmark.
        AnnotationError: the dataset names an annotation source that is not there.
    """
    record = lake.perturbation_map(dataset.dataset_id, model_key).record()
    others = _other_maps(lake, find_benchmark(benchmark_name), dataset, model_key)
    judged_by = _protocol(lake, benchmark_name, dataset, parameters, map_protocol=_without_model(record), others=others)
    inputs = {
        **judged_by,
        "perturbation_map": record.fingerprint,
        "model_key": model_key,
        "protocol_fingerprint": fingerprint(judged_by),
    }
    if others is not None:
        inputs["made_from_maps"] = {name: found.fingerprint for name, found in others.items()}
    return Plan("scores", inputs)


def score_protocol(
    lake: Lake,
    benchmark_name: str,
    dataset: Dataset,
    *,
    model_key: str,
    parameters: Parameters,
    map_protocol: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns all that a score depends on but the model: scores are compared only where this is equal.

    Args:
        lake: where annotations and the model's other maps are.
        benchmark_name: benchmark.
        dataset: what is judged on.
        model_key: model, for the datasets that it has other maps of.
        parameters: the benchmark's.
        map_protocol: what the map is made from but for the model (`cellassets.mapping.build.map_protocol`).
    """
    others = _other_maps(lake, find_benchmark(benchmark_name), dataset, model_key)
    return _protocol(lake, benchmark_name, dataset, parameters, map_protocol=map_protocol, others=others)


def _protocol(
    lake: Lake,
    benchmark_name: str,
    dataset: Dataset,
    parameters: Parameters,
    *,
    map_protocol: Mapping[str, Any],
    others: dict[str, Record] | None,
) -> dict[str, Any]:
    chosen = find_benchmark(benchmark_name)
    protocol: dict[str, Any] = {
        "benchmark_name": benchmark_name,
        "dataset_id": dataset.dataset_id,
        "dataset_fingerprint": map_protocol["dataset_fingerprint"],
        "map": dict(map_protocol),
        "parameters": parameters.model_dump(mode="json"),
        "code_version": chosen.code_version,
        "annotations": annotation_fingerprints(lake.annotations, chosen.uses, dataset.annotation_sources),
    }
    if others is not None:
        protocol["other_maps"] = {name: fingerprint(_without_model(record)) for name, record in others.items()}
    return protocol


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
    chosen = find_benchmark(benchmark_name)
    judged = open_map(lake, dataset, model_key, chosen)
    try:
        rows = chosen.score(judged, parameters)
        summary = _summary(chosen, _checked(chosen, rows))
    except NotApplicable as reason:
        rows, summary = [], {"does_not_apply": str(reason)}
    shared = ("benchmark_name", "dataset_id", "dataset_fingerprint", "protocol_fingerprint", "model_key")
    labels = {name: plan.inputs[name] for name in shared}
    table = scores_table(rows, is_higher_better=chosen.is_higher_better, **labels)
    write_table(table, artifact.folder(plan.fingerprint) / "scores.parquet", SCORES)
    return artifact.publish(plan, ["scores.parquet"], {**summary, **_sources(judged.annotations)})


def open_map(lake: Lake, dataset: Dataset, model_key: str, chosen: Benchmark) -> JudgedMap:
    """Returns what a benchmark looks at, read from published maps and the lake's annotations."""
    artifact = lake.perturbation_map(dataset.dataset_id, model_key)
    record = artifact.record()
    others = _other_maps(lake, chosen, dataset, model_key) or {}
    return judged_map(
        read_table(artifact.path("wells.parquet", record), WELL_EMBEDDINGS),
        read_table(artifact.path("map.parquet", record), PERTURBATION_MAP),
        parameters=MapParameters.model_validate(record.inputs["parameters"]),
        annotations=read_annotations(lake.annotations, chosen.uses, dataset.annotation_sources),
        other_maps={
            name: read_table(lake.perturbation_map(name, model_key).path("map.parquet", found), PERTURBATION_MAP)
            for name, found in others.items()
        },
    )


def judged_map(
    wells: pl.DataFrame,
    map_table: pl.DataFrame,
    *,
    parameters: MapParameters,
    annotations: Annotations | None = None,
    other_maps: dict[str, pl.DataFrame] | None = None,
) -> JudgedMap:
    """Returns what benchmarks look at.

    Args:
        wells: aligned WELL_EMBEDDINGS rows.
        map_table: PERTURBATION_MAP rows.
        parameters: what the map was made with; they say which controls alignment never saw.
        annotations: what is known of biology.
        other_maps: dataset to the PERTURBATION_MAP rows of the same model there.
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
        annotations=annotations or Annotations(),
        other_maps=other_maps or {},
    )


def scores_table(rows: list[Score], *, is_higher_better: bool, **labels: str) -> pl.DataFrame:
    """Returns a SCORES table.

    Args:
        rows: what a benchmark returned.
        is_higher_better: direction of a better model.
        labels: the columns that all rows share.
    """
    if not rows:
        return SCORES.empty()
    table = pl.DataFrame([asdict(row) for row in rows], infer_schema_length=None)
    shared = [pl.lit(value).alias(name) for name, value in labels.items()]
    return SCORES.conform(
        table.with_columns(*shared, pl.lit(is_higher_better).alias("is_higher_better")), source="scores"
    )


def find_benchmark(benchmark_name: str) -> Benchmark:
    """Returns a registered benchmark.

    Raises:
        BenchmarkError: there is none of this name.
    """
    if benchmark_name not in BENCHMARKS:
        message = f"no benchmark {benchmark_name!r}; there are {', '.join(sorted(BENCHMARKS))}"
        raise BenchmarkError(message)
    return BENCHMARKS[benchmark_name]


def _other_maps(lake: Lake, chosen: Benchmark, dataset: Dataset, model_key: str) -> dict[str, Record] | None:
    """The model's maps of other cell types, by dataset; None where the benchmark does not look at them.

    A map that shares a cell type would be compared with itself.
    """
    if "other_maps" not in chosen.uses:
        return None
    found = {name: lake.perturbation_map(name, model_key).find_record() for name in lake.keys("perturbation_map")}
    told = {name: record for name, record in found.items() if record is not None and "cell_types" in record.summary}
    own = set(told[dataset.dataset_id].summary["cell_types"]) if dataset.dataset_id in told else set()
    return {name: record for name, record in told.items() if own and not own & set(record.summary["cell_types"])}


def _without_model(record: Record) -> dict[str, Any]:
    """What a map was made from but for the model."""
    return {name: value for name, value in record.inputs.items() if name not in OF_THE_MODEL}


def _sources(annotations: Annotations) -> dict[str, Any]:
    """How many rows each annotation source had, for people."""
    kinds = {name: getattr(annotations, name) for name in ("pairs", "sets", "targets", "gene_arms")}
    return {f"n_{kind}": {name: rows.height for name, rows in found.items()} for kind, found in kinds.items() if found}


def _checked(chosen: Benchmark, rows: list[Score]) -> list[Score]:
    """Returns the rows.

    Raises:
        BenchmarkError: a value that is not finite, a p-value outside (0, 1], or two rows of one unit; published, they
            would hold up every comparison that they are part of.
    """
    seen = set()
    for row in rows:
        name = f"{row.metric} {row.perturbation_id or ''}".strip()
        numbers = (row.value, row.null_mean, row.null_low, row.null_high)
        if not all(map(math.isfinite, numbers)) or not 0 < row.p_value <= 1:
            message = (
                f"{chosen.name} returned {name} with value {row.value}, null {row.null_mean} ({row.null_low} to "
                f"{row.null_high}) and p-value {row.p_value}; expected finite numbers and a p-value in (0, 1]"
            )
            raise BenchmarkError(message)
        key = (row.metric, row.level, row.perturbation_id)
        if key in seen:
            message = f"{chosen.name} returned two rows of {name} at level {row.level}; expected one a unit"
            raise BenchmarkError(message)
        seen.add(key)
    return rows


def _summary(chosen: Benchmark, rows: list[Score]) -> dict[str, Any]:
    """What people see first.

    Raises:
        BenchmarkError: the benchmark returned no row of its headline, or none of its units.
    """
    headlines = [row for row in rows if row.level == "summary" and row.metric == chosen.headline_metric]
    units = [row for row in rows if row.level == "perturbation" and row.metric == chosen.unit_metric]
    if len(headlines) != 1 or not units:
        message = (
            f"{chosen.name} returned {len(headlines)} summary rows of {chosen.headline_metric!r}, and {len(units)} "
            f"perturbation rows of {chosen.unit_metric!r}; expected one and at least one, or NotApplicable raised"
        )
        raise BenchmarkError(message)
    headline = headlines[0]
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
