"""The page is one file, complete and escaped, and says what is missing; the gate's policy orders it."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import altair as alt
import numpy as np
import polars as pl
import pytest
from jsonschema import Draft7Validator

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.errors import ArtifactMissing
from cellassets.judging.gate import GatePolicy, Guard
from cellassets.mapping.aggregate import unit_labels
from cellassets.reporting.examples import SiteImage, find_examples, unit_scores
from cellassets.reporting.page import render
from cellassets.reporting.parts_table import parts_table
from cellassets.reporting.sections import in_order
from cellassets.tables.schemas import RECALL_BY_SOURCE

HOSTILE = "<script>alert(1)</script>"
MAX_SCRIPT_BYTES = 3_000_000


pytestmark = pytest.mark.usefixtures("_drawn_once")


@pytest.fixture
def text(page_text):
    return page_text


def policy(deciding, *guarded, alpha=0.05):
    return GatePolicy(
        deciding=deciding,
        deciding_datasets=("SIM",),
        guarded=tuple(Guard(benchmark_name=name) for name in guarded),
        alpha=alpha,
    )


def with_dataset(page, **changes):
    return replace(page, datasets=(replace(page.datasets[0], **changes),))


class Tags(HTMLParser):
    """Checks that tags are closed, and notes what would be fetched."""

    def __init__(self):
        super().__init__()
        self.open, self.fetched, self.names = [], [], []

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        if tag not in ("path", "meta", "img", "rect", "line", "circle", "image", "polyline", "br", "link"):
            self.open.append(tag)
        fetching = [value for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "data")]
        self.fetched += [value for value in fetching if value[:1] != "#" and value[:5] != "data:"]

    def handle_endtag(self, tag):
        if self.open and tag == self.open[-1]:
            self.open.pop()


def test_the_page_is_whole_and_fetches_nothing(text):
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert tags.fetched == []
    assert "default-src 'none'" in text


def test_only_the_two_named_scripts_may_run_and_they_are_small(text):
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    allowed = re.search(r"script-src ([^\"]*)\"", text)[1].split()
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert allowed == [f"'sha256-{found}'" for found in hashes]
    assert len(scripts) == 2
    assert sum(len(script.encode()) for script in scripts) < MAX_SCRIPT_BYTES


def test_it_says_the_verdict_and_shows_every_part(text):
    assert re.search(r"good\.v1 scores 0\.\d\d in recall of known relationships on SIM, unseen", text)
    assert "unseen experiments (SIM-1, SIM-2), clearly more than" in text
    assert "better than" in text
    for part in ("Perturbation consistency", "The map", "Batch effect before", "Strongest perturbations", "Provenance"):
        assert part in text
    for fact in ("fp-good", "run-1"):
        assert fact in text


def test_every_entry_of_the_contents_is_on_the_page(text):
    contents = text[text.index('<nav class="contents"') : text.index("</nav>")]
    places = re.findall(r'href="#([^"]+)"', contents)
    assert places[:3] == ["1", "1-benchmarks", "1-map"]
    assert places[-1] == "provenance"
    assert all(text.count(f'id="{place}"') == 1 for place in places)


def test_the_words_deciding_and_guarded_are_explained(text):
    assert '<span class="role" title="The production gate: a new model must be better than' in text
    assert '<span class="role" title="The production gate: a new model must not be worse than' in text


def test_the_share_of_unseen_perturbations_is_said_of_trained_models_only(report_page):
    row = report_page.leaderboard.filter(pl.col("model_key") == "good.v1").head(1)
    name = row["benchmark_name"][0]
    shares = {"unseen_perturbations_frac": 1.0, "experiments": "SIM-1"}
    twice = pl.concat([row, row.with_columns(part_id=pl.lit("first"), **{n: pl.lit(v) for n, v in shares.items()})])
    said = [[part["unseen_perturbations"] for part in parts_table(twice, [name], is_trained=is_trained)["columns"]]
            for is_trained in (True, False)]  # fmt: skip
    assert max(said[0]) == "unseen perturbations"
    assert said[1] == ["", ""]


def test_the_blind_model_is_not_praised(report_pages):
    text = render(report_pages["blind.v1"])
    assert "not distinguishable from the 0.09 of chance" in text
    assert "worse than" in text


def test_every_chart_follows_the_schema_of_vega_lite(text):
    schema = Draft7Validator(alt.load_schema())
    charts = re.findall(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)
    assert charts
    assert [error.message for chart in charts for error in schema.iter_errors(json.loads(chart))] == []
    broken = {**json.loads(charts[0]), "layer": [{"mark": "rectangles"}]}
    assert list(schema.iter_errors(broken))


def test_every_drawing_is_well_formed_and_described(text):
    drawings = re.findall(r'<svg xmlns="[^>]* role="img">.*?</svg>', text, re.DOTALL)
    n_of_models, n_of_units, n_of_the_map = 6, 9, 3  # pairs have no chart of their units
    assert len(drawings) == n_of_models + n_of_units + n_of_the_map
    for drawing in drawings:
        root = ET.fromstring(drawing)  # noqa: S314  made by this test's own code
        assert root.find("{*}title").text
        assert root.find("{*}desc").text


def test_a_hostile_gene_on_the_map_stays_text(report_page):
    first = pl.when(pl.col("gene_symbol") == "GENE000").then(pl.lit(HOSTILE)).otherwise("gene_symbol")
    map_table = report_page.datasets[0].map_table.with_columns(first.alias("gene_symbol"))
    text = render(with_dataset(report_page, map_table=map_table))
    assert HOSTILE not in text
    assert "&lt;script&gt;" in text


def test_a_benchmark_that_was_not_scored_is_named(report_page):
    board = report_page.leaderboard.filter(pl.col("benchmark_name") != "perturbation_magnitude")
    text = render(replace(report_page, leaderboard=board))
    assert "Not scored yet on these wells: perturbation_magnitude." in text


def test_a_model_without_scores_gets_a_page_that_says_so_and_runs_no_script(report_page):
    text = render(replace(report_page, datasets=()))
    assert "This model has no scores yet" in text
    assert "script-src 'none'" in text
    assert "<script" not in text


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
    first, second = (text[at : at + 400] for at in headings)
    assert 'Phenotypic activity <span class="role" title=' in first
    assert ">deciding</span>" in first
    assert 'Recall of known relationships <span class="role" title=' in second
    assert ">guarded</span>" in second


def test_the_alpha_of_the_gate_does_not_change_what_counts_as_a_difference(report_page):
    """It bounds how often a champion is replaced by a model that is no better; the report asks another question."""
    strict = render(replace(report_page, policy=policy("known_relationships", alpha=1e-12)))
    assert strict == render(replace(report_page, policy=policy("known_relationships")))
    assert "28 of 28 perturbations differ from the controls of their plates (q ≤ 0.05)" in strict


def test_a_nuisance_below_chance_is_said_at_the_top_of_the_dataset_and_beside_its_score(report_page, page_text):
    assert "Over-corrected" not in page_text
    assert "so the rank is not a merit" not in page_text
    name = "leftover_batch_effect"
    scores = report_page.datasets[0].scores[name]
    is_headline = pl.col("metric") == "batch_predictability"
    value = pl.when(is_headline).then(pl.col("null_low") / 2).otherwise("value").alias("value")
    p_value = pl.when(pl.col("metric") == "batch_over_correction").then(0.01).otherwise("p_value").alias("p_value")
    changed = {**report_page.datasets[0].scores, name: scores.with_columns(value, p_value)}
    text = render(with_dataset(report_page, scores=changed))
    before, _, after = text.partition('<h3 id="1-leftover_batch_effect"')
    assert "Over-corrected: " in before.split('<h2 id="1">SIM</h2>')[1]
    assert text.count(" of 3 (below chance: over-corrected, so the rank is not a merit)") == 2
    assert "(two-sided p = 0.02): plates of one batch" in after


def test_recall_by_source_is_shown_with_the_models_beside_each_other(report_page, page_text):
    rows = [
        {
            "dataset_id": "SIM", "protocol_fingerprint": "p", "model_key": model, "source": source, "value": value,
            "null_mean": 0.1, "null_low": 0.05, "null_high": 0.15, "p_value": 0.002, "interval_low": None,
            "interval_high": None, "n_units": 17,
        }
        for model, source, value in (
            ("good.v1", "all sources", 0.61), ("good.v1", "<CORUM>", 0.52), ("fair.v1", "all sources", 0.43),
        )
    ]  # fmt: skip
    table = RECALL_BY_SOURCE.conform(pl.DataFrame(rows), source="test")
    text = render(replace(report_page, recall_by_source=table))
    section = text.split("Recall by source of annotations</h3>")[1].split("</table>")[0]
    for part in ("&lt;CORUM&gt;", "17 pairs", "<b>good.v1</b>", "<td>fair.v1</td>", "0.610", "0.520", "p = 0.002"):
        assert part in section
    assert "Recall by source" not in page_text
    other = table.with_columns(pl.lit("OTHER").alias("dataset_id"))
    assert "Recall by source" not in render(replace(report_page, recall_by_source=other))


def test_published_statistics_stand_beside_the_score(report_page):
    published = pl.DataFrame(
        {"statistic": ["recall"], "source": ["EFAAR"], "value": [0.4321], "p_value": [None], "n_units": [18]},
        schema_overrides={"p_value": pl.Float64},
    )
    text = render(with_dataset(report_page, published={"known_relationships": published}))
    assert "As published" in text
    for part in ("<td>recall</td><td>EFAAR</td>", "0.432", "Models are not ranked by these values"):
        assert part in text
    assert "As published" not in render(with_dataset(report_page, published={}))


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
