"""Positive controls, matching of compounds and genes, and RxRx3-core's targets: published values, refusals."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cellassets.benchmarks.judged import judged_map
from cellassets.benchmarks.map_compounds import map_compounds
from cellassets.benchmarks.published.efaar_map import relationship_recall
from cellassets.benchmarks.published.rxrx import compound_gene_retrieval, ranking_metrics
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.benchmarks.rxrx3.rxrx3_core_targets import retrieval_of_first
from cellassets.errors import BenchmarkError, NotApplicable
from cellassets.knowledge.annotations import Annotations
from cellassets.mapping.aggregate import aggregate_wells
from cellassets.mapping.build import MapParameters
from cellassets.tables.parquet import vectors, with_vectors
from cellassets.tables.schemas import PERTURBATION_COLUMNS

COMPOUNDS = {"n_batches": 2, "n_compounds": 24, "n_doses": 2, "n_positive_controls": 3}
MEASURES = ("compound_gene_matching", "positive_controls", "rxrx3_core_targets")


def score(name, judged, **parameters):
    chosen = BENCHMARKS[name]
    return chosen.score(judged, chosen.parameters(**{"n_permutations": 99, **parameters}))


def summaries(name, judged, **parameters):
    return {row.metric: row for row in score(name, judged, **parameters) if row.level == "summary"}


def unit_values(rows, metric):
    return {row.perturbation_id: row.value for row in rows if row.level == "perturbation" and row.metric == metric}


@pytest.fixture
def published_map(published_table):
    """Genes, compounds and activities of the published tables as a map with one well for each row."""
    genes, gene_vectors = published_table("genes")
    compounds, compound_vectors = published_table("compounds")
    activities, _ = published_table("activities")
    named = pl.concat(
        [
            genes.select(perturbation_id="gene", gene_symbol="gene", perturbation_kind=pl.lit("gene")),
            compounds.select(
                "compound_id",
                "concentration_um",
                perturbation_id=pl.format("{}@{}uM", "compound_id", "concentration_um"),
                perturbation_kind=pl.lit("compound"),
            ),
        ],
        how="diagonal",
    )
    missing = {column.name: column.dtype for column in PERTURBATION_COLUMNS if column.name not in named.columns}
    wells = named.with_columns(*(pl.lit(None, dtype).alias(name) for name, dtype in missing.items())).with_columns(
        experiment_id=pl.lit("E"), plate_id=pl.lit("P"), batch_id=pl.lit("E"), cell_type=pl.lit("T"),
        well_id=pl.format("W{}", pl.int_range(pl.len())), n_sites=pl.lit(1),
    )  # fmt: skip
    values = np.concatenate([gene_vectors, compound_vectors])
    table, means = aggregate_wells(wells, values, aggregate_by="gene", method="mean")
    targets = activities.select("compound_id", "gene_symbol").unique()
    return judged_map(
        with_vectors(wells, values),
        with_vectors(table, means),
        parameters=MapParameters(),
        annotations=Annotations(targets={"published": targets}),
    )


@pytest.mark.parametrize("name", MEASURES)
def test_a_planted_effect_is_found_and_the_same_screen_with_shuffled_labels_is_not(judge, name):
    metric = BENCHMARKS[name].headline_metric
    planted = {"gene_effect": 4.0, "compound_effect": 6.0, **COMPOUNDS}
    found = summaries(name, judge(seed=1, **planted))[metric]
    assert found.p_value == 0.01
    assert found.interval_low > found.null_high
    shuffled = [judge(seed=seed, is_shuffled=True, **planted) for seed in range(5)]
    assert np.median([summaries(name, one)[metric].p_value for one in shuffled]) > 0.05


# --- JUMP-CP


def test_a_gene_finds_its_compounds_as_precisely_as_published(published_map, published_expected):
    found = unit_values(score("compound_gene_matching", published_map), "gene_average_precision")
    expected = published_expected["gene_compounds"]
    assert found.keys() == expected.keys()
    np.testing.assert_allclose([found[name] for name in expected], list(expected.values()), atol=1e-9)


def test_a_pair_matches_above_the_95th_percentile_of_all_pairs(published_map):
    rows = score("compound_gene_matching", published_map)
    compounds = map_compounds(published_map)
    table = published_map.map_table.filter(pl.col("perturbation_kind") == "gene")
    genes = [name.partition("|")[2] for name in unit_values(rows, "pair_matched")]
    kept = table.filter(pl.col("gene_symbol").is_in(genes)).sort("gene_symbol")
    best = compounds.largest(compounds.similarities(vectors(kept)))
    place = {name: number for number, name in enumerate(kept["gene_symbol"])}
    for name, value in unit_values(rows, "pair_matched").items():
        compound, _, gene = name.partition("|")
        assert value == (best[compounds.names.index(compound), place[gene]] > np.quantile(best, 0.95))


def test_the_opposite_of_a_knock_out_matches_too(judge):
    judged = judge(seed=1, gene_effect=4.0, compound_effect=6.0, **COMPOUNDS)
    is_compound = (judged.map_table["perturbation_kind"] == "compound").to_numpy()
    turned = np.where(is_compound[:, None], -1, 1) * vectors(judged.map_table)
    opposite = replace(judged, map_table=with_vectors(judged.map_table, turned))
    assert score("compound_gene_matching", opposite) == score("compound_gene_matching", judged)


def test_positive_controls_are_scored_as_the_only_treated_wells(judge):
    judged = judge(seed=1, compound_effect=6.0, **COMPOUNDS)
    rows = score("positive_controls", judged)
    assert set(unit_values(rows, "mean_average_precision")) == {"POSITIVE00", "POSITIVE01", "POSITIVE02"}
    is_positive = (judged.wells["control_kind"] == "positive").fill_null(value=False).to_numpy()
    assert rows == score("phenotypic_activity", replace(judged, is_treatment=is_positive))


def test_positive_controls_without_negative_ones_are_refused_by_name(judge):
    judged = judge(seed=1, **COMPOUNDS)
    bare = replace(judged, is_held_out_control=np.zeros(len(judged.units), dtype=bool))
    with pytest.raises(BenchmarkError, match="positive_controls: the positive controls cannot be compared with"):
        score("positive_controls", bare)


def test_a_screen_without_positive_controls_has_no_score_and_says_so(judge):
    with pytest.raises(NotApplicable, match="0 wells of 0 positive controls, and none has two wells"):
        score("positive_controls", judge(seed=1))


# --- RxRx3-core


def test_targets_are_found_as_precisely_as_the_published_function_finds_them(judge):
    judged = judge(seed=3, **{**COMPOUNDS, "n_compounds": 30})
    genes = judged.map_table.filter((pl.col("perturbation_kind") == "gene") & pl.col("control_kind").is_null())
    compounds = judged.map_table.filter(pl.col("concentration_um").is_not_null())
    published = compound_gene_retrieval(
        (vectors(compounds), compounds.select("compound_id", "concentration_um")),
        (vectors(genes), genes["gene_symbol"].to_list()),
        judged.annotations.targets["planted"].with_columns(activity_nm=pl.lit(0.0)),
        seed=42,
    )
    rows = score("rxrx3_core_targets", judged)
    for metric in ("average_precision", "auroc"):
        best = published.filter(pl.col("concentration_um").is_null())
        expected = dict(best.select("compound_id", metric).rows())
        assert unit_values(rows, metric) == pytest.approx(expected, abs=1e-9)
        for dose in compounds["concentration_um"].unique():
            at_dose = published.filter(pl.col("concentration_um") == dose)[metric].mean()
            assert summaries("rxrx3_core_targets", judged)[f"{metric}@{dose:g}uM"].value == pytest.approx(at_dose)


def test_chance_on_the_published_scale_is_that_of_random_scores(judge):
    """One target among 21 genes: the expected average precision of random ranks is H_21 / 21."""
    found = summaries("rxrx3_core_targets", judge(seed=4, **COMPOUNDS), n_permutations=999)
    assert found["average_precision"].null_mean == pytest.approx((1 / np.arange(1, 22)).sum() / 21, abs=0.02)
    assert found["auroc"].null_mean == pytest.approx(0.5, abs=0.03)


def test_rankings_of_first_items_are_the_published_ones_with_ties_too():
    rng = np.random.default_rng(0)
    scores = np.round(rng.random((4, 3, 9)), 1)
    expected = ranking_metrics(scores.reshape(12, 9), np.tile(np.arange(9) < 3, (12, 1)))
    for found, known in zip(retrieval_of_first(scores, 3), expected, strict=True):
        np.testing.assert_allclose(found.ravel(), known)


@pytest.mark.parametrize("name", ["compound_gene_matching", "rxrx3_core_targets"])
def test_a_screen_without_compounds_or_targets_has_no_score_and_says_so(judge, name):
    with pytest.raises(NotApplicable, match=f"{name}: the map has"):
        score(name, judge(seed=1))
    judged = judge(seed=1, **COMPOUNDS)
    with pytest.raises(NotApplicable, match="columns compound_id and gene_symbol by `cellassets annotation add`"):
        score(name, replace(judged, annotations=Annotations()))


def test_fewer_than_twenty_other_targets_are_not_the_published_scale(judge):
    with pytest.raises(NotApplicable, match="20 genes that are known targets, and no compound has a target and 20"):
        score("rxrx3_core_targets", judge(seed=1, **{**COMPOUNDS, "n_compounds": 20}))


def test_the_published_recall_of_stringdb_stands_beside_known_relationships(judge):
    """RxRx3-core reports the recall of StringDB's pairs in the outer tenth; a source of that name has its own row."""
    judged = judge(seed=1)
    pairs = judged.annotations.pairs["planted"]
    both = replace(judged, annotations=Annotations(pairs={"CORUM": pairs[::2], "StringDB": pairs}))
    chosen = BENCHMARKS["known_relationships"]
    published = {row.statistic: row.value for row in chosen.published_values(both, chosen.parameters())}
    genes = judged.map_table.filter(pl.col("control_kind").is_null())
    alone = relationship_recall(vectors(genes), genes["gene_symbol"].to_list(), {"StringDB": pairs})
    assert published["recall[StringDB]"] == alone["recall"][0] > 0.3
