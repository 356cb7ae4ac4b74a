"""A lake in which everything is current, made of commit records without data files, for timing sensors.

The records come from the stages' own plans, so that they are what real runs would have published. Summaries have the
fields that plans read; numbers that only people see are zero.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel
from upath import UPath

from cellassets.clustering.summary import MapClustersSummary
from cellassets.encoders.summary import SiteEmbeddingsSummary
from cellassets.hits.summary import ActivePerturbationsSummary
from cellassets.images.summary import PlateStoreSummary
from cellassets.mapping.summary import PerturbationMapSummary
from cellassets.quality.summary import PlateQualitySummary
from cellassets.registry.lineage import TAG, TrainedOn
from cellassets.screens.summary import RawPlatesSummary
from cellassets.screens.well_selection import KIND_SELECTIONS, selection_key
from cellassets.stages.benchmark import BenchmarkSummary, ScoredPart, benchmark_stages
from cellassets.stages.catalogue import open_snapshot, stage_named
from cellassets.stages.leaderboard import LeaderboardSummary
from cellassets.stages.model_report import ModelReportSummary
from cellassets.storage.artifact import FileEntry, Record
from cellassets.storage.deployment import Deployment
from cellassets.storage.plan import Plan

CELL_TYPES = ("HUVEC", "RPE", "HEPG2", "U2OS")
N_LISTED = 100
N_TRAINING_SETS, N_TRAINED = 4, 24  # models of one training set have seen the same experiments
CHANNELS = ("Hoechst", "ConA", "Phalloidin", "SYTO14", "MitoTracker", "WGA")
BATCH = 5_000


@dataclass(frozen=True)
class Size:
    """How many experiments and models the lake has; each of four cell types has five datasets."""

    n_experiments: int
    n_models: int

    @property
    def experiments(self) -> list[str]:
        """Names of the experiments, spread evenly over the cell types."""
        return [f"{CELL_TYPES[number % 4]}-{number:04d}" for number in range(self.n_experiments)]


def build(deployment: Deployment, size: Size, *, register_model: Callable[..., str] | None = None) -> None:
    """Writes landing zone, settings, registry and all records of a deployment.

    Args:
        deployment: where everything is.
        size: how much.
        register_model: registers a model like `register`, which does it without files.
    """
    register_one = register_model or register
    write_settings(Path(deployment.configs_root), size)
    (Path(deployment.lake_root) / "annotations").mkdir(parents=True)
    for name in size.experiments:
        land(deployment, name)
    for number in range(size.n_models):
        register_one(deployment, f"model_{number:03d}", size.experiments[: N_TRAINED * (1 + number % N_TRAINING_SETS)])
    for name in ("raw_plates", "plate_store", "plate_quality"):
        publish(deployment, name, [(name,) for name in size.experiments])
    models = [entry.key for entry in open_snapshot(deployment).models()]
    embeddings = [(experiment, model) for model in models for experiment in size.experiments]
    publish(deployment, "site_embeddings", embeddings)
    maps = [(dataset, model) for model in models for dataset in dataset_names()]
    publish(deployment, "perturbation_map", maps)
    for stage in benchmark_stages():
        publish(deployment, stage.name, maps)
    publish(deployment, "map_clusters", maps)
    publish(deployment, "active_perturbations", maps)
    publish(deployment, "leaderboard", [()])
    publish(deployment, "model_report", [(model,) for model in models])


def dataset_names() -> list[str]:
    """Returns the four cell types and the sixteen curated datasets."""
    return [name for cell_type in CELL_TYPES for name in (cell_type, *curated(cell_type, []))]


def curated(cell_type: str, experiments: list[str]) -> dict[str, dict[str, object]]:
    """Returns the curated datasets of a cell type as their YAML files hold them."""
    return {
        f"{cell_type}_genes": {"cell_types": [cell_type], "perturbation_kinds": ["gene"]},
        f"{cell_type}_compounds": {"cell_types": [cell_type], "perturbation_kinds": ["compound"]},
        f"{cell_type}_listed": {"experiment_ids": experiments},
        f"{cell_type}_strict": {"cell_types": [cell_type], "quality": {"min_sites_per_well": 2}},
    }


def write_settings(configs: Path, size: Size) -> None:
    """Writes policy, datasets and the settings of the gate."""
    (configs / "datasets").mkdir(parents=True)
    (configs / "policy.yaml").write_text(json.dumps({"models": {"newest": 1_000}}))
    (configs / "mapping.yaml").write_text("{}")
    (configs / "gate.yaml").write_text((Path(__file__).parents[2] / "configs" / "gate.yaml").read_text())
    for cell_type in CELL_TYPES:
        own = [name for name in size.experiments if name.startswith(f"{cell_type}-")]
        for name, dataset in curated(cell_type, own[:N_LISTED]).items():
            (configs / "datasets" / f"{name}.yaml").write_text(json.dumps(dataset))


def land(deployment: Deployment, experiment_id: str) -> None:
    """Writes the folder of an experiment: the marker and the metadata, which are all that a scan looks at."""
    folder = Path(deployment.landing_root) / experiment_id
    folder.mkdir(parents=True)
    for name in ("metadata.csv", "_COMPLETE"):
        (folder / name).write_text(experiment_id)


def register(deployment: Deployment, name: str, trained_on: Sequence[str] = ()) -> str:
    """Returns the key of a model after registering it without files.

    Args:
        deployment: where the registry is.
        name: name of the model.
        trained_on: the experiments that it has seen; its validation experiment is the last one. Empty: nobody says.
    """
    from cellassets.registry import Registry

    client = Registry(deployment.tracking_uri, deployment.model_root).client()
    client.create_registered_model(name)
    seen = TrainedOn(experiments=tuple(trained_on[:-1]), validation_experiments=tuple(trained_on[-1:]))
    declared = {TAG: seen.model_dump_json()} if trained_on else {}
    tags = {"kind": "network", "fingerprint": _made_up(name), **declared}
    client.create_model_version(name, f"{deployment.model_root}/{name}", None, tags, await_creation_for=0)
    return f"{name}.v1"


def publish(deployment: Deployment, kind: str, addresses: Iterable[tuple[str, ...]]) -> int:
    """Returns how many records were written: what the stage's plans ask for, seen by the catalogue."""
    snapshot, stage, n_written = open_snapshot(deployment), stage_named(kind), 0
    plans = (stage.plan(snapshot, stage.by_axis(keys)) for keys in addresses)
    for batch in _batches(plans):
        records = [_record(plan) for plan in batch]
        for record in records:
            _write(deployment, record)
        deployment.lake.catalogue.note(records)
        n_written += len(records)
    return n_written


def record_path(deployment: Deployment, kind: str, keys: tuple[str, ...]) -> Path:
    """Returns the path of the first commit record at an address."""
    return Path(deployment.lake.artifact(kind, *keys).record_path(1).path)


def _batches(plans: Iterator[Plan]) -> Iterator[list[Plan]]:
    batch: list[Plan] = []
    for plan in plans:
        batch.append(plan)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _record(plan: Plan) -> Record:
    return Record(
        kind=plan.kind,
        keys=plan.keys,
        plan_fingerprint=plan.fingerprint,
        fingerprint=plan.fingerprint,
        generation=plan.replaces + 1,
        folder=plan.fingerprint,
        inputs=dict(plan.inputs),
        files=(FileEntry(name="table.parquet", n_bytes=0, crc32c=0),),
        summary=summary_of(plan).model_dump(mode="json", exclude_none=True),
    )


def _write(deployment: Deployment, record: Record) -> None:
    path = UPath(deployment.lake.artifact(record.kind, *record.keys).record_path(record.generation))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record.model_dump(mode="json"), sort_keys=True))


def summary_of(plan: Plan) -> BaseModel:
    """Returns a summary with the fields that later plans read."""
    if plan.kind.startswith("benchmark/"):
        return BenchmarkSummary(parts=_scored_parts(plan), value=0.5, n_units=100)
    return SUMMARIES[plan.kind](plan)


def _scored_parts(plan: Plan) -> tuple[ScoredPart, ...]:
    return tuple(
        ScoredPart(
            part_id=part.part_id,
            exposure=part.exposure,
            n_experiments=len(part.experiments),
            protocol_fingerprint=plan.inputs["parts"][part.part_id]["protocol_fingerprint"],
        )
        for part in plan.settings["parts"]
    )


def _raw_plates(plan: Plan) -> RawPlatesSummary:
    (experiment_id,) = plan.keys
    selections = [selection_key(None, kinds) for kinds in KIND_SELECTIONS]
    return RawPlatesSummary(
        n_plates=4, n_wells=1_232, n_sites=2_464, n_images=14_784, n_bytes=0, n_findings=0, n_dropped=0,
        cell_types=(experiment_id.partition("-")[0],),
        channel_names=CHANNELS,
        wells_fingerprint=_made_up(experiment_id),
        wells_fingerprints={name: _made_up(f"{experiment_id} {name}") for name in selections},
        landing_signature=plan.inputs["landing_signature"],
        landing=experiment_id,
    )  # fmt: skip


def _plate_store(_plan: Plan) -> PlateStoreSummary:
    return PlateStoreSummary(
        n_sites=2_464, n_plates=4, n_shards_resumed=0, n_bytes=0, source_bytes=0, channel_names=CHANNELS, height=512,
        width=512, dtype="uint8",
    )  # fmt: skip


def _site_embeddings(_plan: Plan) -> SiteEmbeddingsSummary:
    return SiteEmbeddingsSummary(
        n_sites=2_464, embedding_dim=128, sites_per_s=100.0, precision="bfloat16", device="cuda", n_parts=1,
        n_parts_resumed=0,
    )  # fmt: skip


def _perturbation_map(plan: Plan) -> PerturbationMapSummary:
    return PerturbationMapSummary(
        dataset_fingerprint=plan.inputs["dataset_fingerprint"],
        protocol_fingerprint=plan.settings["protocol_fingerprint"],
        experiments=tuple(sorted(plan.inputs["site_embeddings"])),
        cell_types=(plan.keys[0].partition("_")[0],),
        n_perturbations=1_000, n_wells=100_000, n_wells_dropped=0, n_sites_flagged=0, n_batches=500,
        one_place_frac=0.0, n_controls_held_out=100, embedding_dim=128, has_position_step=False,
        batch_effect={"batch_accuracy_raw": 0.5, "batch_accuracy_aligned": 0.1, "batch_accuracy_chance": 0.1},
    )  # fmt: skip


SUMMARIES = {
    "map_clusters": lambda _: MapClustersSummary(n_perturbations=1_000),
    "raw_plates": _raw_plates,
    "plate_store": _plate_store,
    "plate_quality": lambda _: PlateQualitySummary(n_sites=2_464, n_flagged=0, flag_reasons={}, nuclei_per_site=100.0),
    "site_embeddings": _site_embeddings,
    "perturbation_map": _perturbation_map,
    "active_perturbations": lambda plan: ActivePerturbationsSummary(
        protocol_fingerprint=plan.inputs["protocol_fingerprint"],
        exposure=plan.inputs["exposure"],
        experiments="E1",
        fdr=0.05,
        measure="phenotypic_activity",
        n_perturbations=1_000,
        n_tested=1_000,
        n_active=500,
    ),
    "leaderboard": lambda _: LeaderboardSummary(n_models=1, n_datasets=1, n_stale=0, n_comparisons=0, n_differences=0),
    "model_report": lambda _: ModelReportSummary(n_datasets=1, n_bytes=1),
}


def _made_up(name: str) -> str:
    """A fingerprint that is a function of a name."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]
