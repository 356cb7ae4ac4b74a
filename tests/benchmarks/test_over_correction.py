"""A nuisance below chance is a finding: planted ones are found, and chance is not."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.over_correction import OverCorrected, over_corrections
from cellassets.benchmarks.parts import Part
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.benchmarks.rows import below_chance, summary_score
from cellassets.benchmarks.scoring import ScoreLabels, score_judged
from cellassets.statistics.permutation import mean_over_nodes
from cellassets.tables.parquet import vectors, with_vectors
from cellassets.tables.schemas import SCORES

BATCHES, ARMS = BENCHMARKS["leftover_batch_effect"], BENCHMARKS["proximity_bias"]
LABELS = ScoreLabels("D", "w", "p", "m.v1", Part("all", "unseen_experiments", ("E1",)))


def scored(benchmark, judged, **parameters):
    return score_judged(benchmark, judged, benchmark.parameters(n_permutations=199, seed=3, **parameters), LABELS)


def pushed_apart(judged: JudgedMap) -> JudgedMap:
    """The map after the plates of each batch were moved to opposite sides, as centring batches may do."""
    moved = judged.vectors.copy()
    batches = judged.wells["batch_id"].to_numpy()
    rng = np.random.default_rng(0)
    for batch in np.unique(batches):
        shift = 0.6 * rng.standard_normal(moved.shape[1])
        for sign, plate in zip((1, -1), np.unique(judged.plate_index[batches == batch]), strict=True):
            moved[judged.plate_index == plate] += (sign * shift).astype(np.float32)
    return replace(judged, vectors=moved)


def test_the_row_mirrors_the_headline_and_its_p_value_is_the_lower_tail():
    draws = np.array([[0.1, 0.3], [0.2, 0.2], [0.4, 0.4], [0.6, 0.6], [0.8, 0.8]])  # means 0.2, then 0.2, 0.4, 0.6, 0.8
    headline = summary_score("x", mean_over_nodes(draws[0], np.arange(2)[:, None]), draws, within=(0.0, 1.0))
    row = below_chance("y", headline, draws.mean(axis=1))
    assert (row.metric, row.n_units, row.unit) == ("y", headline.n_units, headline.unit)
    assert (row.value, row.null_mean) == (pytest.approx(0.5 - 0.2), 0.0)
    assert (row.null_low, row.null_high) == pytest.approx((0.5 - headline.null_high, 0.5 - headline.null_low))
    assert row.p_value == pytest.approx(2 / 5), "the observed mean and one of four draws are as low"
    assert (row.interval_low, row.interval_high) == pytest.approx(
        (0.5 - headline.interval_high, 0.5 - headline.interval_low)
    )
    assert below_chance("y", replace(headline, interval_low=None, interval_high=None), draws[:, 0]).interval_low is None


def test_plates_that_are_pushed_apart_are_over_corrected(judge):
    found = scored(BATCHES, pushed_apart(judge(seed=1, n_batches=4, is_aligned=False, batch_effect=0.0)))
    (one,) = over_corrections(BATCHES, found.scores)
    row = found.scores.filter(pl.col("metric") == "batch_over_correction").row(0, named=True)
    assert one.value == found.summary.value == 0.0
    assert row["p_value"] == pytest.approx(1 / 105), "no other of the 105 groupings of eight plates is as low"
    assert one.p_value == pytest.approx(2 / 105)
    assert found.summary.over_corrected == one.describe()
    assert one.describe().startswith("Over-corrected: 0.00 where the null distribution is 0.00 to 0.29")
    assert "(two-sided p = 0.019): plates of one batch are less alike" in one.describe()


def test_with_six_plates_it_is_said_with_the_p_value_that_they_allow(judge):
    found = scored(BATCHES, pushed_apart(judge(seed=1, n_batches=3, is_aligned=False, batch_effect=0.0)))
    assert "two-sided p = 0.13; with so few units or permutations it cannot be smaller" in found.summary.over_corrected


def test_with_four_plates_nothing_can_be_said(judge):
    found = scored(BATCHES, pushed_apart(judge(seed=1, n_batches=2, is_aligned=False, batch_effect=0.0)))
    assert found.summary.value < 0.05
    assert found.summary.over_corrected is None


def test_a_batch_effect_is_not_an_over_correction(judge):
    found = scored(BATCHES, judge(seed=2, n_batches=4, is_aligned=False, batch_effect=6.0))
    assert found.summary.over_corrected is None
    row = found.scores.filter(pl.col("metric") == "batch_over_correction").row(0, named=True)
    assert row["value"] < row["null_low"]
    assert row["p_value"] == 1.0


def test_plates_without_a_batch_effect_are_rarely_called_over_corrected(judge):
    """About 4 in 100 by chance (4 of 105 groupings); 3 or more of 20 then have a probability of 0.04."""
    maps = (judge(seed=seed, n_batches=4, is_aligned=False, batch_effect=0.0, n_complexes=2) for seed in range(20))
    assert sum(scored(BATCHES, judged).summary.over_corrected is not None for judged in maps) < 3


def test_genes_whose_arms_were_removed_too_much_are_over_corrected(judge):
    judged = judge(seed=4, n_complexes=0, n_lone_genes=40, gene_effect=3.0, n_arms=4)
    plain = scored(ARMS, judged)
    arm_of = judged.annotations.arm_of_gene()
    arms = np.array([arm_of.get(gene or "", "") for gene in judged.map_table["gene_symbol"].to_list()])
    moved = vectors(judged.map_table).copy()
    for arm in set(arms) - {""}:
        moved[arms == arm] -= moved[arms == arm].mean(axis=0)
    found = scored(ARMS, replace(judged, map_table=with_vectors(judged.map_table, moved)))
    assert plain.summary.over_corrected is None
    assert found.summary.value < 0.5
    assert "genes of one arm are less alike than genes of different arms" in found.summary.over_corrected


def table(value, p_value, p_below, **changes):
    shared = dict.fromkeys(("dataset_id", "dataset_fingerprint", "model_key", "correction", "unit"), "x")
    shared |= LABELS.part.columns() | {
        "protocol_fingerprint": "p",
        "benchmark_name": BATCHES.name,
        "level": "summary",
        "n_units": 4,
    }
    shared |= {"is_higher_better": False, "null_mean": 0.25, "null_low": 0.1, "null_high": 0.4, **changes}
    rows = [
        {**shared, "metric": "batch_predictability", "value": value, "p_value": p_value},
        {**shared, "metric": "batch_over_correction", "value": 0.25 - value, "p_value": p_below},
    ]
    nulls = {c.name: None for c in SCORES.columns if c.is_nullable and c.name not in rows[0]}
    return SCORES.conform(pl.DataFrame([{**row, **nulls} for row in rows]), source="test")


@pytest.mark.parametrize(
    ("value", "p_value", "p_below", "two_sided"),
    [
        (0.05, 0.99, 0.01, 0.02),
        (0.1, 0.99, 0.02, 0.04),  # equal shares, which a finer statistic distinguishes
        (0.05, 1.0, 1 / 15, 2 / 15),
        (0.05, 1.0, 1 / 3, None),  # three groupings say nothing
        (0.11, 0.96, 0.05, None),  # within the central 95%
        (0.9, 0.01, 1.0, None),
    ],
)
def test_a_headline_counts_below_the_central_part_of_its_null_distribution(value, p_value, p_below, two_sided):
    found = over_corrections(BATCHES, table(value, p_value, p_below))
    assert [one.p_value for one in found] == ([] if two_sided is None else [pytest.approx(two_sided)])


def test_each_protocol_is_judged_by_its_own_headline():
    both = pl.concat([table(0.05, 0.99, 0.01), table(0.3, 0.3, 0.8, protocol_fingerprint="q")])
    assert [one.value for one in over_corrections(BATCHES, both)] == [0.05]


def test_a_benchmark_that_is_no_nuisance_has_none():
    assert over_corrections(BENCHMARKS["known_relationships"], table(0.05, 0.99, 0.01)) == []
    assert {name for name, one in BENCHMARKS.items() if one.over_correction} == {BATCHES.name, ARMS.name}


def test_a_small_p_value_is_said_without_doubt():
    assert OverCorrected(0.013, 0.12, 0.37, 0.02, "why").describe() == (
        "Over-corrected: 0.01 where the null distribution is 0.12 to 0.37 (two-sided p = 0.02): why."
    )
