"""The page on active perturbations: how many, the strongest, scores among them, lowest active doses; or nothing."""

from dataclasses import replace

import polars as pl
import pytest

from cellassets.benchmarks.registry import find_benchmark
from cellassets.hits.parameters import MEASURES, SECOND_STEP, HitParameters
from cellassets.hits.summary import ActivePerturbationsSummary
from cellassets.hits.tables import hit_tables
from cellassets.reporting.hits_chart import hits_chart
from cellassets.reporting.hits_section import HitsPage, hits_section, n_hits_needed, q_column, strongest_hits
from cellassets.reporting.page import render
from cellassets.studies.simulated import simulate_map
from cellassets.synthetic.embeddings import SimulatedWells
from cellassets.tables.schemas import ACTIVE_SCORES, HITS, LOWEST_ACTIVE_DOSES

LABELS = {"dataset_id": "SIM", "dataset_fingerprint": "w", "protocol_fingerprint": "p", "model_key": "good.v1"}
HOSTILE = "<script>alert(1)</script>"

pytestmark = pytest.mark.usefixtures("_drawn_once")


@pytest.fixture(scope="module")
def hits_page():
    """Hits of a screen of genes in complexes and compounds at doses, all with strong effects."""
    design = SimulatedWells(
        n_complexes=6, n_lone_genes=3, gene_effect=5.0, n_compounds=3, n_doses=3, compound_effect=8.0,
        n_guides_per_gene=2, n_controls_per_plate=16,
    )  # fmt: skip
    settings = {name: find_benchmark(name).parameters(n_permutations=99) for name in (*MEASURES, *SECOND_STEP)}
    found = hit_tables(simulate_map(design), settings, HitParameters(n_permutations=999, n_dose_permutations=99))
    named = [
        schema.conform(table.with_columns(pl.lit(value).alias(name) for name, value in LABELS.items()), source="test")
        for table, schema in (
            (found.hits, HITS), (found.lowest_active_doses, LOWEST_ACTIVE_DOSES), (found.active_scores, ACTIVE_SCORES)
        )
    ]  # fmt: skip
    return HitsPage(
        *named,
        ActivePerturbationsSummary(
            protocol_fingerprint="p", exposure="unseen_experiments", experiments="E1, E2", **found.counts()
        ),
    )


def without_hits(page, **columns):
    """The page of a screen in which nothing is active; the smallest q-value is 0.07."""
    q_value = pl.lit(0.07).alias(q_column(page.summary.measure))
    none = page.hits.with_columns(pl.lit(value=False).alias("is_active"), q_value, **columns)
    summary = page.summary.model_copy(update={"n_active": 0, "n_active_by_kind": {"gene": 0}, "n_compounds": 0})
    return HitsPage(none, LOWEST_ACTIVE_DOSES.empty(), ACTIVE_SCORES.empty(), summary)


def page_with(report_page, hits):
    return render(replace(report_page, datasets=(replace(report_page.datasets[0], hits=hits),)))


def test_the_page_shows_counts_strongest_hits_scores_and_doses(report_page, hits_page):
    text = page_with(report_page, hits_page)
    summary = hits_page.summary
    assert f"{summary.n_active} of {summary.n_tested} perturbations are active" in text
    assert f"{summary.n_active_compounds} of 3 compounds have a lowest active dose" in text
    for part in ("Phenotypic consistency</td>", "Recall of known relationships</td>", "lowest active dose (µM)"):
        assert part in text
    assert hits_page.hits.sort("distance_sd", descending=True)["perturbation_id"][0] in text
    assert "<h3>Strongest perturbations</h3>" not in text, "the active ones replace that table"


def test_without_hits_the_page_has_no_section_of_them(page_text):
    assert "Active perturbations" not in page_text
    assert "<h3>Strongest perturbations</h3>" in page_text


def test_a_hostile_name_stays_text(report_page, hits_page):
    hostile = hits_page.hits.with_columns(pl.lit(HOSTILE).alias("perturbation_id"))
    text = page_with(report_page, replace(hits_page, hits=hostile))
    assert HOSTILE not in text
    assert "&lt;script&gt;" in text


def test_where_nothing_is_active_the_page_says_so(report_page, hits_page):
    text = page_with(report_page, without_hits(hits_page))
    n_tested = hits_page.summary.n_tested
    assert f"No perturbation is active: of {n_tested} tested ones, none can be distinguished from the controls" in text
    assert "their wells\ndiffer" not in text
    assert "The smallest q-value is 0.07. This does not mean" in text
    assert "Among the active perturbations alone" not in text


@pytest.mark.parametrize(
    ("least", "reason"),
    [
        (0.1, "no p-value can be below 0.1, so none of {n} perturbations can reach the rate: more wells are needed."),
        (0.01, "no p-value can be below 0.01, so any is active only if {k} of {n} are that clear."),
    ],
)
def test_where_the_wells_are_too_few_for_a_hit_the_page_says_why(report_page, hits_page, least, reason):
    page = without_hits(hits_page, least_p_value=pl.lit(least))
    n_tested = page.summary.n_tested
    assert page.hits.height == n_tested
    needed = reason.format(n=n_tested, k=-(-n_tested // 5))
    assert f"With at most {page.hits['n_wells'].max()} wells per perturbation {needed}" in page_with(report_page, page)


@pytest.mark.parametrize(("least", "n_needed"), [(0.005, 7), (0.0005, 1), (0.05, 62), (0.051, None)])
def test_how_many_hits_are_needed_follows_from_the_smallest_p_values(least, n_needed):
    assert n_hits_needed([least] * 62, 0.05) == n_needed


def test_perturbations_with_more_wells_can_be_active_alone():
    assert n_hits_needed([0.1] * 9 + [0.005], 0.05) == 1


def test_an_interval_that_starts_at_zero_is_explained(report_page, hits_page):
    said = "An interval that starts at 0 beside a small q-value is not a contradiction"
    above, at_zero = (
        replace(hits_page, hits=hits_page.hits.with_columns(pl.lit(low).alias("distance_sd_low"))) for low in (0.5, 0.0)
    )
    assert said not in page_with(report_page, above)
    assert said in page_with(report_page, at_zero)


def test_sentences_are_apart(report_page, hits_page):
    text = " ".join(page_with(report_page, hits_page).split())
    assert "Tested on wells of unseen experiments (E1, E2). 3 of 3 compounds" in text


def test_the_strongest_are_active_and_sorted_by_distance(hits_page):
    first = hits_page.hits["perturbation_id"][0]
    quiet = pl.when(pl.col("perturbation_id") == first).then(pl.lit(value=False)).otherwise("is_active")
    found = strongest_hits(hits_page.hits.with_columns(quiet.alias("is_active")), 5)
    assert found.height == 5
    assert first not in found["perturbation_id"].to_list()
    assert found["distance_sd"].is_sorted(descending=True)


def test_only_headlines_are_listed_among_the_scores(hits_page):
    shown = hits_section(hits_page)["scores"]
    assert [(row["title"], row["metric"]) for row in shown] == [
        ("Phenotypic consistency", "mean_average_precision"),
        ("Recall of known relationships", "recall"),
    ]


@pytest.mark.parametrize("measure", MEASURES)
def test_the_q_values_are_those_of_the_deciding_measure(measure):
    assert q_column(measure) in HITS.names
    assert q_column(measure).startswith(measure.rpartition("_")[2])


def test_the_chart_counts_active_perturbations(hits_page):
    chart = hits_chart(hits_page.hits)
    n_active = hits_page.hits["is_active"].sum()
    assert chart.description == f"{n_active} of {hits_page.hits.height} perturbations are active"
    assert len(chart.spec["datasets"]["hits"]) == hits_page.hits.height
    assert hits_chart(hits_page.hits.head(1)) is None
    assert hits_chart(HITS.empty()) is None


def test_a_chart_of_many_perturbations_shows_a_part(hits_page):
    many = pl.concat([hits_page.hits] * 10)
    chart = hits_chart(many)
    assert len(chart.spec["datasets"]["hits"]) == 240
    assert "240 of" in str(chart.spec)
