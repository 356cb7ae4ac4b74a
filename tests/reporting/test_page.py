"""The page is a function of its tables: the gate's policy orders it, published statistics stand beside the scores."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cellassets.errors import ArtifactMissing
from cellassets.judging.gate import GatePolicy, Guard
from cellassets.reporting.examples import SiteImage, find_examples, unit_scores
from cellassets.reporting.page import render
from cellassets.reporting.report import plan_report, read_page
from cellassets.reporting.sections import in_order


@pytest.fixture(scope="module")
def report_page(scored_lake, models):
    """Returns the tables of the report on good.v1."""
    return read_page(scored_lake, models.find("good.v1"), plan_report(scored_lake, models, "good.v1"))


def policy(deciding, *guarded, alpha=0.05):
    return GatePolicy(
        deciding=deciding,
        deciding_datasets=("SIM",),
        guarded=tuple(Guard(benchmark_name=name) for name in guarded),
        alpha=alpha,
    )


def with_dataset(page, **changes):
    return replace(page, datasets=(replace(page.datasets[0], **changes),))


def test_the_deciding_benchmark_comes_first_then_the_guarded_then_the_others_by_name():
    chosen = policy("phenotypic_activity", "perturbation_magnitude", "known_relationships")
    names = ["analogies", "known_relationships", "perturbation_magnitude", "dose_response", "phenotypic_activity"]
    assert in_order(names, chosen) == [
        "phenotypic_activity", "perturbation_magnitude", "known_relationships", "analogies", "dose_response",
    ]  # fmt: skip
    assert in_order(["analogies"], chosen) == ["analogies"]


def test_the_verdict_is_on_the_benchmark_that_decides(report_page):
    text = render(replace(report_page, policy=policy("phenotypic_activity", "known_relationships")))
    verdict = text.split('aria-label="Verdict">')[1].split("</section>")[0]
    assert "in phenotypic activity on SIM" in verdict
    headings = [text.index(f'<h3 id="1-{name}"') for name in ("phenotypic_activity", "known_relationships")]
    assert headings == sorted(headings)
    assert 'Phenotypic activity <span class="role">deciding</span>' in text
    assert 'Recall of known relationships <span class="role">guarded</span>' in text


def test_what_counts_as_a_difference_is_the_policy_s_alpha(report_page):
    strict = render(replace(report_page, policy=policy("known_relationships", alpha=1e-12)))
    assert "0 of 28 perturbations differ from the controls of their plates (q ≤ 1e-12)" in strict
    assert '<b class="better">0</b>' in strict
    usual = render(replace(report_page, policy=policy("known_relationships")))
    assert "28 of 28 perturbations differ from the controls of their plates (q ≤ 0.05)" in usual


def test_published_statistics_stand_beside_the_score(report_page):
    published = pl.DataFrame(
        {"statistic": ["recall"], "source": ["EFAAR"], "value": [0.4321], "p_value": [None], "n": [18]},
        schema_overrides={"p_value": pl.Float64},
    )
    text = render(with_dataset(report_page, published={"known_relationships": published}))
    assert "As published" in text
    for part in ("<td>recall</td><td>EFAAR</td>", "0.432", "Models are not ranked by these values"):
        assert part in text
    assert "As published" not in render(report_page)


def test_a_page_needs_neither_scores_of_strength_nor_genes(report_page):
    scores = {name: table for name, table in report_page.datasets[0].scores.items() if name != "perturbation_magnitude"}
    no_genes = report_page.datasets[0].map_table.filter(pl.col("perturbation_kind") != "gene")
    text = render(with_dataset(report_page, scores=scores, map_table=no_genes))
    assert "Strongest perturbations" not in text
    assert "The map</h3>" not in text


def test_the_strongest_by_another_benchmark_are_named_by_its_metric(report_page):
    text = render(replace(report_page, strongest_by="phenotypic_activity"))
    table = text.split("Strongest perturbations</h3>")[1].split("</thead>")[0]
    assert "mean average precision" in table


def sites(wells):
    pixels = np.arange(2 * 300 * 300, dtype=np.uint8).reshape(2, 300, 300)
    return [SiteImage(pixels, f"{well['experiment_id']} {well['plate_id']} {well['well_id']}") for well in wells]


def examples_of(page, read_sites):
    dataset = page.datasets[0]
    from cellassets.benchmarks.registry import BENCHMARKS
    from cellassets.mapping.aggregate import unit_labels

    magnitude = unit_scores(dataset.scores["perturbation_magnitude"], BENCHMARKS["perturbation_magnitude"])
    return find_examples(dataset.wells, magnitude.head(3), unit_labels(dataset.wells, "gene"), read_sites=read_sites)


def test_examples_are_the_strongest_beside_a_control_of_the_same_plate(report_page):
    asked = []

    def read_sites(wells):
        asked.append(wells)
        return sites(wells)

    found = examples_of(report_page, read_sites)
    assert [example.value for example in found] == sorted((example.value for example in found), reverse=True)
    assert len(found) == 3
    for (treated, control), example in zip(asked, found, strict=True):
        assert treated["unit"] == example.perturbation_id
        assert control["control_kind"] == "negative"
        assert (treated["experiment_id"], treated["plate_id"]) == (control["experiment_id"], control["plate_id"])
    text = render(with_dataset(report_page, examples=found))
    assert text.count("data:image/jpeg;base64,") == 6
    assert found[0].treated.caption in text


def test_a_perturbation_whose_images_are_gone_is_left_out(report_page):
    def read_sites(wells):
        message = f"no store of {wells[0]['experiment_id']}"
        raise ArtifactMissing(message)

    assert examples_of(report_page, read_sites) == ()
