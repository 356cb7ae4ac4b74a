"""Everything that is published about one benchmark on one map: tables, summary, and the literature's statistics."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cellassets.benchmarks.definition import PermutationParameters, PublishedValue, RankedBy, Score, benchmark
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.parts import Part
from cellassets.benchmarks.published import beside_genes
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.benchmarks.scoring import ScoreLabels, score_judged
from cellassets.benchmarks.summary import ScoreSummary
from cellassets.errors import BenchmarkError, NotApplicable
from cellassets.mapping.controls import is_negative_control
from cellassets.tables.schemas import INFLUENCES, PUBLISHED, SCORES

LABELS = ScoreLabels("SIM", "wells", "protocol", "m.v1", Part("all", "unseen_experiments", ("E1",)))
# a screen in which every benchmark has something to look at
EVERYTHING = {
    "n_guides_per_gene": 2,
    "n_compounds": 24,
    "n_doses": 3,
    "n_combinations": 6,
    "n_complexes": 8,
    "n_lone_genes": 12,
    "n_positive_controls": 3,
    "n_annotated_compounds": 30,
    "n_other_maps": 1,
}
WITH_PUBLISHED = {name for name, chosen in BENCHMARKS.items() if chosen.published is not None}


def scored(name, judged, **parameters):
    chosen = BENCHMARKS[name]
    return score_judged(chosen, judged, chosen.parameters(n_permutations=99, **parameters), LABELS)


def published(name, judged, **parameters):
    return {row["statistic"]: row for row in scored(name, judged, **parameters).published.iter_rows(named=True)}


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_tables_and_summary_say_the_same(judge, name):
    judged = judge(seed=3, **EVERYTHING)
    found = scored(name, judged)
    headline = found.scores.filter(
        (pl.col("level") == "summary") & (pl.col("metric") == BENCHMARKS[name].headline_metric)
    )
    assert headline["value"].to_list() == [found.summary.value]
    assert set(found.scores["level"]) == {"summary", "perturbation"}
    assert found.summary.does_not_apply is None
    for table, schema in ((found.scores, SCORES), (found.influences, INFLUENCES), (found.published, PUBLISHED)):
        assert table.schema == schema.empty().schema
        for column, value in LABELS.columns(judged).items():
            assert column not in table.columns or set(table[column]) <= {value}
    assert found.influences["influence"].is_finite().all()


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_the_published_statistics_stand_beside_the_score(judge, name):
    found = scored(name, judge(seed=3, **EVERYTHING))
    assert (found.published.height > 0) == (name in WITH_PUBLISHED)
    assert found.published["value"].is_finite().all()
    assert (found.published["n_units"] > 0).all()
    assert found.summary.published_missing is None


def test_these_benchmarks_have_no_published_statistic():
    assert sorted(set(BENCHMARKS) - WITH_PUBLISHED) == [
        "analogies", "cell_type_generalisation", "compound_gene_matching", "dose_response",
        "held_out_batch_classification", "leftover_batch_effect", "rxrx3_core_targets",
    ]  # fmt: skip


def test_only_what_is_set_is_written_into_a_record(judge):
    found = scored("known_relationships", judge(seed=3))
    written = found.summary.model_dump(exclude_unset=True)
    assert written["n_pairs"] == {"planted": 24}
    assert "significant_frac" not in written  # units are pairs
    assert ScoreSummary.model_validate(written) == found.summary


def test_a_benchmark_that_does_not_apply_publishes_its_reason_and_empty_tables(judge):
    found = scored("compound_targets", judge(seed=3))
    assert "no source of targets" in found.summary.does_not_apply
    assert [table.height for table in (found.scores, found.influences, found.published)] == [0, 0, 0]


def test_a_published_statistic_that_cannot_be_computed_stops_no_score(judge):
    judged = judge(seed=3)
    few = replace(judged, wells=judged.wells.with_columns(control_kind=pl.lit(None, pl.String)))
    found = scored("perturbation_magnitude", few)
    assert found.summary.value is not None
    assert "no well of the control" in found.summary.published_missing
    assert found.published.is_empty()


def test_a_benchmark_of_another_package_names_its_published_statistic_too(judge):
    def published_mean(judged: JudgedMap, _parameters: PermutationParameters) -> list[PublishedValue]:
        return [PublishedValue("mean", "me 2026", float(judged.vectors.mean()), 1)]

    @benchmark(title="t", description="d.", code_version="1", ranked_by=RankedBy("x", "x"), published=published_mean)
    def mine(judged: JudgedMap, _parameters: PermutationParameters) -> list[Score]:
        value = float(judged.vectors.mean())
        return [
            Score("x", "summary", value, 0.0, -1.0, 1.0, 0.5, 1, "perturbation"),
            Score("x", "perturbation", value, 0.0, -1.0, 1.0, 0.5, 1, "well", perturbation_id="p"),
        ]

    found = score_judged(mine, judge(seed=1), mine.parameters(), LABELS)
    assert found.published["source"].to_list() == ["me 2026"]
    assert found.published["value"].to_list() == found.scores.filter(level="summary")["value"].to_list()


# --- what is refused, and what does not apply


def returning(rows):
    """A benchmark function that returns these rows, whatever the map."""

    def rows_of(_judged: JudgedMap, _parameters: PermutationParameters) -> list[Score]:
        return rows

    return rows_of


def test_a_benchmark_that_returns_no_headline_is_refused(judge):
    chosen = BENCHMARKS["perturbation_magnitude"]
    broken = replace(chosen, function=returning([]))
    with pytest.raises(BenchmarkError, match="perturbation_magnitude returned 0 summary rows of 'magnitude'"):
        score_judged(broken, judge(seed=1), chosen.parameters(n_permutations=99), LABELS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": float("nan")}, "expected finite numbers"),
        ({"p_value": 0.0}, r"a p-value in \(0, 1\]"),
        ({"perturbation_id": "q"}, "two rows of magnitude q at level perturbation"),
    ],
)
def test_rows_that_would_hold_up_every_comparison_are_refused(judge, changes, message):
    chosen = BENCHMARKS["perturbation_magnitude"]
    row = Score("magnitude", "perturbation", 0.5, 0.0, -1.0, 1.0, 0.5, n_units=2, unit="well", perturbation_id="p")
    rows = [row, replace(row, perturbation_id="q"), replace(row, **{"perturbation_id": "r", **changes})]
    broken = replace(chosen, function=returning(rows))
    with pytest.raises(BenchmarkError, match=message):
        score_judged(broken, judge(seed=1), chosen.parameters(n_permutations=99), LABELS)


def without_replicates(judged):
    return type(judged)(**{**vars(judged), "units": tuple(f"u{n}" for n in range(len(judged.units)))})


@pytest.mark.parametrize("name", ["perturbation_consistency", "perturbation_magnitude", "phenotypic_activity"])
def test_a_screen_without_replicates_has_nothing_to_judge(judge, name):
    chosen = BENCHMARKS[name]
    with pytest.raises(NotApplicable, match="two wells"):
        chosen.score(without_replicates(judge(seed=1)), chosen.parameters())


def test_a_screen_without_held_out_controls_is_refused(judge):
    judged = judge(seed=1)
    judged = type(judged)(**{**vars(judged), "is_held_out_control": np.zeros(len(judged.units), dtype=bool)})
    with pytest.raises(BenchmarkError, match=r"held_out_controls_frac in mapping\.yaml"):
        BENCHMARKS["perturbation_magnitude"].score(judged, BENCHMARKS["perturbation_magnitude"].parameters())


# --- the published values against their definitions


def test_published_consistency_is_the_mean_of_mean_cosines(judge):
    judged = judge(seed=1)
    units = np.array(judged.units)
    values = []
    for unit in np.unique(units[judged.is_treatment]):
        wells = judged.vectors[units == unit].astype(float)
        wells /= np.linalg.norm(wells, axis=1)[:, None]
        values.append((wells @ wells.T)[np.triu_indices(len(wells), 1)].mean())
    row = published("perturbation_consistency", judged)["mean cosine of replicates"]
    assert row["value"] == pytest.approx(np.mean(values))
    assert (row["n_units"], row["p_value"]) == (len(values), None)


def test_published_magnitude_compares_with_all_negative_controls(judge):
    judged = judge(seed=1, n_plates_per_batch=2)
    controls = judged.vectors[is_negative_control(judged.wells)].astype(float)

    def distance(a, b):
        return np.linalg.norm(a[:, None] - b[None], axis=2).mean()

    units = np.array(judged.units)
    values = []
    for unit in np.unique(units[judged.is_treatment]):
        wells = judged.vectors[units == unit].astype(float)
        if len(wells) >= 5:
            values.append(2 * distance(wells, controls) - distance(wells, wells) - distance(controls, controls))
    row = published("perturbation_magnitude", judged)["mean energy distance to controls"]
    assert row["n_units"] == len(values) > 0
    assert row["value"] == pytest.approx(np.mean(values), rel=2e-3)  # geomloss: a well is 0.0001 from itself


def test_published_recall_is_that_of_the_score(judge):
    judged = judge(seed=1)
    ours = scored("known_relationships", judged)
    row = published("known_relationships", judged)["recall[planted]"]
    assert row["value"] == pytest.approx(ours.summary.value, abs=0.05)
    assert row["n_units"] == 24


def test_clusters_are_tested_from_ten_genes_on(judge):
    judged = judge(seed=1, n_complexes=3, genes_per_complex=12, gene_effect=4.0)
    assert published("known_relationships", judged)["share of clusters that differ[planted]"]["value"] == 1.0
    small = judge(seed=1)
    assert [name for name in published("known_relationships", small) if "clusters" in name] == []


def test_a_random_part_of_very_many_clusters_is_tested(judge, monkeypatch):
    judged = judge(seed=1, n_complexes=3, genes_per_complex=12)
    monkeypatch.setattr(beside_genes, "MAX_CLUSTER_COSINES", 1000)
    assert published("known_relationships", judged)["share of clusters that differ[planted]"]["n_units"] == 1


@pytest.mark.parametrize("name", ["phenotypic_activity", "phenotypic_consistency"])
def test_published_precision_grows_with_what_is_planted(judge, name):
    quiet, loud = (published(name, judge(seed=1, n_guides_per_gene=3, gene_effect=effect)) for effect in (0.0, 6.0))
    assert loud["mean average precision"]["value"] > quiet["mean average precision"]["value"] + 0.2
    assert loud["share retrieved"]["value"] > 0.5 > quiet["share retrieved"]["value"]


def test_published_consistency_of_labels_is_of_genes_alone(judge):
    judged = judge(seed=3, **EVERYTHING)
    found = scored("phenotypic_consistency", judged, label="set")
    assert "one label per profile" in found.summary.published_missing
    part = published("phenotypic_consistency", judged, max_perturbations=20)["share retrieved"]
    assert part["n_units"] == 10  # genes of two guides


def test_published_proximity_has_its_own_p_value(judge):
    genes = {"n_complexes": 0, "n_lone_genes": 36}
    quiet, armed = (
        published("proximity_bias", judge(seed=1, arm_effect=effect, **genes))["Brunner-Munzel probability"]
        for effect in (0.0, 3.0)
    )
    assert armed["p_value"] < 1e-6 < quiet["p_value"]
    assert armed["value"] > 0.6


def test_known_targets_count_as_active_genes(judge):
    judged = judge(
        seed=3, n_compounds=40, n_doses=2, n_complexes=10, n_lone_genes=4, compound_effect=5.0, gene_effect=5.0
    )
    found = published("compound_targets", judged)
    assert set(found) == {"average precision", "AUROC"}
    assert found["AUROC"]["value"] > 0.7
    few = judge(seed=3, n_compounds=8, n_doses=3, n_complexes=2)
    summary = scored("compound_targets", few).summary
    assert summary.value is not None
    assert "none of 8 compounds has a gene active" in summary.published_missing


def test_the_catalogue_loads_neither_scipy_nor_torch():
    code = "import sys; from cellassets.benchmarks.registry import BENCHMARKS; import cellassets.benchmarks.scoring; "
    code += "print(sorted({'scipy', 'torch', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_names_in_another_letter_case_are_counted_and_not_translated(judge):
    judged = judge(seed=1)
    pairs = judged.annotations.pairs["planted"]
    mixed = pl.concat([pairs.tail(12), pairs.head(3).select(pl.all().str.to_lowercase())])
    given = replace(judged, annotations=replace(judged.annotations, pairs={"mixed": mixed}))
    found = scored("known_relationships", given)
    lower = {name for pair in pairs.head(3).rows() for name in pair}
    assert found.summary.n_other_case == {"mixed": len(lower)}
    assert found.summary.n_units == 12
    assert scored("known_relationships", judged).summary.n_other_case == {}


def test_pairs_that_are_all_in_another_letter_case_say_so(judge):
    judged = judge(seed=1)
    lower = {"lower": judged.annotations.pairs["planted"].select(pl.all().str.to_lowercase())}
    judged = replace(judged, annotations=replace(judged.annotations, pairs=lower))
    with pytest.raises(
        BenchmarkError, match="24 names differ in letter case alone, such as 'gene000' from the map's 'GENE000'"
    ):
        scored("known_relationships", judged)
