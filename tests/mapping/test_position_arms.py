"""Effects of plate positions and chromosome arms: removed where planted, refused where unknown."""

import numpy as np
import polars as pl
import pytest

from cellassets.errors import AlignmentError
from cellassets.mapping.aggregate import aggregate_wells
from cellassets.mapping.build import MapParameters, align_wells
from cellassets.mapping.controls import BatchDesign, batch_design
from cellassets.mapping.places import gene_arms_of_wells, one_place_frac, well_places
from cellassets.mapping.relate import cosine_similarities
from cellassets.mapping.steps import ChromosomeArm, WellPosition
from cellassets.synthetic.embeddings import SimulatedWells, simulate_wells

WELLS_384 = [f"{chr(ord('A') + row)}{column + 1:02d}" for row in range(16) for column in range(24)]


def plates(n_plates=2, names=WELLS_384):
    table = pl.DataFrame({"experiment_id": "E-1", "well_id": names})
    return pl.concat([table.with_columns(pl.lit(f"P{plate}").alias("plate_id")) for plate in range(n_plates)])


def design_of(table):
    nothing = np.zeros(table.height, dtype=int)
    return BatchDesign(("a",), nothing, np.ones(table.height, dtype=bool), well_places(table))


def test_places_are_rows_columns_and_the_ring_of_the_smallest_plate_that_holds_them():
    places = well_places(pl.DataFrame({"experiment_id": "E", "plate_id": "1", "well_id": ["A01", "B02", "H12", "G03"]}))
    assert (places.row.tolist(), places.column.tolist()) == ([0, 1, 7, 6], [0, 1, 11, 2])
    assert places.is_outer.tolist() == [True, False, True, False]
    inner = well_places(pl.DataFrame({"experiment_id": "E", "plate_id": "1", "well_id": ["B02", "O23", "AF48"]}))
    assert inner.is_outer.tolist() == [False, False, True]


def test_gradients_and_edges_are_removed_and_the_content_of_wells_stays():
    table = plates()
    design, rng = design_of(table), np.random.default_rng(0)
    row, column = design.places.row[:, None], design.places.column[:, None]
    own = rng.standard_normal((table.height, 3))
    plate = np.array([1.0, -2.0])[design.places.plate_index][:, None]
    nuisance = plate * (0.3 * row + 0.02 * column**2 - 0.01 * row * column) + 4.0 * design.places.is_outer[:, None]
    found = WellPosition().apply(own + nuisance, design)
    assert np.corrcoef(own[:, 0] + nuisance[:, 0], own[:, 0])[0, 1] < 0.6
    for plate_number in range(2):
        rows = design.places.plate_index == plate_number
        for feature in range(3):
            assert np.corrcoef(found[rows, feature], own[rows, feature])[0, 1] > 0.98


def test_the_fit_is_least_squares_on_each_plate_and_keeps_its_mean():
    table = plates()
    design, values = design_of(table), np.random.default_rng(1).standard_normal((768, 2)) + 5.0
    found = WellPosition().apply(values, design)
    for plate in range(2):
        rows = design.places.plate_index == plate
        y, x = design.places.row[rows].astype(float), design.places.column[rows].astype(float)
        model = np.stack([np.ones(384), y, x, y * y, x * x, y * x, design.places.is_outer[rows]], axis=1)
        residual = values[rows] - model @ np.linalg.lstsq(model, values[rows], rcond=None)[0]
        np.testing.assert_allclose(found[rows], residual + values[rows].mean(axis=0), atol=1e-8)


def test_plates_with_few_wells_or_unknown_places_are_refused(batches):
    table = plates(1, WELLS_384[:20])
    with pytest.raises(AlignmentError, match="too few wells on a plate: E-1/P0 has 20; each needs min_wells = 70"):
        WellPosition().apply(np.zeros((20, 2)), design_of(table))
    with pytest.raises(AlignmentError, match="needs the plate, row and column of every well"):
        WellPosition().apply(*batches)


def arm_table(n_genes=36, n_arms=2):
    genes = [f"GENE{number:03d}" for number in range(n_genes)]
    arms = [f"{1 + number % n_arms}q" for number in range(n_genes)]
    return pl.DataFrame({"gene_symbol": genes, "chromosome_arm": arms})


def biased_wells(strength=6.0):
    """Simulated wells without batch effects, and vectors with a planted direction per chromosome arm."""
    wells, _ = simulate_wells(SimulatedWells(batch_effect=0.0, plate_effect=0.0, n_complexes=0, n_lone_genes=36))
    design = batch_design(wells, np.zeros(wells.height, dtype=bool), gene_arms=arm_table())
    rng = np.random.default_rng(0)
    arms = np.concatenate([strength * rng.standard_normal((2, 24)) / np.sqrt(24), np.zeros((1, 24))])
    values = wells["embedding"].to_numpy().astype(np.float64)
    return wells, values + arms[design.arms.arm_index], design


def within_and_between(wells, values):
    units, vectors = aggregate_wells(wells, values, aggregate_by="gene", method="mean")
    is_gene = units["gene_symbol"].is_not_null().to_numpy()
    cosines = cosine_similarities(vectors[is_gene])
    arm = np.arange(36) % 2
    same = (arm[:, None] == arm) & ~np.eye(36, dtype=bool)
    return cosines[same].mean(), cosines[arm[:, None] != arm].mean()


def test_planted_proximity_bias_is_taken_out():
    wells, values, design = biased_wells()
    before, _ = within_and_between(wells, values)
    after, between = within_and_between(wells, ChromosomeArm(min_genes=10).apply(values, design))
    assert before > 0.7
    assert after == pytest.approx(-1 / 17, abs=0.01)  # 18 genes an arm, each in its own mean
    assert abs(between) < 0.05


def test_controls_and_small_arms_stay_as_they_are():
    wells, values, design = biased_wells()
    is_control = design.arms.gene_index < 0
    found = ChromosomeArm(min_genes=17).apply(values, design)
    np.testing.assert_array_equal(found[is_control], values[is_control])
    with pytest.raises(AlignmentError, match=r"no arm has more than 18 genes to fit on \(the largest has 18\)"):
        ChromosomeArm(min_genes=18).apply(values, design)
    assert wells.height == len(found)


def test_leaving_a_gene_out_of_its_own_mean_changes_lengths_and_no_cosine():
    profiles = np.random.default_rng(0).standard_normal((5, 4))
    together = profiles - profiles.mean(axis=0)
    apart = [profiles[i] - np.delete(profiles, i, axis=0).mean(axis=0) for i in range(5)]
    np.testing.assert_allclose(apart, together * 5 / 4)


def test_arms_may_be_fitted_on_genes_that_are_not_expressed():
    wells, values, _ = biased_wells()
    expressed = arm_table().with_columns(is_expressed=pl.int_range(pl.len()) < 12)
    design = batch_design(wells, np.zeros(wells.height, dtype=bool), gene_arms=expressed)
    found = ChromosomeArm(min_genes=5, fit_on="unexpressed").apply(values, design)
    gene, first = design.arms.gene_index, values[design.arms.gene_index == 0]
    profiles = [values[gene == g].mean(axis=0) for g in range(12, 36, 2)]
    np.testing.assert_allclose(found[gene == 0], first - np.mean(profiles, axis=0), atol=1e-9)
    plain = batch_design(wells, np.zeros(wells.height, dtype=bool), gene_arms=arm_table())
    with pytest.raises(AlignmentError, match="add a column is_expressed"):
        ChromosomeArm(fit_on="unexpressed").apply(values, plain)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pl.DataFrame({"gene_symbol": ["GENE001"]}), r"found the columns \['gene_symbol'\].*add \['chromosome_arm'\]"),
        (pl.DataFrame({"gene_symbol": ["x"], "chromosome_arm": ["1p"]}), "it has none of the genes of the wells"),
        (
            pl.DataFrame({"gene_symbol": ["x", "x"], "chromosome_arm": ["1p", "2p"]}),
            r"genes \['x'\] have several different rows",
        ),
    ],
)
def test_tables_of_arms_that_do_not_fit_are_refused(table, message):
    wells, _ = simulate_wells(SimulatedWells())
    with pytest.raises(AlignmentError, match=message):
        gene_arms_of_wells(wells, table)


def test_a_step_without_gene_arms_says_what_to_pass():
    wells, _ = simulate_wells(SimulatedWells())
    parameters = MapParameters.model_validate({"steps": [{"kind": "chromosome_arm"}]})
    with pytest.raises(AlignmentError, match=r"pass gene_arms, .*annotations/gene_arms\.csv"):
        align_wells(wells, np.zeros(wells.height, dtype=bool), parameters)


def test_replicates_in_one_place_are_counted():
    rows = [
        ("same", "A01", None), ("same", "A01", None), ("moved", "A02", None), ("moved", "A03", None),
        ("once", "A04", None), ("control", "A05", "negative"), ("control", "A05", "negative"),
    ]  # fmt: skip
    table = pl.DataFrame(rows, schema=["perturbation_id", "well_id", "control_kind"], orient="row")
    assert one_place_frac(table) == 0.5
    assert one_place_frac(table.filter(pl.col("perturbation_id") == "once")) == 0.0
    fixed = SimulatedWells(n_batches=2, position_effect=1.0)
    assert one_place_frac(simulate_wells(fixed)[0]) == 1.0
