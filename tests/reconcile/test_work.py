"""What is asked for, together with what, under which key; and what waits, and for what."""

from pathlib import Path

import pytest

from cellassets.reconcile.standing import held, plate_agenda, recipe_agenda, report_agenda, standing
from cellassets.reconcile.work import PLATES, Agenda, embedding_agenda, map_agenda, map_chain
from cellassets.stages.benchmark import benchmark_stages
from cellassets.stages.models import active_models
from cellassets.stages.state import state_of

BENCHMARKS = tuple(stage.name for stage in benchmark_stages())


@pytest.fixture
def scored(world):
    """One experiment of HUVEC, embedded and scored by one model."""
    world.register("a")
    world.store("HUVEC-1")
    world.embed("a.v1", "HUVEC-1")
    world.score("HUVEC", "a.v1")
    return world


def asked(agenda: Agenda) -> list[tuple[tuple[str, ...], dict[str, str]]]:
    return [(work.assets, work.keys) for work in agenda.work]


def keys_of(agenda: Agenda) -> list[str]:
    return [work.run_key for work in agenda.work]


def reasons(agenda: Agenda) -> dict[str, str]:
    return {item.what: item.reason for item in agenda.waiting}


def test_everything_current_asks_for_nothing(scored):
    agenda = map_agenda(scored.live())
    assert agenda == Agenda([], [], 1, 1)


def test_a_map_that_is_due_brings_its_benchmarks_into_the_run(scored):
    scored.write("mapping.yaml", {"aggregation": "median"})
    assert asked(map_agenda(scored.live())) == [(map_chain(), {"dataset": "HUVEC", "model": "a.v1"})]


def test_a_benchmark_with_other_settings_is_asked_for_alone(scored):
    scored.write("benchmarks/dose_response.yaml", {"n_permutations": 199})
    assert asked(map_agenda(scored.live())) == [(("benchmark/dose_response",), {"dataset": "HUVEC", "model": "a.v1"})]


def test_a_landed_experiment_is_one_run_and_a_changed_one_is_taken_in_again(world):
    world.land("HUVEC-1")
    first = plate_agenda(world.live())
    assert asked(first) == [(PLATES, {"experiment": "HUVEC-1"})]
    world.store("HUVEC-1")
    assert plate_agenda(world.live()) == Agenda([], [], 1, 1)
    world.land("HUVEC-1", "landed again")
    again = plate_agenda(world.live())
    assert asked(again) == asked(first)
    assert keys_of(again) != keys_of(first)


def test_work_is_asked_for_anew_after_a_damaged_input_was_made_again(world):
    """A run that read the damaged one refused its data, and the new one has the same content."""
    world.register("a")
    world.store("HUVEC-1")
    live = world.live()
    refused = keys_of(embedding_agenda(live))
    world.store("RPE-1")  # of another cell type
    world.refresh(live)
    assert refused[0] in keys_of(embedding_agenda(live))
    artifact = world.lake.artifact("plate_store", "HUVEC-1")
    Path(artifact.record_path(1).path).unlink()
    world.lake.scan()
    world.refresh(live)
    assert {work.keys["experiment"] for work in embedding_agenda(live).work} == {"RPE-1"}
    world.make("plate_store", "HUVEC-1")
    world.refresh(live)
    (again,) = [work for work in embedding_agenda(live).work if work.keys["experiment"] == "HUVEC-1"]
    assert again.run_key not in refused


def test_a_store_that_was_not_made_is_asked_for_with_what_follows_it(world):
    world.land("HUVEC-1")
    world.make("raw_plates", "HUVEC-1")
    assert asked(plate_agenda(world.live())) == [(("plate_store", "plate_quality"), {"experiment": "HUVEC-1"})]


def test_maps_wait_for_the_embeddings_of_every_experiment_and_name_them(scored):
    scored.store("HUVEC-2")
    live = scored.live()
    assert asked(embedding_agenda(live)) == [(("site_embeddings",), {"experiment": "HUVEC-2", "model": "a.v1"})]
    agenda = map_agenda(live)
    assert not agenda.work
    assert agenda.n_total - agenda.n_current == 1
    assert "HUVEC-2|a.v1" in reasons(agenda)["perturbation_map of HUVEC|a.v1"]
    assert list(reasons(agenda)) == ["perturbation_map of HUVEC|a.v1"]  # its benchmarks are not listed again


def test_a_benchmark_that_reads_other_maps_waits_for_them(scored):
    scored.store("RPE-1")
    scored.embed("a.v1", "RPE-1")
    scored.score("RPE", "a.v1")
    scored.make("benchmark/cell_type_generalisation", "HUVEC", "a.v1")  # sees the map of RPE now
    assert map_agenda(scored.live()).work == []
    scored.land("RPE-1", "landed again")
    scored.make("raw_plates", "RPE-1")
    for kind in PLATES[1:]:
        scored.make(kind, "RPE-1")
    scored.embed("a.v1", "RPE-1")
    live = scored.live()
    agenda = map_agenda(live)
    if not agenda.work:
        pytest.skip("the wells are the same")
    state = state_of(live, "benchmark/cell_type_generalisation", "HUVEC", "a.v1")
    assert (state.status, state.blockers) == ("waiting", (("perturbation_map", ("RPE", "a.v1")),))
    assert [keys["dataset"] for _, keys in asked(agenda)] == ["RPE"]


def test_run_keys_are_equal_for_equal_states(scored):
    scored.write("mapping.yaml", {"aggregation": "median"})
    assert keys_of(map_agenda(scored.live())) == keys_of(map_agenda(scored.fresh())) != []


def test_an_input_that_changes_and_changes_back_is_asked_for_again(scored):
    scored.write("mapping.yaml", {"aggregation": "median"})
    first = keys_of(map_agenda(scored.live()))
    scored.score("HUVEC", "a.v1")
    scored.write("mapping.yaml", {})
    back = keys_of(map_agenda(scored.live()))
    scored.score("HUVEC", "a.v1")
    scored.write("mapping.yaml", {"aggregation": "median"})
    again = keys_of(map_agenda(scored.live()))
    assert len({*first, *back, *again}) == 3


def test_a_cell_type_that_waits_shows_with_its_reason_and_what_waits_with_it(scored):
    scored.write("policy.yaml", {"datasets": {"active": ["HUVEC"]}})
    scored.store("RPE-1", "RPE-2")
    live = scored.live()
    (waiting,) = held(live)
    assert waiting.what == "dataset RPE (2 embedding tables wait with it)"
    assert "name it in datasets.active of policy.yaml, or run" in waiting.reason
    embeddings = embedding_agenda(live)
    assert (embeddings.work, embeddings.n_total - embeddings.n_current) == ([], 2)
    parts = {part.what: part for part in standing(live)}
    assert not parts["embedding tables"].is_done
    assert waiting in parts["embedding tables"].waiting


def test_a_dataset_that_was_backfilled_is_active(scored):
    scored.write("policy.yaml", {"datasets": {"active": ["HUVEC"]}})
    scored.store("RPE-1")
    scored.embed("a.v1", "RPE-1")
    assert [keys["dataset"] for _, keys in asked(map_agenda(scored.live()))] == ["RPE"]


def test_one_wrong_dataset_holds_up_itself_alone(scored):
    for name, text in {
        "early": "experiment_ids: [HUVEC-1, HUVEC-9]\n",
        "typo": "cell_typs: [HUVEC]\n",
        "unknown": "annotation_sources: [CORUM]\n",
        "HUVEC": "cell_types: [HUVEC]\n",
        "good": "experiment_ids: [HUVEC-1]\n",
    }.items():
        scored.write(f"datasets/{name}.yaml", text)
    (scored.configs / "datasets" / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    (scored.configs / "datasets" / "folder.yaml").mkdir()
    live = scored.live()
    found = {item.what: item.reason for item in held(live)}
    for name, words in {
        "early": "HUVEC-9",
        "typo": "typo.yaml",
        "unknown": "no annotation source",
        "binary": "cannot be read as a text file",
        "folder": "cannot be read as a text file",
        "HUVEC": "rename the file",
    }.items():
        assert words in found[f"dataset {name}"]
    assert [keys["dataset"] for _, keys in asked(map_agenda(live))] == ["good"]


def test_one_wrong_recipe_holds_up_itself_alone(world):
    world.write("recipes/broken.yaml", "kind: network\nn_epoch: 3\n")
    world.write("recipes/plain.yaml", "kind: classical\n")
    agenda = recipe_agenda(world.live())
    assert asked(agenda) == [(("checkpoint",), {"recipe": "plain"})]
    assert "broken.yaml" in reasons(agenda)["checkpoint of broken"]


def test_a_recipe_waits_for_its_experiments(world):
    recipe = {"kind": "network", "train_experiments": ["HUVEC-1"], "validation_experiments": ["HUVEC-2"]}
    world.write("recipes/small.yaml", recipe)
    world.store("HUVEC-1")
    waiting = recipe_agenda(world.live())
    assert waiting.work == []
    reason = "waits for plate_store of HUVEC-2: not published yet (HUVEC-2 did not land here; similar: HUVEC-1)"
    assert reasons(waiting) == {"checkpoint of small": reason}
    world.land("HUVEC-2")
    waiting = recipe_agenda(world.live())
    assert reasons(waiting) == {"checkpoint of small": "waits for plate_store of HUVEC-2: not published yet"}
    world.store("HUVEC-2")
    assert asked(recipe_agenda(world.live())) == [(("checkpoint",), {"recipe": "small"})]


def test_wrong_settings_of_a_benchmark_hold_up_that_benchmark_alone(scored):
    scored.write("benchmarks/dose_response.yaml", "n_permutation: 3")
    scored.write("mapping.yaml", {"aggregation": "median"})
    agenda = map_agenda(scored.live())
    ((assets, _),) = asked(agenda)
    assert set(assets) == {*map_chain()} - {"benchmark/dose_response"}
    assert "dose_response.yaml" in reasons(agenda)["benchmark/dose_response of HUVEC|a.v1"]


@pytest.mark.parametrize("content", [None, "modls: {}", "{", "- a list"])
def test_a_wrong_policy_is_the_reason_of_what_needs_it_and_stops_nothing_else(scored, content):
    live = scored.live()
    path = scored.configs / "policy.yaml"
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    scored.write("recipes/plain.yaml", "kind: classical\n")
    scored.refresh(live)
    for agenda in (embedding_agenda(live), map_agenda(live), report_agenda(live)):
        assert agenda.work == []
        assert agenda.n_current < agenda.n_total
        ((_, reason),) = reasons(agenda).items()
        assert "policy.yaml" in reason
    assert "policy.yaml" in reasons(plate_agenda(live))["raw_plates of HUVEC-1"]
    assert asked(recipe_agenda(live)) == [(("checkpoint",), {"recipe": "plain"})]
    assert [part.is_done for part in standing(live)].count(True) == 0
    path.write_text("{}")
    scored.refresh(live)
    assert map_agenda(live) == Agenda([], [], 1, 1)


def test_a_registry_that_does_not_answer_is_the_reason_of_what_needs_the_list_of_models(scored):
    live = scored.live()
    place = Path(scored.root)
    database = place / "mlflow.db"
    whole = database.read_bytes()
    from cellassets.registry.opening import _open_client

    _open_client.cache_clear()
    database.unlink()
    scored.deployment.__dict__["tracking_uri"] = f"sqlite:///{place}/gone/mlflow.db"
    scored.refresh(live)
    agenda = embedding_agenda(live)
    ((what, reason),) = reasons(agenda).items()
    assert what == "embeddings"
    assert "does not exist" in reason
    assert plate_agenda(live).n_current == 1
    assert state_of(live, "site_embeddings", "HUVEC-1", "a.v1").status == "current"  # as the registry said last
    database.write_bytes(whole)
    scored.deployment.__dict__["tracking_uri"] = f"sqlite:///{database}"
    scored.refresh(live)
    assert embedding_agenda(live) == Agenda([], [], 1, 1)


def test_models_of_an_unknown_kind_do_not_count(scored):
    version = scored.client.create_registered_model("foreign").name
    scored.client.create_model_version(version, "somewhere", None, {"kind": "sorcery"}, await_creation_for=0)
    assert [entry.key for entry in active_models(scored.live())] == ["a.v1"]


def test_a_model_that_is_gone_asks_for_nothing_more(scored):
    live = scored.live()
    scored.client.delete_registered_model("a")
    scored.refresh(live)
    assert (embedding_agenda(live).n_total, map_agenda(live).n_total) == (0, 0)
    state = state_of(live, "site_embeddings", "HUVEC-1", "a.v1")
    assert (state.status, "not in the registry" in state.reason) == ("waiting", True)


def test_the_leaderboard_follows_scores_that_become_stale(scored):
    scored.make("leaderboard")
    live = scored.live()
    parts = {part.what: part for part in standing(live)}
    assert parts["leaderboard"].is_done
    scored.write("benchmarks/dose_response.yaml", {"n_permutations": 199})
    scored.refresh(live)
    assert state_of(live, "leaderboard").status == "due"
