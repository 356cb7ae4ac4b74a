"""After a prune everything that anything needs is there: nothing becomes due, every input of a record resolves."""

import hashlib
import os
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cellassets.errors import ArtifactMissing, RegistryError
from cellassets.judging.names import CHAMPION
from cellassets.reconcile.retention import n_keys_of, needs_of
from cellassets.reconcile.standing import leaderboard_agenda, plate_agenda, recipe_agenda, report_agenda
from cellassets.reconcile.work import embedding_agenda, map_agenda
from cellassets.registry import Registry
from cellassets.stages.datasets import frozen_dataset
from cellassets.stages.production_model import ProductionModelSummary
from cellassets.storage.artifact import write_bytes
from cellassets.storage.lake import shared_folder
from cellassets.storage.plan import Plan
from cellassets.storage.removal import remove
from cellassets.storage.superseded import names_among, survey
from cellassets.training.summary import CheckpointSummary

AGENDAS = (plate_agenda, recipe_agenda, embedding_agenda, map_agenda, leaderboard_agenda, report_agenda)
DAY = timedelta(days=1)


def files_of(folder):
    return [path for path in Path(folder).rglob("*") if path.is_file()]


def backdate(world, *, days=100):
    """Spreads the times of all files of the lake over the last days, in the order in which they were written."""
    records = sorted(files_of(f"{world.lake.root}/records"), key=lambda path: path.stat().st_mtime_ns)
    others = sorted(files_of(f"{world.lake.root}/data"), key=lambda path: path.stat().st_mtime_ns)
    start_s = (datetime.now(UTC) - days * DAY).timestamp()
    for paths in (records, others):
        for number, path in enumerate(paths):
            time_s = start_s + days * DAY.total_seconds() * number / len(paths)
            os.utime(path, (time_s, time_s))


def look(world, *, days=30, young="young"):
    before = datetime.now(UTC) - days * DAY
    snapshot = world.fresh()
    return survey(world.lake, n_keys_of(snapshot), needs_of(snapshot, before, young)), before


def prune(world, **options):
    """Returns the pieces that went."""
    found, before = look(world, **options)
    free = [piece for piece in found.pieces if not piece.reason]
    for piece in free:
        assert remove(world.lake, piece, before=before) == piece.n_bytes, piece.name
    return free


def records_of(world):
    found = {}
    for kind, n_keys in n_keys_of(world.fresh()).items():
        root = Path(world.lake.root.path) / "records" / kind
        for path in sorted(root.glob("/".join([*["*"] * n_keys, "*.json"]))):
            artifact = world.lake.artifact(kind, *path.relative_to(root).parent.parts)
            record = artifact.record_of(int(path.stem))
            found[kind, record.keys, record.generation] = record
    return found


def what_is_due(world, snapshot=None):
    if snapshot is None:
        snapshot = world.live()
    else:
        world.refresh(snapshot)
    return [agenda(snapshot) for agenda in AGENDAS]


def reasons(found):
    return {piece.name: piece.reason for piece in found.pieces}


def train(world, model_key, value="first"):
    """Publishes a checkpoint that says that it is a model."""
    artifact = world.lake.artifact("checkpoint", "net")
    inputs = {"value": value, "experiments": {}}
    plan = Plan("checkpoint", ("net",), inputs, replaces=artifact.generation())
    summary = CheckpointSummary(model_key=model_key, model_fingerprint="f", run_id=None, metrics={})
    with world.lake.draft(plan) as draft:
        write_bytes(draft.folder / "weights.safetensors", value.encode())
        draft.publish(["weights.safetensors"], summary)


def decide(world, champion, decision, scores=()):
    """Publishes a decision of the gate."""
    inputs = {"scores": {str(n): score.fingerprint for n, score in enumerate(scores)}, "champion": champion}
    inputs["number"] = world.lake.artifact("production_model").generation()
    plan = Plan("production_model", (), inputs, replaces=inputs["number"])
    summary = ProductionModelSummary(
        champion=champion, candidate=champion, decision=decision, is_gate_passed=True, approved_by="the gate",
        against=(), n_comparisons=0, mlflow_run_id="r", judged={},
    )  # fmt: skip
    with world.lake.draft(plan) as draft:
        write_bytes(draft.folder / "comparisons.parquet", b"rows")
        draft.publish(["comparisons.parquet"], summary)


def stored_again(world, *contents):
    """Publishes an experiment once for each content of its landing folder."""
    for content in contents:
        world.land("HUVEC-1", content)
        for kind in ("raw_plates", "plate_store", "plate_quality"):
            world.make(kind, "HUVEC-1")


# --- random histories ---


def live_on(world, rng, n_steps):
    """A random history: experiments land again, models come, and everything is made in an arbitrary order."""
    stored_again(world, "first", "second")
    models, snapshot = [world.register("m0")], world.live()
    for number in range(n_steps):
        happen(world, rng, models, number)
        for _ in range(rng.randint(0, 3)):
            for agenda in what_is_due(world, snapshot):
                for item in rng.sample(agenda.work, min(len(agenda.work), rng.randint(1, 6))):
                    make_some(world, rng, item)


def happen(world, rng, models, number):
    """One event, and sometimes a decision, a training or an interrupted run."""
    if rng.random() < 0.2:
        models.append(world.register(f"m{number + 1}"))
    else:
        world.land(rng.choice(["HUVEC-1", "HUVEC-2", "RPE-1"]), f"content {number}")
    further = (
        lambda: decide(world, rng.choice(models), rng.choice(["kept", "promoted"]), current_scores(world)),
        lambda: train(world, rng.choice(models), f"weights {number}"),
        lambda: leave_unfinished(world, rng),
    )
    for event in further:
        if rng.random() < 0.2:
            event()


def make_some(world, rng, item):
    for name in item.assets:
        if rng.random() < 0.9:
            try:
                world.make(name, *item.keys.values())
            except ArtifactMissing:
                return


def current_scores(world):
    found = world.fresh()
    return [one for one in found.records if one.kind.startswith("benchmark/")][:3]


def leave_unfinished(world, rng):
    kind, keys = rng.choice([("plate_store", ("HUVEC-1",)), ("site_embeddings", ("HUVEC-2", "m0.v1"))])
    folder = world.lake.artifact(kind, *keys).data / shared_folder(f"{rng.getrandbits(128):032x}", 1)
    write_bytes(folder / "part-0.parquet", b"half")
    Path((folder / ".part-1.parquet.0a1b2c3d.x7y8z9ab").path).write_bytes(b"quarter")


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2))])
def test_a_prune_of_any_history_loses_nothing_that_is_needed(world, seed):
    rng = random.Random(seed)
    live_on(world, rng, 7)
    backdate(world)
    landed = {path: path.read_bytes() for path in files_of(world.deployment.landing_root)}
    due, records, before_sizes = what_is_due(world), records_of(world), sizes(world)
    written_s = {str(path): path.stat().st_mtime for path in files_of(world.lake.root)}
    found, before = look(world)
    free = [piece for piece in found.pieces if not piece.reason]
    assert free, "the history has something to remove"
    assert sizes(world) == before_sizes, "a dry run changes nothing"

    assert sum(remove(world.lake, piece, before=before) for piece in free) == sum(piece.n_bytes for piece in free)
    assert sum(before_sizes.values()) - sum(sizes(world).values()) == sum(piece.n_bytes for piece in free)
    assert len(before_sizes) - len(sizes(world)) == sum(piece.n_files for piece in free)
    assert what_is_due(world) == due
    left = records_of(world)
    assert {(kind, keys) for kind, keys, _ in left} == {(kind, keys) for kind, keys, _ in records}
    for (kind, keys, generation), record in left.items():
        world.lake.artifact(kind, *keys).verify(record)
        assert generation in world.lake.artifact(kind, *keys).generations()
    every = {record.fingerprint for record in records.values()}
    there = {record.fingerprint for record in left.values()}
    named = {name for record in left.values() for name in names_among(record.inputs)}
    assert named & every <= there, "the inputs of every record that stays resolve"
    assert {path: path.read_bytes() for path in files_of(world.deployment.landing_root)} == landed
    assert world.lake.scan().n_noted == 0
    assert [piece for piece in look(world)[0].pieces if not piece.reason] == []
    for kind, keys, generation in records.keys() - left.keys():
        later = min(number for *address, number in records if address == [kind, keys] and number > generation)
        assert written_s[world.lake.artifact(kind, *keys).record_path(later).path] < before.timestamp()


def sizes(world):
    return {path: path.stat().st_size for name in ("records", "data") for path in files_of(world.lake.root / name)}


# --- each rule ---


def test_superseded_stores_go_once_nothing_reads_them(world):
    world.register("a")
    stored_again(world, "first")
    world.embed("a.v1", "HUVEC-1")
    stored_again(world, "second")
    backdate(world)
    found = reasons(look(world, days=0)[0])
    assert (
        found["publication 1 of plate_store of HUVEC-1"] == "needed by site_embeddings of HUVEC-1|a.v1 (publication 1)"
    )
    assert found["publication 1 of raw_plates of HUVEC-1"] == "needed by plate_store of HUVEC-1 (publication 1)"
    assert found["publication 1 of plate_quality of HUVEC-1"] == ""
    world.embed("a.v1", "HUVEC-1")
    backdate(world)
    gone = {piece.name for piece in prune(world, days=0)}
    assert {"publication 1 of plate_store of HUVEC-1", "publication 1 of site_embeddings of HUVEC-1|a.v1"} <= gone
    assert [path.name for path in files_of(f"{world.lake.root}/records/plate_store")] == ["000002.json"]


def test_what_was_superseded_a_short_while_ago_stays_however_old_it_is(world):
    stored_again(world, "first", "second")
    for path in files_of(world.lake.root):
        if path.name == "000001.json":
            os.utime(path, (0, 0))
    assert set(reasons(look(world)[0]).values()) == {"young"}


def test_a_folder_landed_back_to_what_it_was_keeps_the_newer_of_two_equal_publications(world):
    stored_again(world, "first", "second", "first")
    backdate(world)
    kept = {piece.name for piece in look(world, days=0)[0].pieces if piece.reason}
    assert kept == set()
    prune(world, days=0)
    assert world.lake.artifact("plate_store", "HUVEC-1").generations() == [3]
    assert what_is_due(world)[0].work == []


def test_weights_of_registered_models_stay_until_they_are_retired(world):
    world.register("net")
    train(world, "net.v1")
    train(world, "net.v2", "second")
    backdate(world)
    name = "publication 1 of checkpoint of net"
    assert reasons(look(world, days=0)[0]) == {name: "weights of the registered model net.v1"}
    world.write("policy.yaml", {"models": {"retired": ["net.v1"]}})
    assert reasons(look(world, days=0)[0]) == {name: ""}
    Registry(world.deployment.tracking_uri, world.deployment.model_root).move_alias(CHAMPION, "net.v1")
    assert reasons(look(world, days=0)[0]) == {name: "weights of net.v1, the model in production"}
    world.write("policy.yaml", "models: [")
    assert "its policy cannot be read" in reasons(look(world, days=0)[0])[name]


def test_weights_stay_while_the_registry_cannot_be_asked(world, monkeypatch):
    def no_answer(_):
        raise RegistryError("it does not answer")

    monkeypatch.setattr(Registry, "list_models", no_answer)
    train(world, "net.v1")
    train(world, "net.v2", "second")
    backdate(world)
    (reason,) = reasons(look(world, days=0)[0]).values()
    assert "the registry cannot be asked" in reason


def test_the_decision_that_put_the_champion_into_production_stays_with_those_after_it(world):
    for champion, decision in (("a", "promoted"), ("b", "promoted"), ("b", "kept"), ("b", "kept")):
        decide(world, champion, decision)
    backdate(world)
    found = reasons(look(world, days=0)[0])
    assert [found[f"publication {number} of production_model"] != "" for number in (1, 2, 3)] == [False, True, True]


def test_a_frozen_dataset_keeps_what_it_would_be_restored_from(world):
    stored_again(world, "first")
    frozen = frozen_dataset(world.fresh(), "HUVEC").model_dump(mode="json", exclude={"dataset_id"})
    world.write("datasets/judged.yaml", frozen)
    stored_again(world, "second")
    backdate(world)
    assert set(reasons(look(world, days=0)[0]).values()) == {""}, "the present wells are those that it was frozen with"
    world.write("datasets/judged.yaml", {**frozen, "frozen_fingerprint": "0" * 32})
    found = set(reasons(look(world, days=0)[0]).values())
    assert found == {"dataset judged is frozen with other wells than those that are current"}
    world.write("datasets/judged.yaml", "cell_types: 3")
    assert all("may be frozen" in reason for reason in reasons(look(world, days=0)[0]).values())


def test_unfinished_shards_stay_as_long_as_the_next_run_would_continue_with_them(world):
    world.land("HUVEC-1")
    world.make("raw_plates", "HUVEC-1")
    plan = world.plan("plate_store", "HUVEC-1")
    artifact = world.lake.artifact("plate_store", "HUVEC-1")
    folder = artifact.data / shared_folder(plan.fingerprint, 1)
    write_bytes(folder / "Plate1.zarr/c/0", b"shard")
    write_bytes(artifact.data / f"{plan.fingerprint}-01234567" / "part", b"draft of a run that was killed")
    backdate(world)
    (draft,) = prune(world, days=0)
    assert draft.folder == f"{plan.fingerprint}-01234567"
    assert set(reasons(look(world, days=0)[0]).values()) == {"unfinished work that the next run continues"}
    world.land("HUVEC-1", "changed")
    world.make("raw_plates", "HUVEC-1")
    backdate(world)
    gone = prune(world, days=0)
    assert {piece.state for piece in gone} == {"superseded", "unfinished"}
    assert not Path(folder.path).exists()


def test_a_torn_record_is_named_and_everything_at_its_address_stays(world):
    stored_again(world, "first", "second")
    backdate(world)
    torn = Path(world.lake.artifact("plate_store", "HUVEC-1").record_path(2).path)
    torn.write_text("{")
    os.utime(torn, (0, 0))
    found, _ = look(world, days=0)
    assert [str(torn) in text for text in found.unreadable] == [True]
    by_name = reasons(found)
    assert by_name["publication 1 of plate_store of HUVEC-1"] == "a commit record at this address cannot be read"
    assert by_name["publication 1 of raw_plates of HUVEC-1"] == "needed by plate_store of HUVEC-1 (publication 1)"
    assert by_name["publication 1 of plate_quality of HUVEC-1"] == ""
    prune(world, days=0)
    torn.unlink()
    artifact = world.lake.artifact("plate_store", "HUVEC-1")
    artifact.verify(artifact.record())


def test_the_content_of_a_landing_zone_inside_the_lake_is_not_looked_at(world):
    stored_again(world, "first", "second")
    backdate(world)
    outside = Path(world.lake.root.path) / "elsewhere" / "a" / "b"
    outside.mkdir(parents=True)
    (outside / "c").write_bytes(b"x")
    os.utime(outside / "c", (0, 0))
    prune(world, days=0)
    assert hashlib.sha256((outside / "c").read_bytes()).hexdigest() == hashlib.sha256(b"x").hexdigest()
