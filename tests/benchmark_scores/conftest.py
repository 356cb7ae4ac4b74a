"""Simulated wells taken through the real alignment to what a benchmark looks at."""

import json
from pathlib import Path

import polars as pl
import pytest

from cellassets.mapping.aggregate import aggregate_wells
from cellassets.mapping.build import MapParameters, align_wells, map_held_out_controls
from cellassets.scoring.published import efaar_map, groups
from cellassets.scoring.run import judged_map
from cellassets.synthetic.embeddings import SimulatedWells, simulate_wells
from cellassets.tables.parquet import with_vectors

STEPS = ({"kind": "pca", "n_components": 16}, {"kind": "centre_scale"}, {"kind": "tvn"})
PARAMETERS = MapParameters.model_validate({"steps": STEPS, "n_judged_wells": 10})


@pytest.fixture
def judge():
    """Returns the function that makes a JudgedMap of a simulation."""

    def judge(*, known_pairs=None, is_aligned=True, **design):
        wells, pairs = simulate_wells(SimulatedWells(**design))
        if is_aligned:
            aligned, _ = align_wells(wells, map_held_out_controls(wells, PARAMETERS), PARAMETERS)
            wells = with_vectors(wells, aligned)
        units, unit_vectors = aggregate_wells(wells, wells["embedding"].to_numpy(), aggregate_by="gene", method="mean")
        labels = units.with_columns(pl.lit("SIM").alias("dataset_id"), pl.lit("m.v1").alias("model_key"))
        known = {"planted": pairs} if known_pairs is None else known_pairs
        return judged_map(wells, with_vectors(labels, unit_vectors), parameters=PARAMETERS, known_pairs=known)

    return judge


DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def published_table():
    """Returns the function that reads one input of the published statistics and its vectors."""

    def read(name):
        table = pl.read_csv(DATA / f"published_{name}.csv", schema_overrides={"activity_nm": pl.Float64})
        vectors = table.select(column for column in ("f1", "f2", "f3", "f4") if column in table.columns)
        return table, vectors.to_numpy()

    return read


@pytest.fixture(scope="session")
def published_expected():
    """Returns what the plain loops of data/derive_published.py made of those inputs."""
    return json.loads((DATA / "published_expected.json").read_text())


@pytest.fixture(params=["whole", "blocks"])
def _any_block_size(request, monkeypatch):
    """Runs a test as it is, and again with blocks of a few pairs."""
    if request.param == "blocks":
        monkeypatch.setattr(groups, "BLOCK_VALUES", 40)
        monkeypatch.setattr(efaar_map, "BLOCK_VALUES", 40)
        monkeypatch.setattr(groups, "GROUP_ROWS", 7)
