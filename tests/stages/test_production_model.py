"""`production_model`: what is promoted, what is kept out, what is written down, and what a kill leaves."""

import os
import threading

import pytest

from cellassets.errors import BenchmarkError, CorruptArtifact, RegistryError, StaleArtifact
from cellassets.judging import sequence
from cellassets.judging.production import Override
from cellassets.registry import Registry
from cellassets.stages.catalogue import open_snapshot, stage_named
from cellassets.stages.production_model import ProductionModelSummary, candidates, find_champion, foresee
from cellassets.stages.stage import Context
from cellassets.synthetic.embeddings import simulate_wells
from cellassets.tables.parquet import read_table
from cellassets.tables.schemas import GATE

KIND = "production_model"
GUARDED = [{"benchmark_name": "perturbation_consistency"}, {"benchmark_name": "perturbation_magnitude"}]
CURIE = Override(approved_by="M. Curie", reason="the assay team needs its channel order")


@pytest.fixture
def scored(scored, tmp_path):
    """A copy of the scored deployment of this test's own."""
    return scored.copy(tmp_path / "home")


@pytest.fixture
def decide(scored):
    def decide(candidate=None, **options):
        return scored.make(KIND, candidate=candidate, **options).record

    return decide


@pytest.fixture
def registry(scored):
    return scored.registry


def waiting(scored):
    return candidates(open_snapshot(scored.deployment))


def champions(registry):
    return [entry.key for entry in registry.list_models() if "champion" in entry.aliases]


def gate(scored, **changes):
    scored.set("gate.yaml", {"deciding_datasets": ["SIM"], "guarded": GUARDED, **changes})


def embed_again(scored, model_key):
    """Makes all scores of a model out of date: its files are others, and it is embedded again."""
    name = model_key.split(".v")[0]
    scored.registry.client().set_model_version_tag(name, "1", "fingerprint", f"other files of {name}")
    scored.add(simulate_wells(scored.design)[0], model_key)


def test_a_better_model_takes_over_and_it_is_written_down(scored, registry, decide):
    registry.move_alias("champion", "blind.v1")
    record = decide("good.v1")
    summary = ProductionModelSummary.model_validate(record.summary)
    assert (summary.decision, summary.approved_by, summary.is_gate_passed) == ("promoted", "the gate", True)
    assert (summary.champion, summary.previous_champion) == ("good.v1", "blind.v1")
    assert champions(registry) == ["good.v1"]
    client = registry.client()
    run = client.get_run(summary.mlflow_run_id)
    assert (run.info.status, run.data.tags["decision"]) == ("FINISHED", "promoted")
    assert run.data.metrics["gain.known_relationships.SIM"] > 0
    assert [file.path for file in client.list_artifacts(summary.mlflow_run_id)] == ["decision.json"]
    comparisons = read_table(scored.lake.current(KIND).path("comparisons.parquet"), GATE)
    assert comparisons.height == summary.n_comparisons == 3
    assert decide("good.v1") == record
    assert find_champion(open_snapshot(scored.deployment)).key == "good.v1"


def test_a_worse_model_does_not_and_the_reasons_are_written_down(registry, decide):
    registry.move_alias("champion", "good.v1")
    summary = decide("blind.v1").summary
    assert (summary["decision"], summary["champion"]) == ("kept", "good.v1")
    assert any(text.startswith("known_relationships on SIM: not shown to be better") for text in summary["against"])
    assert any("worse" in text for text in summary["against"])
    assert champions(registry) == ["good.v1"]


def test_an_override_keeps_what_the_gate_said(registry, decide):
    registry.move_alias("champion", "good.v1")
    summary = decide("blind.v1", override=CURIE).summary
    assert (summary["decision"], summary["approved_by"]) == ("overridden", "M. Curie")
    assert summary["override_reason"] == CURIE.reason
    assert summary["against"]
    assert champions(registry) == ["blind.v1"]


def test_an_override_of_a_model_that_passes_is_a_promotion(registry, decide):
    registry.move_alias("champion", "blind.v1")
    summary = decide("good.v1", override=CURIE).summary
    assert (summary["decision"], summary["approved_by"]) == ("promoted", "the gate")


def test_a_champion_that_was_deleted_is_replaced_by_a_person_alone(scored, registry, decide):
    decide("good.v1")
    registry.client().delete_registered_model("good")
    assert find_champion(open_snapshot(scored.deployment)).fingerprint is None
    with pytest.raises(RegistryError, match=r"good\.v1 is not in the registry.* decide by an override"):
        decide("fair.v1")
    summary = decide("fair.v1", override=CURIE).summary
    assert (summary["champion"], summary["previous_champion"]) == ("fair.v1", "good.v1")
    assert (summary["decision"], summary["approved_by"]) == ("overridden", "M. Curie")
    assert "good.v1 is in production and was deleted" in summary["against"][0]
    assert champions(registry) == ["fair.v1"]


def test_a_score_that_one_model_lacks_is_no_silence(scored, registry, decide):
    """Only where neither model has anything to be judged on does a guard not ask."""
    registry.move_alias("champion", "blind.v1")
    gate(scored, guarded=[{"benchmark_name": "dose_response"}], datasets=["SIM"])
    assert decide("good.v1").summary["decision"] == "promoted"
    gate(scored, guarded=[{"benchmark_name": "dose_response"}], datasets=["OTHER"])
    assert "dose_response on OTHER" in decide("fair.v1").summary["against"][-1]


def test_the_first_model_must_beat_chance(registry, decide):
    summary = decide("blind.v1").summary
    assert (summary["decision"], "champion" in summary) == ("kept", False)
    assert champions(registry) == []
    assert decide("good.v1").summary["decision"] == "promoted"
    assert champions(registry) == ["good.v1"]


def test_a_kill_before_the_alias_moved_is_made_good_by_the_next_run(registry, decide, monkeypatch):
    registry.move_alias("champion", "blind.v1")
    with monkeypatch.context() as patched:
        patched.setattr(Registry, "move_alias", lambda *_args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            decide("good.v1")
    assert champions(registry) == ["blind.v1"]
    assert decide("good.v1").generation == 1
    assert champions(registry) == ["good.v1"]


def test_an_alias_that_was_moved_by_hand_is_put_back_by_the_next_decision(registry, decide):
    decide("good.v1")
    registry.move_alias("champion", "blind.v1")
    assert decide("fair.v1").summary["champion"] == "good.v1"
    assert champions(registry) == ["good.v1"]


def test_scores_that_went_stale_do_not_count(scored, registry, decide):
    registry.move_alias("champion", "blind.v1")
    embed_again(scored, "good.v1")
    record = decide("good.v1")
    assert record.summary["decision"] == "kept"
    assert all("no scores of good.v1 that can be compared" in text for text in record.summary["against"])
    assert all("good.v1" not in name for name in record.inputs["scores"])
    judged_on = {tuple(pair) for pair in record.inputs["judged_on"]["good.v1"]}
    assert ("known_relationships", "SIM") in judged_on, "where there are stale scores is known"


def test_a_champion_that_nobody_decided_on_is_no_candidate(registry, decide):
    registry.move_alias("champion", "good.v1")
    with pytest.raises(BenchmarkError, match=r"good\.v1 has the alias 'champion' already"):
        decide("good.v1")


def test_two_champions_by_alias_alone_are_refused(scored, registry):
    for name in ("good", "fair"):
        registry.client().set_registered_model_alias(name, "champion", "1")
    with pytest.raises(RegistryError, match=r"'fair\.v1', 'good\.v1'\] all have the alias 'champion'"):
        scored.plan(KIND, candidate="blind.v1")


# --- one click: nobody names a candidate ---


def test_one_click_judges_the_models_that_were_not_judged_in_order_of_their_age(scored, registry, decide):
    by_age = [entry.key for entry in sorted(registry.list_models(), key=lambda entry: entry.created_at_ms)]
    assert waiting(scored) == by_age == ["good.v1", "fair.v1", "blind.v1"]
    assert decide().summary["champion"] == "good.v1"
    assert waiting(scored) == ["fair.v1", "blind.v1"]
    assert [decide().summary["candidate"] for _ in range(2)] == ["fair.v1", "blind.v1"]
    assert waiting(scored) == []
    assert set(scored.lake.current(KIND).record.summary["judged"]) == {"good.v1", "fair.v1", "blind.v1"}
    with pytest.raises(RegistryError, match=r"no model waits to be judged.*give one the alias 'candidate'"):
        decide()


def test_the_model_with_the_alias_candidate_comes_first_also_when_it_was_judged(scored, registry, decide):
    decide("good.v1")
    decide("blind.v1")
    registry.move_alias("candidate", "blind.v1")
    assert waiting(scored) == ["blind.v1"]
    assert decide().summary["candidate"] == "blind.v1"


def test_two_models_with_the_alias_candidate_are_refused(scored, registry):
    for name in ("good", "fair"):
        registry.client().set_registered_model_alias(name, "candidate", "1")
    with pytest.raises(RegistryError, match="all have the alias 'candidate'; name the candidate by its key"):
        waiting(scored)


def test_a_model_with_other_files_is_judged_again(scored, decide):
    for _ in range(3):
        decide()
    embed_again(scored, "fair.v1")
    assert waiting(scored) == [], "its scores are out of date"
    scored.make_all("SIM", "fair.v1")
    assert waiting(scored) == ["fair.v1"]


def test_a_model_without_current_scores_waits_and_is_not_refused_for_it(scored):
    scored.register("new")
    assert "new.v1" not in waiting(scored)
    scored.add(simulate_wells(scored.design)[0], "new.v1")
    scored.make_all("SIM", "new.v1", benchmarks=["perturbation_magnitude"])
    assert "new.v1" not in waiting(scored), "the deciding benchmark has not scored it"
    scored.make("benchmark/known_relationships", "SIM", "new.v1")
    assert waiting(scored)[-1] == "new.v1"
    gate(scored, deciding_datasets=["SIM", "U2OS"])
    assert waiting(scored) == [], "no model is scored on every deciding dataset"


# --- the sequence of candidates against one champion ---


def test_candidates_take_numbers_and_the_level_falls(registry, decide):
    registry.move_alias("champion", "good.v1")
    summaries = [decide(key).summary for key in ("fair.v1", "blind.v1")]
    assert summaries[0]["number"] == 1
    assert summaries[0]["level"] == pytest.approx(0.5 * 0.05 * 0.178840, rel=1e-5)
    assert summaries[1]["number"] == 1, "fair.v1 scored no higher than good.v1, so it was not counted"
    places = summaries[1]["sequences"]["good.v1"]["places"]
    assert {key: place["p_value"] for key, place in places.items()} == {
        key: summary["p_value"] for key, summary in zip(("fair.v1", "blind.v1"), summaries, strict=True)
    }
    assert [summary["p_value"] > 0.5 for summary in summaries] == [True, True]
    assert summaries[1]["alpha_left"] == pytest.approx(0.05)


@pytest.fixture
def counting(registry, monkeypatch):
    """A champion, and a sequence that counts candidates that score lower too: the models here score lower."""
    registry.move_alias("champion", "good.v1")
    monkeypatch.setattr(sequence, "COUNTED_UP_TO", 1.0)


def test_a_promotion_begins_a_new_sequence_and_keeps_that_of_the_old_champion(registry, decide):
    registry.move_alias("champion", "blind.v1")
    promoted = decide("good.v1").summary
    assert (promoted["decision"], promoted["number"]) == ("promoted", 1)
    later = decide("fair.v1").summary
    assert (later["number"], later["previous_champion"]) == (1, "good.v1")
    assert set(later["sequences"]) == {"blind.v1", "good.v1"}
    assert later["sequences"]["blind.v1"]["n_counted"] == 1


def counted(record):
    return {key: one["n_counted"] for key, one in record.summary["sequences"].items()}


@pytest.mark.usefixtures("counting")
def test_judging_the_same_scores_again_spends_nothing_also_after_other_decisions(decide):
    first = decide("fair.v1")
    assert (first.summary["decision"], first.summary["number"], counted(first)) == ("kept", 1, {"good.v1": 1})
    second = decide("blind.v1")
    assert (second.summary["number"], counted(second)) == (2, {"good.v1": 2})
    again = decide("fair.v1")
    assert again.generation == 3
    assert (again.summary["number"], counted(again)) == (1, {"good.v1": 2})
    assert again.summary["level"] == first.summary["level"]
    assert again.summary["alpha_left"] == second.summary["alpha_left"] < first.summary["alpha_left"]


@pytest.mark.usefixtures("counting")
def test_judging_other_scores_of_a_model_takes_the_next_number(scored, decide):
    decide("fair.v1")
    embed_again(scored, "fair.v1")
    scored.make_all("SIM", "fair.v1", benchmarks=["known_relationships"])
    assert decide("fair.v1").summary["number"] >= 2


@pytest.mark.usefixtures("counting")
def test_a_candidate_that_is_named_before_its_turn_takes_the_number_of_its_turn(decide):
    assert decide("blind.v1").summary["number"] == 2, "fair.v1 is older and has scores"
    assert decide("fair.v1").summary["number"] == 2, "one was counted"


@pytest.mark.usefixtures("counting")
def test_an_override_spends_nothing(decide):
    record = decide("fair.v1", override=CURIE)
    assert (record.summary["decision"], record.summary["number"]) == ("overridden", 1)
    assert counted(record) == {"good.v1": 0}


@pytest.mark.usefixtures("counting")
def test_a_judgement_without_one_of_its_comparisons_spends_nothing(scored, decide):
    gate(scored, guarded=[{"benchmark_name": "dose_response"}], datasets=["OTHER"])
    record = decide("fair.v1")
    assert (record.summary["number"], "p_value" in record.summary, counted(record)) == (1, False, {"good.v1": 0})


def test_the_first_champion_is_judged_against_chance_outside_any_sequence(decide):
    summary = decide("good.v1").summary
    assert "number" not in summary
    assert summary["sequences"] == {}


def test_what_a_judgement_could_show_is_read_before_it_and_without_its_gain(scored, registry):
    registry.move_alias("champion", "good.v1")
    shown = foresee(Context(scored.deployment), scored.plan(KIND, candidate="fair.v1"))
    assert shown["role"].to_list() == ["deciding", "guarded", "guarded"]
    assert not {"gain", "p_value", "interval_low", "interval_high", "verdict", "is_passed"} & set(shown.columns)
    assert (shown["detectable"] > 0).all()
    assert shown["n_needed"].null_count() == 1
    assert scored.lake.artifact(KIND).find_record() is None


# --- inputs of the plan ---


def test_a_decision_is_made_from_the_scores_of_its_plan(scored, registry, publish_newer):
    """`made_from_pins` cannot be used: a decision writes the id of its MLflow run."""
    registry.move_alias("champion", "blind.v1")
    plan = scored.plan(KIND, candidate="good.v1")
    for name in ("known_relationships", "perturbation_magnitude"):
        worse = {
            "scores.parquet": lambda table: table.with_columns(table["value"] * 0, table["value"].alias("null_mean"))
        }
        publish_newer(scored.deployment, f"benchmark/{name}", "SIM", "good.v1", change=worse)
    gate(scored, deciding_datasets=["U2OS"])
    record = stage_named(KIND).make(Context(scored.deployment), plan)
    assert (record.fingerprint, record.summary["decision"]) == (plan.fingerprint, "promoted")
    assert record.inputs["policy"]["deciding_datasets"] == ["SIM"]
    known = scored.lake.open(plan.pin("benchmark/known_relationships", "SIM", "good.v1")).record
    assert record.inputs["scores"]["known_relationships/SIM/good.v1"] == known.fingerprint
    gate(scored)
    assert scored.plan(KIND, candidate="fair.v1").inputs["champion"]["key"] == "good.v1"


def test_of_two_decisions_at_once_one_is_told_and_the_alias_follows_the_record(scored, registry):
    registry.move_alias("champion", "blind.v1")
    first, second = (scored.plan(KIND, candidate=key) for key in ("good.v1", "fair.v1"))
    stage, context = stage_named(KIND), Context(scored.deployment)
    record = stage.make(context, first)
    with pytest.raises(StaleArtifact, match="nothing was overwritten"):
        stage.make(context, second)
    stage.settle(context, scored.lake.current(KIND).record)
    assert scored.lake.current(KIND).record == record
    assert champions(registry) == [record.summary["champion"]] == ["good.v1"]


def test_two_runs_of_one_decision_publish_one_record(scored):
    stage, plan = stage_named(KIND), scored.plan(KIND, candidate="good.v1")
    barrier, found = threading.Barrier(2), []

    def make():
        barrier.wait()
        found.append(stage.make(Context(scored.deployment), plan))

    threads = [threading.Thread(target=make) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1]
    artifact = scored.lake.artifact(KIND)
    assert artifact.generation() == 1
    artifact.verify(found[0])


def test_a_full_disk_leaves_alias_and_decision_as_they_were(scored, registry, decide, monkeypatch):
    registry.move_alias("champion", "blind.v1")

    def no_space(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", no_space)
        with pytest.raises(OSError, match="No space left"):
            decide("good.v1")
    assert champions(registry) == ["blind.v1"]
    assert scored.lake.artifact(KIND).find_record() is None
    assert decide("good.v1").summary["champion"] == "good.v1"


def test_a_summary_without_what_was_judged_is_named(scored, decide, publish_newer):
    decide("good.v1")
    publish_newer(scored.deployment, KIND, summary={"judged": None})
    with pytest.raises(CorruptArtifact, match="is not a ProductionModelSummary"):
        waiting(scored)
