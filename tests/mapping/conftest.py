"""What a map is made from: wells, quality and site embeddings of simulated experiments."""

import numpy as np
import polars as pl
import pytest

from cellassets.mapping.affine import transform_wells
from cellassets.mapping.build import ExperimentInput
from cellassets.mapping.controls import BatchDesign
from cellassets.mapping.source import ArrayWells
from cellassets.synthetic.embeddings import SimulatedWells, simulate_wells
from cellassets.tables.parquet import vectors, with_vectors
from cellassets.tables.schemas import PERTURBATION_COLUMNS, QUALITY, SITE_EMBEDDINGS, WELLS

MODEL = "m.v1"
KEYS = ["experiment_id", "plate_id", "well_id"]


class SimulatedScreen:
    """Experiments of simulated wells with two sites each; the sites lie 1 to either side of their well's vector."""

    def __init__(self, **design):
        self.wells, self.known = simulate_wells(SimulatedWells(**design))

    def inputs(self, flagged=()):
        """Returns what a map needs of each experiment; `flagged` are sites (plate, well, number) of all of them."""
        parts = self.wells.sort("experiment_id", maintain_order=True).group_by("experiment_id", maintain_order=True)
        return [self._input(wells, flagged) for _, wells in parts]

    def _input(self, wells, flagged):
        sites = wells.select(KEYS).join(pl.DataFrame({"site_index": [1, 2]}), how="cross", maintain_order="left")
        is_flagged = [(row["plate_id"], row["well_id"], row["site_index"]) in flagged for row in sites.to_dicts()]
        quality = sites.with_columns(
            *(
                pl.lit(0.0).alias(name)
                for name in ("focus", "saturation_frac", "background", "illumination", "debris_frac")
            ),
            pl.lit(20).alias("n_nuclei"),
            pl.Series("is_flagged", is_flagged),
            pl.lit(None, pl.String).alias("flag_reason"),
        )
        values = np.repeat(vectors(wells), 2, axis=0) + np.tile([[1.0], [-1.0]], (wells.height, 1))
        embeddings = with_vectors(sites.with_columns(pl.lit(MODEL).alias("model_key")), values)
        labels = wells.select(*KEYS, "cell_type", *(column.name for column in PERTURBATION_COLUMNS))
        return ExperimentInput(
            SITE_EMBEDDINGS.conform(embeddings, source="test"),
            QUALITY.conform(quality, source="test"),
            WELLS.conform(labels, source="test").sort(KEYS),
        )

    def sites(self, experiment_id):
        """Returns plate, well and number of every site of an experiment."""
        wells = self.wells.filter(pl.col("experiment_id") == experiment_id).select("plate_id", "well_id")
        return {(*row, number) for row in wells.rows() for number in (1, 2)}


@pytest.fixture
def screen():
    """Returns the function that simulates a screen: `screen(seed=1)`."""
    return SimulatedScreen


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
