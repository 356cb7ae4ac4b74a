"""From sites and wells to one row per perturbation."""

import numpy as np
import polars as pl
import pytest
from scipy.optimize import minimize

from cellassets.errors import AlignmentError
from cellassets.mapping.aggregate import AGGREGATIONS, aggregate_wells, geometric_median, unit_labels
from cellassets.mapping.medians import row_medians, stacked_medians
from cellassets.mapping.relate import cosine_similarities, nearest_perturbations
from cellassets.synthetic.embeddings import SimulatedWells, simulate_wells
from cellassets.tables.parquet import vectors, with_vectors

NAIVE = {
    "mean": lambda rows: rows.mean(axis=0),
    "median": lambda rows: np.median(rows, axis=0),
    "geometric_median": lambda rows: (
        minimize(lambda point: np.linalg.norm(rows - point, axis=1).sum(), rows.mean(axis=0), tol=1e-12).x
    ),
}


@pytest.mark.parametrize("method", sorted(AGGREGATIONS))
def test_groups_are_aggregated_as_a_loop_would(method):
    rng = np.random.default_rng(0)
    values, index = rng.standard_normal((40, 3)), rng.permutation(np.arange(40) % 7)
    found = AGGREGATIONS[method](values, index, 7)
    for group in range(7):
        np.testing.assert_allclose(found[group], NAIVE[method](values[index == group]), atol=1e-5)


def test_the_geometric_median_may_be_one_of_the_rows():
    rows = np.array([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    np.testing.assert_allclose(geometric_median(rows), [0, 0], atol=1e-9)
    np.testing.assert_allclose(geometric_median(np.array([[0.0], [1.0], [10.0]])), [1.0], atol=1e-6)
    np.testing.assert_array_equal(geometric_median(np.full((4, 2), 3.0)), [3.0, 3.0])
    np.testing.assert_array_equal(geometric_median(np.array([[5.0, 6.0]])), [5.0, 6.0])


@pytest.mark.parametrize("method", ["median", "geometric_median"])
def test_one_outlier_does_not_move_a_median_far(method):
    rng = np.random.default_rng(1)
    values = rng.standard_normal((9, 4))
    wild = values.copy()
    wild[0] = 1e6
    index = np.zeros(9, dtype=np.int64)
    moved = np.linalg.norm(AGGREGATIONS[method](wild, index, 1) - AGGREGATIONS[method](values, index, 1))
    assert moved < 2 < np.linalg.norm(AGGREGATIONS["mean"](wild, index, 1))


def test_the_geometric_median_turns_with_the_axes():
    rng = np.random.default_rng(2)
    rows, (turn, _) = rng.standard_normal((7, 3)), np.linalg.qr(rng.standard_normal((3, 3)))
    np.testing.assert_allclose(geometric_median(rows @ turn), geometric_median(rows) @ turn, atol=1e-6)


@pytest.fixture
def wells():
    """Wells with two guides per gene: the guides of every second plate are renamed."""
    wells, _ = simulate_wells(SimulatedWells(n_batches=2))
    guide = pl.when(pl.col("plate_id") == "Plate1").then("guide_id").otherwise(pl.col("guide_id") + "b")
    is_gene = pl.col("gene_symbol").is_not_null()
    renamed = pl.when(is_gene).then(guide).otherwise("perturbation_id")
    return wells.with_columns(guide.alias("guide_id"), renamed.alias("perturbation_id"))


def test_guides_of_a_gene_are_aggregated_together_or_separately(wells):
    together, _ = aggregate_wells(wells, vectors(wells), aggregate_by="gene", method="mean")
    apart, _ = aggregate_wells(wells, vectors(wells), aggregate_by="perturbation", method="mean")
    assert (together.height, apart.height) == (36 + 1, 72 + 1)
    row = together.filter(pl.col("perturbation_id") == "GENE003").row(0, named=True)
    assert (row["gene_symbol"], row["guide_id"], row["n_wells"], row["n_batches"]) == ("GENE003", None, 4, 2)
    row = apart.filter(pl.col("perturbation_id") == "GENE003_g1").row(0, named=True)
    assert (row["guide_id"], row["n_wells"], row["n_batches"]) == ("GENE003_g1", 2, 2)


def test_controls_keep_their_row_and_their_name(wells):
    units, values = aggregate_wells(wells, vectors(wells), aggregate_by="gene", method="mean")
    number = units["perturbation_id"].to_list().index("EMPTY")
    assert units["control_kind"][number] == "negative"
    is_control = (wells["control_kind"] == "negative").fill_null(value=False).to_numpy()
    np.testing.assert_allclose(values[number], vectors(wells)[is_control].astype(np.float64).mean(axis=0))


def test_rows_do_not_depend_on_the_order_of_the_wells(wells):
    order = np.random.default_rng(0).permutation(wells.height)
    first, values = aggregate_wells(wells, vectors(wells), aggregate_by="gene", method="mean")
    second, turned = aggregate_wells(wells[order], vectors(wells)[order], aggregate_by="gene", method="mean")
    assert first.equals(second)
    np.testing.assert_allclose(values, turned)


def test_one_name_for_a_gene_and_a_control_is_refused(wells):
    wells = wells.with_columns(
        pl.when(pl.col("perturbation_id") == "EMPTY")
        .then(pl.lit("GENE003"))
        .otherwise("perturbation_id")
        .alias("perturbation_id")
    )
    with pytest.raises(AlignmentError, match=r"GENE003.*one name for several kinds"):
        aggregate_wells(wells, vectors(wells), aggregate_by="gene", method="mean")


def test_one_name_for_two_concentrations_is_refused(wells):
    """Each experiment may hold one of them."""
    name = wells["perturbation_id"][0]
    doses = pl.when(pl.col("perturbation_id") == name).then(pl.int_range(pl.len()).cast(pl.Float64))
    wells = wells.with_columns(doses.alias("concentration_um"))
    with pytest.raises(AlignmentError, match=rf"^{name}: one name for the concentrations \[0.0, "):
        aggregate_wells(wells, vectors(wells), aggregate_by="perturbation", method="mean")


def test_compounds_keep_their_dose_when_guides_are_joined(wells):
    wells = wells.with_columns(perturbation_kind=pl.lit("compound"), control_kind=pl.lit(None, pl.String))
    assert unit_labels(wells, "gene") == wells["perturbation_id"].to_list()


def test_cosines_and_neighbours_are_those_of_a_loop():
    values = np.array([[1.0, 0.0], [2.0, 0.1], [-3.0, 0.0], [0.0, 0.0]])
    found = cosine_similarities(values)
    assert found[0, 1] == pytest.approx(2 / np.hypot(2, 0.1))
    assert (found[0, 2], found[0, 3], found[3, 3]) == (-1.0, 0.0, 0.0)
    table = with_vectors(pl.DataFrame({"perturbation_id": list("abcd")}), values)
    assert nearest_perturbations(table, "a")["perturbation_id"].to_list() == ["b", "d", "c"]


@pytest.mark.parametrize("n_rows", [1, 2, 5, 8])
def test_medians_by_selection_are_numpys(n_rows):
    values = np.random.default_rng(n_rows).standard_normal((4, n_rows))
    np.testing.assert_allclose(row_medians(values), np.median(values, axis=1))
    np.testing.assert_allclose(stacked_medians(values.T[None]), np.median(values, axis=1)[None])
