"""Simulated wells taken through the real alignment to what a benchmark looks at."""

import json
from pathlib import Path

import polars as pl
import pytest

from cellassets.benchmarks.judged import judged_map
from cellassets.benchmarks.published import efaar_map, groups
from cellassets.knowledge.annotations import Annotations
from cellassets.studies.simulated import SIMULATED_MAP, annotations_of, map_wells, simulate_map
from cellassets.synthetic.embeddings import SimulatedWells, simulate_wells


@pytest.fixture
def judge():
    """Returns the function that makes a JudgedMap of a simulation."""

    def judge(*, annotations=None, is_aligned=True, n_other_maps=0, **design):
        chosen = SimulatedWells(**design)
        if is_aligned and annotations is None:
            return simulate_map(chosen, n_other_maps=n_other_maps)
        wells, known = simulate_wells(chosen)
        parameters = SIMULATED_MAP if is_aligned else SIMULATED_MAP.model_copy(update={"steps": ()})
        aligned, map_table = map_wells(wells, parameters)
        found = annotations_of(known) if annotations is None else Annotations(**annotations)
        return judged_map(aligned, map_table, parameters=parameters, annotations=found)

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
        monkeypatch.setattr(efaar_map, "MAX_KEPT_GENES", 0)
        monkeypatch.setattr(groups, "GROUP_ROWS", 7)
