"""A lake with scored maps of three models on simulated wells: one sees the biology well, one worse, one not at all."""

import polars as pl
import pytest
from upath import UPath

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.benchmarks.run import score_map
from cellassets.judging.leaderboard import build_leaderboard
from cellassets.mapping.aggregate import aggregate_wells
from cellassets.mapping.build import MapParameters, align_wells, map_held_out_controls
from cellassets.mapping.dataset import Dataset
from cellassets.registry import ModelEntry, Registry
from cellassets.storage.artifact import Plan
from cellassets.storage.lake import Lake
from cellassets.synthetic.embeddings import SimulatedWells, simulate_wells
from cellassets.tables.parquet import vectors, with_vectors, write_table
from cellassets.tables.schemas import BATCH_EFFECT, PERTURBATION_MAP, WELL_EMBEDDINGS, WELLS

PARAMETERS = MapParameters.model_validate(
    {"steps": ({"kind": "pca", "n_components": 16}, {"kind": "centre_scale"}), "n_judged_wells": 100}
)
DATASET = Dataset(dataset_id="SIM", cell_types=("SIM",))
DESIGN = SimulatedWells(n_complexes=6, n_lone_genes=10)
EFFECTS = {"good.v1": 4.0, "fair.v1": 1.6, "blind.v1": 0.0}


class Models(Registry):
    """A registry of the models above."""

    def find(self, key):
        name, _ = key.split(".v")
        tags = {"kind": "network", "recipe_name": name, "code_version": "0.1"}
        return ModelEntry(
            key=key, name=name, version=1, kind="network", fingerprint=f"fp-{name}", aliases=("candidate",),
            created_at_ms=0, tags=tags, run_id="run-1",
        )  # fmt: skip


def land(lake, wells):
    """Publishes the manifests of the simulated experiments, as raw_plates would."""
    for (experiment_id,), rows in wells.group_by("experiment_id", maintain_order=True):
        artifact, plan = lake.raw_plates(experiment_id), Plan("raw_plates", {"of": experiment_id, "n": rows.height})
        write_table(rows.select(WELLS.names), artifact.folder(plan.fingerprint) / "wells.parquet", WELLS)
        artifact.publish(plan, ["wells.parquet"], {"cell_types": ["SIM"]})


def map_wells(lake, model_key, wells):
    """Publishes a map of simulated wells, as perturbation_map would."""
    aligned, batch_effect = align_wells(wells, map_held_out_controls(wells, PARAMETERS), PARAMETERS)
    units, unit_vectors = aggregate_wells(wells, aligned, aggregate_by="gene", method="mean")
    labels = units.with_columns(pl.lit("SIM").alias("dataset_id"), pl.lit(model_key).alias("model_key"))
    artifact = lake.perturbation_map("SIM", model_key)
    plan = Plan(
        "perturbation_map",
        {
            "model_key": model_key,
            "site_embeddings": dict.fromkeys(wells["experiment_id"].unique(), f"sum {vectors(wells).sum()}"),
            "dataset_fingerprint": "wells-1",
            "parameters": PARAMETERS.model_dump(mode="json"),
        },
    )
    tables = {
        "map.parquet": (with_vectors(labels, unit_vectors), PERTURBATION_MAP),
        "wells.parquet": (with_vectors(wells, aligned), WELL_EMBEDDINGS),
        "batch_effect.parquet": (batch_effect, BATCH_EFFECT),
    }
    for file, (table, schema) in tables.items():
        write_table(table, artifact.folder(plan.fingerprint) / file, schema)
    artifact.publish(plan, list(tables), {"n_perturbations": units.height, "n_batches": 3, "cell_types": ["SIM"]})


def score(lake, model_key, benchmarks=tuple(BENCHMARKS)):
    for name in benchmarks:
        parameters = BENCHMARKS[name].parameters(n_permutations=199)
        score_map(lake, name, DATASET, model_key=model_key, parameters=parameters)


def as_published(lake):
    """Protocols by which every score would be taken as it was."""
    return lambda *names: lake.scores(*names).record().inputs["protocol_fingerprint"]


@pytest.fixture
def protocols_of():
    """Returns the function that says how a lake's scores were taken."""
    return as_published


@pytest.fixture(scope="session")
def models():
    return Models("sqlite:///unused.db", "unused")


@pytest.fixture(scope="session")
def scored_lake(tmp_path_factory):
    lake = Lake(UPath(tmp_path_factory.mktemp("scored")))
    _, known = simulate_wells(DESIGN)
    lake.annotations.mkdir(parents=True)
    known.pairs.write_csv(str(lake.annotations / "planted.csv"))
    for model_key, effect in EFFECTS.items():
        wells, _ = simulate_wells(DESIGN.model_copy(update={"gene_effect": effect}))
        map_wells(lake, model_key, wells)
        score(lake, model_key)
    land(lake, wells)
    build_leaderboard(lake, as_published(lake))
    return lake


@pytest.fixture
def add_model():
    """Returns the function that maps simulated wells by one more model and scores them by some benchmarks."""

    def add_model(lake, model_key, *, benchmarks):
        wells, _ = simulate_wells(DESIGN.model_copy(update={"gene_effect": 2.0}))
        map_wells(lake, model_key, wells)
        score(lake, model_key, benchmarks)

    return add_model


@pytest.fixture
def dataset():
    return DATASET
