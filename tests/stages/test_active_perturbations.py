"""`active_perturbations`: called once, from the map and annotations of its plan, again when what it reads changes."""

import json
import re

import polars as pl
import pytest

from cellassets.errors import StaleArtifact
from cellassets.hits.summary import ActivePerturbationsSummary
from cellassets.reconcile.work import map_agenda, map_chain
from cellassets.stages.active_perturbations import settings_fingerprint
from cellassets.stages.catalogue import open_snapshot, stage_named
from cellassets.stages.snapshot import NotReady
from cellassets.stages.stage import Context
from cellassets.stages.state import state_of
from cellassets.stages.tables import query_lake
from cellassets.tables.parquet import read_table, vectors, with_vectors
from cellassets.tables.schemas import ACTIVE_SCORES, HITS, LOWEST_ACTIVE_DOSES

KIND, KEYS = "active_perturbations", ("SIM", "good.v1")


@pytest.fixture
def scored(scored, tmp_path):
    """A copy of the scored deployment of this test's own."""
    return scored.copy(tmp_path / "home")


def hits_of(published):
    return read_table(published.path("hits.parquet"), HITS)


def test_hits_are_published_once_and_found_again(scored):
    published = scored.make(KIND, *KEYS)
    assert published.record.generation == 1, "made by the fixture"
    json.dumps(published.record.summary, allow_nan=False)
    summary = ActivePerturbationsSummary.model_validate(published.record.summary)
    hits = hits_of(published)
    assert hits.select("dataset_id", "model_key").unique().rows() == [KEYS]
    assert hits["protocol_fingerprint"].unique().to_list() == [summary.protocol_fingerprint]
    assert (summary.n_perturbations, summary.n_active) == (hits.height, hits["is_active"].sum())
    assert summary.n_active > 20, "the good model sees effects of four standard deviations"
    assert read_table(published.path("lowest_active_doses.parquet"), LOWEST_ACTIVE_DOSES).is_empty()
    scores = read_table(published.path("active_scores.parquet"), ACTIVE_SCORES)
    assert scores.filter(pl.col("metric") == "recall")["p_value"].to_list() == [0.005]
    assert "no gene has two guides" in summary.not_scored["phenotypic_consistency"]


def test_a_blind_model_has_hardly_any_hits(scored):
    summary = ActivePerturbationsSummary.model_validate(scored.make(KIND, "SIM", "blind.v1").record.summary)
    assert summary.n_active <= 1
    assert summary.not_scored


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("hits.yaml", {"fdr": 0.2}),
        ("benchmarks/phenotypic_activity.yaml", {"max_controls": 8}),
        ("benchmarks/known_relationships.yaml", {"tail_fracs": [0.1]}),
    ],
)
def test_other_settings_make_them_due(scored, name, values):
    before, fingerprint = scored.plan(KIND, *KEYS), settings_fingerprint(open_snapshot(scored.deployment))
    scored.set(name, values)
    assert scored.plan(KIND, *KEYS).fingerprint != before.fingerprint
    assert settings_fingerprint(open_snapshot(scored.deployment)) != fingerprint
    assert state_of(open_snapshot(scored.deployment), KIND, *KEYS).status == "due"


def test_other_annotations_make_them_due_and_other_benchmarks_do_not(scored):
    before = scored.plan(KIND, *KEYS).fingerprint
    scored.set("benchmarks/dose_response.yaml", {"n_permutations": 100})
    scored.annotate("targets", "compound_id,gene_symbol\nCMPD,GENE000\n")
    assert scored.plan(KIND, *KEYS).fingerprint != before, "consistency may pair compounds by target"
    before = scored.plan(KIND, *KEYS).fingerprint
    scored.annotate("planted", scored.known.pairs.head(5))
    assert scored.plan(KIND, *KEYS).fingerprint != before


def test_wrong_settings_wait_with_the_reason(scored):
    scored.set("hits.yaml", {"fdr": 1.5})
    state = state_of(open_snapshot(scored.deployment), KIND, *KEYS)
    assert state.status == "waiting"
    assert "fdr" in state.reason
    assert settings_fingerprint(open_snapshot(scored.deployment)) is None


def test_protocols_of_two_models_are_equal(scored):
    plans = [scored.plan(KIND, "SIM", model_key) for model_key in ("good.v1", "fair.v1")]
    assert plans[0].fingerprint != plans[1].fingerprint
    assert plans[0].inputs["protocol_fingerprint"] == plans[1].inputs["protocol_fingerprint"]


def test_they_need_the_map_and_no_scores(scored):
    assert {pin.kind for pin in scored.plan(KIND, *KEYS).pins} == {"perturbation_map"}
    with pytest.raises(NotReady, match=r"SIM\|nobody\.v1"):
        scored.plan(KIND, "SIM", "nobody.v1")


def test_they_are_made_in_the_run_of_their_map(scored):
    assert map_chain()[-1] == KIND
    scored.set("hits.yaml", {"fdr": 0.2})
    work = map_agenda(open_snapshot(scored.deployment)).work
    assert [(item.assets, item.keys["model"]) for item in work] == [
        ((KIND,), model_key) for model_key in ("blind.v1", "fair.v1", "good.v1")
    ]


def test_the_hits_are_those_of_the_map_of_the_plan(scored, made_from_pins, publish_newer):
    scored.set("hits.yaml", {"n_permutations": 99, "n_dose_permutations": 99, "seed": 1})

    def publish():
        change = {"wells.parquet": lambda table: with_vectors(table.drop("embedding"), vectors(table)[::-1])}
        publish_newer(scored.deployment, "perturbation_map", *KEYS, change=change)

    made_from_pins(scored, KIND, KEYS, publish)


def test_annotations_that_change_between_plan_and_hits_are_refused(scored):
    scored.set("hits.yaml", {"n_permutations": 99, "seed": 2})
    plan = scored.plan(KIND, *KEYS)
    scored.annotate("planted", scored.known.pairs.head(5))
    with pytest.raises(StaleArtifact, match="annotations changed since the plan"):
        stage_named(KIND).make(Context(scored.deployment), plan)


def test_sql_answers_which_perturbations_two_models_agree_on(scored):
    statement = """
        SELECT model_key, count(*) FILTER (is_active) AS n_active, count(*) AS n_all FROM hits GROUP BY ALL ORDER BY 1
    """
    found = query_lake(scored.lake, statement)
    assert found["model_key"].to_list() == ["blind.v1", "fair.v1", "good.v1"]
    assert found["n_active"].to_list()[0] <= found["n_active"].to_list()[2]
    assert set(found["n_all"]) == {28}
    assert query_lake(scored.lake, "SELECT count(*) AS n FROM lowest_active_doses")["n"].to_list() == [0]
    assert query_lake(scored.lake, "SELECT DISTINCT n_active FROM active_scores").height >= 1


def test_the_report_lists_the_hits(scored):
    text = scored.make("model_report", "good.v1").path("report.html").read_text()
    n_active = scored.lake.current(KIND, *KEYS).record.summary["n_active"]
    assert ">Active perturbations</h3>" in text
    assert re.search(rf"{n_active} of 28 perturbations are active \({n_active} of kind gene\)", text)
    assert "at a false discovery rate of 0.05" in text


def test_two_runs_at_once_publish_one_table(scored, made_once_by_two):
    scored.lake.artifact(KIND, *KEYS).record_path(1).unlink()
    scored.lake.scan()
    made_once_by_two(scored, KIND, *KEYS)
