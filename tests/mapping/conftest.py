"""A lake with what a map is made from: manifests, quality and site embeddings of simulated experiments."""

import numpy as np
import polars as pl
import pytest
from upath import UPath

from cellassets.mapping.affine import transform_wells
from cellassets.mapping.controls import BatchDesign
from cellassets.mapping.source import ArrayWells
from cellassets.storage.artifact import Plan
from cellassets.storage.lake import Lake
from cellassets.synthetic.embeddings import SimulatedWells, simulate_wells
from cellassets.tables.parquet import vectors, with_vectors, write_table
from cellassets.tables.schemas import PERTURBATION_COLUMNS, QUALITY, SITE_EMBEDDINGS, WELLS

MODEL = "m.v1"
KEYS = ["experiment_id", "plate_id", "well_id"]


def publish(artifact, kind, tables, summary=None, **inputs):
    """Publishes tables as an artefact: name to (table, schema)."""
    plan = Plan(kind, inputs)
    for name, (table, schema) in tables.items():
        write_table(table, artifact.folder(plan.fingerprint) / name, schema)
    return artifact.publish(plan, list(tables), summary or {})


class SimulatedLake:
    """Experiments of simulated wells with two sites each; the sites lie 1 to either side of their well's vector."""

    def __init__(self, root, **design):
        self.lake = Lake(UPath(root))
        self.wells, self.known = simulate_wells(SimulatedWells(**design))
        for (experiment_id,), wells in self.wells.group_by("experiment_id", maintain_order=True):
            self.land(str(experiment_id), wells)
            self.judge_quality(str(experiment_id), flagged=())
            self.embed(str(experiment_id), wells)

    def land(self, experiment_id, wells, generation=0):
        columns = [*KEYS, "cell_type", *(column.name for column in PERTURBATION_COLUMNS)]
        summary = {"cell_types": sorted(set(wells["cell_type"].to_list()))}
        tables = {"wells.parquet": (wells.select(columns), WELLS)}
        publish(self.lake.raw_plates(experiment_id), "raw_plates", tables, summary, generation=generation)

    def judge_quality(self, experiment_id, flagged):
        sites = self.sites(experiment_id)
        is_flagged = [(row["plate_id"], row["well_id"], row["site_index"]) in flagged for row in sites.to_dicts()]
        table = sites.with_columns(
            *(pl.lit(0.0).alias(name) for name in ("focus", "saturation_frac", "background", "illumination")),
            pl.lit(20).alias("n_nuclei"),
            pl.Series("is_flagged", is_flagged),
            pl.lit(None, pl.String).alias("flag_reason"),
        )
        tables = {"quality.parquet": (table, QUALITY)}
        publish(self.lake.plate_quality(experiment_id), "plate_quality", tables, flagged=sorted(map(list, flagged)))

    def embed(self, experiment_id, wells, model_key=MODEL):
        sites = self.sites(experiment_id).with_columns(pl.lit(model_key).alias("model_key"))
        values = np.repeat(vectors(wells), 2, axis=0) + np.tile([[1.0], [-1.0]], (wells.height, 1))
        table = with_vectors(sites, values)
        half = table.height // 2
        tables = {
            "part-00000.parquet": (table[:half], SITE_EMBEDDINGS),
            "part-00001.parquet": (table[half:], SITE_EMBEDDINGS),
        }
        publish(self.lake.site_embeddings(experiment_id, model_key), "site_embeddings", tables)

    def sites(self, experiment_id):
        wells = self.wells.filter(pl.col("experiment_id") == experiment_id).select(KEYS)
        return wells.join(pl.DataFrame({"site_index": [1, 2]}), how="cross", maintain_order="left")


@pytest.fixture
def simulate(tmp_path):
    def simulate(**design):
        return SimulatedLake(tmp_path / "lake", **design)

    return simulate


def applied(fit, values, *args, **options):
    """Values after the map that `fit` makes of them."""
    source = ArrayWells(values)
    fitted = fit(source, *args, **options)
    return transform_wells(source, fitted if isinstance(fitted, tuple) else (fitted,))


@pytest.fixture
def apply():
    return applied


@pytest.fixture
def batches():
    """Wells of three unlike batches, the first forty of each controls: vectors and design."""
    rng = np.random.default_rng(0)
    parts = [
        (rng.standard_normal((100, 6)) @ rng.standard_normal((6, 6))) * scale + rng.standard_normal(6) * 10
        for scale in (0.5, 1.0, 3.0)
    ]
    index = np.repeat(np.arange(3), 100)
    return np.concatenate(parts), BatchDesign(("a", "b", "c"), index, np.tile(np.arange(100) < 40, 3))
