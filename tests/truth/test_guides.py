"""Effects of single guides do not make a gene effect, and a gene effect is found among them.

Three guides per gene; batches differ by six and plates by three standard deviations of a well's noise.
"""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom

from cellassets.benchmarks.judged import judged_map
from cellassets.studies.simulated import SIMULATED_MAP, annotations_of, map_wells
from cellassets.synthetic.embeddings import SimulatedWells, simulate_wells
from cellassets.tables.parquet import vectors, with_vectors

N_SCREENS = 100
DESIGN = {"n_complexes": 6, "n_lone_genes": 6, "n_guides_per_gene": 3, "n_batches": 4, "n_plates_per_batch": 1}
NUISANCES = {"batch_effect": 6.0, "plate_effect": 3.0, "n_controls_per_plate": 16, "n_features": 20}
UNEVEN = {"plate_share": (0.5, 1.0), "n_plates_per_batch": 2}


def screen(seed, *, guide_effect=3.0, gene_effect=0.0, **design):
    """A map by gene in which every guide also moves its wells in a direction of its own."""
    chosen = {"seed": seed, "gene_effect": gene_effect, **DESIGN, **NUISANCES, **design}
    wells, known = simulate_wells(SimulatedWells(**chosen))
    values = vectors(wells).astype(np.float64)
    guides = wells["guide_id"].drop_nulls().unique().sort().to_list()
    drawn = np.random.default_rng(seed + 90_000).standard_normal((len(guides), values.shape[1]))
    moved = dict(zip(guides, guide_effect * drawn / np.linalg.norm(drawn, axis=1, keepdims=True), strict=True))
    values += np.array([moved.get(guide, np.zeros(values.shape[1])) for guide in wells["guide_id"].to_list()])
    aligned, map_table = map_wells(with_vectors(wells, values))
    return judged_map(aligned, map_table, parameters=SIMULATED_MAP, annotations=annotations_of(known))


def as_one_guide(judged):
    """The map as if all wells of a gene were of one guide."""
    unit = pl.Series("perturbation_id", judged.units)
    return replace(judged, wells=judged.wells.with_columns(unit))


@pytest.mark.slow
@pytest.mark.parametrize("design", [{}, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize("name", ["perturbation_consistency", "phenotypic_consistency", "known_relationships"])
def test_effects_of_guides_alone_are_not_taken_for_those_of_genes(n_of, score_by, headline_of, name, design):
    n_screens = n_of(N_SCREENS, 0.15)
    p_values = [headline_of(name, score_by(name, screen(seed, **design), seed)).p_value for seed in range(n_screens)]
    assert (np.array(p_values) <= 0.05).sum() <= binom.ppf(0.995, n_screens, 0.05)


@pytest.mark.slow
def test_genes_with_one_guide_among_genes_with_several_do_not_make_the_headline_significant(
    n_of, score_by, headline_of
):
    """A quarter of the genes keep one guide of three: their wells agree, whatever the gene does."""
    name, n_screens = "perturbation_consistency", n_of(N_SCREENS, 0.15)
    scored = [score_by(name, with_one_guide(screen(seed)), seed) for seed in range(n_screens)]
    p_values = [headline_of(name, rows).p_value for rows in scored]
    assert (np.array(p_values) <= 0.05).sum() <= binom.ppf(0.995, n_screens, 0.05)
    (apart,) = [row for row in scored[0] if row.level == "summary" and row.metric == "one_guide_percentile"]
    assert apart.p_value == 0.01
    assert apart.n_units == 6


def with_one_guide(judged):
    """The map without the second and third guide of every fourth gene."""
    genes = sorted({name for name in judged.wells["gene_symbol"].to_list() if name is not None})[::4]
    guides = judged.wells.filter(pl.col("gene_symbol").is_in(genes))["guide_id"].unique()
    first = (
        judged.wells.filter(pl.col("gene_symbol").is_in(genes)).group_by("gene_symbol").agg(pl.col("guide_id").min())
    )
    gone = set(guides.to_list()) - set(first["guide_id"].to_list())
    is_kept = np.array([guide not in gone for guide in judged.wells["guide_id"].to_list()])
    return judged.with_wells(np.flatnonzero(is_kept))


def test_wells_of_one_guide_counted_as_replicates_would_make_every_screen_significant(score_by, headline_of):
    name = "perturbation_consistency"
    p_values = [headline_of(name, score_by(name, as_one_guide(screen(seed)), seed)).p_value for seed in range(8)]
    assert max(p_values) == 0.01


@pytest.mark.parametrize("seed", range(3))
def test_a_gene_effect_is_found_among_effects_of_guides(score_by, headline_of, seed):
    found = score_by("perturbation_consistency", screen(seed, gene_effect=2.0), seed)
    assert headline_of("perturbation_consistency", found).p_value == 0.01


@pytest.mark.parametrize("name", ["perturbation_consistency", "perturbation_magnitude", "phenotypic_activity"])
def test_a_guide_that_acts_is_found_where_guides_are_the_units(score_by, headline_of, name):
    rows = score_by(name, screen(0), 0, unit="perturbation")
    headline = headline_of(name, rows)
    assert headline.p_value == 0.01
    assert headline.n_units == 72
