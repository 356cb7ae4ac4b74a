"""Stability: Jaccard similarities by hand, wells that stay where they belong, and no stability without replicates."""

import numpy as np
import polars as pl
import pytest

from cellassets.clustering.map_clusters import cluster_map
from cellassets.clustering.parameters import ClusterParameters
from cellassets.clustering.resampling import ReplicateWells
from cellassets.clustering.stability import best_jaccard
from cellassets.studies.simulated import simulate_map
from cellassets.synthetic.embeddings import SimulatedWells

PARAMETERS = ClusterParameters(resolutions=(5,), n_resamples=19)
DESIGN = SimulatedWells(n_complexes=12, genes_per_complex=5, n_lone_genes=20)


def test_jaccard_similarities_by_hand():
    """Cluster {0, 1, 2} shares two of three rows with {0, 1}; {3} shares one of three with {2, 3, 4}; {4} likewise."""
    found = best_jaccard(np.array([0, 0, 0, 1, 2]), np.array([0, 0, 1, 1, 1]))
    assert found == pytest.approx([2 / 3, 1 / 3, 1 / 3])
    assert best_jaccard(np.array([0, 1, 1]), np.array([1, 0, 0])) == pytest.approx([1.0, 1.0])


@pytest.fixture(scope="module")
def judged():
    return simulate_map(DESIGN.model_copy(update={"plate_share": (0.5, 1.0)}))


@pytest.fixture(scope="module")
def wells(judged):
    table = judged.map_table.filter(pl.col("control_kind").is_null())
    names = table["perturbation_id"].reverse().to_list()  # in another order than the wells' units
    return names, ReplicateWells(judged, names, "mean")


def units_of(judged, wells):
    return np.array(judged.units)[wells]


def test_resampled_wells_are_of_their_own_perturbation(judged, wells):
    names, replicates = wells
    drawn = replicates.resampled(replicates.all(), np.random.default_rng(0))
    assert units_of(judged, drawn).tolist() == np.repeat(names, replicates.n_wells).tolist()
    assert len(set(drawn)) < len(drawn)


def test_all_wells_give_the_map_again(judged, wells):
    names, replicates = wells
    table = judged.map_table.filter(pl.col("perturbation_id").is_in(names)).sort("perturbation_id", descending=True)
    np.testing.assert_allclose(replicates.map_of(replicates.all()), table["embedding"].to_numpy(), atol=1e-5)


def test_shuffled_wells_stay_on_their_plates(judged, wells):
    _, replicates = wells
    shuffled = replicates.shuffled(np.random.default_rng(0))
    assert judged.plate_index[shuffled].tolist() == judged.plate_index[replicates.all()].tolist()
    assert sorted(shuffled) == sorted(replicates.all())
    assert (units_of(judged, shuffled) != units_of(judged, replicates.all())).mean() > 0.9


def test_planted_complexes_are_found_again_more_often_than_shuffled_wells():
    (row,) = cluster_map(simulate_map(DESIGN.model_copy(update={"gene_effect": 3.0})), PARAMETERS).summary.resolutions
    assert row.p_value == 1 / 20
    assert row.adjusted_rand > row.null_adjusted_rand + 0.1
    assert row.stable_frac > 0.2


@pytest.mark.slow
def test_clusters_of_noise_are_found_again_as_often_as_those_of_shuffled_wells():
    """The index of the map is a mean over resamples and varies less than that of one map: small p-values are rare."""
    rows = [
        cluster_map(simulate_map(DESIGN.model_copy(update={"gene_effect": 0.0, "seed": seed})), PARAMETERS).summary
        for seed in range(12)
    ]
    found = pl.DataFrame([summary.resolutions[0].model_dump() for summary in rows])
    assert (found["p_value"] <= 0.05).sum() <= 2
    difference = (found["adjusted_rand"] - found["null_adjusted_rand"]).to_numpy()
    assert abs(difference.mean()) < 4 * difference.std(ddof=1) / np.sqrt(len(difference)) + 0.005
    assert found["stable_frac"].mean() <= 0.05
