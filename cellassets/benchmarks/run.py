"""The stage `benchmark/<name>`: one benchmark on one map.

Reads `perturbation_map` and, where the benchmark uses them, the lake's annotations and the model's other maps.
Publishes `scores.parquet`, `influences.parquet` and `published.parquet`. Where a benchmark does not apply to a dataset
the tables are empty, and the record says why. What is computed is in `cellassets.benchmarks.scoring`.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from cellassets.benchmarks.definition import Benchmark
from cellassets.benchmarks.judged import JudgedMap, judged_map
from cellassets.benchmarks.registry import find_benchmark
from cellassets.benchmarks.scoring import ScoreLabels, score_judged, scores_table
from cellassets.configuration import Parameters
from cellassets.fingerprint import fingerprint
from cellassets.knowledge.annotations import annotation_fingerprints, read_annotations
from cellassets.mapping.build import MapParameters
from cellassets.mapping.dataset import Dataset
from cellassets.storage.artifact import Plan, Record
from cellassets.storage.lake import Lake
from cellassets.tables.parquet import read_table, write_table
from cellassets.tables.schemas import INFLUENCES, PERTURBATION_MAP, PUBLISHED, SCORES, WELL_EMBEDDINGS

__all__ = ["find_benchmark", "judged_map", "open_map", "plan_scores", "score_map", "score_protocol", "scores_table"]
OF_THE_MODEL = ("model_key", "site_embeddings")  # inputs of a map that differ between models of one protocol


def plan_scores(lake: Lake, benchmark_name: str, dataset: Dataset, *, model_key: str, parameters: Parameters) -> Plan:
    """Returns the plan of the scores that would be computed now.

    Raises:
        ArtifactMissing: there is no map of this dataset by this model.
        BenchmarkError: there is no such benchmark.
        AnnotationError: the dataset names an annotation source that does not exist.
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
    """Returns everything that a score depends on except the model. Only scores with equal protocols are compared.

    Args:
        lake: holds the annotations and the model's other maps.
        benchmark_name: the benchmark.
        dataset: the dataset that models are judged on.
        model_key: the model, whose maps of other datasets may be used.
        parameters: parameters of the benchmark.
        map_protocol: inputs of the map except the model (`cellassets.mapping.build.map_protocol`).
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
    """Returns the record of a benchmark's scores of one map; computes them if they are not published yet.

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
    labels = ScoreLabels(**{field.name: plan.inputs[field.name] for field in fields(ScoreLabels)})
    scored = score_judged(chosen, open_map(lake, dataset, model_key, chosen), parameters, labels)
    tables = {
        "scores.parquet": (scored.scores, SCORES),
        "influences.parquet": (scored.influences, INFLUENCES),
        "published.parquet": (scored.published, PUBLISHED),
    }
    for name, (table, schema) in tables.items():
        write_table(table, artifact.folder(plan.fingerprint) / name, schema)
    return artifact.publish(plan, list(tables), scored.summary.model_dump(exclude_unset=True))


def open_map(lake: Lake, dataset: Dataset, model_key: str, chosen: Benchmark) -> JudgedMap:
    """Returns the input of a benchmark, read from published maps and the lake's annotations."""
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


def _other_maps(lake: Lake, chosen: Benchmark, dataset: Dataset, model_key: str) -> dict[str, Record] | None:
    """The model's maps of other cell types, by dataset; None where the benchmark does not use them.

    A map that shares a cell type would be compared with itself.
    """
    if "other_maps" not in chosen.uses:
        return None
    found = {name: lake.perturbation_map(name, model_key).find_record() for name in lake.keys("perturbation_map")}
    mapped = {name: record for name, record in found.items() if record is not None and "cell_types" in record.summary}
    own = set(mapped[dataset.dataset_id].summary["cell_types"]) if dataset.dataset_id in mapped else set()
    return {name: record for name, record in mapped.items() if own and not own & set(record.summary["cell_types"])}


def _without_model(record: Record) -> dict[str, Any]:
    """The inputs of a map except the model."""
    return {name: value for name, value in record.inputs.items() if name not in OF_THE_MODEL}
