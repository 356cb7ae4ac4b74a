"""The stage `model_report`: reads leaderboard, scores, maps and images of one model and publishes `report.html`.

Only reading and publishing is done here. The page itself is made in `page.py` from the tables that are read.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.judging.gate import GatePolicy, Guard
from cellassets.registry import ModelEntry, Registry
from cellassets.reporting.contents import DatasetPage, ModelFacts, ReportPage
from cellassets.reporting.examples import Example, SiteImage, find_examples, unit_scores
from cellassets.storage.artifact import Plan, Record, write_bytes
from cellassets.storage.lake import Lake
from cellassets.tables.parquet import read_table
from cellassets.tables.schemas import (
    BATCH_EFFECT,
    DIFFERENCES,
    LEADERBOARD,
    PERTURBATION_MAP,
    QUALITY,
    SCORES,
    WELL_EMBEDDINGS,
)

CODE_VERSION = "3"
N_EXAMPLES = 4
STRONGEST_BY = "perturbation_magnitude"
SITE = ["plate_id", "well_id", "site_index"]


def plan_report(lake: Lake, registry: Registry, model_key: str, policy: GatePolicy | None = None) -> Plan:
    """Returns what a model's report would be made from now.

    Args:
        lake: holds leaderboard, maps, scores and images.
        registry: knows the model.
        model_key: the model.
        policy: the gate's policy; by default known relationships decide on every dataset.

    Raises:
        ArtifactMissing: there is no leaderboard yet.
        RegistryError: there is no such model.
    """
    datasets = lake.keys("perturbation_map")
    maps = {dataset_id: lake.perturbation_map(dataset_id, model_key).find_record() for dataset_id in datasets}
    inputs: dict[str, Any] = {
        "leaderboard": lake.leaderboard().record().fingerprint,
        "model": registry.find(model_key).model_dump(mode="json", include={"key", "fingerprint", "aliases"}),
        "maps": {name: record.fingerprint for name, record in maps.items() if record is not None},
        "policy": (policy or _default_policy(datasets)).model_dump(mode="json"),
        "code_version": CODE_VERSION,
    }
    return Plan("model_report", inputs)


def _default_policy(datasets: Sequence[str]) -> GatePolicy:
    """Until the stage passes the policy of `gate.yaml`."""
    guards = (Guard(benchmark_name="perturbation_consistency"), Guard(benchmark_name=STRONGEST_BY))
    return GatePolicy(deciding_datasets=tuple(datasets) or ("none",), guarded=guards)


def build_report(lake: Lake, registry: Registry, model_key: str, policy: GatePolicy | None = None) -> Record:
    """Returns the record of a model's report, after making it where it is not what it would be now.

    Args:
        lake: holds leaderboard, maps, scores and images.
        registry: knows the model.
        model_key: the model.
        policy: as in `plan_report`.

    Raises:
        ArtifactMissing: there is no leaderboard yet.
        RegistryError: there is no such model.
    """
    from cellassets.reporting.page import render

    artifact, plan = lake.model_report(model_key), plan_report(lake, registry, model_key, policy)
    if artifact.is_done(plan):
        return artifact.record()
    text = render(read_page(lake, registry.find(model_key), plan)).encode()
    write_bytes(artifact.folder(plan.fingerprint) / "report.html", text)
    return artifact.publish(plan, ["report.html"], {"n_datasets": len(plan.inputs["maps"]), "n_bytes": len(text)})


def read_page(lake: Lake, entry: ModelEntry, plan: Plan) -> ReportPage:
    """Returns all that the page shows, read from the lake."""
    board, record = lake.leaderboard(), lake.leaderboard().record()
    return ReportPage(
        model=ModelFacts(entry.key, entry.kind, tuple(entry.aliases)),
        policy=GatePolicy.model_validate(plan.inputs["policy"]),
        leaderboard=read_table(board.path("leaderboard.parquet", record), LEADERBOARD),
        differences=read_table(board.path("differences.parquet", record), DIFFERENCES),
        datasets=tuple(_read_dataset(lake, entry.key, dataset_id) for dataset_id in plan.inputs["maps"]),
        provenance=tuple(_provenance(lake, entry, plan)),
        strongest_by=STRONGEST_BY,
    )


def _read_dataset(lake: Lake, model_key: str, dataset_id: str) -> DatasetPage:
    from cellassets.knowledge.annotations import read_annotations

    artifact = lake.perturbation_map(dataset_id, model_key)
    record = artifact.record()
    wells = read_table(artifact.path("wells.parquet", record), WELL_EMBEDDINGS)
    scored = {name: lake.scores(name, dataset_id, model_key) for name in sorted(BENCHMARKS)}
    records = {name: found for name, its in scored.items() if (found := its.find_record()) is not None}
    reasons = {name: its.summary.get("does_not_apply") for name, its in records.items()}
    scores = {name: read_table(scored[name].path("scores.parquet", its), SCORES) for name, its in records.items()}
    return DatasetPage(
        dataset_id=dataset_id,
        map_table=read_table(artifact.path("map.parquet", record), PERTURBATION_MAP),
        wells=wells,
        batch_effect=read_table(artifact.path("batch_effect.parquet", record), BATCH_EFFECT),
        scores=scores,
        does_not_apply={name: reason for name, reason in reasons.items() if reason},
        known_pairs=read_annotations(lake.annotations, ("pairs",)).pairs,
        examples=_read_examples(lake, wells, scores, record.inputs["parameters"]["aggregate_by"]),
    )


def _read_examples(
    lake: Lake, wells: pl.DataFrame, scores: Mapping[str, pl.DataFrame], aggregate_by: Any
) -> tuple[Example, ...]:
    from cellassets.mapping.aggregate import unit_labels

    if STRONGEST_BY not in scores:
        return ()
    strongest = unit_scores(scores[STRONGEST_BY], BENCHMARKS[STRONGEST_BY]).head(N_EXAMPLES)
    units = unit_labels(wells, aggregate_by)
    return find_examples(wells, strongest, units, read_sites=lambda chosen: _read_sites(lake, chosen))


def _read_sites(lake: Lake, wells: Sequence[Mapping[str, Any]]) -> list[SiteImage]:
    """Of wells of one experiment: the first site that is not flagged, or else the first."""
    from cellassets.images.reader import ExperimentStore

    store = ExperimentStore.open(lake, wells[0]["experiment_id"])
    quality = read_table(lake.plate_quality(store.experiment_id).path("quality.parquet"), QUALITY)
    sites = store.sites.with_row_index("index").join(quality.select(*SITE, "is_flagged"), on=SITE, how="left")
    found = [
        sites.filter(pl.col("plate_id") == well["plate_id"], pl.col("well_id") == well["well_id"])
        .sort("is_flagged", "index")
        .row(0, named=True)
        for well in wells
    ]
    images = store.read(np.array([site["index"] for site in found]))
    return [
        SiteImage(pixels, f"{store.experiment_id} {site['plate_id']} {site['well_id']} site {site['site_index']}")
        for pixels, site in zip(images, found, strict=True)
    ]


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
